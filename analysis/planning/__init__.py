"""Tables with known truth, and what a planned grid would resolve."""
