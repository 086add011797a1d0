"""The instruments of one evaluation, a function each: denoiser and bench in, columns added to the Measurement."""
