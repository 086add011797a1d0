import json
from itertools import pairwise

import numpy as np
import pandas
import pytest

from analysis.onset import main, onsets, t_over, tau_gen
from analysis.onsets.capacity import capacities
from analysis.onsets.cell_onset import cell_onsets, stratum_onsets
from analysis.onsets.collapse import collapse
from analysis.onsets.crossing import Status, falling, first_crossing, generalized_from, memorized_up_to, redrawn, spread
from scaling import schema

T, F = np.array([1000.0, 1500, 2000]), np.array([0.004, 0.041, 0.147])
NAN, INF = np.nan, np.inf


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def run(run_id: str, t, f, *, b: int = 10_000, loss=None, se: float = 0.01, **other) -> pandas.DataFrame:
    """evals rows of a run that generates b samples, of which f b are memorized; `length`: what its config asks for."""
    train = {"lr_schedule": other.pop("lr_schedule", "constant"), "images": other.pop("length", max(t))}
    rows = pandas.DataFrame({c.name: [NAN if c.type in (int, float) else None] * len(t) for c in schema.EVALS})
    config = json.dumps({"seed": run_id, "train": train, "data": {"n_unique": other.get("n_unique", 64)}})
    hits = np.round(np.asarray(f, float) * b)
    made = {"run_id": run_id, "cell_id": run_id[0], "seed": 0, "family": "unet", "width": 16, "params": 1e5,
            "n_unique": 64, "n_train": 64, "design": "none", "copies": 1, "batch_size": 64, "ema": 0.05,
            "images_seen": np.asarray(t), "n_memorized": hits, "n_generated": b, "n_extracted": np.minimum(hits, 32),
            "holdout_loss": loss, "holdout_loss_se": se, "config": config}  # fmt: skip
    return rows.assign(**{**made, **other})


def one(frame: pandas.DataFrame, eps: float = 0.01) -> pandas.Series:
    return onsets(frame, eps, rng=rng()).iloc[0]


def test_tau_mem_is_the_known_one():
    """K39."""
    assert first_crossing(T, F, 0.01).value == pytest.approx(1068.0, abs=0.1)
    assert first_crossing(T, F, 0.1).value == pytest.approx(1760.5, abs=0.1)
    assert first_crossing(T[::-1], F[::-1], 0.1)[1:] == (1500, 2000, Status.INTERP)


def test_emm_is_the_known_one():
    """K40."""
    n, f = [64, 128, 256, 512], [1, 0.98, 0.86, 0.4]
    assert memorized_up_to(n, f).value == pytest.approx(203.19, abs=0.01)
    assert generalized_from(n, f) == (pytest.approx(NAN, nan_ok=True), 512, INF, Status.ABOVE_RANGE)
    # .4 falls to .04 over one octave: .1 is reached after 30/36 of it.
    assert generalized_from([*n, 1024], [*f, 0.04]).value == pytest.approx(512 * 2 ** (30 / 36), rel=1e-9)
    assert memorized_up_to(n, [0.5, 0.4, 0.3, 0.2])[1:] == (0, 64, Status.BELOW_RANGE)
    assert memorized_up_to(n, [1, 1, 1, 0.9])[1:] == (512, INF, Status.ABOVE_RANGE)  # .9 is not below 1 - eps


@pytest.mark.parametrize(
    ("f", "early", "known"),
    [
        ([0.02, 0.04, 0.1], False, (0, 1000, Status.BELOW_RANGE)),
        ([0, 0, 0.01], False, (2000, INF, Status.ABOVE_RANGE)),  # above eps, not at it
        ([0, 0, 0], True, (2000, INF, Status.CENSORED)),
        ([NAN, NAN, NAN], False, (0, INF, Status.MISSING)),
        ([0, NAN, 0.1], False, (1000, 2000, Status.INTERP)),
        ([0.02, 0, 0.1], True, (0, 1000, Status.BELOW_RANGE)),  # the first crossing, though f falls again
    ],
)
def test_every_status_is_an_interval(f, early, known):
    found = first_crossing(T, np.array(f), 0.01, ended_early=early)
    assert found[1:] == known and np.isnan(found.value) == (found.status != Status.INTERP)


def test_an_untrained_network_is_no_place_on_the_axis():
    """Images seen 0: a first crossing after it lies in (0, first evaluation]."""
    assert first_crossing(np.array([0, *T]), np.array([0, 0.5, 0.6, 0.7]), 0.01)[1:] == (0, 1000, Status.BELOW_RANGE)
    with pytest.raises(ValueError, match="two points at 1000"):
        first_crossing(np.array([1000, 1000]), np.zeros(2), 0.1)


def test_the_falling_curve_is_that_of_the_minimax_formula():
    """Barlow et al. 1972, falling: min over j <= i of the max over k >= i of the weighted mean of f_j … f_k."""
    made = np.random.default_rng(1)
    for _ in range(20):
        n, f, w = np.arange(1, 8), made.random(7), made.integers(1, 9, 7).astype(float)
        mean = [
            [np.average(f[j : k + 1], weights=w[j : k + 1]) if j <= k else None for k in range(7)] for j in range(7)
        ]
        known = [min(max(mean[j][k] for k in range(i, 7)) for j in range(i + 1)) for i in range(7)]
        np.testing.assert_allclose(falling(n, f, w)[1], known, atol=1e-12)


def test_equal_sizes_are_pooled_by_their_trials():
    n, f = falling([64, 64, 128], [0.9, 0.6, 0.1], [1, 2, 1])
    assert n.tolist() == [64, 128] and f[0] == pytest.approx(0.7)


def test_tau_gen_comes_within_two_standard_errors_of_the_minimum():
    """Threshold .5 + 2 .05 = .6, reached half way between 100 and 400 on the log axis."""
    t, loss = np.array([0, 100.0, 400, 1600, 6400]), np.array([1.1, 0.7, 0.5, 0.52, 0.9])
    found = tau_gen(t, loss, np.array([9, 9, 0.05, 9, 9]))
    assert found.value == pytest.approx(200) and found[1:] == (100, 400, Status.INTERP)
    assert tau_gen(t, loss, np.zeros(5)).value == pytest.approx(400)  # without noise it is the minimum itself
    assert t_over(t, loss) == (400, 100, 1600, Status.INTERP)


def test_a_loss_still_falling_has_no_onset_yet():
    t, loss, se = np.array([100.0, 400, 1600]), np.array([1, 0.7, 0.4]), np.full(3, 0.01)
    assert tau_gen(t, loss, se)[1:] == (400, INF, Status.ABOVE_RANGE)
    assert tau_gen(t, loss, se, ended_early=True).status == t_over(t, loss, ended_early=True).status == Status.CENSORED
    assert t_over(t, loss)[1:] == (400, INF, Status.ABOVE_RANGE)
    flat = np.array([1, 0.401, 0.4])  # lowest at the end by noise only: the fall was over before
    assert tau_gen(t, flat, se).status == Status.INTERP
    assert t_over(t, np.array([0.4, 0.5, 0.6]))[1:] == (0, 400, Status.BELOW_RANGE)


def test_a_run_s_row_says_what_was_memorized_before_overfitting():
    """t_over 1500: f .041 of 10,000 (Wilson), 32 of 64 images; window = 1068/tau_gen."""
    found = one(run("a", T, F, loss=[0.7, 0.5, 0.8], se=0.01))
    assert found["t_over"] == 1500 and found["f_before"] == pytest.approx(0.041)
    assert found["f_before_lo"] < 0.041 < found["f_before_hi"] and found["n_extracted_before"] == 32
    assert found["extracted_before"] == 0.5 and found["extracted_before_lo"] < 0.5
    assert found["window"] == pytest.approx(found["tau_mem"] / found["tau_gen"])
    assert found["window_lo"] == pytest.approx(1000 / 1500) and found["window_hi"] == pytest.approx(1.5)
    assert found["tau_mem_lo"] < 1068 < found["tau_mem_hi"] and found["weights"] == "ema 0.05"


def test_a_generalizer_never_memorizes():
    """The null: above_range, no value, no interval that ends; a run that stopped before its length is censored."""
    found = one(run("a", T, np.zeros(3), loss=[1, 0.5, 0.5]))
    assert found["tau_mem_status"] == "above_range" and np.isnan(found["tau_mem"]) and found["tau_mem_b"] == INF
    found = one(run("a", T, np.zeros(3), loss=[1, 0.5, 0.5], length=5000))
    assert found["tau_mem_status"] == "censored" and found["ended_early"]
    epochs = run("a", T, np.zeros(3)).assign(config=json.dumps({"train": {"epochs": 100}}), n_train=64)
    assert one(epochs)["tau_mem_status"] == "censored" and one(epochs)["tau_gen_status"] == "missing"
    unknown = one(run("a", T, np.zeros(3)).assign(config=None))
    assert unknown["ended_early"] is None and unknown["tau_mem_status"] == "above_range"


def test_decaying_runs_are_left_out_and_raw_weights_stay_apart():
    frame = pandas.concat([run("a1", T, F), run("b1", T, F, lr_schedule="cosine"), run("c1", T, F, ema=NAN)])
    found = onsets(frame, rng=rng())
    assert dict(zip(found["run_id"], found["weights"], strict=True)) == {"a1": "ema 0.05", "c1": "raw"}
    assert set(cell_onsets(frame, rng=rng())["weights"]) == {"raw", "ema 0.05"}


@pytest.mark.parametrize(("b", "eps"), [(256, 0.01), (256, 0.1), (1000, 0.01)])
def test_the_interval_of_a_run_covers_its_onset(b, eps):
    """Binomial counts along a known curve, 200 runs; the SE of the coverage is 1.5 %."""
    made, t = np.random.default_rng(b), np.array([100.0, 500, 1000, 1500, 2000, 3000])
    f = np.array([0, 0.001, 0.004, 0.041, 0.147, 0.3])
    truth, covered = first_crossing(t, f, eps).value, 0
    for _ in range(200):
        lo, hi = spread(t, redrawn(made.binomial(b, f), np.full(6, float(b)), 300, made), eps)
        covered += lo <= truth <= hi
    assert 0.90 <= covered / 200 <= 0.99


def test_draws_that_agree_show_no_spread():
    assert np.isnan(spread(T, np.tile(F, (50, 1)), 0.01)).all()


@pytest.mark.slow
def test_the_interval_of_a_cell_covers_where_runs_differ():
    """5 runs a cell, each with ln tau of sd .3 of its own: drawing samples alone would cover far less."""
    made, t = np.random.default_rng(3), np.geomspace(100, 6400, 25)
    curve = lambda shift: 0.5 / (1 + (1000 * np.exp(shift) / t) ** 3)  # noqa: E731
    wide = np.mean([curve(s) for s in made.normal(0, 0.3, 20_000)], axis=0)
    truth, covered, narrow = first_crossing(t, wide, 0.1).value, 0, 0
    for _ in range(150):
        runs = [run(f"a{k}", t, made.binomial(1000, curve(made.normal(0, 0.3))) / 1000, b=1000) for k in range(5)]
        frame = pandas.concat(runs, ignore_index=True)
        found = cell_onsets(frame, 0.1, draws=200, rng=made).iloc[0]
        covered += found["lo"] <= truth <= found["hi"]
        total = frame.groupby("images_seen")["n_memorized"].sum().to_numpy()
        lo, hi = spread(t, redrawn(total, np.full(25, 5000.0), 200, made), 0.1)
        narrow += lo <= truth <= hi
    assert found["n_runs"] == 5 and found["interval"] == "runs"
    assert 0.86 <= covered / 150 <= 0.995 and narrow / 150 < 0.7


def test_a_cell_adds_the_counts_of_its_runs():
    """f .02 and 0 of equal budgets: .01 at 1500; a run alone is redrawn by samples."""
    frame = pandas.concat([run("a1", T, [0, 0.02, 0.2]), run("a2", T, [0, 0, 0.2]), run("b1", T, F)])
    found = cell_onsets(frame, 0.005, rng=rng()).set_index("cell_id")
    assert found.loc["a", "tau_mem"] == pytest.approx(first_crossing(T, np.array([0, 0.01, 0.2]), 0.005).value)
    assert found.loc["a", ["n_runs", "interval"]].tolist() == [2, "runs"]
    assert found.loc["b", ["n_runs", "interval"]].tolist() == [1, "samples"]
    assert found.loc["b", "lo"] < found.loc["b", "tau_mem"] < found.loc["b", "hi"]


def test_strata_are_timed_in_exposures():
    """Half the chains back at the same exposures in both strata, so at images_seen in the ratio of their copies."""
    frame = pandas.DataFrame({"run_id": "a", "cell_id": "a", "n_train": 96, "copies": np.repeat([1, 4], 3)})
    exposures = np.array([100.0, 400, 1600, 100, 400, 1600])
    frame = frame.assign(exposures=exposures, n_basin=64, n_basin_recovered=[0, 0, 64, 0, 0, 64])
    found = stratum_onsets(frame, rng=rng()).set_index("copies")
    np.testing.assert_allclose(found["exposures"], 800)
    np.testing.assert_allclose(found["images_seen"], [800 * 96, 200 * 96])
    assert (found["lo"] < 800).all() and (found["hi"] > 800).all()
    assert set(stratum_onsets(frame.assign(n_basin=NAN, n_basin_recovered=NAN), rng=rng())["status"]) == {"missing"}


def study(slope: float, widths=(16,)) -> pandas.DataFrame:
    """f passes .01 at 2500 (n_unique/64)^slope (16/width), spread by 20 % between runs; 12 evaluations an octave."""
    t, rows = np.geomspace(100, 400_000, 144), []
    made = np.random.default_rng(2)
    for n in (32, 64, 128, 256):
        for width in widths:
            for k in range(4):
                tau = 2500 * (n / 64) ** slope * 16 / width * np.exp(0.2 * made.normal())
                rows.append(run(f"{n}{k}{width}", t, np.minimum(0.01 * (t / tau) ** 4, 1), b=10**8, n_unique=n,
                                width=width, params=1e4 * width))  # fmt: skip
    return pandas.concat(rows, ignore_index=True)


def test_planted_slopes_of_the_collapse_come_back():
    """tau_mem ~ n_unique/width: slopes 1 and -1; none planted: 0."""
    for slope in (1.0, 0.0):
        found = collapse(onsets(study(slope, widths=(8, 16, 32)), draws=20, rng=rng()), "tau_mem")
        assert [answer["law"] for answer in found] == ["lognormal", "weibull"]
        for answer in found:
            n, width = answer["params"]["n_unique"], answer["params"]["width"]
            assert answer["status"] == "ok" and answer["n"] == 48
            assert n["lo"] <= slope <= n["hi"] and width["lo"] <= -1 <= width["hi"]
            assert n["theory"] == 1 and (n["p_value"] > 0.01) == (slope == 1) and "theory" not in width


def test_batch_sizes_are_not_mixed_in_a_collapse():
    runs = onsets(study(1.0), draws=20, rng=rng())
    (found,) = collapse(runs.assign(batch_size=np.where(runs["n_unique"] > 64, 64, 32)), "tau_mem")
    assert "several batch_size" in found["message"] and "params" not in found


def test_capacities_of_a_table_are_those_of_its_curve():
    """K40 as a table: one row a clock, replicates pooled, runs of other lengths in the same curve."""
    f = {64: 1, 128: 0.98, 256: 0.86, 512: 0.4}
    runs = [run(f"{n}{k}", [0, 1000, 2000], [0, f[n], 1], n_unique=n, length=2000 + n) for n in f for k in range(2)]
    found = capacities(pandas.concat(runs, ignore_index=True), draws=100, rng=rng()).set_index("images_seen")
    assert found.index.tolist() == [1000, 2000] and found["n_sizes"].tolist() == [4, 4]
    assert found.loc[1000, "emm"] == pytest.approx(203.19, abs=0.01) and found.loc[1000, "interval"] == "runs"
    assert found.loc[2000, "emm_status"] == "above_range" and found.loc[2000, "n_star_status"] == "above_range"
    single = capacities(pandas.concat(runs[::2], ignore_index=True), draws=100, rng=rng()).set_index("images_seen")
    assert single.loc[1000, "interval"] == "samples"
    assert single.loc[1000, "emm_lo"] < 203.19 < single.loc[1000, "emm_hi"]
    assert capacities(pandas.concat(runs[:2]), rng=rng()).empty  # one size is no curve


def test_a_smaller_learning_rate_is_another_curve():
    runs = [run(f"{n}", [1000], [0.5], n_unique=n) for n in (64, 128)]
    slow = [r.assign(config=r["config"].map(_slower)) for r in runs]
    assert capacities(pandas.concat([runs[0], slow[1]]), draws=20, rng=rng()).empty
    assert len(capacities(pandas.concat([runs[0], runs[1]]), draws=20, rng=rng())) == 1


def _slower(config: str) -> str:
    read = json.loads(config)
    return json.dumps({**read, "train": {**read["train"], "lr": 1e-4}})


def test_the_command_prints_a_table_and_writes_all_of_it(tmp_path, capsys, runs_folder):
    out = tmp_path / "new" / "onset.json"
    assert main([str(runs_folder), "--eps", "0.05", "--draws", "40", "--out", str(out)]) == 0
    found, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert len(found["runs"]) == 16 and len(found["cells"]) >= 8 and len(found["strata"]) == 88
    assert {row["tau_mem_status"] for row in found["runs"]} >= {"interp", "above_range"}
    assert all((row["tau_mem"] is None) == (row["tau_mem_status"] != "interp") for row in found["runs"])
    assert {row["boundary"] for row in found["boundary"]} <= {"emm", "n_star"} and found["slopes"]
    for row in found["cells"]:
        assert row["cell_id"] in printed
    # More parameters memorize sooner in the fixture's truth.
    first = sorted((c["params"], c["tau_mem"]) for c in found["cells"] if c["n_unique"] == 256)
    assert all(a[1] > b[1] for a, b in pairwise(first) if a[0] < b[0])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--eps", "0"], "--eps 0: must lie"), (["--draws", "2"], "20 draws"), (["--level", "95"], "--level 95")],
)
def test_bad_requests_end_in_one_line(runs_folder, capsys, arguments, says):
    assert main([str(runs_folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_folder_that_is_none_ends_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("reached", [False, True])
def test_the_spread_is_that_of_the_crossings_one_by_one(reached):
    """Curves with points missing, beyond at once and never beyond; the ends by sorting the crossings themselves."""
    rng, x = np.random.default_rng(1), np.array([400.0, 0, 100, 200, 800])
    curves = rng.choice([0.0, 0.01, 0.02, 0.5], size=(301, 5), p=[0.6, 0.2, 0.1, 0.1])
    curves[rng.random(curves.shape) < 0.1] = np.nan
    found = np.sort([first_crossing(x, curve, 0.01, reached=reached).ordered for curve in curves])
    found = found[~np.isnan(found)]
    assert {0.0, np.inf} < set(found) and len(set(found)) > 10
    for coverage in (0.2, 0.6, 0.95):
        at = [int(np.ceil((1 + sign * coverage) / 2 * len(found))) - 1 for sign in (-1, 1)]
        assert spread(x, curves, 0.01, reached=reached, coverage=coverage) == tuple(found[at])
