"""What is said of single images: folds, quadrants, rank correlation."""
