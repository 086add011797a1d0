"""The points that the server gives out: a grid in the order of its file, or draws by the sweep's distributions.

`bayes` is drawn like `random`: tested are the values an agent is handed, not the optimiser that picks them.
"""

import math
import random
from collections.abc import Iterator, Mapping
from itertools import product


def points(spec: Mapping[str, object], seed: int = 0) -> Iterator[dict]:
    """All points of a grid; without end for random and bayes."""
    parameters = spec.get("parameters") or {}
    if spec.get("method") == "grid":
        yield from _grid(parameters)
        return
    draw = random.Random(seed)
    while True:
        yield _drawn(parameters, draw)


def _grid(parameters: Mapping[str, Mapping]) -> list[dict]:
    axes = [
        _grid(each["parameters"]) if "parameters" in each else each["values"] if "values" in each else [each["value"]]
        for each in parameters.values()
    ]
    return [dict(zip(parameters, point, strict=True)) for point in product(*axes)]


def _drawn(parameters: Mapping[str, Mapping], draw: random.Random) -> dict:
    return {
        name: _drawn(each["parameters"], draw) if "parameters" in each else _value(each, draw)
        for name, each in parameters.items()
    }


def _value(given: Mapping[str, object], draw: random.Random) -> object:
    """One value by W&B's names of distributions; raises KeyError on one that is not known."""
    if "value" in given:
        return given["value"]
    if "values" in given:
        return draw.choices(given["values"], given.get("probabilities"))[0]
    low, high, step = given.get("min"), given.get("max"), given.get("q", 1)
    return {
        "int_uniform": lambda: draw.randint(low, high),
        "uniform": lambda: draw.uniform(low, high),
        "q_uniform": lambda: round(draw.uniform(low, high) / step) * step,
        "log_uniform_values": lambda: math.exp(draw.uniform(math.log(low), math.log(high))),
        "q_log_uniform_values": lambda: round(math.exp(draw.uniform(math.log(low), math.log(high))) / step) * step,
        "normal": lambda: draw.gauss(given.get("mu", 0), given.get("sigma", 1)),
    }[given["distribution"]]()
