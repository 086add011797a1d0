"""A sweep before and while it runs: what is left, in which order, within which budget, and what finished runs teach."""

import json
from pathlib import Path

import pytest

from scaling.config import ConfigError
from scaling.forecasts.calibration import Calibration, calibrate
from scaling.forecasts.cost_model import Seconds
from scaling.forecasts.disk import run_disk, sweep_disk
from scaling.forecasts.run_work import run_work
from scaling.forecasts.server_core import START_SECONDS
from scaling.identity import cell_id, run_id
from scaling.sweep.__main__ import main
from scaling.sweep.agenda import Agenda
from scaling.sweep.grid import Cell
from scaling.sweep.named_first import named_first, plan_words, read_rows
from scaling.sweep.plan import Outlook, plan_cells
from scaling.sweep.queue import Event, Queue
from tests.scaling.forecasts.runs import KNOWN, configured, finish


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def cell(config):
    return Cell(config, run_id(config), f"model.width={config.model.width} seed={config.seed}")


def grid(out, widths=(4, 8, 16), seeds=(0, 1), **more):
    return [cell(configured(out, width=width, seed=seed, **more)) for width in widths for seed in seeds]


def seconds_of(one, costs):
    return one.forecast.work.total() @ costs


def test_finished_runs_speak_for_those_to_come(tmp_path):
    """Done: what it took. A replicate of it: the same. A new size: by the model, on a machine three times as slow."""
    cells, costs = grid(tmp_path), 3 * KNOWN
    for at in (0, 2, 3):
        finish(cells[at].config, costs)
    planned = plan_cells(cells)
    assert [one.state for one in planned] == ["done", "pending", "done", "done", "pending", "pending"]
    assert planned[0].seconds == planned[0].seconds_hi == pytest.approx(seconds_of(planned[0], costs))
    assert planned[1].seconds == pytest.approx(seconds_of(planned[0], costs) + START_SECONDS)
    new = planned[4]
    assert new.seconds == pytest.approx(seconds_of(new, costs) + START_SECONDS, rel=0.1)
    assert new.seconds_lo < seconds_of(new, costs) < new.seconds_hi < 1.6 * new.seconds


def test_an_interrupted_run_needs_what_is_left_of_it(tmp_path):
    (one,) = plan_cells(grid(tmp_path, (8,), (0,)))
    finish(one.cell.config, state="interrupted", images_seen=one.forecast.work.images * 3 // 4)
    (half,) = plan_cells([one.cell], Calibration.of([]))
    assert half.state == "interrupted" and half.share == pytest.approx(0.25, abs=0.01)
    assert half.seconds == pytest.approx(half.share * one.seconds)


def test_runs_of_one_training_are_trained_once(tmp_path):
    """Pruned weights are measured from the whole run's; a run that is measured at more points trains by itself."""
    whole = cell(configured(tmp_path, evaluate={"at": [6400]}))
    pruned = cell(configured(tmp_path, model={"width": 8, "prune": 0.5}, evaluate={"at": [6400]}))
    denser = cell(configured(tmp_path, model={"width": 8, "prune": 0.25}, evaluate={"at": [3200, 6400]}))
    assert [one.trains for one in plan_cells([pruned, whole])] == [True, False]
    assert [one.trains for one in plan_cells([whole, denser])] == [False, True]
    finish(whole.config)
    planned = plan_cells([pruned, denser, whole], Calibration.of([]))
    assert [one.trains for one in planned] == [False, True, True]
    assert planned[0].seconds == pytest.approx(run_work(pruned.config).total(trains=False) @ KNOWN + START_SECONDS)


def test_the_outlook_adds_up(tmp_path):
    planned = plan_cells(grid(tmp_path, (8,), (0, 1, 2)))
    found, one = Outlook.of(planned, 2), planned[0]
    assert found.seconds == Seconds(2 * one.seconds, 2 * one.seconds_lo, 2 * one.seconds_hi)
    assert found.train_flops == 3 * one.forecast.work.train_flops
    assert found.disk == sweep_disk([run_disk(one.cell.config, one.forecast.work)] * 3, 2)
    assert Outlook.of([], 2).time == "about 0:00 (0:00 to 0:00)"


def test_without_a_budget_the_longest_go_first(tmp_path):
    planned = plan_cells(grid(tmp_path))
    found = Agenda.of(planned, Calibration.of([]), 2)
    assert [one.cell.config.model.width for one in found.cells] == [16, 16, 8, 8, 4, 4]
    assert not found.ranked and found.later == [] and {job.rank for job in found.make_jobs()} == {0}


def test_within_a_budget_nothing_ends_later_and_no_worker_idles(tmp_path):
    """Replayed by hand: every worker takes the first cell of the order that it can end in time."""
    planned = plan_cells(grid(tmp_path, (2, 4, 8, 16, 24), (0, 1, 2)))
    budget = sum(one.seconds for one in planned) / 4
    found = Agenda.of(planned, Calibration.of([]), 2, budget)
    clocks, waiting = [0.0, 0.0], list(found.cells)
    while fitting := [one for one in waiting if min(clocks) + one.seconds <= budget]:
        waiting.remove(fitting[0])
        clocks[clocks.index(min(clocks))] += fitting[0].seconds
    assert max(clocks) <= budget and {id(one) for one in found.later} == {id(one) for one in waiting}
    assert 0 < len(found.later) < len(planned) and len(found.now) + len(found.later) == len(planned)
    assert len({one.cell.config.model.width for one in found.now}) == 5  # the file's first half has 3
    line = found.forecast(2, tmp_path)[1]
    assert (
        line.startswith(f"within {budget / 3600:g} hours: {len(found.now)} cells")
        and f"{len(waiting)} are left" in line
    )


def test_ranks_are_the_order_of_the_queue(tmp_path):
    found = Agenda.of(plan_cells(grid(tmp_path)), Calibration.of([]), 1, 1e6)
    jobs = found.make_jobs()
    queue = Queue(jobs[::-1], print, 1e6)
    assert [job.cell for job in queue.pending] == [one.cell for one in found.cells]
    one = found.cells[0]
    assert (jobs[0].seconds, jobs[0].flops, jobs[0].disk) == (
        one.seconds,
        one.forecast.work.train_flops,
        one.forecast.disk.kept,
    )


def test_a_finished_run_corrects_the_forecast_of_the_others(tmp_path):
    """The machine turns out to be four times as slow: after one run of a size, the other sizes are known roughly."""
    cells, costs = grid(tmp_path), 4 * KNOWN
    found = Agenda.of(plan_cells(cells), calibrate(tmp_path, cells[0].config.runtime), 1)
    jobs = {job.cell.run_id: job for job in found.make_jobs()}
    last = jobs[cells[-1].run_id]
    before = last.seconds
    finish(cells[0].config, costs)
    found.learn(Event("failed", jobs[cells[1].run_id], "too odd"))
    found.learn(Event("interrupted", None, ""))
    assert last.seconds == before
    found.learn(Event("done", jobs[cells[0].run_id], ""))
    truth = {run_id: run_work(job.cell.config).total() @ costs for run_id, job in jobs.items()}
    assert jobs[cells[1].run_id].seconds == pytest.approx(truth[cells[0].run_id] + START_SECONDS)
    assert 2 * before < last.seconds < 5 * before
    for at in (2, 4):
        finish(cells[at].config, costs)
        found.learn(Event("done", jobs[cells[at].run_id], ""))
    assert last.seconds == pytest.approx(truth[cells[-1].run_id] + START_SECONDS, rel=1e-6)
    found.keep()
    assert len(calibrate(tmp_path / "new", cells[0].config.runtime).runs) == 3


# -- --first -----------------------------------------------------------------------------------------------------------


def written(folder, content):
    path = folder / "next.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_cells_are_named_by_what_the_answer_says_of_them(tmp_path):
    """Rows as analysis.ask writes them (its own numbers: 10405.0), by run_id, and by configuration keys."""
    cells = grid(tmp_path / "runs")
    finish(cells[2].config)
    planned = plan_cells(cells)
    rows = [
        {"params": 40489.0, "images_seen": 20_032.0, "plan": "n_unique 128, copies 1", "shrinkage": 0.1},
        {"params": 10405.0, "images_seen": 20_032.0, "plan": "n_unique 256, copies 1", "shrinkage": 0.1},
        {"run_id": cells[5].run_id},
        {"model.width": 4},
    ]
    order, notes = named_first(written(tmp_path, {"question": "next", "answerable": True, "rows": rows}), planned)
    assert order == [3, 5, 0, 1]  # one of each row, then its other seeds; what is done is not run again
    assert "4 cells go first, named by 3 of 4 rows" in notes[0]
    assert notes[1].endswith("no cell of this sweep: params=10405.0 images_seen=20032.0 plan=n_unique 256, copies 1")
    agenda = Agenda.of(planned, Calibration.of([]), 2, first=written(tmp_path, rows))
    assert [one.cell.run_id for one in agenda.cells[:4]] == [cells[at].run_id for at in order]
    assert agenda.ranked and len(agenda.cells) == 5


def test_plans_are_worded_as_the_question_words_them(tmp_path):
    """Oracle: analysis.questions.next_cell on the rows of such a run."""
    from analysis.questions.next_cell import _plan_words

    spectrum = {"n_unique": 120, "duplication": {"design": "spectrum", "levels": 4}}
    (one,) = plan_cells([cell(configured(tmp_path, data=spectrum))])
    assert (
        plan_words(one) == _plan_words([(float(r), 120.0, 30.0) for r in (1, 2, 4, 8)]) == "n_unique 120, copies 1 to 8"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "next.json: "),
        ("[]", "no rows; give what `python -m analysis.ask TABLES next"),
        ({"rows": 3}, "no rows"),
        ([[1]], "no rows"),
        ([{"run_id": "a"}, {"shrinkage": 1}], "row 2 names no cell; use run_id, params"),
        ({"answerable": False, "why": "too few runs", "rows": []}, "it names no cells: too few runs"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_names_nothing_is_refused_in_one_line(tmp_path, content, says):
    with pytest.raises(ConfigError, match="--first") as error:
        read_rows(written(tmp_path, content))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_cells_are_the_same_whoever_asks(tmp_path):
    """The replicates of a cell share a forecast, so a fold must not: it trains on other images."""
    whole = cell(configured(tmp_path))
    half = cell(configured(tmp_path, data={"n_unique": 128, "fold": {"index": 0}}))
    assert cell_id(whole.config) == cell_id(half.config)
    assert [one.forecast.work.n_unique for one in plan_cells([whole, half])] == [128, 64]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_will_cost_and_what_a_budget_leaves(sweep):
    made = sweep(3)
    (made.folder / "next.json").write_text('[{"seed": 2}, {"seed": 7}]')
    code, said = made.run("--dry-run", "--budget-hours=1", "--first=next.json")
    lines = said.splitlines()
    assert code == 0 and "1 cells go first, named by 1 of 2 rows" in said and "no cell of this sweep: seed=7" in said
    assert [line.split("seed=")[1][0] for line in lines if "pending" in line] == ["2", "0", "1"]
    assert "with 2 workers, by the speed of a plain CPU core: no run of this machine is finished yet" in said
    assert "3 cells: 0 done, 3 to run; " in said and "TFLOP of training" in said and " are free in runs" in said
    code, said = made.run("--budget-hours=1e-5")
    assert code == 0 and made.trained() == []
    assert "--budget-hours=1e-05 leaves 3 cells" in said and "the same command goes on with them" in said


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "soon"])
def test_a_budget_is_a_number_of_hours(hours, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["sweep.yaml", f"--budget-hours={hours}"])
    assert f"argument --budget-hours: {hours}: a number of hours above 0, as 1.5\n" in capsys.readouterr().err


def test_a_file_that_is_not_there_ends_with_2_and_one_line(tmp_path, capsys):
    sweep = Path(__file__).parents[3] / "sweeps" / "quickstart.yaml"
    assert main([str(sweep), "--dry-run", f"--runtime.out={tmp_path}", "--first=/no/next.json"]) == 2
    said = "scaling.sweep: --first /no/next.json: cannot be read (No such file or directory)\n"
    assert capsys.readouterr().err == said
