"""Makes rows: trains grids of small diffusion models and measures how much each memorized."""
