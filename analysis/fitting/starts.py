"""Where searches start: the law's own guesses and random ones around them, linear parameters solved for."""

import numpy as np

from analysis.fitting.problem import Problem

Array = np.ndarray


SMALL = 1e-2  # share of the data at which a term starts whose best coefficient is 0: its logarithm must feel a slope


def starting_points(problem: Problem, rng: np.random.Generator, count: int) -> Array:
    """The law's own starts, linear parameters at their best, and random ones between and around them [s k].

    At least a quarter of `count` is random, and of those only every other one has its linear parameters solved.
    """
    rate = problem.y / problem.trials if problem.trials is not None else problem.y
    own = problem.coordinates(problem.law.starts(problem.x, rate))
    centre, spread = own.mean(0), np.maximum(own.std(0), 0.1 * np.abs(own.mean(0)) + 0.1)
    drawn = centre + spread * rng.standard_normal((max(count - len(own), count // 4), own.shape[1]))
    drawn = np.clip(drawn, *problem.limits)
    return np.concatenate([prepared(problem, np.concatenate([own, drawn[::2]])), _held(problem, drawn[1::2])])


def prepared(problem: Problem, u: Array) -> Array:
    """Starts u [m k] with fixed parameters at their values and, for a law of y itself, linear ones at their best."""
    u = _held(problem, u)
    return u if problem.law.rate or problem.objective.nuisance else project(problem, u)


def _held(problem: Problem, u: Array) -> Array:
    u = u.copy()
    for k, name in enumerate(problem.names):
        if name in problem.fixed:
            u[:, k] = problem.coordinates(np.full(len(problem.names), problem.fixed[name]))[k]
    return u


def project(problem: Problem, u: Array) -> Array:
    """Variable projection (Golub & Pereyra 1973): the best linear parameters inside their bounds at the others [m k].

    Least squares of y, or of y relative to itself where the objective looks at ln y. With few bounded parameters every
    set of them that may rest at its bound is solved, and the best admissible one taken.
    """
    names = problem.names
    linear = [k for k, name in enumerate(names) if name in problem.law.linear and name not in problem.fixed]
    floors = np.array([problem.law.bounds[names[k]][0] for k in linear])
    bounded = np.flatnonzero(np.isfinite(floors))
    if not linear or len(bounded) > 4:
        return u
    others = np.setdiff1d(np.arange(u.shape[1]), linear)
    _, first, copy = np.unique(u[:, others], axis=0, return_index=True, return_inverse=True)
    return _projected(problem, u[first], linear, floors, bounded)[copy.ravel()]


def _projected(problem: Problem, u: Array, linear: list[int], floors: Array, bounded: Array) -> Array:
    names, theta = problem.names, problem.natural(u)
    weight = 1 / problem.y if problem.objective.scale == "log" else np.ones_like(problem.y)
    with np.errstate(all="ignore"):
        columns = problem.law.raw_gradient(problem.x, theta)[..., linear]
        rest = problem.y - problem.law.raw(problem.x, theta) + np.sum(columns * theta[:, None, linear], axis=-1)
        columns, rest = columns * weight[:, None], rest * weight
        size = np.linalg.norm(columns, axis=1)
        good = np.all(np.isfinite(columns), axis=(1, 2)) & np.all((size > 0) & np.isfinite(size), axis=1)
        good &= np.all(np.isfinite(rest), axis=1)
    if not good.any():
        return u
    columns, rest = columns[good] / size[good, None, :], rest[good]
    low = np.where(np.isfinite(floors), floors, 0.0) * size[good]
    best, least = np.clip(theta[good][:, linear], floors, None) * size[good], np.full(len(rest), np.inf)
    for code in range(2 ** len(bounded)):
        resting = np.isin(np.arange(len(linear)), bounded[[bool(code >> j & 1) for j in range(len(bounded))]])
        moving = ~resting
        tried = low.copy()
        left = rest - np.sum(columns * np.where(resting, low, 0)[:, None, :], axis=-1)
        part = columns[..., moving]
        if moving.any():
            # Nearly parallel columns: the small ridge keeps the solution short instead of cancelling.
            normal = part.transpose(0, 2, 1) @ part + 1e-13 * np.eye(int(moving.sum()))
            tried[:, moving] = np.linalg.solve(normal, part.transpose(0, 2, 1) @ left[:, :, None])[:, :, 0]
        misfit = np.sum((rest - np.sum(columns * tried[:, None, :], axis=-1)) ** 2, axis=1)
        admissible = np.all(~np.isfinite(floors) | (tried >= low), axis=1) & (misfit < least)
        best, least = np.where(admissible[:, None], tried, best), np.where(admissible, misfit, least)
    solved = best / size[good]
    tiny = SMALL * np.linalg.norm(problem.y * weight) / size[good]
    theta[np.ix_(np.flatnonzero(good), np.asarray(linear))] = np.where(
        [names[k] in problem.law.log for k in linear], np.maximum(solved, tiny), solved
    )
    return np.where(good[:, None], problem.coordinates(theta), u)
