"""Losses over model and data size: chinchilla and repeated_data against values by hand; fits give truth back."""

import numpy as np
import pytest

from analysis.fitting.estimate import fit
from analysis.fitting.result import Status
from analysis.formulas.repeated_data import effective_size
from analysis.laws import CHINCHILLA, REPEATED_DATA

TRUTH = [1.7, 400.0, 2000.0, 0.34, 0.37]
R_STARS = [12.0, 4.0]


def grid(size: int) -> dict[str, np.ndarray]:
    N, D = np.meshgrid(np.geomspace(1e6, 1e9, size), np.geomspace(1e8, 1e11, size))
    return {"N": N.ravel(), "D": D.ravel()}


def repeated(sizes: int = 4) -> dict[str, np.ndarray]:
    """Models, unique images and epochs 1 … 300 crossed."""
    N, U, epochs = np.meshgrid(np.geomspace(1e6, 1e10, sizes), np.geomspace(1e7, 1e10, sizes), [1, 3, 10, 40, 300])
    return {"N": N.ravel(), "D": (U * epochs).ravel(), "U": U.ravel()}


def eff(X, R, R_star):
    """As in measures.md 3.5."""
    return X + X * R_star * (1 - np.exp(-R / R_star))


def by_the_readme(x: dict[str, np.ndarray], E, A, B, alpha, beta, R_D_star, R_N_star) -> np.ndarray:
    """The law as tests/reference/README.md writes it, in plain numbers, row by row."""
    found = []
    for N, D, U in zip(*x.values(), strict=True):
        G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
        U_N = min(N, G * (G * U) ** (beta / alpha))
        R_D, R_N = max(D / U - 1, 0), max(N / U_N - 1, 0)
        found.append(E + A / eff(U_N, R_N, R_N_star) ** alpha + B / eff(U, R_D, R_D_star) ** beta)
    return np.array(found)


def test_chinchilla_at_a_known_point():
    """K52."""
    found = CHINCHILLA.predict({"N": np.array([1e8]), "D": np.array([2e9])}, TRUTH)[0]
    assert found == pytest.approx(3.1860348, abs=5e-8)


@pytest.mark.parametrize("loss", ["lsq", "lsq_log", "huber_log:0.001"])
def test_chinchilla_gives_the_truth_back(loss):
    """K52: all parameters to 1e-8, from noiseless data on a 6 x 6 grid."""
    x = grid(6)
    result = fit(CHINCHILLA, x, CHINCHILLA.predict(x, TRUTH), loss=loss)
    np.testing.assert_allclose([e.value for e in result.params.values()], TRUTH, rtol=1e-7)


def test_effective_size_saturates():
    """K54: X 100, R* 15.387756, R 0 3 15 infinity."""
    R = np.array([0, 3, 15, 1e300])
    found = np.exp(effective_size(np.log(100.0), np.log(100.0) + np.log1p(R), 15.387756)[0])
    np.testing.assert_allclose(found, [100, 372.567, 1058.246, 1638.776], atol=1e-3)


def test_repeated_data_is_the_formula_of_the_paper():
    x, rng = repeated(), np.random.default_rng(0)
    for _ in range(10):
        theta = np.array([*TRUTH, *R_STARS]) * np.exp(0.3 * rng.standard_normal(7))
        np.testing.assert_allclose(REPEATED_DATA.predict(x, theta), by_the_readme(x, *theta), rtol=1e-10)


def test_one_epoch_of_a_small_model_is_chinchilla():
    x = {"N": np.array([1e6, 1e7]), "D": np.array([1e10, 1e11])}
    found = REPEATED_DATA.predict({**x, "U": x["D"]}, [*TRUTH, 3.0, 2.0])
    np.testing.assert_allclose(found, CHINCHILLA.predict(x, TRUTH), rtol=1e-12)


def test_images_not_yet_seen_do_not_count():
    """Before the first epoch ends, as many unique images were seen as images (Muennighoff et al. 2023: U_D <= D)."""
    N, D = np.array([1e7]), np.array([1e8])
    early, whole = (REPEATED_DATA.predict({"N": N, "D": D, "U": U}, [*TRUTH, *R_STARS]) for U in (np.array([1e11]), D))
    assert early == whole


@pytest.mark.parametrize(
    ("theta", "limit"),
    [
        ([1.7, 400.0, 2000.0, 0.34, 0.37, 1e-12, 1e12], "U"),  # repetitions of data are worth nothing
        ([1.7, 400.0, 2000.0, 0.34, 0.37, 1e12, 1e12], "D"),  # and as much as new data
    ],
)
def test_the_limits_of_the_repetition_constant(theta, limit):
    x = repeated()
    np.testing.assert_allclose(
        REPEATED_DATA.predict(x, theta), CHINCHILLA.predict({"N": x["N"], "D": x[limit]}, TRUTH), rtol=1e-6
    )


@pytest.mark.parametrize("loss", ["lsq", "lsq_log", "huber_log:0.001"])
def test_repeated_data_gives_the_truth_back(loss):
    x = repeated()
    result = fit(REPEATED_DATA, x, REPEATED_DATA.predict(x, [*TRUTH, *R_STARS]), loss=loss)
    np.testing.assert_allclose([e.value for e in result.params.values()], [*TRUTH, *R_STARS], rtol=1e-4)


def test_noisy_repetitions_are_known_within_their_interval():
    x, rng = repeated(), np.random.default_rng(1)
    y = REPEATED_DATA.predict(x, [*TRUTH, *R_STARS]) * np.exp(0.003 * rng.standard_normal(len(x["N"])))
    result = fit(REPEATED_DATA, x, y, loss="lsq_log", level=0.999)
    for name, truth in zip(REPEATED_DATA.parameters, [*TRUTH, *R_STARS], strict=True):
        lo, hi = result.params[name].lo, result.params[name].hi
        assert (lo is None or lo < truth) and (hi is None or truth < hi), name


def test_data_without_repetitions_know_no_repetition_constant():
    """Null: one epoch everywhere says nothing about R_D*."""
    x = {**grid(6)}
    x["U"] = x["D"]
    y = CHINCHILLA.predict(x, TRUTH) * np.exp(0.003 * np.random.default_rng(0).standard_normal(36))
    fixed = {"alpha": 0.34, "beta": 0.37, "R_N_star": 1e12}
    result = fit(REPEATED_DATA, x, y, loss="lsq_log", fixed=fixed)
    assert result.status == Status.NOT_IDENTIFIABLE
    assert not result.params["R_D_star"].identifiable
