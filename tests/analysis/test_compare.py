import json

import numpy as np
import pytest
from scipy.stats import binom

from analysis.compare import compared, main, named_laws
from analysis.fitting.estimate import fit
from analysis.fitting.held_out import folds, levels, paired
from analysis.laws import law


def counts(rng: np.random.Generator, *, interaction: float = 0.0, runs: int = 3) -> dict[str, np.ndarray]:
    p, r, run = (g.ravel() for g in np.meshgrid(10.0 ** np.arange(3, 7), 2.0 ** np.arange(6), np.arange(runs)))
    logit = -9 + 0.5 * np.log(p) + 0.8 * np.log(r) + interaction * np.log(p / 3e4) * np.log(r / 5)
    f = 1 / (1 + np.exp(-logit))
    return {"p": p, "r": r, "run": run * 10 + np.log10(p), "trials": np.full(len(p), 400.0),
            "y": rng.binomial(400, f).astype(float)}  # fmt: skip


def ask(data: dict, *specs: str, **options):
    x = {name: data[name] for name in ("p", "r")}
    return compared(named_laws(specs, list(x)), x, data["y"], data["trials"], cluster=data["run"], starts=8, **options)


def test_the_law_of_the_simulation_is_chosen():
    data = counts(np.random.default_rng(0), interaction=0.15)
    found = ask(data, "logistic", "logistic:p*r", "logistic@r")
    assert found.chosen == "logistic:p*r" and found.criterion == "-log_density"
    rows = {row.law: row for row in found.rows}
    assert rows["logistic:p*r"].delta_aicc == 0 and rows["logistic@r"].delta_aicc > 100
    assert rows["logistic"].extrapolation.lo > 0 and rows["logistic:p*r"].extrapolation.best
    assert [row.free for row in found.rows] == [3, 4, 2]


def test_laws_that_predict_alike_cannot_be_told_apart():
    """Null: the interaction is 0; and two names of one law, whose difference is 0 to the bit."""
    data = counts(np.random.default_rng(1))
    found = ask(data, "logistic", "logistic:p*r")
    assert found.chosen is None and found.why.startswith("cannot tell")
    one = law("logistic", ("p", "r"))
    x = {name: data[name] for name in ("p", "r")}
    twin = compared({"a": one, "b": one}, x, data["y"], data["trials"], cluster=data["run"], starts=8)
    assert twin.chosen is None and twin.rows[1].extrapolation.difference == 0


def test_scores_are_those_of_fits_made_by_hand():
    """Largest p out, then largest r out: errors of two fits, put together."""
    data = counts(np.random.default_rng(2))
    found = ask(data, "logistic", "logistic@r").rows[0]
    squared, density = [], []
    for name in ("p", "r"):
        out = data[name] == data[name].max()
        part = {key: values[~out] for key, values in data.items()}
        result = fit(law("logistic", ("p", "r")), part, part["y"], trials=part["trials"])
        f = result.predict({key: values[out] for key, values in data.items()})
        squared.append((f - data["y"][out] / 400) ** 2)
        density.append(
            binom.logpmf(data["y"][out], 400, f) if result.overdispersion < 1e-5 else np.full(out.sum(), np.nan)
        )
    squared, density = np.concatenate(squared), np.concatenate(density)
    assert found.extrapolation.n == len(squared)
    assert found.extrapolation.rmse == pytest.approx(np.sqrt(squared.mean()), rel=1e-4)
    if np.isfinite(density).all():
        assert found.extrapolation.log_density == pytest.approx(density.mean(), rel=1e-3)
    assert found.leave_one_scale_out.n == 2 * len(data["y"])


def test_named_rows_are_held_out_instead():
    data = counts(np.random.default_rng(3))
    found = ask(data, "logistic", "logistic@r", held_out=data["p"] >= 1e5)
    assert found.rows[0].extrapolation.n == (data["p"] >= 1e5).sum() and found.chosen == "logistic"
    with pytest.raises(ValueError, match="no complete row is held out"):
        ask(data, "logistic", "logistic@r", held_out=data["p"] > 1e9)


def test_extrapolation_chooses_where_the_fit_inside_does_not():
    """A straight line in ln x against a power law with floor, noise-free truth: only the latter keeps the floor."""
    x = np.geomspace(1, 1e4, 30)
    y = (0.5 + 2 * x**-0.4) * np.exp(0.01 * np.random.default_rng(4).normal(size=30))
    laws = {"power": law("power", ("x",)), "power_offset": law("power_offset", ("x",))}
    found = compared(laws, {"x": x}, y, loss="lsq_log", starts=8)
    assert found.chosen == "power_offset" and found.criterion == "rmse_log" and "no cluster" in found.message
    score = found.rows[1].extrapolation
    assert score.n == 3 and score.log_density is None and score.rmse_log < 0.03


def test_levels_are_values_where_few_and_tenths_where_many():
    assert levels(np.array([5.0, 1, 5, 2])).tolist() == [2, 0, 2, 1]
    found = levels(np.arange(1000.0))
    assert np.bincount(found).tolist() == [100] * 10 and np.all(np.diff(found) >= 0)


def test_a_variable_of_two_levels_is_not_held_out():
    largest, every, said = folds({"a": np.array([1.0, 2, 1, 2]), "b": np.array([1.0, 2, 3, 3])})
    assert [name for name, _ in largest] == ["b, the largest"] and len(every) == 3
    assert largest[0][1].tolist() == [False, False, True, True] and "a has 2 levels" in said[0]


def test_the_paired_error_is_that_of_cluster_means():
    """Clusters of one size: Student's interval of their means, by hand."""
    apart = np.random.default_rng(5).normal(size=(6, 4)) + np.arange(6)[:, None]
    found = paired(apart.ravel(), np.repeat(np.arange(6), 4), 0.95)
    se = apart.mean(1).std(ddof=1) / np.sqrt(6)
    assert found["difference_se"] == pytest.approx(se) and found["hi"] - found["lo"] == pytest.approx(2 * 2.570582 * se)


def test_missing_rows_are_left_out_for_every_law():
    data = counts(np.random.default_rng(6))
    data["p"][:3] = np.nan
    found = ask(data, "logistic", "logistic@r")
    assert {row.n for row in found.rows} == {len(data["p"]) - 3} and "3 of 72 rows lack a value" in found.message


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        (["logistic"], "takes two laws"),
        (["logistic", "logistic"], "given twice"),
        (["logistic", "chinchilla"], "needs the variables N, D; the table's are named p, r"),
        (["logistic", "logistic@q"], "needs the variables q"),
        (["logistic", "logistik"], "did you mean logistic"),
    ],
)
def test_laws_that_do_not_fit_the_table_are_refused(specs, says):
    with pytest.raises(ValueError, match=says):
        named_laws(specs, ["p", "r"])


def test_a_law_of_fixed_variables_stands_beside_others():
    found = named_laws(["power", "log_linear@x,z", "log_linear"], ["x", "z", "w"])
    assert [one.variables for one in found.values()] == [("x",), ("x", "z"), ("x", "z", "w")]


def written(folder) -> str:
    data = counts(np.random.default_rng(0), interaction=0.15)
    rows = np.column_stack([data[name] for name in ("p", "r", "run", "y", "trials")])
    np.savetxt(folder / "t.csv", rows, delimiter=",", header="params,copies,run,hits,n", comments="")
    return str(folder / "t.csv")


def test_the_command_writes_json(tmp_path):
    out = tmp_path / "c.json"
    arguments = ["--law", "logistic", "--law", "logistic:p*r", "--x", "p=params", "--x", "r=copies", "--y", "hits"]
    assert main([written(tmp_path), *arguments, "--trials", "n", "--cluster", "run", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["chosen"] == "logistic:p*r" and set(found) == {"rows", "chosen", "why", "criterion", "message"}
    wanted = {"law", "n", "free", "aicc", "delta_aicc", "extrapolation", "leave_one_scale_out", "status"}
    assert set(found["rows"][0]) == wanted and found["rows"][1]["extrapolation"]["best"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--y", "hit", "--trials", "n"], "did you mean hits"),
        (["--y", "hits", "--trials", "n", "--where", "params>1e9"], "no row left"),
        (["--y", "hits", "--trials", "n", "--x", "p=copies"], "each name once"),
        (["--y", "hits", "--trials", "n", "--holdout", "params>1"], "every complete row is held out"),
        (["--y", "n", "--trials", "hits"], "between 0 and its trials"),
    ],
)
def test_bad_requests_end_in_one_line(tmp_path, capsys, more, says):
    given = ["--law", "logistic", "--law", "logistic@p", "--x", "p=params", "--x", "r=copies"]
    assert main([written(tmp_path), *given, *more]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
