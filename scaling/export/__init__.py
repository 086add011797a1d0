"""A finished run's model for others: diffusers' format, a pipeline that needs nothing of ours, a model card."""
