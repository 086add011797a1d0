"""How good the samples are: distances between samples and held-out images in a named feature space."""
