"""One run of a committed table again: which one, its training, and whether it agrees."""
