"""Networks of three families as ladders over width, with their parameter and FLOP counts."""
