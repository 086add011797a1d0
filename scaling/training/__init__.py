"""One run: Lightning glue between data, denoiser, instruments and store."""
