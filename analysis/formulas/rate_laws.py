"""Laws of any variables, most of them rates: log_linear, logistic, exposure (measures.md 3.5).

Each is made for named variables: `logistic(("params", "copies"), "params*copies")`. Carlini et al. 2022 (2202.07646)
fit log_linear to extraction rates; a rate near 0 or 1 needs logistic or exposure.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import numpy as np

from analysis.formulas.law import Array, Law

LOG_HAZARD = 700.0  # exp of more leaves the floating-point range


def _log_design(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Callable[..., Array]:
    """The design matrix of logs: variables in order of `names`, each [n] -> [n, 1 + names + pairs]."""

    def design(*variables: Array) -> Array:
        logs = dict(zip(names, (np.log(variable) for variable in variables), strict=True))
        ones = np.ones_like(variables[0])
        return np.stack([ones, *logs.values(), *(logs[a] * logs[b] for a, b in pairs)], axis=1)

    return design


def _linear_law(
    name: str, formula: str, names: Sequence[str], pairs: Sequence[tuple[str, str]], first: str, unit: str
) -> dict[str, Any]:
    """The parts shared by laws whose function is a linear combination of logs of any variables."""
    design = _log_design(names, pairs)
    count = len(names)

    def function(*arguments: Array) -> Array:
        columns = design(*arguments[:count])
        return sum(parameter * columns[:, k] for k, parameter in enumerate(arguments[count:]))

    def gradient(*arguments: Array) -> tuple[Array, ...]:
        return tuple(design(*arguments[:count]).T)

    slopes = [*(f"b_{n}" for n in names), *(f"b_{a}_{b}" for a, b in pairs)]
    return {
        "name": name,
        "formula": formula,
        "variables": tuple(names),
        "bounds": dict.fromkeys([first, *slopes], (-inf, inf)),
        "function": function,
        "gradient": gradient,
        "design": design,
        "units": {first: unit, **dict.fromkeys(slopes, f"{unit} per e-fold")},
    }


def _terms(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> str:
    return "".join([f" + b_{n} ln {n}" for n in names] + [f" + b_{a}_{b} ln {a} ln {b}" for a, b in pairs])


def interactions(option: str, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The pairs of `A*B,C*D`; raises ValueError on a name that is no variable and on a pair given twice."""
    pairs = []
    for written in option.split(",") if option else ():
        a, _, b = (part.strip() for part in written.partition("*"))
        if a == b or not {a, b} <= set(names):
            raise ValueError(f"interaction {written.strip()!r}: write A*B with two of the variables {', '.join(names)}")
        pairs.append((a, b))
    if len({frozenset(pair) for pair in pairs}) != len(pairs):
        raise ValueError(f"interactions {option!r} name a pair twice: A*B and B*A are the same term; give it once")
    return tuple(pairs)


def log_linear(names: Sequence[str], option: str = "") -> Law:
    """y = a + sum_k b_k ln x_k (Carlini et al. 2022); not for rates near 0 or 1. Option: interactions A*B,…"""
    pairs = interactions(option, names)
    parts = _linear_law("log_linear", f"a{_terms(names, pairs)}", names, pairs, "a", "y")

    def starts(x: Mapping[str, Array], y: Array) -> Array:
        return np.linalg.lstsq(parts["design"](*(x[n] for n in names)), y, rcond=None)[0][None]

    return Law(**parts, starts=starts, linear=tuple(parts["bounds"]))


def logistic(names: Sequence[str], option: str = "") -> Law:
    """logit f = b_0 + sum_k b_k ln x_k (+ b_kl ln x_k ln x_l). Option: interactions A*B,…"""
    pairs = interactions(option, names)
    parts = _linear_law("logistic", f"logit f = b_0{_terms(names, pairs)}", names, pairs, "b_0", "logit")

    def starts(x: Mapping[str, Array], y: Array) -> Array:
        design = parts["design"](*(x[n] for n in names))
        height = np.clip(y, 0.005, 0.995)
        line = np.linalg.lstsq(design, np.log(height / (1 - height)), rcond=None)[0]
        mean = np.clip(np.mean(y), 0.005, 0.995)
        flat = np.eye(len(line))[0] * np.log(mean / (1 - mean))
        return np.stack([flat, line, (flat + line) / 2, 2 * line - flat])

    return Law(**parts, starts=starts, rate=True)


def exposure(names: Sequence[str], option: str = "") -> Law:
    """f = 1 - exp(-(x/x0)^k) with x = z_1 prod_{j>1} z_j^a_j; a_1 = 1 is fixed, else only k a_j is known. No option."""
    if option:
        raise ValueError(f"law exposure:{option}: exposure takes no option; write --law exposure")
    count = len(names)

    def log_hazard(arguments: Sequence[Array]) -> Array:
        logs, (x0, k, *a) = [np.log(z) for z in arguments[:count]], arguments[count:]
        return k * (logs[0] + sum(power * z for power, z in zip(a, logs[1:], strict=True)) - np.log(x0))

    def function(*arguments: Array) -> Array:
        log_h = log_hazard(arguments)
        hazard = np.exp(np.clip(log_h, -LOG_HAZARD, LOG_HAZARD))
        # logit f = ln(e^h - 1) = ln h + h + ln((1 - e^-h)/h): exact where h is tiny, finite where e^h is not
        return log_h + hazard + np.log(-np.expm1(-hazard) / hazard)

    def gradient(*arguments: Array) -> tuple[Array, ...]:
        log_h, (x0, k, *_) = log_hazard(arguments), arguments[count:]
        hazard = np.exp(np.clip(log_h, -LOG_HAZARD, LOG_HAZARD))
        slope = hazard / -np.expm1(-hazard)  # of the logit in ln h
        return (-slope * k / x0, slope * log_h / k, *(slope * k * np.log(z) for z in arguments[1:count]))

    def starts(x: Mapping[str, Array], y: Array) -> Array:
        height = np.clip(y, 0.005, 0.995)
        design = np.stack([np.ones_like(y), *(np.log(x[n]) for n in names)], axis=1)
        line = np.linalg.lstsq(design, np.log(-np.log1p(-height)), rcond=None)[0]
        found = []
        for k in (abs(line[1]), 0.3, 1.0, 3.0):
            k = max(k, 0.05)
            a = line[2:] / k
            middle = np.mean(np.log(x[names[0]])) + sum(
                p * np.mean(np.log(x[n])) for p, n in zip(a, names[1:], strict=True)
            )
            found.append([np.exp(np.clip(middle - np.mean(np.log(-np.log1p(-height))) / k, -600, 600)), k, *a])
        return np.array(found)

    others = "".join(f" {n}^a_{n}" for n in names[1:])
    return Law(
        name="exposure",
        formula=f"f = 1 - exp(-(x/x0)^k), x = {names[0]}{others}",
        variables=tuple(names),
        bounds={"x0": (0, inf), "k": (0, inf), **{f"a_{n}": (-inf, inf) for n in names[1:]}},
        function=function,
        gradient=gradient,
        starts=starts,
        log=("x0", "k"),
        rate=True,
        units={"x0": "that of x", "k": "1", **{f"a_{n}": "1" for n in names[1:]}},
    )
