"""Denoisers in closed form: the optimal one of a finite training set and the optimal linear one; the collapse level."""

from math import exp, log

import torch
from einops import rearrange
from scipy.optimize import brentq
from torch import Tensor

BLOCK = 2**24  # numbers in one block of images in float64: what bounds the memory


class IdealDenoiser:
    """The optimal D(x; sigma) of a finite training set, Karras et al. 2022, Eq. 57: the copier.

    unique [U C H W], copies [U] (the prior weight of each image). With labels int64 [U] the posterior is over the
    images of the label asked for, which is what a conditional network is trained towards. float64 inside.
    """

    def __init__(self, unique: Tensor, copies: Tensor, labels: Tensor | None = None) -> None:
        if len(unique) != len(copies) or not len(unique) or not (copies > 0).all():
            raise ValueError(
                f"{len(unique)} images with {len(copies)} copies, of which {int((copies <= 0).sum())} below 1: "
                f"every image needs its number of copies"
            )
        self.unique, self.labels = unique, labels
        self.prior = copies.to(device=unique.device, dtype=torch.float64).log()

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B C H W], sigma [B] in (0, inf], labels [B] where the images have some (else ignored) -> [B C H W]."""
        if self.labels is None:
            labels = None
        elif labels is None:
            raise ValueError(
                f"labels missing: these {len(self.unique)} images have labels, say which one to denoise as"
            )
        flat = x.flatten(1).double()
        precision = rearrange(sigma.double() ** -2, "b -> b 1")
        # Images in blocks; `top` is the largest logit so far, to which all exponentials refer (no 0/0 at small sigma).
        top = flat.new_full((len(flat), 1), -torch.inf)
        total, weighted = torch.zeros_like(top), torch.zeros_like(flat)
        step = max(1, BLOCK // (flat.shape[1] + len(flat)))
        for start in range(0, len(self.unique), step):
            rows = slice(start, start + step)
            u = self.unique[rows].flatten(1).double()
            # In float64 the expanded square keeps |u|^2 x 1e-16; |x|^2 is common to all images.
            logits = self.prior[rows] + precision * (flat @ u.T - u.square().sum(dim=1) / 2)
            if labels is not None and self.labels is not None:
                other = rearrange(labels, "b -> b 1") != self.labels[rows].to(labels.device)
                logits = logits.masked_fill(other, -torch.inf)
            highest = torch.maximum(top, logits.amax(dim=1, keepdim=True))
            shift = highest.clamp(min=torch.finfo(torch.float64).min)  # -inf until the first image of a label
            shrink, weights = (top - shift).exp(), (logits - shift).exp()
            total, weighted = shrink * total + weights.sum(dim=1, keepdim=True), shrink * weighted + weights @ u
            top = highest
        if labels is not None and (total == 0).any():
            raise ValueError(f"label {int(labels[(total == 0).squeeze(1)][0])}: no training image has it")
        return (weighted / total).to(x.dtype).reshape(x.shape)


class LinearDenoiser:
    """The optimal linear D(x; sigma) = m + C (C + sigma^2 I)^-1 (x - m); m, C: copy-weighted mean and covariance."""

    def __init__(self, unique: Tensor, copies: Tensor) -> None:
        self.mean, centred = _centred(unique, copies)
        values, self.vectors = _eigen(centred)  # directions without variance map to m: only the others are kept
        self.values = values.clamp(min=0)

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """x [B C H W], sigma [B] -> [B C H W] in the dtype of x; labels are ignored."""
        variance = rearrange(sigma.double().square(), "b -> b 1")
        along = (x.flatten(1).double() - self.mean) @ self.vectors * (self.values / (self.values + variance))
        return (self.mean + along @ self.vectors.T).to(x.dtype).reshape(x.shape)


def covariance_eigenvalues(images: Tensor) -> Tensor:
    """Eigenvalues [min(n, d)] of the covariance of images [n C H W], ddof 0, float64; the others are 0."""
    _, centred = _centred(images, torch.ones(len(images), device=images.device))
    return _eigen(centred)[0].clamp(min=0)


def collapse_sigma(eigenvalues: Tensor, n: int) -> float:
    """The level below which n images dominate the ideal denoiser: sum_k ln(1 + lambda_k / sigma_c^2) / 2 = ln n.

    Biroli et al. 2024 (arXiv 2402.18491) for Gaussian data: s0 / sqrt(n^(2/d) - 1) if all d eigenvalues are s0^2.
    eigenvalues [d]. Raises ValueError on n < 2 and on images without variance.
    """
    values = eigenvalues.double()
    largest = float(values.max())
    if n < 2 or not largest > 0:
        raise ValueError(
            f"n_unique={n}, largest eigenvalue {largest:g}: a collapse level needs 2 images that differ; "
            f"give evaluate.basin_sigma instead"
        )

    def excess(log_sigma: float) -> float:
        return float((values * exp(-2 * log_sigma)).log1p().sum()) / 2 - log(n)

    # One direction alone gives ln n at the lower end; at the upper end the sum is below d lambda / (2 sigma^2) < ln n.
    low = log(largest / (float(n) ** 2 - 1)) / 2
    high = log(largest * len(values) / log(n)) / 2
    return exp(brentq(excess, low - 1e-9, high + 1e-9, xtol=1e-12))


def _centred(unique: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """The copy-weighted mean [D] and the rows [U D] whose second moment is the copy-weighted covariance."""
    flat = unique.flatten(1).double()
    share = (copies.to(flat) / copies.sum()).unsqueeze(1)
    mean = (share * flat).sum(dim=0)
    return mean, share.sqrt() * (flat - mean)


def _eigen(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [k] and eigenvectors [D k] of centred^T centred, k = min(U, D)."""
    if centred.shape[0] >= centred.shape[1]:
        return torch.linalg.eigh(centred.T @ centred)
    _, singular, vectors = torch.linalg.svd(centred, full_matrices=False)
    return singular.square(), vectors.T
