"""The studies in results/: what each states, computed from its committed tables, and the pages that quote it."""
