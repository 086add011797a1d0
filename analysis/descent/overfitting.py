"""Beside a curve of hold-out loss: does the training loss go to 0 meanwhile, and how much is memorized where?"""

import numpy as np
from scipy.special import stdtr

from analysis.descent.noise import Noise, critical

Array = np.ndarray
NEAR_ZERO = 0.05  # of its largest value: a training loss below counts as 0


def malign_overfitting(noise: Noise, train_loss: Array, level: float) -> str:
    """Training loss to 0 while the curve rises: in words, with a test of the rise from the minimum to the end.

    noise.mean, train_loss [K]. Bonferroni over the points among which the minimum was found.
    """
    x, y = noise.x, noise.mean
    low, end = int(np.argmin(y)), len(y) - 1
    share = train_loss / np.nanmax(train_loss)
    fitted = np.flatnonzero(share <= NEAR_ZERO)
    zero = (
        f"the training loss falls below {100 * NEAR_ZERO:g} % of its largest value at x = {x[fitted[0]]:g}"
        if len(fitted)
        else f"the training loss does not reach 0 (least share {np.nanmin(share):.2g})"
    )
    if low == end:
        return f"{zero}; no overfitting: the curve is lowest at its last x"
    rise, s = y[end] - y[low], float(np.hypot(noise.se[end], noise.se[low]))
    reach = float(critical(noise.se, noise.df, (1 + level) / 2)[low, end]) * s
    # One p-value for "the end is above the minimum of the others", though the minimum was picked among them.
    df = float(min(noise.df[end] + noise.df[low], 1e6))
    p = min(1.0, end * float(stdtr(df, -rise / s)))
    malign = len(fitted) > 0 and p < 1 - level
    word = "malign overfitting" if malign else "no malign overfitting shown"
    return (
        f"{word}: {zero}; from x = {x[low]:g} to the last x the curve rises by {rise:.3g} +- {reach:.2g} (p = {p:.2g})"
    )


def along(name: str, x: Array, mean: Array, se: Array, at: dict[str, float | None]) -> str:
    """`name` (mean, se [K]; se NaN where there is one value) at named places of the curve, in words."""
    parts = []
    for place, where in at.items():
        if where is None:
            continue
        k = int(np.argmin(np.abs(x - where)))
        known = f" +- {se[k]:.2g} SE" if np.isfinite(se[k]) else " (one value)"
        parts.append(f"{mean[k]:.3g}{known} at the {place}" if np.isfinite(mean[k]) else f"not measured at the {place}")
    return f"{name}: {', '.join(parts)}"
