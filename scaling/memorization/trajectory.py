"""Does the sampler pass where the training noise was? Its distance to training images, level by level.

A network is trained at points u + sigma eps. Sampling paths may leave them, most at intermediate levels (Kaiser &
Kollmann 2026, arXiv 2603.13419, by its abstract).
"""

from functools import cached_property

import torch
from torch import Tensor

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.memorization.neighbors import nearest

LIMIT = 512  # samples, and training images, that are looked at: the first ones
SLOTS = 1024  # noise of level j at position i is that of index SLOTS i + j


class Trajectory:
    """Follows the sampler as its `visit` and then tells how far its path was from the training images.

    members [M D] of families int [M] (None: each its own) are searched; images [U C H W] with positions int64 [U] are
    noised for comparison; sigmas [J + 1] are the sampler's levels, of which the last, 0, is left out (there training
    noise has no distance); count is the number of samples. Serves any number of samplings, one after the other. Raises
    ValueError on no image or sample and on more than 1024 levels.
    """

    def __init__(
        self, members: Tensor, family: Tensor | None, images: Tensor, positions: Tensor, sigmas: Tensor, count: int
    ) -> None:
        if not len(images) or count < 1:
            raise ValueError(f"{len(images)} training image(s), {count} sample(s): the distance needs one of each")
        if not 2 <= len(sigmas) <= SLOTS + 1 or not (sigmas[:-1] > 0).all():
            raise ValueError(
                f"{len(sigmas)} levels down to {float(sigmas[-1]):g}: give the sampler's levels, 1 to {SLOTS} above 0 "
                f"and then 0"
            )
        self.members, self.family = members, family
        self.images, self.positions = images[:LIMIT], positions[:LIMIT].to(images.device)
        self.sigmas = sigmas[:-1]
        size = len(self.sigmas), min(count, LIMIT)
        # NaN: not followed; infinity: not finite
        self.nearest = torch.full(size, torch.nan, dtype=torch.float64, device=members.device)

    def visit(self, step: int, rows: slice, x: Tensor) -> None:
        """Look at x [B C H W], the state of samples `rows` at level sigmas[step]."""
        x = x[: max(0, self.nearest.shape[1] - rows.start)].flatten(1)
        finite = x.isfinite().all(dim=1)
        distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        distance[finite] = nearest(x[finite], self.members, 1, self.family).distance[:, 0].double()
        self.nearest[step, rows.start : rows.start + len(x)] = distance

    def distance(self) -> Tensor:
        """Median over samples of the nearest distance over that of the training noise: [J] float64; 1 = as far.

        A sample that was not finite at some level is left out of all; NaN where that leaves none. Raises ValueError if
        samples were not followed to the end.
        """
        if missing := int(self.nearest.isnan().any(dim=0).sum()):
            raise ValueError(
                f"{missing} of {self.nearest.shape[1]} samples were not followed through {len(self.sigmas)} levels: "
                f"give `visit` to the sampler of these samples and levels first"
            )
        whole = self.nearest[:, self.nearest.isfinite().all(dim=0)]
        if not whole.shape[1]:
            return torch.full_like(self.nearest[:, 0], torch.nan)
        return whole.quantile(0.5, dim=1) / self.of_training_noise

    @cached_property
    def of_training_noise(self) -> Tensor:
        """Median over i of the nearest distance of u_i + sigma_j eps_ij: [J] float64; the same in every evaluation."""
        levels = []
        for level, sigma in enumerate(self.sigmas.tolist()):
            eps = normals(CONSTANT, "trajectory", self.positions * SLOTS + level, self.images[0].numel())
            noisy = self.images.flatten(1) + sigma * eps.to(self.images)
            levels.append(nearest(noisy, self.members, 1, self.family).distance[:, 0].double().quantile(0.5))
        return torch.stack(levels)
