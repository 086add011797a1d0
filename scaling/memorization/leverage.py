"""Leverage: how much of its own fit an image decides, and what its residual would be had it been left out.

Hoaglin & Welsch 1978. Where the model is linear these are exact; in a network, with gradients for rows, they say what a
linear model around its weights would do.
"""

import torch
from einops import einsum, rearrange
from torch import Tensor

RIDGE = 0.1  # of the mean eigenvalue


def leverage(phi: Tensor, copies: Tensor, lam: float) -> Tensor:
    """h_i = r_i phi_i^T (sum_j r_j phi_j phi_j^T + lam I)^-1 phi_i: phi [N q], copies [N] -> [N] float64, below 1.

    Image i with all its copies: the sum over r_i equal rows, so that one copy has h_i / r_i < 1 / r_i. On a subset
    whose images stand for w_i of their stratum it is leverage(phi, copies * w, lam) / w. O(N q min(N, q)). Raises
    ValueError on gradients that are not finite, copies that are not positive, and a lam without an inverse.
    """
    left, kept = _modes(_rows(phi, copies), lam)
    return left.square() @ kept


def effective_dof(h: Tensor) -> float:
    """Effective degrees of freedom, the trace of the hat matrix: h [N]."""
    return float(h.sum())


def default_ridge(phi: Tensor, copies: Tensor) -> float:
    """A tenth of the mean eigenvalue of sum_j r_j phi_j phi_j^T, over the min(N, q) that may differ from 0: phi [N q].

    It follows the scale of the gradients and of the copies. As lam falls every h goes to 1 where N < q. Measured on
    U-Net and mlp, 256 digits, q 512, untrained and trained: mean h .15 to .33 at ten times this lam, .38 to .74 here,
    .65 to .95 at a tenth of it; between neighbours of these the ranks of h correlate by .96 or more without copies,
    by .999 with 1 to 128 copies. There h has nearly the order of the copies (.97 to .99): compare images of equal r.
    Raises ValueError where all gradients are 0.
    """
    eigenvalues = _rows(phi, copies).square().sum()
    if eigenvalues == 0:
        raise ValueError(f"the gradients of all {len(phi)} images are 0: leverage has no scale; leave its column empty")
    return RIDGE * float(eigenvalues) / min(phi.shape)


def ridge_hat(X: Tensor, lam: float) -> Tensor:
    """H = X (X^T X + lam I)^-1 X^T, which takes targets to the fitted values of ridge regression: X [n q] -> [n n]."""
    left, kept = _modes(X.double(), lam)
    return einsum(left, kept, left, "i k, k, j k -> i j")


def left_out_residual(e: Tensor, h: Tensor) -> Tensor:
    """e_i / (1 - h_i): residuals e [N] or [N d] of the fit to all, h [N] -> those of the fits that each leave one out.

    An image with r equal rows leaves with all of them: h is `leverage`, e the residual of one row. h >= 1 raises.
    """
    if (h >= 1).any():
        raise ValueError(f"h={float(h.max()):g}: an image that alone decides its fit has no fit without it; raise lam")
    return (e.T / (1 - h)).T


def block_left_out(e: Tensor, H: Tensor) -> Tensor:
    """(I - H_ii)^-1 e_i: residuals e [m d] of the m rows of one image, H [m m] their block of the hat matrix -> [m d],
    the residuals of these rows under the fit without any of them."""
    return torch.linalg.solve(torch.eye(len(H), dtype=H.dtype, device=H.device) - H, e)


def _rows(phi: Tensor, copies: Tensor) -> Tensor:
    """sqrt(r_i) phi_i [N q] float64: rows whose products count each image as often as it was trained on."""
    broken = int((~phi.isfinite().all(dim=1)).sum())
    if broken:
        raise ValueError(f"the gradients of {broken} of {len(phi)} images are not finite: the model has diverged")
    if not (copies > 0).all():
        raise ValueError(
            f"copies={float(copies.min()):g}: leverage is of training images; leave out those with 0 copies"
        )
    return phi.double() * rearrange(copies.double().sqrt(), "n -> n 1")


def _modes(X: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """H = U diag(kept) U^T: U [n k] with k = min(n, q), kept [k] the fitted share s^2 / (s^2 + lam) of each mode.

    By singular values: X^T X would square the condition, and either side may be the shorter one.
    """
    left, s, _ = torch.linalg.svd(X, full_matrices=False)
    rank = int((s > s.max() * max(X.shape) * torch.finfo(s.dtype).eps).sum())
    if lam < 0 or (lam == 0 and rank < X.shape[1]):
        raise ValueError(f"lam={lam:g}: {len(X)} rows determine {rank} of {X.shape[1]} features; lam must be positive")
    return left, s.square() / (s.square() + lam)
