"""What is audited, as the instruments see it: where samples come from, and the denoiser behind them if there is one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from scaling.diffusion.sampler import Denoises

Drawn = Callable[[int], Tensor]  # number of samples -> [n C H W] in [-1, 1], on any device
BringBack = Callable[[Denoises, Tensor, Tensor | None], Tensor]  # (denoiser, x at basin_sigma, labels) -> clean


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, or samples alone (then denoiser is None)."""

    draw: Drawn
    sha256: str  # of what was given
    denoiser: Denoises | None = None
    level: Callable[[Tensor], Tensor] = lambda sigmas: sigmas  # wanted noise levels -> those that the model has
    start: Callable[[float], float] = lambda sigma: sigma  # wanted start of basin recovery -> the one its sampler has
    bring_back: BringBack | None = None  # its sampler from there; None: our own
    columns: dict[str, object] = field(default_factory=dict)  # of the evals table: family, params, …
    n_nonfinite: int = 0  # samples left out before they were given
    notes: Sequence[str] = ()
    recovers: bool = True  # basin recovery can be measured
