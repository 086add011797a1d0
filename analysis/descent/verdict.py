"""The verdict on one curve: present, absent or cannot_tell, with the reason in words (measures.md 3.3)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from analysis.descent.noise import Noise
from analysis.descent.rise_tests import confirm, search
from analysis.descent.shape import (
    Peak,
    peak,
    peak_interval,
    peak_x,
    prominence_lower,
    prominence_upper,
    recovery,
    recovery_interval,
    second_descent,
    valley,
)
from analysis.words import amount, number, p_value

Array = np.ndarray
FEWEST_X = 5
MARGIN = 0.1  # of the fitted valley's range: a smaller peak counts as none. Never in SE, which grow with the noise


@dataclass(frozen=True)
class Question:
    """What is asked of every curve. window, valley: where theory puts the peak and the first minimum, (lo, hi) in x."""

    window: tuple[float, float] | None = None
    valley: tuple[float, float] | None = None
    predicted: float | None = None
    level: float = 0.95
    draws: int = 2000
    seed: int = 0

    @property
    def test(self) -> str:
        """confirmatory where a window was named beforehand, else search."""
        return "search" if self.window is None else "confirmatory"


@dataclass(frozen=True)
class Verdict:
    """An answer of the JSON of design.md section 6, without its group; what is not known is None."""

    n_x: int
    n_replicates: int
    test: str
    verdict: str
    why: str
    peak_x: float | None = None
    peak_lo: float | None = None
    peak_hi: float | None = None
    prominence: float | None = None
    prominence_lo: float | None = None
    prominence_hi: float | None = None
    p_value: float | None = None
    first_min_x: float | None = None
    second_descent: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """An entry of `groups` but for its `group`."""
        return asdict(self)


def unjudged(x: Array, mean: Array, size: tuple[int, int], question: Question, why: str) -> Verdict:
    """cannot_tell where nothing says how noisy the curve is, or it is too short: the bare shape, without intervals.

    x, mean [K]; size: number of x and of replicates.
    """
    found = peak(mean, _inside(x, question.window))
    shape: dict[str, Any] = {"prominence": found.prominence if found else 0.0} if len(x) > 2 else {}
    if found:
        shape |= {"peak_x": peak_x(x, mean, found.top), "first_min_x": float(x[found.first_min])}
        why += f"; recovery {recovery(mean, found):.3g}, without interval"
    return Verdict(*size, question.test, "cannot_tell", why, **shape)


def judged(noise: Noise, size: tuple[int, int], question: Question) -> Verdict:
    """The verdict on a curve of 5 points or more whose noise is known; size: number of x and of replicates."""
    x, y, alpha = noise.x, noise.mean, 1 - question.level
    window, low = _inside(x, question.window), _inside(x, question.valley)
    if window is not None and (lacking := _lacking(x, window, low, question)):
        return unjudged(x, y, size, question, lacking)
    if window is not None and low is not None:
        sure = confirm(noise, window, low, level=question.level)
        p, lo = sure.p_value, max(0.0, sure.lo)
        tested = f"window above valley {p_value(sure.above_valley)}, above the last point {p_value(sure.above_end)}"
    else:
        rng = np.random.default_rng(question.seed)
        found_t = search(noise, draws=question.draws, level=question.level, rng=rng)
        p, lo = found_t.p_value, prominence_lower(noise, found_t.critical)
        tested = (
            f"{p_value(p)} (T = {found_t.statistic:.2f}) for so large a rise from noise alone, on the curve without a "
            f"rise that makes it likeliest"
        )
    found, hi = peak(y, window), prominence_upper(noise, question.level)
    open_reasons = _open(noise, hi, question)
    verdict = "present" if p < alpha else "cannot_tell" if open_reasons else "absent"
    said = [tested, noise.said]
    if verdict == "absent":
        small = f"any peak is lower than {amount(hi)}, under {100 * MARGIN:g} % of the curve's fall"
        said.insert(0, small if hi > 0 else "the interval of a peak's height holds no rise at all")
    elif verdict == "cannot_tell":
        said.insert(0, "no second fall is shown, nor excluded: " + "; ".join(open_reasons))
    shape: dict[str, Any] = {
        "prominence": found.prominence if found else 0.0,
        "first_min_x": float(x[int(np.argmin(y))]),
    }
    if found:
        shape["first_min_x"] = float(x[found.first_min])
    if found and verdict != "absent":
        place = peak_x(x, y, found.top), *peak_interval(noise, found, question.level)
        shape |= dict(zip(("peak_x", "peak_lo", "peak_hi"), place, strict=True))
        shape["second_descent"] = second_descent(noise, found, question.level)
        said.append(_recovered(y, found, recovery_interval(noise, found, question.level)))
        if question.predicted:
            said.append(_against(question.predicted, *place))
    return Verdict(
        *size, question.test, verdict, "; ".join(said), p_value=p,
        prominence_lo=min(lo, shape["prominence"]), prominence_hi=max(hi, shape["prominence"]), **shape,
    )  # fmt: skip


def _inside(x: Array, range_: Sequence[float] | None) -> Array | None:
    return None if range_ is None else (x >= range_[0]) & (x <= range_[1])


def _lacking(x: Array, window: Array, low: Array | None, question: Question) -> str:
    for name, there, limits in (("window", window, question.window), ("valley", low, question.valley)):
        if there is None or not there.any():
            return f"no x lies in the {name} {limits}: train a size there, or name another {name}"
    if window[-1]:
        return f"the last x, {number(x[-1], 6)}, lies in the window: nothing shows whether the curve falls after it"
    return ""


def _open(noise: Noise, hi: float, question: Question) -> list[str]:
    """Why the absence of a peak is not shown; empty where it is."""
    x, y = noise.x, noise.mean
    span = float(np.ptp(valley(y, 1 / noise.se**2)))
    margin, reasons = MARGIN * span, []
    if not hi < margin:
        reasons.append(
            f"a peak of up to {hi:.3g} is possible, more than {100 * MARGIN:g} % of the curve's fall, {span:.3g}"
        )
    if question.predicted:
        # Theory says where a peak would be: an end that rises or falls matters only if x stops short of that.
        if not (x[0] <= question.predicted / 4 and x[-1] >= question.predicted * 4):
            reasons.append(
                f"x from {amount(x[0])} to {amount(x[-1])} does not cover a quarter to four times the predicted "
                f"{amount(question.predicted)}"
            )
        return reasons
    if y[-1] - y[-2] > margin:
        reasons.append(f"the curve still rises at its end: a peak may lie beyond x = {amount(x[-1])}")
    # Every learning curve falls at first, the steeper the earlier; from a peak it falls slowly first.
    u = np.log(x[:3]) if x[0] > 0 else x[:3]
    steepening = np.zeros(len(x))
    steepening[:3] = np.array([-1, 1, 0]) / (u[1] - u[0]) + np.array([0, 1, -1]) / (u[2] - u[1])
    faster, s, df = noise.contrast(steepening)
    if y[0] - y[1] > margin and faster > s * stdtrit(df, question.level):
        reasons.append(f"the curve falls at its beginning as from a peak before x = {amount(x[0])}")
    return reasons


def _recovered(y: Array, found: Peak, limits: tuple[float, float] | None) -> str:
    if limits is None:
        return f"recovery {recovery(y, found):.3g} (interval unbounded)"
    word = "benign" if limits[0] > 1 else "malign" if limits[1] < 1 else "benign or malign is open"
    return f"{word}: recovery {recovery(y, found):.3g} ({limits[0]:.3g} to {limits[1]:.3g})"


def _against(predicted: float, at: float, lo: float, hi: float) -> str:
    inside = "inside" if lo <= predicted <= hi else "outside"
    return (
        f"peak at {at / predicted:.3g} ({lo / predicted:.3g} to {hi / predicted:.3g}) times the predicted "
        f"{amount(predicted)}, which lies {inside} the peak's interval"
    )
