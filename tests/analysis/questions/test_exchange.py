from dataclasses import replace

import numpy as np
import pytest

from analysis.fitting.estimate import fit
from analysis.fitting.search import descend
from analysis.laws import law
from analysis.questions.exchange import clustered_covariance, exchange, exchange_rate, fieller
from tests.analysis.plain_study import tables

ASK = {"rate": 0.01, "at": {}, "level": 0.95, "draws": 0, "seed": 0}


@pytest.mark.parametrize(("a", "b", "corner"), [(1.0, 2.0, 0.01), (-1.0, 2.0, -0.02), (3.0, -1.0, 0.05)])
def test_the_interval_is_every_chi_that_is_not_rejected(a, b, corner):
    """Fieller 1954 by brute force: chi on a grid, |a - chi b| against q standard errors of it."""
    covariance, q = np.array([[0.04, corner], [corner, 0.09]]), 1.96
    lo, hi, said = fieller(a, b, covariance, q)
    chi = np.linspace(-30, 30, 600_001)
    se = np.sqrt(covariance[0, 0] - 2 * chi * corner + chi**2 * covariance[1, 1])
    inside = chi[np.abs(a - chi * b) <= q * se]
    np.testing.assert_allclose([lo, hi], [inside.min(), inside.max()], atol=2e-4)
    assert not said


def test_where_time_may_do_nothing_chi_has_no_limit():
    """Brute force: b = .5 of SE .4: the set is all chi outside an interval; a small too: all chi."""
    covariance = np.diag([0.01, 0.16])
    lo, hi, said = fieller(1.0, 0.5, covariance, 1.96)
    chi = np.linspace(-5, 5, 100_001)
    out = chi[np.abs(1 - 0.5 * chi) > 1.96 * np.sqrt(0.01 + 0.16 * chi**2)]
    assert lo is None and hi is None and f"({out.min():.3g}, {out.max():.3g}) is excluded" in said
    assert "no chi is excluded" in fieller(0.1, 0.5, covariance, 1.96)[2]


def simulated(rng, *, chi=0.5, time=1.2, luck=0.3, runs=12, trials=128) -> dict[str, np.ndarray]:
    """Strata of 1, 2 … 32 copies at four times in each run; its luck moves the logit of all of them."""
    run, t, copies = (g.ravel() for g in np.meshgrid(np.arange(runs), 4.0 ** np.arange(4), 2.0 ** np.arange(6)))
    params = 10.0 ** (3 + run % 3)
    logit = -6 + chi * time * np.log(copies) + time * np.log(t) + 0.3 * np.log(params / 1000)
    logit += luck * rng.normal(size=runs)[run.astype(int)]
    y = rng.binomial(trials, 1 / (1 + np.exp(-logit))).astype(float)
    return {"run": run, "images_seen": t * 1000, "copies": copies, "params": params, "y": y,
            "trials": np.full(len(y), float(trials))}  # fmt: skip


def fitted(data: dict, names=("params", "copies", "images_seen")):
    return fit(law("logistic", names), data, data["y"], trials=data["trials"], starts=8)


def test_the_covariance_is_the_published_sandwich():
    """Liang & Zeger 1986 by hand at the plain binomial: X'WX around sums of X'(y - n f) by cluster, times G/(G-1)."""
    data = simulated(np.random.default_rng(0), luck=0.0)
    result = fitted(data)
    assert result.overdispersion < 1e-3
    design, f = result.problem.design, result.predict(data)
    bread = np.linalg.inv((design * (data["trials"] * f * (1 - f))[:, None]).T @ design)
    scores = np.array(
        [(design * (data["y"] - data["trials"] * f)[:, None])[data["run"] == g].sum(0) for g in range(12)]
    )
    known = bread @ scores.T @ scores @ bread * 12 / 11
    found, groups = clustered_covariance(result, data["run"])
    assert groups == 12
    np.testing.assert_allclose(found, known, rtol=0.05, atol=1e-4 * np.abs(known).max())


def test_a_known_rate_comes_back():
    data = simulated(np.random.default_rng(1), runs=24, trials=512)
    found = exchange_rate(fitted(data), data["run"])
    assert found.lo < 0.5 < found.hi and found.hi - found.lo < 0.1 and found.clusters == 24 and not found.message


def test_few_clusters_are_said_and_one_is_refused():
    data = simulated(np.random.default_rng(2), runs=3)
    assert "3 runs for 4 parameters" in exchange_rate(fitted(data), data["run"]).message
    with pytest.raises(ValueError, match="one cluster"):
        exchange_rate(fitted(data), np.zeros(len(data["run"])))


def study(data: dict):
    evals, strata = {}, []
    for k in range(len(data["y"])):
        run, t = f"r{data['run'][k]:.0f}", data["images_seen"][k]
        key = {"run_id": run, "images_seen": t, "params": data["params"][k], "n_unique": 64, "n_train": 240}
        evals[run, t] = key
        strata.append(
            key | {"copies": data["copies"][k], "n_basin": data["trials"][k], "n_basin_recovered": data["y"][k]}
        )
    return tables(list(evals.values()), strata)


def test_the_question_rejects_exposures_where_time_does_more():
    found = exchange(study(simulated(np.random.default_rng(3))), **ASK)
    assert found.answerable and found.lo < 0.5 < found.hi < 1 and "is rejected" in found.why
    assert "condition number" in found.why and found.rows[0]["aicc"] < found.rows[1]["aicc"] - 10


def test_the_question_keeps_exposures_where_they_are_all():
    found = exchange(study(simulated(np.random.default_rng(4), chi=1.0)), **ASK)
    assert found.lo < 1 < found.hi and "chi = 1, exposures alone, is not rejected" in found.why
    assert found.rows[1]["b_exposure"] == pytest.approx(1.2, abs=0.2)


def test_what_cannot_be_told_is_not_answered():
    data = simulated(np.random.default_rng(5))
    once = {name: values[data["images_seen"] == 1000] for name, values in data.items()}
    assert "images_seen does not vary" in exchange(study(once), **ASK).why
    # copies nearly a function of time
    together = data["copies"] == 2.0 ** np.round(np.log(data["images_seen"] / 1000) / np.log(4))
    moved = exchange(study({name: values[together] for name, values in data.items()}), **ASK)
    assert not moved.answerable and "move together" in moved.why and moved.value is None
    none = exchange(study(data | {"y": 0 * data["y"]}), **ASK)
    assert not none.answerable and "no success" in none.why


@pytest.mark.slow
def test_the_interval_covers(keep_table):
    """200 studies a row of runs with shared luck; an interval without limits covers, and its share is given."""
    rows = []
    for runs, time in ((6, 1.2), (12, 1.2), (24, 1.2), (12, 0.0)):
        rng, hits, endless = np.random.default_rng(runs), 0, 0
        first = fitted(simulated(rng, runs=runs, trials=64))
        for _ in range(200):
            data = simulated(rng, runs=runs, time=time or 1e-9, trials=64, luck=0.3)
            problem = replace(first.problem, y=data["y"])
            # From the optimum of another study of the same plan: the search is not what is tested here.
            result = replace(first, problem=problem, best=descend(problem, first.best[None]).u[0])
            found = exchange_rate(result, data["run"])
            endless += found.lo is None
            hits += found.lo is None or found.lo <= 0.5 <= found.hi
        rows.append({"runs": runs, "effect of time": time, "covers": f"{hits / 200:.3f}",
                     "without limits": f"{endless / 200:.3f}"})  # fmt: skip
        assert hits / 200 >= 0.90
    assert endless / 200 >= 0.9  # time does nothing: a ratio to it has no limit
    keep_table("exchange_coverage", "Coverage of the 95 % interval of chi = b_copies/b_images_seen", rows, "6, 12, 24")
