"""Instruments: every meaning of "memorized", each with its null."""
