"""Tables with known truth: moments, onsets, bump and front against closed forms; the fits find what was put in."""

import copy

import numpy as np
import pandas
import pytest
from scipy.special import expit, logit
from scipy.stats import beta, norm

from analysis.boundary.front import front
from analysis.fitting.estimate import fit
from analysis.laws import CHINCHILLA, logistic
from analysis.onsets.run_setting import ended_early
from analysis.planning import simulated_curves as curves
from analysis.planning.plan_fields import PlanError
from analysis.planning.planned import plan
from analysis.planning.simulated_study import distinct, simulated
from analysis.simulate import write_tables
from analysis.table import load
from scaling import schema

PARAMETERS = {"b_0": -22, "b_params": 0.6, "b_copies": 0.9, "b_images_seen": 1.1}
BASE = {
    "name": "test",
    "grid": {"params": [2743, 10405, 40489, 159697], "n_unique": 128, "design": "spectrum", "levels": 4,
             "images": 76800, "at": 4, "samples": 256, "seeds": 2},
    "truth": {"rate": {"x": ["params", "copies", "images_seen"], "parameters": PARAMETERS}},
}  # fmt: skip


def made(**changes):
    """The plan BASE with changes by path: grid__seeds=4 sets grid.seeds."""
    content = copy.deepcopy(BASE)
    for path, value in changes.items():
        *sections, key = path.split("__")
        inner = content
        for name in sections:
            inner = inner.setdefault(name, {})
        inner[key] = value
    return plan(content)


def one_rate(f: float, **changes):
    """One cell of many runs in which every trained stratum has rate f: only luck and counting differ."""
    parameters = {"b_0": float(logit(f)), "b_copies": 0.0}
    many = {"grid__params": [1000], "grid__at": [640], "grid__images": 640, "grid__seeds": 4000, "grid__levels": 2}
    return made(**many | {"truth__rate__x": ["copies"], "truth__rate__parameters": parameters} | changes)


def trained(tables, table="strata"):
    return tables[table][tables[table]["images_seen"] > 0]


@pytest.mark.parametrize("csv", [False, True])
def test_tables_are_exactly_of_the_schema(tmp_path, csv):
    """load() adds no note: every column is there; keys are unique; every declared trials column bounds its count."""
    tables = simulated(made(truth__ended_early=0.3), 0)
    assert {name: list(frame.columns) for name, frame in tables.items()} == {
        name: [c.name for c in columns] for name, columns in schema.TABLES.items()
    }
    write_tables(tmp_path, tables, csv=csv)
    found = load(tmp_path)
    assert found.notes == ()
    assert len(found.evals) == len(tables["evals"]) and len(found.strata) == 4 * len(found.evals)
    assert len(found.images) == len(found.prompts) == len(found.noise_levels) == 0
    for name in ("n_memorized", "n_basin_recovered", "n_extracted", "n_null_memorized"):
        part = "n_hits" if name == "n_memorized" else name
        summed = found.strata.groupby(["run_id", "images_seen"])[part].sum()
        own = found.evals.set_index(["run_id", "images_seen"])[name].sort_index()
        np.testing.assert_array_equal(summed.to_numpy(), own.to_numpy())
    assert (found.evals["n_memorized_14"] <= found.evals["n_memorized"]).all()
    assert (found.evals["n_memorized"] <= found.evals["n_memorized_12"]).all()
    assert set(found.evals["n_train"]) == {32 * 15}
    np.testing.assert_allclose(found.strata["exposures"], found.strata["images_seen"] * found.strata["copies"] / 480)


def test_the_untrained_network_has_memorized_nothing():
    tables = simulated(made(truth__rate__luck_run=3.0, truth__rate__overdispersion=0.2), 0)
    start = tables["strata"][tables["strata"]["images_seen"] == 0]
    assert len(start) and not start[["n_hits", "n_basin_recovered", "n_extracted"]].to_numpy().any()


def test_a_study_is_a_function_of_its_seed():
    one, two, other = (simulated(made(truth__rate__luck_run=0.3, truth__ended_early=0.2), s) for s in (5, 5, 6))
    for name in schema.TABLES:
        pandas.testing.assert_frame_equal(one[name], two[name])
    assert not one["strata"].equals(other["strata"])


@pytest.mark.parametrize("c", [0.0, 0.05])
def test_counts_are_binomial_and_beta_binomial(c):
    """Mean n f, variance n f (1 - f)(1 + (n - 1) c) (measures.md 3.1); 8,000 counts: 5 standard errors."""
    f, n = 0.2, 64
    x = trained(simulated(one_rate(f, measure={"n_basin": n}, truth__rate__overdispersion=c), 1))["n_basin_recovered"]
    variance = n * f * (1 - f) * (1 + (n - 1) * c)
    assert abs(x.mean() - n * f) < 5 * np.sqrt(variance / len(x))
    assert abs(x.var() / variance - 1) < 5 * np.sqrt(3 / len(x))


def test_luck_of_a_run_adds_its_variance():
    """E f and Var f of expit(m + sd z) by Gauss-Hermite quadrature; var = n E f(1 - f)(1 + (n - 1) c) + n^2 Var f."""
    f, n, c, sd = 0.2, 64, 0.02, 0.6
    tables = simulated(one_rate(f, measure={"n_basin": n}, truth__rate__overdispersion=c, truth__rate__luck_run=sd), 2)
    x = trained(tables)["n_basin_recovered"].to_numpy(float).reshape(-1, 2)  # strata of a run side by side
    z, weight = np.polynomial.hermite_e.hermegauss(80)
    weight, drawn = weight / weight.sum(), expit(logit(f) + sd * z)
    mean, square = weight @ drawn, weight @ drawn**2
    variance = n * (mean - square) * (1 + (n - 1) * c) + n**2 * (square - mean**2)
    assert abs(x.mean() - n * mean) < 5 * np.sqrt(variance / len(x))
    assert x.var() == pytest.approx(variance, rel=0.08)
    # Both strata of a run share its luck, and nothing else.
    assert np.cov(x.T)[0, 1] == pytest.approx(n**2 * (square - mean**2), rel=0.15)


def test_luck_of_a_draw_is_shared_by_the_runs_of_a_seed():
    """Two sizes x 2,000 seeds: covariance between sizes of one seed n^2 Var f; between different seeds none."""
    f, n, sd = 0.3, 64, 0.6
    two = {"grid__params": [1000, 2000], "grid__seeds": 2000, "grid__design": "none", "measure": {"n_basin": n}}
    x = (
        trained(simulated(one_rate(f, **two, truth__rate__luck_draw=sd), 3))["n_basin_recovered"]
        .to_numpy(float)
        .reshape(2, 2000)
    )
    z = np.linspace(-8, 8, 4001)
    weight = norm.pdf(z) / norm.pdf(z).sum()
    drawn = expit(logit(f) + sd * z)
    variance = n**2 * (weight @ drawn**2 - (weight @ drawn) ** 2)
    assert np.cov(x)[0, 1] == pytest.approx(variance, rel=0.2)
    assert abs(np.cov(x[0], np.roll(x[1], 1))[0, 1]) < 0.2 * variance


def test_samples_fall_on_strata_by_their_share_of_training():
    """E n_hits = B f n_s r_s / N, E n_memorized the sum; f = 1 leaves no novel sample."""
    b = 256
    tables = simulated(one_rate(0.4, grid__samples=b), 4)
    hits = trained(tables).groupby("copies")["n_hits"].mean()
    np.testing.assert_allclose(hits, [b * 0.4 / 3, b * 0.8 / 3], rtol=0.02)
    assert trained(tables, "evals")["n_memorized"].mean() == pytest.approx(b * 0.4, rel=0.01)
    sure = trained(simulated(one_rate(1 - 1e-12, grid__samples=b, grid__seeds=3), 4), "evals")
    assert (sure["n_memorized"] == b).all()


def test_extracted_images_are_the_distinct_ones_hit():
    """Expected distinct of 30 images under 40 throws: 30 (1 - (29/30)^40)."""
    found = distinct(np.full(20_000, 40), np.full(20_000, 30), np.random.default_rng(0))
    assert found.mean() == pytest.approx(30 * (1 - (29 / 30) ** 40), abs=0.06)
    assert distinct(np.array([0, 1, 900]), np.array([5, 5, 1]), np.random.default_rng(0)).tolist() == [0, 1, 1]


def test_runs_end_early_as_often_as_said():
    tables = simulated(made(grid__seeds=200, truth__ended_early=0.3), 0)["evals"]
    early = [ended_early(run.iloc[-1]) for _, run in tables.groupby("run_id")]
    assert np.mean(early) == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / 800))
    assert tables.groupby("run_id").size().min() >= 2
    assert not any(ended_early(run.iloc[-1]) for _, run in simulated(made(), 0)["evals"].groupby("run_id"))


def fitted(rows):
    x = {name: rows[name].to_numpy(float) for name in ("params", "copies", "images_seen")}
    counts, trials = rows["n_basin_recovered"].to_numpy(float), rows["n_basin"].to_numpy(float)
    return fit(logistic(tuple(x)), x, counts, trials=trials, starts=4)


def test_a_fit_finds_the_truth():
    """The law of the plan on 16 runs: every parameter within 4 standard errors."""
    found = fitted(trained(simulated(made(grid__seeds=4), 0)))
    for name, value in PARAMETERS.items():
        assert abs(found.params[name].value - value) < 4 * found.params[name].se
    assert found.overdispersion < 0.004  # the null: no luck, none is found


def test_a_fit_finds_the_overdispersion():
    found = fitted(trained(simulated(made(grid__seeds=6, truth__rate__overdispersion=0.1), 0)))
    assert found.overdispersion == pytest.approx(0.1, rel=0.3)


def test_holdout_loss_is_chinchillas_without_overfitting():
    """Almost without noise the law of measures.md 3.5 comes back from the table."""
    tables = simulated(made(grid__at=6, truth__holdout_loss={"se": 1e-7, "sd_run": 0.0}), 0)
    rows = trained(tables, "evals")
    x = {"N": rows["params"].to_numpy(float), "D": rows["images_seen"].to_numpy(float)}
    found = fit(CHINCHILLA, x, rows["holdout_loss"].to_numpy(float))
    truth = {"E": 0.5, "A": 2.0, "alpha": 0.25, "B": 10.0, "beta": 0.4}
    for name, value in truth.items():
        assert found.params[name].value == pytest.approx(value, rel=1e-3)


def test_overfitting_raises_the_holdout_loss_alone_after_its_epochs():
    """rise = height ln(t / (epochs n_unique))^2, 0 before: by hand at e^2 times the turning point and at half of it."""
    turn = 0.25 * 128
    planned = made(truth__holdout_loss={"overfit": 0.03, "overfit_epochs": 0.25})
    cell = planned.cells[0]
    t = np.array([turn / 2, turn * np.exp(2)])
    gap = curves.holdout_loss(planned, cell, t, 0.0) - curves.seen_loss(planned, cell, t)
    np.testing.assert_allclose(gap, [0, 0.03 * 4], atol=1e-12)


def test_tau_mem_of_one_stratum_is_closed_form():
    """logit eps = b_0 + b_p ln p + b_r ln r + b_t ln t, solved for t by hand; r = 1 for the design none."""
    planned = made(grid__design="none")
    for cell in planned.cells:
        by_hand = np.exp((logit(0.01) + 22 - 0.6 * np.log(cell.params)) / 1.1)
        assert curves.tau_mem(planned, cell, 0.01) == pytest.approx(by_hand, rel=1e-8)
    spectrum = made()
    tau = curves.tau_mem(spectrum, spectrum.cells[0], 0.05)
    assert curves.cell_rate(spectrum, spectrum.cells[0], np.array([tau]))[0] == pytest.approx(0.05, rel=1e-7)


def test_a_law_without_time_has_no_onset():
    planned = one_rate(0.3)
    assert curves.tau_mem(planned, planned.cells[0], 0.01) is None


@pytest.mark.parametrize(("y", "wanted"), [([5, 3, 4, 2, 3, 1], 1), ([3, 2, 1, 2, 3], 0), ([3, 2, 1], 0), ([1, 2], 0)])
def test_prominence_of_k45(y, wanted):
    """measures.md K45."""
    assert curves.prominence(np.array(y)) == wanted


def test_the_bump_has_its_stated_prominence():
    """By brute force over all triples i < j < k of the table's true final losses; 0 without a bump."""
    descent = {"prominence": 0.07, "peak": 30000, "width": 0.9}
    planned = made(grid__params=[700, 2743, 10405, 40489, 159697, 634273], truth__double_descent=descent)
    height = next(iter(curves.bump_heights(planned).values()))
    y = curves.final_losses(planned, planned.cells, height)
    n = len(y)
    brute = max(min(y[j] - y[i], y[j] - y[k]) for j in range(n) for i in range(j) for k in range(j + 1, n))
    assert brute == pytest.approx(0.07, abs=1e-9)
    assert curves.truth(made())["double_descent"][0]["prominence"] == 0


def test_a_bump_outside_the_sizes_is_refused():
    with pytest.raises(ValueError, match="put the peak between them"):
        curves.truth(made(truth__double_descent={"prominence": 0.1, "peak": 1e9}))


def test_the_true_front_is_that_of_the_true_values():
    """Larger models memorize more and lose less: all are on the front at the end; the truth is brute force here."""
    known = curves.truth(made(truth__holdout_loss={"overfit": 0.05, "overfit_epochs": 20}))["cells"]
    points = np.array([[row["rate_at_minimum"], row["holdout_loss_at_minimum"]] for row in known])
    brute = [not any(np.all(q <= p) and np.any(q < p) for q in points) for p in points]
    assert [row["on_front_at_minimum"] for row in known] == brute == front(points).tolist()
    assert all(row["on_front_at_end"] for row in curves.truth(made())["cells"])
    # A worse generalizer that memorizes as much is dominated: without its exponent, size only memorizes.
    useless = curves.truth(made(truth__holdout_loss={"A": 0.0}))["cells"]
    assert [row["on_front_at_end"] for row in useless] == [True, False, False, False]


def test_overdispersed_rates_follow_the_beta_law():
    """Quantiles of 8,000 drawn counts of many chains against Beta(f (1 - c)/c, (1 - f)(1 - c)/c)."""
    f, c, n = 0.3, 0.1, 100_000
    x = trained(simulated(one_rate(f, measure={"n_basin": n}, truth__rate__overdispersion=c), 5))["n_basin_recovered"]
    found = np.quantile(x / n, [0.05, 0.5, 0.95])
    np.testing.assert_allclose(found, beta(f * 9, (1 - f) * 9).ppf([0.05, 0.5, 0.95]), atol=0.012)


REFUSED = [
    ({"grid__seds": 3}, "seds; did you mean seeds"),
    ({"truth__rate__luck": 1}, "truth.rate: no such key luck; did you mean luck_run"),
    ({"studys": 3}, "studys; did you mean studies"),
    ({"grid__levels": 5}, "n_unique=128 does not divide into 5 equal strata.*use n_unique=125 or 130"),
    ({"grid__design": "spektrum"}, "'spektrum' is unknown; did you mean spectrum"),
    ({"grid__design": "uniform", "grid__copies": 8, "grid__fraction": 0.3}, "is 38.4 images.*use 38/128 or 39/128"),
    ({"grid__at": [640, 100000]}, "100000 lies beyond images=76800"),
    ({"grid__params": []}, "empty list"),
    ({"grid__width": [4]}, "give either params, or width"),
    ({"grid__seeds": [0, 0]}, "different seeds"),
    ({"grid__seeds": 0}, "whole number, 1 or more"),
    ({"grid__config": ["a.yaml"]}, "config names overlay files"),
    ({"truth__rate__x": ["param"]}, "did you mean params"),
    ({"truth__rate__parameters": {"b_0": 1}}, "b_params is missing"),
    ({"truth__rate__parameters": {**PARAMETERS, "b_params": "much"}}, "'much' must be a finite number"),
    ({"truth__rate__law": "power"}, "takes exactly"),
    ({"truth__rate__law": "log_linear", "truth__rate__parameters": {}}, "no law of a rate|must be a mapping"),
    ({"truth__rate__overdispersion": -1}, "number from 0"),
    ({"level": True}, "True must be a number from 0.5"),
    ({"questions__max_copies": [{"rate": 0.01, "params": 10405}]}, "images_seen is missing"),
    ({"questions__tau_mem": [{"params": 7}]}, "0 cells of the grid have params=7"),
    ({"questions__tau_mem": [{"design": "spectrum"}]}, "4 cells of the grid have design=spectrum"),
    ({"questions__double_descent": {"window": [1, 2], "valley": [1e3, 1e4]}}, "no size of the grid in 1 to 2"),
    ({"questions__double_descent": {"window": [2e4, 5e4]}}, "window and valley go together"),
    ({"questions__double_descent": {"window": [5, 2], "valley": [1, 2]}}, "LO <= HI"),
    ({"grid__seeds": 1, "questions__double_descent": {"window": [2e4, 5e4], "valley": [1e3, 1e4]}}, "2 seeds or more"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_an_impossible_plan_is_refused_before_any_work(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_a_sweeps_parameters_are_a_grid():
    """The keys of a W&B grid and short lists give the same cells; the points are tested below."""
    sweep = {
        "model.width": {"values": [2, 4, 8, 16]}, "data.n_unique": {"value": 128}, "seed": {"values": [0, 1]},
        "data.duplication.design": {"value": "spectrum"}, "data.duplication.levels": {"value": 4},
        "train.images": {"value": 76800}, "evaluate.at": {"value": 4}, "evaluate.samples": {"value": 256},
    }  # fmt: skip
    sizes = {2: 2743, 4: 10405, 8: 40489, 16: 159697}
    long, short = plan({**BASE, "grid": sweep, "sizes": sizes}), made(sizes=sizes)
    assert long.cells == short.cells and long.seeds == short.seeds == 2
    assert [cell.width for cell in short.cells] == [2, 4, 8, 16]
    assert short.cells[0].points[0] == 0 and short.cells[0].points[-1] == 76800


def test_evaluation_points_are_those_of_training():
    """The points of scaling.training.points, which analysis may not import."""
    from scaling.config import ExperimentConfig
    from scaling.training.points import evaluation_steps

    for images, at in ((76800, 4), (76800, 1), (1000, 7), (204800, 8), (640, [100, 640])):
        config = ExperimentConfig.model_validate({"train": {"images": images}, "evaluate": {"at": at}})
        steps = evaluation_steps(config.evaluate, config.train, 128)
        assert made(grid__images=images, grid__at=at).cells[0].points == tuple(64 * step for step in steps)


def test_the_designs_are_those_of_training():
    """The strata of scaling.data.duplication."""
    from scaling.config import ExperimentConfig
    from scaling.data.duplication import plan as duplication

    for design in ({"design": "spectrum", "levels": 4}, {"design": "uniform", "fraction": "1/4", "copies": 8},
                   {"design": "uniform", "fraction": 1, "copies": 3}, {"design": "none"}):  # fmt: skip
        config = ExperimentConfig.model_validate({"data": {"n_unique": 128, "duplication": design}})
        copies, images = np.unique(duplication(config.data).copies, return_counts=True)
        cell = made(**{f"grid__{name}": value for name, value in design.items()}).cells[0]
        assert cell.strata == tuple(zip(copies.tolist(), images.tolist(), strict=True))


def test_blocks_may_mix_designs_and_each_cell_stands_once():
    common = {"params": 2743, "n_unique": 128, "images": 6400, "copies": [4, 8], "fraction": 0.25}
    planned = plan({**BASE, "grid": [{**common, "design": ["none", "uniform"]}, {**common, "design": "none"}]})
    assert [(cell.design, cell.strata[-1]) for cell in planned.cells] == [
        ("none", (1, 128)), ("uniform", (4, 32)), ("uniform", (8, 32)),
    ]  # fmt: skip


def test_plan_errors_are_value_errors():
    assert issubclass(PlanError, ValueError)
