"""What goes in: image sources, exact duplication, and batches that are a pure function of (seed, step)."""
