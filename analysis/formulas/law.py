"""What a law is: a pure function plus metadata, so that one engine fits all of them (measures.md 3.5)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np
from scipy.special import expit

Array = np.ndarray


@dataclass(frozen=True)
class Law:
    """A function of `variables` and parameters, and all that a search needs to know of it."""

    name: str
    formula: str
    variables: tuple[str, ...]
    bounds: Mapping[str, tuple[float, float]]  # of each parameter, in the order of the function's parameters
    function: Callable[..., Array]  # (*variables, *parameters) -> y, or logit y for a rate
    gradient: Callable[..., tuple[Array, ...]]  # the same arguments -> derivatives of the function, one a parameter
    starts: Callable[[Mapping[str, Array], Array], Array]  # (variables, y or rate) -> starting parameters [s, k]
    linear: tuple[str, ...] = ()  # eliminated by linear least squares at each start
    log: tuple[str, ...] = ()  # positive and of unknown magnitude: searched as a logarithm
    rate: bool = False  # the function returns the logit of a rate
    design: Callable[..., Array] | None = None  # variables -> [n, k], where the function is linear in its parameters
    units: Mapping[str, str] = field(default_factory=dict)  # of each parameter, in those of x and y; 1 is a pure number
    domain: tuple[float, float] = (0.0, inf)  # the open interval in which every variable must lie
    canonical: Callable[[Array], Array] | None = None  # theta [..., k] -> of all that give one curve, the one reported

    @property
    def parameters(self) -> tuple[str, ...]:
        """Their names, in the order of the function's arguments."""
        return tuple(self.bounds)

    def raw(self, x: Mapping[str, Array], theta: Array) -> Array:
        """The function's own scale (logit for a rate): variables [n], theta [..., k] -> [..., n]."""
        return self.function(*self._arguments(x, theta))

    def raw_gradient(self, x: Mapping[str, Array], theta: Array) -> Array:
        """Derivative of `raw` in each parameter: [..., n, k]."""
        arguments = self._arguments(x, theta)
        rows = np.broadcast_shapes(*(np.shape(part) for part in arguments))
        parts = self.gradient(*arguments)
        found = np.empty((*rows, len(parts)))
        for k, part in enumerate(parts):
            found[..., k] = part
        return found

    def predict(self, x: Mapping[str, Array], theta: Array) -> Array:
        """y (a rate for rate laws): variables [n], theta [..., k] -> [..., n]."""
        raw = self.raw(x, theta)
        return expit(raw) if self.rate else raw

    def _arguments(self, x: Mapping[str, Array], theta: Array) -> list[Array]:
        theta = np.asarray(theta, float)
        return [np.asarray(x[name], float) for name in self.variables] + [
            theta[..., k : k + 1] for k in range(theta.shape[-1])
        ]
