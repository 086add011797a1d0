"""How noisy the points of a curve are, and the same curve drawn again where nothing but its noise is left.

Four sources: independent replicates at each x, whole runs that pass through several x (their points are correlated),
standard errors given by the user, and one long run cut into blocks. Each knows mean and SE of its points, and redraws
them by its own recipe, variances estimated anew: this is what the tests of rise_tests.py calibrate themselves on.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy.special import stdtrit

Array = np.ndarray
PRIOR_DF = 1.0  # degrees of freedom that the variance pooled over x lends to each x with a variance of its own ...
PRIOR_DF_ALONE = 4.0  # ... and to an x with one replicate. Few: the noise may be largest just where the peak is
BLOCKS = 20  # a single run is judged from this many blocks or not at all
FEWEST_IN_PART = 10  # points to judge the autocorrelation of one run from, when a line has been taken out of them
RHO = 1 - np.geomspace(1, 1e-4, 185)  # 0 to .9999; a step lengthens the blocks by 5 %


class Noise(Protocol):
    """x [K] ascending; mean [K]; se [K] of the mean; df [K] of the se (inf: known)."""

    @property
    def x(self) -> Array: ...
    @property
    def mean(self) -> Array: ...
    @property
    def se(self) -> Array: ...
    @property
    def df(self) -> Array: ...
    @property
    def said(self) -> str: ...

    def redrawn(self, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Means and standard errors [draws K] of a flat curve with this noise, estimated as for the data."""
        ...

    def contrast(self, weights: Array) -> tuple[float, float, float]:
        """Estimate, SE and degrees of freedom of sum_j weights_j mean_j; weights [K]."""
        ...


def critical(se: Array, df: Array, level: float) -> Array:
    """Student's quantile [K K] for each difference of two points, degrees of freedom by Satterthwaite (1946)."""
    v = se**2
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = (v[:, None] + v) ** 2 / ((v**2 / df)[:, None] + v**2 / df)
    return stdtrit(np.where(np.isnan(pooled), np.inf, pooled), level)


def _satterthwaite(weights: Array, variance: Array, df: Array) -> tuple[float, float]:
    parts = weights**2 * variance
    below = float(np.sum(parts**2 / df))
    return float(np.sqrt(parts.sum())), float(parts.sum() ** 2 / below) if below > 0 else np.inf


@dataclass(frozen=True)
class Replicates:
    """y [R K], NaN where a replicate has no value. `runs`: a row is one run, its noise is correlated along x."""

    x: Array
    y: Array
    runs: bool = False
    mean: Array = field(init=False)
    se: Array = field(init=False)
    df: Array = field(init=False)
    rho: float = field(init=False)
    said: str = field(init=False)

    def __post_init__(self) -> None:
        known = ~np.isnan(self.y)
        n = known.sum(axis=0)
        mean, squares = _squares(self.y, known)
        se, df = _moderated(squares, n)
        rho = autocorrelation(self.y) if self.runs else 0.0
        count = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
        said = f"{count} replicates at each x"
        if self.runs:
            said = f"{len(self.y)} whole runs ({count} at each x; noise of neighbouring x correlates {rho:.2f})"
        for name, value in {"mean": mean, "se": se, "df": df, "rho": rho, "said": said}.items():
            object.__setattr__(self, name, value)

    def redrawn(self, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Variances from their posterior, values of whole runs AR(1) by rho: means and moderated SE, each [draws K]."""
        known = ~np.isnan(self.y)
        n = known.sum(axis=0)
        # The variances are estimates themselves: each draw takes them from their posterior, scaled inverse chi-squared.
        sigma = self.se * np.sqrt(n * self.df / rng.chisquare(self.df, (draws, len(n))))
        if self.rho == 0:  # means and sums of squares of independent values need not be made from the values
            mean = sigma / np.sqrt(n) * rng.standard_normal((draws, len(n)))
            squares = sigma**2 * np.where(n > 1, rng.chisquare(np.maximum(n - 1, 1), (draws, len(n))), 0)
        else:
            y = autoregressive((draws, *self.y.shape), self.rho, rng) * sigma[:, None, :]
            mean, squares = _squares(y, known)
        return mean, _moderated(squares, n)[0]

    def contrast(self, weights: Array) -> tuple[float, float, float]:
        """Of weights [K]: Welch (1947), or Student's within correlated runs; one value at an x: pooled variance."""
        at = weights != 0
        whole = self.y[~np.isnan(self.y[:, at]).any(axis=1)][:, at]
        if self.rho > 0 and len(whole) > 1:  # else neighbours averaged in one window would count as independent
            within = whole @ weights[at]
            return float(within.mean()), float(within.std(ddof=1) / np.sqrt(len(within))), len(within) - 1.0
        known = ~np.isnan(self.y)
        n, squares = known.sum(axis=0), _squares(self.y, known)[1]
        pooled = squares.sum() / (n - 1).sum()
        alone = n == 1
        variance = np.where(alone, pooled, squares / np.where(alone, 1, n - 1))
        df = np.where(alone, (n - 1).sum(), n - 1)
        return float(weights @ self.mean), *_satterthwaite(weights[at], (variance / n)[at], df[at])


@dataclass(frozen=True)
class Given:
    """Means with standard errors that the user gives: they must contain whatever differs between runs."""

    x: Array
    mean: Array
    se: Array
    said: str = "the given standard errors (they must contain the scatter between runs)"

    @property
    def df(self) -> Array:
        """Infinite [K]: the errors are taken as known."""
        return np.full(len(self.x), np.inf)

    def redrawn(self, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Normal means about 0 and the given errors as they are, each [draws K]."""
        return self.se * rng.standard_normal((draws, len(self.x))), np.broadcast_to(self.se, (draws, len(self.x)))

    def contrast(self, weights: Array) -> tuple[float, float, float]:
        """Of weights [K] over independent points, whose errors are known: infinite degrees of freedom."""
        return float(weights @ self.mean), float(np.sqrt(weights**2 @ self.se**2)), np.inf


@dataclass(frozen=True)
class Blocks:
    """Means of `length` successive points of one run whose noise is AR(1) with `rho` at most."""

    x: Array
    mean: Array
    length: int
    rho: float

    @property
    def said(self) -> str:
        """How the run was cut, for the verdict's `why`."""
        most = f"noise of neighbouring points correlates {self.rho:.2f} at most, taken as equal along x"
        return f"one run in {len(self.x)} blocks of {self.length} points ({most})"

    @property
    def between(self) -> float:
        """Correlation of neighbouring block means: a sixth where `length` is the least that `blocks` takes."""
        h = np.arange(1, 2 * self.length)  # autocovariances of AR(1), summed over one block and over two
        within = self.length + 2 * np.sum((self.length - h)[: self.length] * self.rho ** h[: self.length])
        return float(np.sum(np.minimum(h, 2 * self.length - h) * self.rho**h) / within)

    @property
    def se(self) -> Array:
        """One for all blocks [K], from second differences of their means, which a smooth curve drops out of."""
        return np.full(len(self.x), self._sd(self.mean))

    def _sd(self, mean: Array) -> Array:
        # Second differences of AR(1) have the variance (6 - 8 r + 2 r^2) sd^2: without r the SE would be too small.
        return _roughness(mean) / np.sqrt(1 - (4 * self.between - self.between**2) / 3)

    @property
    def df(self) -> Array:
        """Degrees of freedom of that one estimate, the same at every block [K]."""
        # Squared second differences overlap: their mean has (K - 2)/1.94 degrees of freedom; the median .37 of these.
        return np.full(len(self.x), 0.37 * (len(self.x) - 2) / 1.94)

    def redrawn(self, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Means of AR(1) blocks, variance 1, and the SE found in each draw, each [draws K]."""
        mean = autoregressive((draws, len(self.x)), self.between, rng)
        return mean, np.broadcast_to(self._sd(mean)[:, None], mean.shape)

    def contrast(self, weights: Array) -> tuple[float, float, float]:
        """Of weights [K] over correlated blocks; they share one estimate of variance, so its `df` is the contrast's."""
        place = np.arange(len(self.x))
        correlation = self.between ** np.abs(place[:, None] - place)
        se = self.se[0] * np.sqrt(weights @ correlation @ weights)
        return float(weights @ self.mean), float(se), float(self.df[0])


def blocks(x: Array, y: Array) -> Blocks | str:
    """One run x, y [T] cut into blocks longer than its noise remembers, or in words why it is too short."""
    if len(x) < BLOCKS:
        return (
            f"one run of {len(x)} points without standard errors: {BLOCKS} blocks of points are needed: "
            f"train replicates, or give --se"
        )
    rho = _upper_autocorrelation(y)
    length = max(int(np.ceil(2 * (1 + rho) / (1 - rho))), len(x) // (2 * BLOCKS))
    count = len(x) // length
    if count < BLOCKS:
        return (
            f"one run of {len(x)} points without standard errors is {count} blocks of {length} uncorrelated points, "
            f"{BLOCKS} are needed: train replicates, or give --se"
        )
    kept = slice(len(x) - count * length, None)  # what does not fill a block is left out at the start
    x, y = (part[kept].reshape(count, length).mean(axis=1) for part in (x, y))
    return Blocks(x, y, length, rho)


def autoregressive(shape: tuple[int, ...], rho: float, rng: np.random.Generator) -> Array:
    """Stationary AR(1) noise [*shape] of variance 1 along the last axis."""
    z = rng.standard_normal((shape[-1], *shape[:-1]))
    if rho > 0:
        for k in range(1, len(z)):
            z[k] = rho * z[k - 1] + np.sqrt(1 - rho**2) * z[k]
    return np.moveaxis(z, 0, -1)


def autocorrelation(y: Array) -> float:
    """Correlation of neighbouring x over runs y [R K]; 0 unless it is more than two standard errors above 0."""
    known = ~np.isnan(y)
    residual = np.where(known, y - _squares(y, known)[0], 0.0)
    scale = np.sqrt(np.sum(residual**2, axis=0))
    residual = residual / np.where(scale > 0, scale, 1)
    pair = known[:, 1:] & known[:, :-1]
    a, b = residual[:, 1:][pair], residual[:, :-1][pair]
    size = np.sqrt(np.sum(a**2) * np.sum(b**2))
    rho = float(a @ b / size) if size > 0 else 0.0
    free = max(pair.sum() * (1 - 1 / len(y)), 1)
    return min(rho, 0.98) if rho > 2 / np.sqrt(free) else 0.0


def _squares(y: Array, known: Array) -> tuple[Array, Array]:
    """Means and sums of squared deviations [... K] over the known values of y [... R K]."""
    n = known.sum(axis=0)
    filled = np.where(known, y, 0.0)
    mean = filled.sum(axis=-2) / n
    return mean, np.sum(np.where(known, (filled - mean[..., None, :]) ** 2, 0.0), axis=-2)


def _moderated(squares: Array, n: Array) -> tuple[Array, Array]:
    """SE of the mean and its degrees of freedom; the variance at each x shrinks to the pooled one (Smyth 2004, Eq. 3).

    squares [... K] of n [K] values. With two or three replicates a variance at one x alone is too wild to divide by,
    and one replicate has none.
    """
    total = (n - 1).sum()
    prior = np.minimum(np.where(n > 1, PRIOR_DF, PRIOR_DF_ALONE), total)
    pooled = squares.sum(axis=-1, keepdims=True) / total
    return np.sqrt((prior * pooled + squares) / (prior + n - 1) / n), prior + n - 1.0


def _roughness(mean: Array) -> Array:
    """Noise sd of points [... K] on a smooth curve, from the median squared second difference."""
    return np.sqrt(np.median(np.diff(mean, n=2, axis=-1) ** 2, axis=-1) / 6 / 0.4549)


def _upper_autocorrelation(y: Array) -> float:
    """Upper 95 % limit of the AR(1) coefficient of one run's noise, by the restricted likelihood of its parts, y [T].

    A smooth curve is a line in each part; a part has a variance of its own, so that a steep beginning counts once.
    """
    length = max(len(y) // BLOCKS, FEWEST_IN_PART)
    count = len(y) // length
    parts = y[len(y) - count * length :].reshape(count, length)
    time = np.arange(length) - (length - 1) / 2
    parts = parts - parts.mean(axis=1, keepdims=True)
    parts = parts - np.outer(parts @ time, time) / (time @ time)
    # A part of a line alone, but for rounding, says nothing about noise; with none left rho has no limit.
    parts = parts[np.ptp(parts, axis=1) > 1e-9 * np.ptp(y)]
    likelihood = _restricted_likelihood(parts)
    # Likelihood ratio, Wilks 1938: twice the distance to the top is chi-squared with one degree of freedom.
    return float(RHO[np.nonzero(likelihood >= likelihood.max() - 1.645**2 / 2)[0][-1]])


def _restricted_likelihood(parts: Array) -> Array:
    """Log of the likelihood of AR(1) noise around a line in each part, at each of RHO [R], variances profiled out.

    parts [P L]. Restricted (Patterson & Thompson 1971): else rho would come out too small, for each line takes two
    degrees of freedom with it.
    """
    length = parts.shape[1]
    level, slope = np.ones((1, length)), np.arange(length)[None] - (length - 1) / 2
    rho = RHO[:, None]

    def form(a: Array, b: Array) -> Array:
        """a' V^-1 b [R P], V the covariances of AR(1) whose innovations have variance 1: V^-1 is tridiagonal."""
        neighbours = np.sum(a[:, 1:] * b[:, :-1] + a[:, :-1] * b[:, 1:], axis=1)
        return np.sum(a * b, axis=1) - rho * neighbours + rho**2 * np.sum((a * b)[:, 1:-1], axis=1)

    squares, volume = form(parts, parts), np.log(1 - RHO**2)
    for line in (level, slope):  # orthogonal under V^-1 too, by symmetry
        size = form(line, line)
        squares = squares - form(parts, line) ** 2 / size
        volume = volume - np.log(size[:, 0])
    return len(parts) * volume / 2 - (length - 2) / 2 * np.log(squares).sum(axis=1)
