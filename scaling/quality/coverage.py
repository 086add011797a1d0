"""Coverage: the share of held-out images that the samples come near. A model that left out modes has less of it."""

import torch
from torch import Tensor

NEIGHBORS = 5  # k, Naeem et al. 2020, Sec. 4
BLOCK = 2**23  # distances held at once, in float64


@torch.no_grad()
def coverage(samples: Tensor, holdout: Tensor, k: int = NEIGHBORS) -> float:
    """Naeem et al. 2020 (arXiv 2002.09797), Eq. 5: features of samples [B q] and of held-out images [h q] -> [0, 1].

    The share of held-out images with a sample inside the (closed) ball that reaches to their k-th nearest other
    held-out image. B and h samples of one law: 1 - prod_{j < k} (h - 1 - j)/(h + B - 1 - j), whatever the law; like
    the distances it rewards copying. Raises ValueError on h <= k, no sample, different q and NaN.
    """
    _check(samples, holdout, k)
    x, y = samples.double(), holdout.double()
    covered = 0
    for rows in torch.arange(len(y), device=y.device).split(max(1, BLOCK // max(len(x), len(y)))):
        others = torch.cdist(y[rows], y)
        others[torch.arange(len(rows), device=y.device), rows] = torch.inf
        radius = others.kthvalue(k, dim=1).values
        covered += int((torch.cdist(y[rows], x).amin(dim=1) <= radius).sum())
    return covered / len(y)


def _check(samples: Tensor, holdout: Tensor, k: int) -> None:
    if samples.ndim != 2 or holdout.ndim != 2 or samples.shape[1] != holdout.shape[1]:
        raise ValueError(
            f"features {list(samples.shape)} against {list(holdout.shape)}: coverage needs two sets "
            f"[images, features] of equally many features"
        )
    if not len(samples) or len(holdout) <= k or k < 1:
        raise ValueError(
            f"{len(samples)} sample(s), {len(holdout)} held-out image(s), k={k}: coverage needs a sample, k of at "
            f"least 1 and more than k held-out images; raise data.holdout"
        )
    if not (samples.isfinite().all() and holdout.isfinite().all()):
        raise ValueError("features hold NaN or infinity: leave non-finite samples out, count them as n_nonfinite")
