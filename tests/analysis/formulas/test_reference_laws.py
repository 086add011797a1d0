"""Published tables with known answers (tests/reference/README.md): our laws and engine against what others printed.

Laws of others (geometric decay, the five-point law) are written here as the `Law` of a user; M2 has the authors' own
objective, which is none of ours.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from analysis.fitting.estimate import fit
from analysis.fitting.result import FitResult
from analysis.formulas.law import Law
from analysis.laws import LAWS

REFERENCE = Path(__file__).parents[2] / "reference"
REPEATED = LAWS["repeated_data"]
LN = {"A": 6.255414, "B": 7.3049974, "E": 0.6254804}
EXPONENT = 0.3526596
FIXED = {"E": np.exp(LN["E"]), "A": np.exp(LN["A"]), "B": np.exp(LN["B"]), "alpha": EXPONENT, "beta": EXPONENT}
PUBLISHED = {"R_D_star": 15.387756, "R_N_star": 5.309743}
PLAIN = 1e12  # an R* at which repetitions count as new data
HUBER = "huber_log:0.001"


def rows(file: str) -> list[dict[str, str]]:
    with open(REFERENCE / file, newline="") as table:
        return list(csv.DictReader(table))


def columns(table: list[dict[str, str]], *names: str) -> list[np.ndarray]:
    return [np.array([float(row[name]) for row in table]) for name in names]


# Muennighoff et al. 2023: the loss under repeated data


@pytest.fixture(scope="module")
def runs() -> tuple[dict[str, np.ndarray], np.ndarray]:
    N, D, U, loss = columns(rows("datablations/fit_182_runs.csv"), "N", "D", "U", "val_loss")
    return {"N": N, "D": D, "U": U}, loss


def scored(predicted: np.ndarray, observed: np.ndarray) -> tuple[float, float]:
    """The sum of Huber(1e-3) of the errors of ln L, and R2 of L."""
    r = np.abs(np.log(predicted / observed))
    huber = np.sum(np.where(r <= 1e-3, r**2 / 2, 1e-3 * (r - 1e-3 / 2)))
    return huber, 1 - np.sum((predicted - observed) ** 2) / np.sum((observed - observed.mean()) ** 2)


def chinchilla(N: np.ndarray, D: np.ndarray, alpha: float = EXPONENT, beta: float = EXPONENT) -> np.ndarray:
    return FIXED["E"] + FIXED["A"] / N**alpha + FIXED["B"] / D**beta


def repetitions(x: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U_N, R_N, R_D by the formula of the table's README, at alpha = beta."""
    g = (FIXED["A"] / FIXED["B"]) ** (1 / (2 * EXPONENT))
    u_n = np.minimum(x["N"], g**2 * x["U"])
    return u_n, x["N"] / u_n - 1, np.maximum(x["D"] / x["U"] - 1, 0)


def geometric(N, D, U, delta_d, delta_n):
    """eff = X (1 - (1 - delta)^(R + 1))/delta: each repetition is worth a share 1 - delta of the one before."""
    u_n, r_n, r_d = repetitions({"N": N, "D": D, "U": U})
    return chinchilla(u_n * -np.expm1((r_n + 1) * np.log1p(-delta_n)) / delta_n,
                      U * -np.expm1((r_d + 1) * np.log1p(-delta_d)) / delta_d)  # fmt: skip


def geometric_gradient(N, D, U, delta_d, delta_n):
    u_n, r_n, r_d = repetitions({"N": N, "D": D, "U": U})

    def part(weight, X, R, delta):
        left = (1 - delta) ** R
        eff, slope = X * (1 - left * (1 - delta)) / delta, X * (R + 1) * left / delta
        return -EXPONENT * weight * eff ** (-EXPONENT - 1) * (slope - eff / delta)

    return part(FIXED["B"], U, r_d, delta_d), part(FIXED["A"], u_n, r_n, delta_n)


GEOMETRIC = Law(
    name="geometric", formula="E + A/eff^alpha + B/eff^beta", variables=("N", "D", "U"),
    bounds={"delta_D": (0, 1), "delta_N": (0, 1)}, function=geometric, gradient=geometric_gradient,
    starts=lambda x, y: np.array([[d, n] for d in (0.003, 0.03, 0.3) for n in (0.03, 0.3, 0.8)]),
)  # fmt: skip
S_GEOMETRIC = Law(  # the same by delta = 1 - exp(-s)
    name="geometric_s", formula="E + A/eff^alpha + B/eff^beta", variables=("N", "D", "U"),
    bounds={"s_D": (0, np.inf), "s_N": (0, np.inf)}, log=("s_D", "s_N"),
    function=lambda N, D, U, s, t: geometric(N, D, U, -np.expm1(-s), -np.expm1(-t)),
    gradient=lambda N, D, U, s, t: tuple(
        part * np.exp(-z)
        for part, z in zip(geometric_gradient(N, D, U, -np.expm1(-s), -np.expm1(-t)), (s, t), strict=True)
    ),
    starts=lambda x, y: -np.log1p(-GEOMETRIC.starts(x, y)),
)  # fmt: skip


def ours(x: dict[str, np.ndarray], R_D_star: float, R_N_star: float) -> np.ndarray:
    return REPEATED.predict(x, np.array([*FIXED.values(), R_D_star, R_N_star]))


def shrinking(x: dict[str, np.ndarray]) -> np.ndarray:
    _, r_n, r_d = repetitions(x)
    alpha, beta = (EXPONENT * np.maximum(0, 1 - r / top) for r, top in ((r_n, 2040.8163), (r_d, 26530.611)))
    return chinchilla(x["N"], x["D"], alpha, beta)


@pytest.mark.parametrize(
    ("predicted", "objective", "r2"),
    [
        (lambda x: ours(x, PLAIN, PLAIN), 0.033103926930, 0.4451684378759986),
        (lambda x: ours(x, 2.9157212, PLAIN), 0.016922349062, 0.7354468934623781),
        (lambda x: ours(x, **PUBLISHED), 0.015825935258, 0.7722046084968408),
        (lambda x: geometric(*x.values(), 0.010462746, 0.36757502), 0.015477437654, 0.7987551952492644),
        (shrinking, None, 0.5109987916442305),
    ],
    ids=["no penalty", "D saturates", "both saturate", "geometric", "exponents shrink"],
)
def test_the_published_values_come_out_to_the_printed_digits(runs, predicted, objective, r2):
    x, loss = runs
    found = scored(predicted(x), loss)
    assert objective is None or found[0] == pytest.approx(objective, abs=6e-13 if objective else None)
    assert found[1] == pytest.approx(r2, abs=1e-9)


def test_fixing_every_parameter_prints_the_same_objective(runs):
    x, loss = runs
    result = fit(REPEATED, x, loss, loss=HUBER, fixed={**FIXED, **PUBLISHED})
    assert result.objective == pytest.approx(0.015825935258, abs=6e-13)


def test_the_fitted_repetition_constant_is_the_recomputed_optimum(runs):
    """The published R_D* = 2.9157212 stopped early."""
    x, loss = runs
    result = fit(REPEATED, x, loss, loss=HUBER, fixed={**FIXED, "R_N_star": PLAIN})
    assert result.params["R_D_star"].value == pytest.approx(2.914900, abs=6e-7)
    assert result.objective == pytest.approx(0.0169223487442, abs=6e-14)
    assert scored(result.predict(x), loss)[1] == pytest.approx(0.7354491522, abs=6e-11)


def test_both_constants_free_end_no_higher_than_any_of_a_grid(runs):
    """The published (15.39, 5.31) is a point where an optimiser stopped; a grid and what lies between is no lower."""
    x, loss = runs
    result = fit(REPEATED, x, loss, loss=HUBER, fixed=FIXED)
    grid = np.array([[*FIXED.values(), d, n] for d in np.geomspace(1, 1e3, 61) for n in np.geomspace(0.1, 100, 61)])
    assert result.objective <= min(scored(y, loss)[0] for y in REPEATED.predict(x, grid)) + 1e-15
    assert result.objective < 0.015825935258


def test_the_geometric_optimum_does_not_depend_on_how_it_is_written(runs):
    x, loss = runs
    plain, s = (fit(law, x, loss, loss=HUBER) for law in (GEOMETRIC, S_GEOMETRIC))
    deltas = np.array([estimate.value for estimate in plain.params.values()])
    np.testing.assert_allclose(deltas, [0.0104775, 0.367384], rtol=3e-6)
    np.testing.assert_allclose(-np.expm1([-e.value for e in s.params.values()]), deltas, rtol=1e-6)
    for result in (plain, s):
        assert result.objective == pytest.approx(0.0154774354, abs=6e-11)
        assert scored(result.predict(x), loss)[1] == pytest.approx(0.798742, abs=6e-7)


def test_the_published_predictions_come_out():
    x = {"N": np.array([6.34e9, 8.67e9]), "D": np.array([242e9, 178e9]), "U": np.full(2, 25e9)}
    np.testing.assert_allclose(ours(x, **PUBLISHED), [2.2256440889984477, 2.2269634075087867], rtol=1e-14)


def test_the_best_allocation_is_the_continuous_optimum():
    """C = 6 N D = 1e22 on U = 25e9 unique tokens; the published pair lies on a coarse grid beside it."""

    def loss(ln_d: float) -> float:
        D = np.exp(np.array([ln_d]))
        return ours({"N": 1e22 / 6 / D, "D": D, "U": np.array([25e9])}, **PUBLISHED)[0]

    found = minimize_scalar(loss, bounds=np.log([2.5e10, 2e12]), method="bounded", options={"xatol": 1e-9})
    D = np.exp(found.x)
    assert found.fun == pytest.approx(2.222129274871, abs=6e-13)
    np.testing.assert_allclose([D, 1e22 / 6 / D, D / 25e9], [2.372088e11, 7.026160e9, 9.48835], rtol=1e-6)
    assert loss(np.log(237336955477.55)) == pytest.approx(found.fun, abs=1e-7)


# Gadre et al. 2024: over-trained models, five points


def five_point(N, M, a, b, k, E):
    """L = a N^-k + b 6^(-k/2) (M N)^-k + E."""
    return E + a * N**-k + b * 6 ** (-k / 2) * (M * N) ** -k


def five_point_gradient(N, M, a, b, k, E):
    in_a, in_b = N**-k, 6 ** (-k / 2) * (M * N) ** -k
    return in_a, in_b, -a * in_a * np.log(N) - b * in_b * (np.log(6) / 2 + np.log(M * N)), np.ones_like(in_a)


FIVE_POINT = Law(
    name="five_point", formula="a N^-k + b 6^(-k/2) (M N)^-k + E", variables=("N", "M"),
    bounds={"a": (0, np.inf), "b": (0, np.inf), "k": (0, 4), "E": (0, np.inf)},
    function=five_point, gradient=five_point_gradient, linear=("a", "b", "E"), log=("a", "b"),
    starts=lambda x, y: np.array([[1.0, 1.0, k, y.min() / 2] for k in (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)]),
)  # fmt: skip


def gadre(train_set: str) -> tuple[FitResult, dict[tuple[str, float], tuple[dict[str, np.ndarray], float]]]:
    """The fit to the five points, and every run of the training set on C4: (model, multiplier) -> variables, loss."""
    table = [r for r in rows("overtraining_gadre/runs_long.csv")
             if r["train_set"] == train_set and r["val_set"] == "c4_val"]  # fmt: skip
    N, multiplier, loss = columns(table, "params", "chinchilla_multiplier", "loss")
    small = np.array([r["model"].startswith("d=") for r in table])
    smallest = np.array([r["model"] == "d=96_l=8_h=4" for r in table])
    chosen = (small & (multiplier == 1)) | (smallest & (multiplier == 16))
    assert chosen.sum() == 5
    result = fit(FIVE_POINT, {"N": N[chosen], "M": 20 * multiplier[chosen]}, loss[chosen])
    runs = {
        (row["model"], m): ({"N": np.array([n]), "M": np.array([20 * m])}, y)
        for row, n, m, y in zip(table, N, multiplier, loss, strict=True)
    }
    return result, runs


def relative_error(result: FitResult, run: tuple[dict[str, np.ndarray], float]) -> float:
    return float(abs(result.predict(run[0])[0] / run[1] - 1))


@pytest.mark.parametrize(
    ("train_set", "large", "M", "errors"),
    [
        ("rpj", "open_lm_1b", 640, (0.7103, 0.7320)),
        ("c4_original", "open_lm_1b", 80, (1.4979, 4.2952)),
        ("rw_original", "open_lm_1b", 320, (0.0052, 1.6193)),
    ],
)
def test_five_points_predict_the_large_runs_as_published(train_set, large, M, errors):
    result, runs = gadre(train_set)
    found = [relative_error(result, runs[key]) for key in ((large, M / 20), ("open_lm_7b", 1))]
    np.testing.assert_allclose(100 * np.array(found), errors, atol=6e-5)


def test_the_five_point_parameters_are_the_recomputed_ones():
    result, _ = gadre("rpj")
    found = {name: estimate.value for name, estimate in result.params.items()}
    assert found == pytest.approx({"a": 166.211, "b": 366.687, "k": 0.2728507, "E": 1.8366484}, rel=4e-6)


# Alabdulmohsin, Neyshabur, Zhai 2022: learning curves; M1 is in test_estimate.py


def m2(model: str) -> tuple[float, float, float]:
    """M2, y = e + beta x^c, by the authors' objective sum (ln(y - e) - ln beta - c ln x)^2.

    Returns the error on the rows to score at the objective's one local minimum with e > 0, the objective there and
    at e = 0 (which is M1).
    """
    table = [row for row in rows("extrapolation_benchmark/benchmark_nmt_lm.csv") if row["Model"] == model]
    x, y, training = columns(table, "Seen Examples", "Loss", "Training")
    known = training == 1
    design = np.stack([np.ones(known.sum()), np.log(x[known])], axis=1)

    def line(e: float) -> tuple[np.ndarray, float]:
        values = np.linalg.lstsq(design, np.log(y[known] - e), rcond=None)[0]
        return values, float(np.sum((np.log(y[known] - e) - design @ values) ** 2))

    floors = np.linspace(0, y[known].min(), 2001)[:-1]
    value = np.array([line(e)[1] for e in floors])
    (lowest,) = np.flatnonzero((value[1:-1] < value[:-2]) & (value[1:-1] < value[2:])) + 1
    found = minimize_scalar(lambda e: line(e)[1], bounds=floors[[lowest - 1, lowest + 1]], method="bounded",
                            options={"xatol": 1e-12})  # fmt: skip
    (ln_beta, c), _ = line(found.x)
    error = np.log(found.x + np.exp(ln_beta + c * np.log(x[~known]))) - np.log(y[~known])
    return float(np.sqrt(np.mean(error**2))), found.fun, value[0]


@pytest.mark.parametrize(
    ("model", "score", "lowest"),
    [
        ("6 Enc, 6 Dec", 0.038448, False),
        ("28 Enc, 6 Dec", 0.056384, True),
        ("6 Enc, 28 Dec", 0.052738, True),
        ("Dec-only", 0.010335, False),
        ("TEnc-LSTM", 0.012571, False),
    ],
)
def test_m2_by_the_authors_procedure(model, score, lowest):
    """The published scores are those of the local minimum with a floor; in three models e = 0 is lower still."""
    found, value, at_zero = m2(model)
    assert found == pytest.approx(score, abs=1e-6)
    assert (value < at_zero) == lowest
