"""Do onsets collapse on the exponents that theory names? Tests with a p-value (measures.md 3.2).

A law T ~ prod_k z_k^s_k with all s_k of theory says that T / prod_k z_k^s_k depends on nothing more. The times lie in
(a, b]; dividing both ends by z^s fixes a slope, so every hypothesis is the same survival fit with one covariate less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import fdtrc

from analysis.fitting.survival import SurvivalFit, fit
from analysis.onsets.crossing import Status

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
ALIKE = ("weights", "family", "design", "copies")  # onsets that one law over n_unique and width may describe
THEORY = {"tau_mem": {"n_unique": 1.0}, "tau_gen": {"width": -1.0}}  # Bonnaire et al. 2025
LAWS = ("lognormal", "weibull")
SCALE_VARIANCE = {"lognormal": 1 / 2, "weibull": 6 / np.pi**2}  # n times the variance of ln scale, all times exact


@dataclass(frozen=True)
class Times:
    """Times in (after, until] [n] and the logarithms of what may move them, each [n]."""

    after: Array
    until: Array
    logs: Mapping[str, Array]

    def divided(self, slopes: Mapping[str, float]) -> "Times":
        """The times over prod z^slope, which no longer depend on z where the slope is right."""
        by = np.exp(sum((slope * self.logs[name] for name, slope in slopes.items()), np.zeros(len(self.after))))
        rest = {name: values for name, values in self.logs.items() if name not in slopes}
        return Times(self.after / by, self.until / by, rest)


def p_of(times: Times, law: str, free: SurvivalFit, slopes: Mapping[str, float]) -> float | None:
    """Of the hypothesis that these slopes are as given, the others free; None where the brackets cannot tell.

    Likelihood ratio in its F form, F = (exp(2 gain/m) - 1)(m - k)/q with m the number of times seen exactly that would
    tell the scale as well as these brackets do: for log-normal times seen exactly m = n and the test is Student's.
    With m = n where brackets are wider than the scatter a true exponent is rejected too often (.11 at 5 %, simulated).
    """
    held = times.divided(slopes)
    fixed = fit(law, held.after, held.until, held.logs)
    k, q = 1 + len(times.logs), len(slopes)
    m = told(fixed, law)
    if m is None or m <= k or not free.n_events:
        return None
    # A density of T/z^s is one of T times z^s: what was seen exactly carries that factor.
    exact = times.after == times.until
    by = np.sum([slope * times.logs[name] for name, slope in slopes.items()], axis=0)
    gain = max(free.log_likelihood - (fixed.log_likelihood - float(np.sum(by[exact]))), 0.0)
    return float(fdtrc(q, m - k, np.expm1(2 * gain / m) * (m - k) / q))


def told(found: SurvivalFit, law: str) -> float | None:
    """As how many exact times the brackets tell the scale: SCALE_VARIANCE over the variance of ln scale; at most n."""
    scale = found.params["scale"]
    if not scale.se:
        return None
    spare = found.n - (len(found.params) - 1)
    variance = (scale.se / scale.value) ** 2 * spare / found.n  # survival.fit grows its se by n/(n - k)
    return min(SCALE_VARIANCE[law] / variance, float(found.n))


def slopes(times: Times, theory: Mapping[str, float], level: float = 0.95) -> list[dict[str, Any]]:
    """A row for each law of `times`: params with value, se, lo, hi, theory, p_value; and the collapse as a whole.

    p_value of a row: all slopes of theory at once. collapse: also nothing else moves what is left, so slopes without a
    theory are 0. Raises nothing: what cannot be fitted says so in `message`.
    """
    rows: list[dict[str, Any]] = []
    named = {name: value for name, value in theory.items() if name in times.logs}
    for law in LAWS:
        try:
            found = fit(law, times.after, times.until, times.logs, level=level)
            p = {name: p_of(times, law, found, {name: value}) for name, value in named.items()}
            whole = p_of(times, law, found, named) if named else None
            rest = p_of(times, law, found, {**dict.fromkeys(times.logs, 0.0), **named}) if named else None
        except ValueError as error:
            rows.append({"law": law, "message": str(error)})
            continue
        params = {name: dict(vars(value)) for name, value in found.params.items()}
        for name, value in named.items():
            params[name] |= {"theory": value, "p_value": p[name]}
        rows.append({"law": law, "status": found.status, "message": found.message, "aicc": found.aicc,
                     "params": params, "theory": named, "p_value": whole, "collapse_p_value": rest})  # fmt: skip
    return rows


def collapse(runs: "DataFrame", onset: str, level: float = 0.95) -> list[dict[str, Any]]:
    """Slopes of ln onset on ln n_unique (theory: 1 for tau_mem) and ln width (-1 for tau_gen), a group of one weights,
    family, design and copies at a time.

    From rows of `onsets`, each in its (a, b]; log-normal and Weibull beside each other. Bonnaire et al. 2025. p_value
    tells whether the data reject the theory's slopes; a run is one row, so rows do not share their luck.
    """
    answers = []
    for names, part in runs.groupby(list(ALIKE)):
        part = part[part[f"{onset}_status"] != Status.MISSING]
        said = {"onset": onset, **dict(zip(ALIKE, names, strict=True)), "n": len(part)}
        if part["batch_size"].nunique(dropna=False) > 1:
            answers.append(said | {"message": "several batch_size: the law is in steps; fit each batch size apart"})
            continue
        times = of_rows(part, onset, ("n_unique", "width"))
        answers += [said | row for row in slopes(times, THEORY[onset], level)] if times.logs else []
    return answers


def of_rows(part: "DataFrame", what: str, names: tuple[str, ...]) -> Times:
    """The rows' (what_a, what_b] and the logarithms of those columns that vary."""
    logs = {name: np.log(part[name].to_numpy(float)) for name in names}
    varied = {name: values for name, values in logs.items() if len(values) and np.ptp(values) > 0}
    return Times(part[f"{what}_a"].to_numpy(float), part[f"{what}_b"].to_numpy(float), varied)
