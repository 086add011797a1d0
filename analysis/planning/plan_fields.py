"""A section of a plan file, read strictly: every key is known, in its type and range, or one line says what is not."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import inf, isfinite
from typing import Any

NEEDED = object()  # the default of a key that must be given


class PlanError(ValueError):
    """A plan that cannot be used; the message names key, value, why and what to write."""


Fields = Mapping[str, tuple[Callable[[object, str], Any], Any]]  # key -> (its reader, its default)
# A reader takes a value and where it stands (`truth.rate.x`), which a PlanError names.


def fields(section: object, where: str, spec: Fields) -> dict[str, Any]:
    """The values of `section`, one for each key of `spec`; raises PlanError."""
    place = where or "the plan"
    if not isinstance(section, Mapping):
        raise PlanError(f"{place}: {section!r} is no mapping; write its keys: {', '.join(spec)}")
    for key in section:
        if key not in spec:
            near = get_close_matches(str(key), spec, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(spec)}"
            raise PlanError(f"{place}: no such key {key}; {hint}")
    found = {}
    for key, (reader, default) in spec.items():
        name = f"{where}.{key}" if where else key
        if key in section:
            found[key] = reader(section[key], name)
        elif default is NEEDED:
            raise PlanError(f"{place}: {key} is missing; give it, the others are {', '.join(spec)}")
        else:
            found[key] = default
    return found


def number(lo: float = -inf, hi: float = inf, *, open_lo: bool = False) -> Callable[[object, str], float]:
    """Reads a finite number in [lo, hi], or (lo, hi]."""

    def reader(value: Any, where: str) -> float:
        try:
            found = float("nan") if isinstance(value, bool) else float(value)  # YAML reads 1e-3 as text
        except (TypeError, ValueError):
            found = float("nan")
        if not isfinite(found) or not lo <= found <= hi or (open_lo and found == lo):
            allowed = f"a number {'above' if open_lo else 'from'} {lo:g}{'' if hi == inf else f' to {hi:g}'}"
            raise PlanError(f"{where}: {value!r} must be {allowed if lo > -inf else 'a finite number'}")
        return found

    return reader


def whole(lo: int = 0) -> Callable[[object, str], int]:
    """Reads a whole number, `lo` or more."""

    def reader(value: object, where: str) -> int:
        found = number()(value, where)
        if found != int(found) or found < lo:
            raise PlanError(f"{where}: {value!r} must be a whole number, {lo} or more")
        return int(found)

    return reader


def text(value: object, where: str) -> str:
    """Reads text that is not empty."""
    if not isinstance(value, str) or not value:
        raise PlanError(f"{where}: {value!r} must be a word")
    return value


def choice(*allowed: str) -> Callable[[object, str], str]:
    """Reads one of the words `allowed`."""

    def reader(value: object, where: str) -> str:
        if value not in allowed:
            near = get_close_matches(str(value), allowed, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(allowed)}"
            raise PlanError(f"{where}: {value!r} is unknown; {hint}")
        return str(value)

    return reader


def several(reader: Callable[[object, str], Any], fewest: int = 1) -> Callable[[object, str], tuple[Any, ...]]:
    """A list of what `reader` reads."""

    def read(value: object, where: str) -> tuple[Any, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) < fewest:
            raise PlanError(f"{where}: {value!r} must be a list of {fewest} or more")
        return tuple(reader(part, f"{where}[{k}]") for k, part in enumerate(value))

    return read


def span(value: object, where: str) -> tuple[float, float]:
    """[LO, HI] with 0 < LO <= HI."""
    found = several(number(0, open_lo=True), 2)(value, where)
    if len(found) != 2 or found[0] > found[1]:
        raise PlanError(f"{where}: {value!r} must be [LO, HI] with LO <= HI")
    return found


def mapping(reader: Callable[[object, str], Any]) -> Callable[[object, str], dict[str, Any]]:
    """A mapping of free keys to what `reader` reads."""

    def read(value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not value:
            raise PlanError(f"{where}: {value!r} must be a mapping NAME: VALUE")
        return {key: reader(part, f"{where}.{key}") for key, part in value.items()}

    return read


def section(spec: Fields) -> Callable[[object, str], dict[str, Any]]:
    """Reads a mapping with the keys of `spec`, by `fields`."""
    return lambda value, where: fields(value, where, spec)
