"""Laws as pure functions with metadata. A new law is one `Law` (or a function of names returning one) in `LAWS`.

A law's function takes its variables, each [n], then its parameters, each [..., 1], and returns [..., n]: one call
serves one parameter vector or thousands. Formulas and bounds: measures.md 3.5.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import inf

import numpy as np

from analysis.law import Array, Law
from analysis.loss_laws import CHINCHILLA

SLOPES = np.array([-3, -2, -1.5, -1, -0.7, -0.5, -0.35, -0.25, -0.17, -0.12, -0.08, -0.05, -0.02])


def power(x: Array, b: Array, c: Array) -> Array:
    """y = b x^c."""
    return b * x**c


def power_gradient(x: Array, b: Array, c: Array) -> tuple[Array, ...]:
    return x**c, b * x**c * np.log(x)


def power_starts(x: Mapping[str, Array], y: Array) -> Array:
    """Slopes of both signs and the one of the log-log line; b goes through the middle of the data."""
    log_x, log_y = np.log(x["x"]), np.log(np.maximum(np.abs(y), np.finfo(float).tiny))
    slope = np.polyfit(log_x, log_y, 1)[0] if np.ptp(log_x) > 0 else 0.0
    c = np.clip(np.concatenate([[slope], SLOPES, -SLOPES]), -3.99, 3.99)
    return np.stack([np.exp(np.mean(log_y) - c * np.mean(log_x)), c], axis=1)


POWER = Law(
    name="power",
    formula="b x^c",
    variables=("x",),
    bounds={"b": (0, inf), "c": (-4, 4)},
    function=power,
    gradient=power_gradient,
    starts=power_starts,
    linear=("b",),
    log=("b",),
)


def power_offset(x: Array, e: Array, b: Array, c: Array) -> Array:
    """y = e + b x^c: a floor e plus a power law, falling for c < 0 (Henighan et al. 2020, Eq. 1.1)."""
    return e + b * x**c


def power_offset_gradient(x: Array, e: Array, b: Array, c: Array) -> tuple[Array, ...]:
    return np.ones_like(x), x**c, b * x**c * np.log(x)


def power_offset_starts(x: Mapping[str, Array], y: Array) -> Array:
    """Slopes times floors; b goes through the first and the last point's mean height above the floor."""
    log_x, lowest = np.log(x["x"]), np.min(y)
    c, share = (grid.ravel() for grid in np.meshgrid(SLOPES, [0.0, 0.5, 0.9, 0.99]))
    e = np.maximum(share * lowest, 0)
    above = np.maximum(np.mean(y) - e, 1e-12 * np.max(np.abs(y)) + np.finfo(float).tiny)
    b = above / np.mean(np.exp(c[:, None] * log_x), axis=1)
    return np.stack([e, b, c], axis=1)


POWER_OFFSET = Law(
    name="power_offset",
    formula="e + b x^c",
    variables=("x",),
    bounds={"e": (0, inf), "b": (0, inf), "c": (-4, 0)},
    function=power_offset,
    gradient=power_offset_gradient,
    starts=power_offset_starts,
    linear=("e", "b"),
    log=("b",),
)


def _log_design(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Callable[..., Array]:
    """The design matrix of logs: variables in order of `names`, each [n] -> [n, 1 + names + pairs]."""

    def design(*variables: Array) -> Array:
        logs = dict(zip(names, (np.log(variable) for variable in variables), strict=True))
        ones = np.ones_like(variables[0])
        return np.stack([ones, *logs.values(), *(logs[a] * logs[b] for a, b in pairs)], axis=1)

    return design


def _linear_law(name: str, formula: str, names: Sequence[str], pairs: Sequence[tuple[str, str]], first: str) -> dict:
    """The parts shared by laws whose function is a linear combination of logs of any variables."""
    design = _log_design(names, pairs)
    count = len(names)

    def function(*arguments: Array) -> Array:
        columns = design(*arguments[:count])
        return sum(parameter * columns[:, k] for k, parameter in enumerate(arguments[count:]))

    def gradient(*arguments: Array) -> tuple[Array, ...]:
        return tuple(design(*arguments[:count]).T)

    parameters = [first, *(f"b_{n}" for n in names), *(f"b_{a}_{b}" for a, b in pairs)]
    return {
        "name": name,
        "formula": formula,
        "variables": tuple(names),
        "bounds": dict.fromkeys(parameters, (-inf, inf)),
        "function": function,
        "gradient": gradient,
        "design": design,
    }


def _terms(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> str:
    return "".join([f" + b_{n} ln {n}" for n in names] + [f" + b_{a}_{b} ln {a} ln {b}" for a, b in pairs])


def interactions(option: str, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The pairs of `A*B,C*D`; raises ValueError on a name that is no variable."""
    pairs = tuple(tuple(part.strip() for part in pair.split("*")) for pair in option.split(",")) if option else ()
    for pair in pairs:
        if len(set(pair)) != 2 or len(pair) != 2 or not set(pair) <= set(names):
            raise ValueError(f"interaction {'*'.join(pair)!r}: write A*B with two of the variables {', '.join(names)}")
    return pairs


def log_linear(names: Sequence[str], option: str = "") -> Law:
    """y = a + sum_k b_k ln x_k (Carlini et al. 2022); not for rates near 0 or 1. Option: interactions A*B,…"""
    pairs = interactions(option, names)
    parts = _linear_law("log_linear", f"a{_terms(names, pairs)}", names, pairs, "a")

    def starts(x: Mapping[str, Array], y: Array) -> Array:
        return np.linalg.lstsq(parts["design"](*(x[n] for n in names)), y, rcond=None)[0][None]

    return Law(**parts, starts=starts, linear=tuple(parts["bounds"]))


def logistic(names: Sequence[str], option: str = "") -> Law:
    """logit f = b_0 + sum_k b_k ln x_k (+ b_kl ln x_k ln x_l). Option: interactions A*B,…"""
    pairs = interactions(option, names)
    parts = _linear_law("logistic", f"logit f = b_0{_terms(names, pairs)}", names, pairs, "b_0")

    def starts(x: Mapping[str, Array], y: Array) -> Array:
        design = parts["design"](*(x[n] for n in names))
        height = np.clip(y, 0.005, 0.995)
        line = np.linalg.lstsq(design, np.log(height / (1 - height)), rcond=None)[0]
        mean = np.clip(np.mean(y), 0.005, 0.995)
        flat = np.eye(len(line))[0] * np.log(mean / (1 - mean))
        return np.stack([flat, line, (flat + line) / 2, 2 * line - flat])

    return Law(**parts, starts=starts, rate=True)


def exposure(names: Sequence[str], option: str = "") -> Law:
    """f = 1 - exp(-(x/x0)^k) with x = z_1 prod_{j>1} z_j^a_j; a_1 = 1 is fixed, else only k a_j is known."""
    if option:
        raise ValueError(f"law exposure:{option}: exposure takes no option; write --law exposure")
    count = len(names)

    def log_hazard(arguments: Sequence[Array]) -> Array:
        logs, (x0, k, *a) = [np.log(z) for z in arguments[:count]], arguments[count:]
        return k * (logs[0] + sum(power * z for power, z in zip(a, logs[1:], strict=True)) - np.log(x0))

    def function(*arguments: Array) -> Array:
        hazard = np.exp(np.minimum(log_hazard(arguments), 700.0))
        return hazard + np.log(-np.expm1(-np.maximum(hazard, np.finfo(float).tiny)))  # ln(e^h - 1)

    def gradient(*arguments: Array) -> tuple[Array, ...]:
        log_h, (x0, k, *_) = log_hazard(arguments), arguments[count:]
        hazard = np.exp(np.minimum(log_h, 700.0))
        slope = hazard / -np.expm1(-np.maximum(hazard, np.finfo(float).tiny))  # of the logit in ln h
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
    )


LAWS: Mapping[str, Law | Callable[..., Law]] = {
    "power": POWER,
    "power_offset": POWER_OFFSET,
    "log_linear": log_linear,  # a law of any variables is made by a function of (their names, what follows the colon)
    "logistic": logistic,
    "exposure": exposure,
    "chinchilla": CHINCHILLA,
}


def law(spec: str, variables: Sequence[str]) -> Law:
    """The law `NAME` or `NAME:OPTION` on these variables; raises ValueError."""
    name, _, option = spec.partition(":")
    if name not in LAWS:
        near = get_close_matches(name, LAWS, n=1)
        raise ValueError(
            f"law {name!r} is unknown{f': did you mean {near[0]}?' if near else ''}; one of {', '.join(LAWS)}"
        )
    if not variables or len(set(variables)) != len(variables):
        raise ValueError(f"law {name} needs variables of different names, got {list(variables)}: give --x NAME=COLUMN")
    found = LAWS[name]
    if isinstance(found, Law):
        if option or tuple(variables) != found.variables:
            wanted = " ".join(f"--x {v}=COLUMN" for v in found.variables)
            raise ValueError(f"law {spec} on {', '.join(variables)}: {name} takes exactly {wanted} and no option")
        return found
    return found(tuple(variables), option)
