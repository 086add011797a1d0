"""Named feature spaces in which the quality distances are taken."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def pixels(images: Tensor) -> Tensor:
    """The images themselves: [N C H W] -> [N C*H*W]. The honest choice for 8 x 8 pixels."""
    return images.flatten(1)


EXTRACTORS: Mapping[str, Callable[[Tensor], Tensor]] = {"pixels": pixels}


@torch.no_grad()
def features(name: str, images: Tensor) -> Tensor:
    """Features [N q] of images [N C H W] in [-1, 1]; raises ValueError on a name that is not in EXTRACTORS."""
    if name not in EXTRACTORS:
        raise ValueError(f"evaluate.features={name}: no such feature space; choose one of {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](images)
