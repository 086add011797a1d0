"""The Pareto boundary: geometry, what rows might have been, membership, placing a model."""
