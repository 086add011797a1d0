"""Reads rows: fits scaling curves of memorization, with intervals, from tables that `scaling` or anybody wrote."""
