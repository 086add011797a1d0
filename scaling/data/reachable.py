"""Designs uniform and subset: k images of r copies each, the rest once. Which requests give whole images, and the
nearest that do. measures.md 1.1, n = n_unique, N = n_train: uniform k = f n, N = n + k (r - 1); subset k r = q N.
"""

from fractions import Fraction
from math import ceil, floor

from scaling.config import ConfigError
from scaling.fields import DuplicationConfig

LARGEST = 10**8  # training images, copies included: beyond it their indices alone take gigabytes


def solve(wanted: DuplicationConfig, count: int) -> tuple[int, int, int]:
    """(n_unique, k, r) of a request, count = the n_unique or n_train that `fix` names; ConfigError where not whole."""
    if count > LARGEST:
        raise ConfigError(f"data.{wanted.fix}={count}: too many training images; use at most {LARGEST}")
    r = wanted.copies or _copies_of_rate(wanted, count)
    k = count * duplicated_share(wanted, r)
    if k.denominator != 1:
        raise ConfigError(_not_whole(wanted, count, r, k))
    return int(_counts(wanted, count, int(k), r)[0]), int(k), r


def _fraction(wanted: DuplicationConfig) -> Fraction:
    """The fraction, which designs uniform and subset have (scaling.fields)."""
    assert wanted.fraction is not None
    return wanted.fraction


def _divisor(wanted: DuplicationConfig) -> tuple[int, int]:
    """(u, v) of k = a count / (u + v r) for fraction = a/b. Where k is whole, n and N are."""
    a, b = _fraction(wanted).as_integer_ratio()
    return {
        ("uniform", "n_unique"): (b, 0),
        ("uniform", "n_train"): (b - a, a),
        ("subset", "n_unique"): (a, b - a),
        ("subset", "n_train"): (0, b),
    }[wanted.design, wanted.fix]


def duplicated_share(wanted: DuplicationConfig, r: int) -> Fraction:
    """k / count."""
    u, v = _divisor(wanted)
    return Fraction(_fraction(wanted).numerator, u + v * r)


def _counts(wanted: DuplicationConfig, count: int, k: int | Fraction, r: int) -> tuple[int | Fraction, int | Fraction]:
    """(n_unique, n_train) where k images have r copies."""
    return (count, count + k * (r - 1)) if wanted.fix == "n_unique" else (count - k * (r - 1), count)


def rate_of(wanted: DuplicationConfig, r: int) -> Fraction:
    """duplication_rate 1 - n/N; independent of the counts."""
    f = _fraction(wanted)
    return 1 - Fraction(1) / (1 + f * (r - 1)) if wanted.design == "uniform" else f * (1 - Fraction(1, r))


def _wanted_copies(wanted: DuplicationConfig) -> Fraction | None:
    """The r, whole or not, that has the wanted rate; None where no r has."""
    f, rate = _fraction(wanted), wanted.rate
    assert rate is not None  # asked for it
    if rate == 0:
        return Fraction(1)
    if wanted.design == "uniform":
        return 1 + rate / ((1 - rate) * f) if f else None
    return f / (f - rate) if rate < f else None


def _fits(wanted: DuplicationConfig, count: int, r: int) -> bool:
    k = count * duplicated_share(wanted, r)
    n_unique, n_train = _counts(wanted, count, k, r)
    return k.denominator == 1 and n_unique >= 2 and n_train <= LARGEST


def _copies_of_rate(wanted: DuplicationConfig, count: int) -> int:
    r = _wanted_copies(wanted)
    if r is not None and r.denominator == 1 and (count * duplicated_share(wanted, int(r))).denominator == 1:
        return int(r)
    options = [_as_rate(wanted, c) for c in _reachable_copies(wanted, count, r)]
    if not options:
        tries = {2} if r is None else {floor(r), ceil(r)}
        options = [
            f"data.{wanted.fix}={n} with {_as_rate(wanted, c)}"
            for c in sorted(tries)
            for n in _near_counts(wanted, count, c)
        ]
    needs = f"would need {_decimal(r)} copies and whole images" if r is not None else "has no such rate at any copies"
    raise ConfigError(
        f"data.duplication.rate={wanted.rate}: {wanted.design} with fraction {wanted.fraction} and {wanted.fix} {count}"
        f" {needs}; use {' or '.join(options or ['a smaller rate'])}"
    )


def _as_rate(wanted: DuplicationConfig, r: int) -> str:
    return f"data.duplication.rate={rate_of(wanted, r)} ({r} copies)"


def _reachable_copies(wanted: DuplicationConfig, count: int, r: Fraction | None) -> list[int]:
    """The copies next to r, from below and above (None: the largest at all), that give whole images at this count."""
    total, (u, v) = _fraction(wanted).numerator * count, _divisor(wanted)
    if total == 0:
        found = [1]
    elif v == 0:  # k is the same at any r, and some r has the rate
        assert r is not None
        found = [floor(r), ceil(r)]
    else:  # k (u + v r) = total: try every k
        divisors = (total // k for k in range(1, count + 1) if total % k == 0)
        found = [(divisor - u) // v for divisor in divisors if (divisor - u) % v == 0]
    found = [c for c in found if c >= 1 and _fits(wanted, count, c)]
    below = [c for c in found if r is None or c <= r]
    above = [c for c in found if r is not None and c > r]
    return ([max(below)] if below else []) + ([min(above)] if above else [])


def _near_counts(wanted: DuplicationConfig, count: int, r: int) -> list[int]:
    """The counts next to this one, below and above, at which r copies give whole images."""
    unit = duplicated_share(wanted, r).denominator
    return [n for n in (count // unit * unit, -(-count // unit) * unit) if n >= 2 and _fits(wanted, n, r)]


def _not_whole(wanted: DuplicationConfig, count: int, r: int, k: Fraction) -> str:
    """The message for k duplicated images that are not whole: nearest fractions at this count, nearest counts."""
    options = [f"data.duplication.fraction={f}" for f in _near_fractions(wanted, count, r, k)]
    options += [f"data.{wanted.fix}={n}" for n in _near_counts(wanted, count, r)]
    n_unique, n_train = _counts(wanted, count, k, r)
    other = f"n_train {_decimal(n_train)}" if wanted.fix == "n_unique" else f"n_unique {_decimal(n_unique)}"
    return (
        f"data.duplication.fraction={wanted.fraction}: {wanted.design} with {r} copies and {wanted.fix} {count} gives "
        f"{_decimal(k)} duplicated images and {other}; only whole images can be copied: use {' or '.join(options)}"
    )


def _near_fractions(wanted: DuplicationConfig, count: int, r: int, k: Fraction) -> list[Fraction]:
    """The fractions at which this count has floor(k) and ceil(k) duplicated images."""
    found = []
    for whole in (floor(k), ceil(k)):
        n_unique, n_train = _counts(wanted, count, whole, r)
        if n_unique >= max(2, whole) and n_train <= LARGEST:
            found.append(Fraction(whole, n_unique) if wanted.design == "uniform" else Fraction(whole * r, n_train))
    return found


def _decimal(value: Fraction | int) -> str:
    return str(value) if value == int(value) else f"{float(value):.2f}"
