"""Many runs: a W&B sweep file to configurations, and the engines that run them."""
