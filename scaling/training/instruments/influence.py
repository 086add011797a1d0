"""The leverage of every measured training image, from projected gradients of its loss."""

from scaling.diffusion.denoiser import Denoiser
from scaling.memorization.gradients import projected_gradients
from scaling.memorization.leverage import default_ridge, leverage
from scaling.training.bench import Bench
from scaling.training.instruments.measurement import Measurement


def influence(denoiser: Denoiser, bench: Bench, found: Measurement) -> None:
    """The instrument `leverage`: at the last evaluation, the one that the images table holds."""
    group = bench.measured
    phi = projected_gradients(denoiser, group.images, group.labels, group.positions, bench.sigmas)
    copies = group.copies_tensor() * bench.loss_subset.weight
    h = leverage(phi, copies, default_ridge(phi, copies)) / bench.loss_subset.weight
    found.fill_images(group.positions.tolist(), "leverage", h)
