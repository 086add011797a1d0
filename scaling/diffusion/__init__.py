"""The denoiser D(x; sigma), its loss and sampler, and the closed-form optimal denoiser. Sigma is the one variable."""
