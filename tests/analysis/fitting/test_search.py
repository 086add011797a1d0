"""The minimum that is found against brute force by other optimisers, on curves where descents stop early."""

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import lsq_linear, minimize

from analysis.fitting.estimate import fit
from analysis.fitting.objectives import objective
from analysis.fitting.problem import Problem, cleaned
from analysis.fitting.result import Status
from analysis.fitting.search import descend, search
from analysis.fitting.starts import project
from analysis.laws import law

REFERENCE = Path(__file__).parents[2] / "reference"
LOSSES = ("lsq", "lsq_log", "huber_log:0.001")
POWER_OFFSET, CHINCHILLA = law("power_offset", ["x"]), law("chinchilla", ["N", "D"])
MODELS = [
    "6 Enc, 6 Dec",
    "28 Enc, 6 Dec",
    "6 Enc, 28 Dec",
    "Dec-only",
    "TEnc-LSTM",
    "1.68e+07",
    "1.34e+08",
    "2.62e+08",
    "4.53e+08",
    "1.07e+09",
]


def rows(path: str) -> list[dict[str, str]]:
    with open(REFERENCE / path, newline="") as file:
        return list(csv.DictReader(file))


def curve(model: str) -> tuple[np.ndarray, np.ndarray]:
    found = [row for row in rows("extrapolation_benchmark/benchmark_nmt_lm.csv") if row["Model"] == model]
    table = np.array([[float(row[name]) for name in ("Seen Examples", "Loss", "Training")] for row in found])
    return tuple(table[table[:, 2] == 1, :2].T)


def objective_of(loss: str, fitted: np.ndarray, y: np.ndarray) -> float:
    """Written out anew, from measures.md 3.5."""
    if not np.all(np.isfinite(fitted)) or (loss != "lsq" and not np.all(fitted > 0)):
        return 1e9
    r = fitted - y if loss == "lsq" else np.log(fitted / y)
    if loss.startswith("huber"):
        return float(np.sum(np.where(np.abs(r) <= 1e-3, r**2 / 2, 1e-3 * (np.abs(r) - 5e-4))))
    return float(np.sum(r**2))


def brute_offset(x: np.ndarray, y: np.ndarray, loss: str) -> float:
    """power_offset: least squares in (e, b) at each c of a fine grid, then Nelder-Mead from the best of them."""

    def value(theta: np.ndarray) -> float:
        e, b, c = theta[0], np.exp(theta[1]), theta[2]
        return 1e9 if e < 0 or not -4 <= c <= 0 else objective_of(loss, e + b * (x / x[0]) ** c, y)

    starts, weight = [], np.ones_like(y) if loss == "lsq" else 1 / y
    for c in np.linspace(-2, -0.01, 40):
        columns = np.stack([np.ones_like(x), (x / x[0]) ** c], axis=1) * weight[:, None]
        e, b = lsq_linear(columns, y * weight, bounds=(0, np.inf)).x
        starts.append([e, np.log(max(b, 1e-9)), c])
    starts.sort(key=value)
    found = np.inf
    for start in starts[:3]:
        for _ in range(3):  # restarted: one simplex collapses on the corners of Huber's sum
            tried = minimize(value, start, method="Nelder-Mead", options={"maxiter": 1200, "xatol": 1e-10, "fatol": 0})
            start = tried.x
        found = min(found, tried.fun)
    return found


@pytest.mark.parametrize(("model", "loss"), [("6 Enc, 6 Dec", LOSSES[2])])
def test_no_brute_force_search_of_a_learning_curve_ends_lower(model, loss):
    x, y = curve(model)
    found = fit(POWER_OFFSET, {"x": x}, y, loss=loss)
    assert found.objective <= brute_offset(x, y, loss) * (1 + 1e-9)
    assert found.objective == pytest.approx(objective_of(loss, found.predict({"x": x}), y), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", MODELS)
def test_no_brute_force_search_of_any_learning_curve_ends_lower(model, loss):
    test_no_brute_force_search_of_a_learning_curve_ends_lower(model, loss)


def simulated(seed: int, outliers: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """240 rows like Chinchilla's: E 1.82, A 482, B 2085, alpha .348, beta .366, heavy-tailed noise of about 1 %."""
    rng = np.random.default_rng(seed)
    n, d = np.exp(rng.uniform(np.log(5e7), np.log(1.5e10), 240)), np.exp(rng.uniform(np.log(2e9), np.log(4e11), 240))
    y = (1.82 + 482 * n**-0.348 + 2085 * d**-0.366) * np.exp(0.01 * rng.standard_t(3, 240))
    y[:outliers] *= np.exp(rng.uniform(0.1, 0.6, outliers))
    return {"N": n, "D": d}, y


def published(name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """datablations: `unique`, the runs that saw no token twice; `all`, every run of the published fit."""
    table = np.array(
        [[float(r[k]) for k in ("N", "D", "epochs", "val_loss")] for r in rows("datablations/fit_182_runs.csv")]
    )
    kept = table if name == "all" else table[table[:, 2] <= 1 + 1e-9]
    return {"N": kept[:, 0], "D": kept[:, 1]}, kept[:, 3]


TABLES = {
    "simulated": lambda: simulated(1),
    "outliers": lambda: simulated(2, 20),
    "few": lambda: tuple(
        {k: v[:14] for k, v in part.items()} if isinstance(part, dict) else part[:14] for part in simulated(3)
    ),
    "unique": lambda: published("unique"),
    "all": lambda: published("all"),
}


def brute_chinchilla(x: dict[str, np.ndarray], y: np.ndarray, loss: str, draws: int) -> float:
    """The published procedure: L-BFGS-B from a grid in (a, b, e, alpha, beta), then the best by Nelder-Mead."""
    log_n, log_d = np.log(x["N"]), np.log(x["D"])

    def value(t: np.ndarray) -> float:
        a, b, e, alpha, beta = t
        if not (0 <= alpha <= 4 and 0 <= beta <= 4):
            return 1e9
        with np.errstate(over="ignore"):
            return objective_of(loss, np.exp(e) + np.exp(a - alpha * log_n) + np.exp(b - beta * log_d), y)

    grid = list(product((0, 5, 10, 15, 20, 25), (0, 5, 10, 15, 20, 25), (-1, 0, 1), (0, 0.5, 1), (0, 0.5, 1)))
    chosen = np.random.default_rng(0).choice(len(grid), draws, replace=False)
    ends = [
        minimize(value, grid[i], method="L-BFGS-B", bounds=[(-40, 60)] * 2 + [(-40, 3)] + [(0, 4)] * 2) for i in chosen
    ]
    ends = sorted(ends, key=lambda end: end.fun)[:3]
    found = np.inf
    for end in ends:
        point = end.x
        for _ in range(4):
            end = minimize(value, point, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-10, "fatol": 0})
            point = end.x
        found = min(found, end.fun)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("table", TABLES)
def test_no_brute_force_search_of_chinchilla_ends_lower(table, loss):
    x, y = TABLES[table]()
    found = fit(CHINCHILLA, x, y, loss=loss)
    assert found.objective <= brute_chinchilla(x, y, loss, 80) * (1 + 1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_law_comes_back_from_exact_rows(loss):
    """K52: all parameters to 1e-8 without noise, whatever the objective."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
    found = fit(CHINCHILLA, {"N": n, "D": d}, 1.7 + 400 * n**-0.34 + 2000 * d**-0.37, loss=loss)
    np.testing.assert_allclose([e.value for e in found.params.values()], [1.7, 400, 2000, 0.34, 0.37], rtol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_descent_that_follows_another_ends_where_it_would_have_alone(loss):
    x, y = simulated(5)
    problem, _ = cleaned(CHINCHILLA, x, y, None, loss, {})
    rng = np.random.default_rng(0)
    best = fit(CHINCHILLA, x, y, loss=loss).best
    start = best + 0.2 * rng.standard_normal((60, 5))
    together, alone = descend(problem, start, merge=True), descend(problem, start)
    np.testing.assert_allclose(together.value, alone.value, rtol=1e-7)
    # Where a term has vanished its logarithm may stand anywhere: what is compared is the curve.
    curves = [CHINCHILLA.predict(x, problem.natural(ends.u)) for ends in (together, alone)]
    np.testing.assert_allclose(*curves, rtol=1e-4)


def test_starts_that_stop_elsewhere_are_not_counted():
    """Half of the given starts stand where a term has vanished and its gradient with it."""
    x, y = simulated(6)
    problem, _ = cleaned(CHINCHILLA, x, y, None, "lsq", {})
    start = problem.coordinates(np.array([[1.8, 500, 2000, 0.35, 0.37], [2.0, 1e-200, 1e-200, 0.3, 0.3]] * 4))
    ends = search(problem, start)
    assert ends.value[0] < 0.9 * ends.value[1]
    assert np.sum(ends.value <= ends.value.min() * (1 + 1e-6)) == 4


def test_given_starts_are_used_and_checked():
    x, y = curve("Dec-only")
    found = fit(POWER_OFFSET, {"x": x}, y, start=np.array([[0.1, 2.0, -0.2], [0.0, 1.0, -1.0], [0.2, 9.0, -0.5]]))
    assert found.tried == 3 and 1 <= found.reached_best <= 3
    assert found.objective == pytest.approx(fit(POWER_OFFSET, {"x": x}, y).objective, rel=1e-9)
    for wrong in ([[0.1, 2.0]], [[np.nan, 1.0, -1.0]], np.zeros((0, 3))):
        with pytest.raises(ValueError, match="a column for each of e, b, c"):
            fit(POWER_OFFSET, {"x": x}, y, start=np.array(wrong))


@pytest.mark.parametrize("seed", range(6))
def test_projection_is_the_non_negative_least_squares_solution(seed):
    """Against SciPy's lsq_linear, at exponents where some of E, A, B rest at 0 (for a log: at a small share)."""
    rng = np.random.default_rng(seed)
    x, y = simulated(seed)
    x, y = {k: v[:12] for k, v in x.items()}, rng.uniform(1, 4, 12)
    problem = Problem(CHINCHILLA, objective("lsq"), x, y)
    theta = np.column_stack([np.ones((5, 3)), rng.uniform(0.05, 1.2, (5, 2))])
    found = problem.natural(project(problem, problem.coordinates(theta)))
    for before, after in zip(theta, found, strict=True):
        columns = np.stack([np.ones(12), x["N"] ** -before[3], x["D"] ** -before[4]], axis=1)
        size = np.linalg.norm(columns, axis=0)
        expected = lsq_linear(columns / size, y, bounds=(0, np.inf), method="bvls").x
        resting = expected < 1e-2 * np.linalg.norm(y)
        np.testing.assert_allclose((after[:3] * size)[~resting], expected[~resting], rtol=1e-6)
        assert np.all((after[:3] * size)[resting] <= 1e-2 * np.linalg.norm(y) * (1 + 1e-9))


def test_the_objective_does_not_depend_on_units():
    """x in other units moves b by their power and nothing else; y in other units scales e and b."""
    x, y = curve("6 Enc, 28 Dec")
    one, other = fit(POWER_OFFSET, {"x": x}, y), fit(POWER_OFFSET, {"x": x * 1e-6}, y * 1e-7)
    assert other.objective == pytest.approx(one.objective * 1e-14, rel=1e-7)
    assert other.status == one.status
    np.testing.assert_allclose(
        [other.params["e"].value, other.params["c"].value],
        [one.params["e"].value * 1e-7, one.params["c"].value],
        rtol=1e-5,
    )


def test_two_sizes_that_move_together_are_said():
    x, y = simulated(7)
    found = fit(CHINCHILLA, {"N": x["N"], "D": 20 * x["N"]}, y)
    assert found.status == Status.NOT_IDENTIFIABLE and "N, D move together" in found.message
