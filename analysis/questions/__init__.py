"""The questions of the field, one function a file, and the fitted surface that answers them."""
