"""Reports of studies that are unfinished, mixed, hostile, huge or nearly empty: a whole page that says so."""

import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pandas
import pytest

from analysis.pages import page as pages
from analysis.pages import runs as shown_runs
from analysis.pages.runs import MOST_RUNS
from analysis.report import main
from scaling import schema
from tests.analysis.conftest import write_runs
from tests.analysis.test_report import HOSTILE, Reader

FEW = ["--bootstrap", "10"]


class Page(Reader):
    """A written report: its elements, and what its script knows."""

    def __init__(self, folder: Path) -> None:
        self.html = (folder / "report.html").read_text()
        super().__init__(self.html)
        (found,) = re.findall(r'<script type="application/json" id="study">(.*?)</script>', self.html, re.S)
        self.study = json.loads(found)
        self.ids = [value for _, name, value in self.attributes if name == "id"]
        self.links = {value[1:] for _, name, value in self.attributes if name == "href" and value.startswith("#")}
        self.marked = {one for _, name, value in self.attributes if name == "data-runs" for one in value.split()}


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / schema.RECORDS).read_text().splitlines()]


def rewritten(folder: Path, rows: list[dict]) -> None:
    (folder / schema.RECORDS).write_text("".join(json.dumps(row) + "\n" for row in rows))


# -- a study with much wrong with it ------------------------------------------------------------------------------

SHORT = 2  # runs of the first data set that stand before their end
TEXTS = [column.name for column in schema.EVALS if column.type is str and column.name not in {"config", "run_id"}]


@pytest.fixture(scope="module")
def troubled(tmp_path_factory) -> tuple[Path, Path]:
    """Two data sets: `digits`, of which two runs still train and one lost its configuration and its samples; and one
    with hostile text wherever text can stand, where nothing is memorized."""
    folder = tmp_path_factory.mktemp("troubled")
    runs = write_runs(folder / "runs", seeds=2, levels=(4,), widths=(2743, 40489, 159697))
    found = sorted(runs.iterdir(), key=lambda run: records(run)[0]["evals"]["params"])
    for run in found[:4]:
        rows = records(run)
        for row in rows:
            config = json.loads(row["evals"]["config"]) | {"train": {"images": 128_000}}
            row["evals"]["config"] = json.dumps(config)
        rewritten(run, rows)
    for run in found[:SHORT]:
        rewritten(run, records(run)[:-1])
    for run in found[4:]:
        rows = records(run)
        for row in rows:
            identity = dict.fromkeys(TEXTS, HOSTILE) | {"run_id": f"{HOSTILE}{run.name}"}
            row["evals"] |= identity | {"config": json.dumps({HOSTILE: {"a.b": HOSTILE}, "seed": run.name})}
            for part in (row["evals"], *row["strata"]):
                part |= dict.fromkeys(part.keys() & {"n_memorized", "n_basin_recovered", "n_hits", "n_extracted"}, 0)
                part["run_id"], part["cell_id"] = identity["run_id"], HOSTILE
                part |= {name: HOSTILE for name in TEXTS if name in part}
        rewritten(run, rows)
    lost = found[3]
    rows = records(lost)
    for row in rows:
        row["evals"]["config"] = None
    rewritten(lost, rows)
    (lost / "samples.npz").unlink()
    out = folder / "out"
    assert main([str(runs), "--out", str(out), *FEW]) == 0
    return runs, out


@pytest.fixture(scope="module")
def shown(troubled) -> Page:
    return Page(troubled[1])


def test_identifiers_are_unique_and_every_link_leads_somewhere(shown):
    assert len(shown.ids) == len(set(shown.ids))
    assert shown.links <= set(shown.ids)


def test_hostile_text_stands_in_the_page_as_text(shown):
    assert HOSTILE in shown.text
    assert HOSTILE not in shown.html and shown.html.count("<script") == 2 and shown.html.count("</script") == 2
    assert not [name for _, name, _ in shown.attributes if name.startswith("on")]
    assert sum(HOSTILE in run["name"] for run in shown.study["runs"].values()) == 2


def test_runs_still_training_are_counted_and_named_once(troubled, shown):
    runs = sorted(troubled[0].iterdir(), key=lambda run: records(run)[0]["evals"]["params"])
    (said,) = re.findall(r"\d+ of \d+ runs did not reach the end[^<]*", shown.html)
    assert said.startswith(f"{SHORT} of 4 runs")
    assert set(re.findall(r"[0-9a-f]{12}", said)) == {run.name for run in runs[:SHORT]}


def test_no_fit_pools_two_data_sets_and_the_json_says_which_is_which(troubled, shown):
    fits = json.loads((troubled[1] / "fits.json").read_text())
    of = {(found["dataset"], found["name"]): found for found in fits}
    assert of["digits", "recovery"]["n"] == 4 * 4  # four strata of four runs
    assert HOSTILE not in {dataset for dataset, _ in of} or of[HOSTILE, "recovery"]["n"] == 2 * 4
    for name in ("answers", "verdicts"):
        found = json.loads((troubled[1] / f"{name}.json").read_text())
        assert {one["dataset"] for one in found} == {"digits", HOSTILE}
    text = shown.html.split('<h1 class="part"')
    assert len(text) == 3
    parts = {("digits" if ">digits<" in part[:80] else "other"): part for part in text[1:]}
    assert "4 runs in 2 cells on digits" in parts["digits"] and "2 runs in 1 cell on" in parts["other"]
    names = {run["name"] for run in shown.study["runs"].values() if HOSTILE not in run["name"]}
    assert all(name in parts["digits"] and name not in parts["other"].split("</main>")[0] for name in names)


def test_no_figure_pools_two_data_sets(troubled):
    """Every figure has the name of its data set before its own; sizes of the other never stand in its numbers."""
    figures = troubled[1] / "figures"
    names = {path.stem for path in figures.glob("*.png")}
    assert all(re.match(r"(digits-[01]|[a-z0-9_]+-[01])-[a-z_]+", name) for name in names)
    assert len({name.split("-")[0] for name in names}) == 2
    looked = 0
    for path in figures.glob("*.csv"):
        frame = pandas.read_csv(path)
        if "params" in frame:
            least, most = (2743, 40489) if path.stem.startswith("digits-") else (159697, 159697)  # curves lie between
            assert frame["params"].dropna().round().between(least, most).all(), path.stem
            looked += 1
    assert looked > 4


def test_a_run_that_lost_configuration_and_samples_says_so_in_its_panel(troubled, shown):
    lost = sorted(troubled[0].iterdir(), key=lambda run: records(run)[0]["evals"]["params"])[3].name
    panel = shown.study["runs"][pages.anchor(lost)]
    assert panel["differs"] is None and panel["images"] is None and panel["evaluations"]
    others = [run for run in shown.study["runs"].values() if run["name"] != lost]
    assert all(run["differs"] is not None and run["images"] for run in others)


# -- nearly nothing -----------------------------------------------------------------------------------------------


def test_a_folder_with_evals_alone_is_reported_and_says_what_it_lacks(tmp_path):
    """Three columns and no file beside evals.csv: no figure has anything to draw, and each says why."""
    frame = pandas.DataFrame({"run_id": ["a", "b"], "images_seen": [100, 100], "params": [1000, 2000]})
    frame.to_csv(tmp_path / "evals.csv", index=False)
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), *FEW]) == 0
    found = Page(tmp_path / "out")
    assert "2 runs on unnamed data" in found.text and "No gallery" in found.text
    assert "Not measured in these runs: memorized samples" in found.text
    assert found.text.count("No figure") > 3 and "nan" not in found.text.lower().split()
    assert {one["name"] for one in found.study["runs"].values()} == {"a", "b"}


def test_one_evaluation_of_one_run_is_reported(make_runs, tmp_path):
    """The untrained model alone: a study in its first minute."""
    runs = make_runs(seeds=1, levels=(3,), widths=(2743,), clock=(0,))
    assert main([str(runs), "--out", str(tmp_path / "out"), *FEW]) == 0
    found = Page(tmp_path / "out")
    assert "1 run in 1 cell on digits, 1 evaluation" in found.text and len(found.study["runs"]) == 1


# -- very much ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_leads_to_a_run_leads_to_one_that_is_written_out(make_runs, tmp_path, monkeypatch):
    """Six runs of three sizes, of which four have a part on the page: the points of the others say that theirs is not
    there, no table has a row of theirs, and each cell leads to a run of its own."""
    monkeypatch.setattr(shown_runs, "MOST_RUNS", 4)
    runs = make_runs(seeds=2, levels=(3,), widths=(2743, 40489, 159697))
    assert main([str(runs), "--out", str(tmp_path / "out"), *FEW]) == 0
    found = Page(tmp_path / "out")
    assert len(found.study["runs"]) == 4
    lost = {run.name for run in runs.iterdir()} - {run["name"] for run in found.study["runs"].values()}
    assert len(lost) == 2 and not lost & {link.removeprefix("run-") for link in found.links | found.marked}
    assert found.links <= set(found.ids) and found.marked <= set(found.study["runs"])
    assert "; its part of the page was left out" in found.html
    assert "; 1 of its 2 runs has a part on the page" in found.html
    assert "stand here, 4 of 6" in found.html and "only 4 of the 6 runs" in found.text
    (cells,) = re.findall(r'data-name="cells">.*?</table>', found.html, re.S)
    first = {records(run)[0]["evals"]["run_id"]: records(run)[0]["evals"]["cell_id"] for run in runs.iterdir()}
    led = dict(re.findall(r'<td><a href="#run-(\w+)">(\w+)</a>', cells))
    assert led and all(first[run] == cell for run, cell in led.items())


@pytest.mark.slow
def test_five_thousand_runs_are_thinned_to_a_page_of_eight_megabytes(tmp_path):
    """Ten sizes x five amounts of data x 100 seeds: a row and a panel for 1,000, said so; the fit rests on all."""
    rng, rows = np.random.default_rng(0), []
    for k, (p, n, s) in enumerate(product(1000 * 2 ** np.arange(10), 64 * 2 ** np.arange(5), range(100))):
        f = 1 / (1 + np.exp(8 - 0.8 * np.log(p) + 0.5 * np.log(n) - 0.2 * rng.standard_normal()))
        rows.append({
            "run_id": f"run{k:05d}", "cell_id": f"{p}-{n}", "seed": s, "images_seen": 64_000, "params": p,
            "n_unique": n, "n_generated": 256, "n_memorized": rng.binomial(256, f), "holdout_loss": 0.5,
            "config": json.dumps({"seed": s, "model": {"width": int(p)}, "data": {"n_unique": int(n)}}),
        })  # fmt: skip
    pandas.DataFrame(rows).to_parquet(tmp_path / "evals.parquet")
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), *FEW]) == 0
    assert (tmp_path / "out" / "report.html").stat().st_size < 8e6
    found = Page(tmp_path / "out")
    assert "only 1\u202f000 of the 5\u202f000 runs, evenly spaced in order of size" in found.text
    assert len(found.study["runs"]) == MOST_RUNS
    assert found.links <= set(found.ids) and found.marked <= set(found.study["runs"])
    assert "The first 200 of 5000 configurations" in found.text
    assert {"run-run00000", "run-run04999"} <= set(found.study["runs"])
    (fit,) = json.loads((tmp_path / "out" / "fits.json").read_text())
    assert fit["n"] == 5000
    assert abs(fit["params"]["b_params"]["value"] - 0.8) < 0.05
