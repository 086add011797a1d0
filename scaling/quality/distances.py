"""How far samples are from held-out images as a whole: the kernel distance (KID) and the Frechet distance.

Both reward copying: a perfect copier scores as the training images do. That baseline stands beside every value, and the
reference is always the hold-out. All sums in float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

GROUPS = 20  # of the jackknife


class Kid(NamedTuple):
    """The kernel distance of two sets of images."""

    value: float  # unbiased: may be negative
    se: float  # NaN with fewer than 3 images on a side


@torch.no_grad()
def kid(x: Tensor, y: Tensor) -> Kid:
    """Kernel distance of features x [B q] to y [h q], Binkowski et al. 2018, k(a, b) = (a.b/q + 1)^3, unbiased form.

    The standard error is a jackknife over 20 groups of both sides (image i is in group i mod 20; with fewer images as
    many groups). Raises ValueError on fewer than 2 images, on different q and on NaN.
    """
    _check(x, y)
    x, y, groups = x.double(), y.double(), min(GROUPS, len(x), len(y))
    xx, yy, xy = _within(x, groups), _within(y, groups), _between(x, y, groups)
    value = float(_unbiased(xx.sum(), yy.sum(), xy.sum(), len(x), len(y)))
    if groups < 3:
        return Kid(value, float("nan"))

    def without(sums: Tensor) -> Tensor:
        """Sum over the pairs of images [G] of which neither (on its own side) is in group g."""
        return sums.sum() - sums.sum(0) - sums.sum(1) + sums.diagonal()

    b, h = (len(f) - torch.bincount(_groups(f, groups), minlength=groups) for f in (x, y))
    left = _unbiased(without(xx), without(yy), without(xy), b, h)
    return Kid(value, float(((groups - 1) / groups * (left - left.mean()).square().sum()).sqrt()))


def frechet(x: Tensor, y: Tensor) -> float:
    """Frechet distance of Gaussians fitted to features x [B q], y [h q] (ddof 1), Heusel et al. 2017.

    Biased upwards by the number of images: compare at equal B and h only.
    """
    _check(x, y)
    moments = [(f.double().mean(dim=0), torch.atleast_2d(torch.cov(f.double().T))) for f in (x, y)]
    return frechet_of_moments(*moments[0], *moments[1])


@torch.no_grad()
def frechet_of_moments(m1: Tensor, s1: Tensor, m2: Tensor, s2: Tensor) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)): means [q], covariances [q q]."""
    # S1 S2 has the eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2): real by construction, clipped at 0.
    values, vectors = torch.linalg.eigh(s1.double())
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ s2.double() @ root).clamp(min=0).sqrt().sum()
    return float((m1 - m2).double().square().sum() + s1.double().trace() + s2.double().trace() - 2 * cross)


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"features {list(x.shape)} against {list(y.shape)}: a distance needs two sets [images, features] of "
            f"equally many features and at least 2 images each"
        )
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("features hold NaN or infinity: leave non-finite samples out, count them as n_nonfinite")


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _groups(x: Tensor, groups: int) -> Tensor:
    return torch.arange(len(x), device=x.device) % groups


def _between(x: Tensor, y: Tensor, groups: int) -> Tensor:
    """Sums of k(x_i, y_j) by group of i and group of j: [G G]. One group of rows at a time bounds the memory."""
    sums, columns = x.new_zeros(groups, groups), _groups(y, groups)
    for group in range(groups):
        sums[group].index_add_(0, columns, _kernel(x[group::groups], y).sum(dim=0))
    return sums


def _within(x: Tensor, groups: int) -> Tensor:
    """The same among x, pairs i = j left out."""
    own = x.new_zeros(groups).index_add_(0, _groups(x, groups), (x.square().mean(dim=1) + 1) ** 3)
    return _between(x, x, groups) - own.diag()


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor, b: Tensor | int, h: Tensor | int) -> Tensor:
    return xx / (b * (b - 1)) + yy / (h * (h - 1)) - 2 * xy / (b * h)
