"""`--watch` in a process of its own: it follows a folder of runs through all that happens to one while a study runs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.report import REFRESH, _state
from scaling import schema

PATIENCE = 120  # seconds; a rendering takes two or three on an idle machine


def record(run: str, images_seen: int, hits: int) -> str:
    row = {"schema_version": schema.SCHEMA_VERSION, "run_id": run, "images_seen": images_seen, "params": 1000,
           "n_generated": 64, "n_memorized": hits}  # fmt: skip
    return json.dumps({"evals": row, "strata": [], "noise_levels": [], "prompts": []}) + "\n"


def add_run(runs: Path, run: str, *rows: tuple[int, int]) -> None:
    (runs / run).mkdir(parents=True, exist_ok=True)
    with open(runs / run / schema.RECORDS, "a") as file:
        file.writelines(record(run, *row) for row in rows)


class Watcher:
    """A running `--watch`, what it says, and what somebody sees who reads its page again and again."""

    def __init__(self, runs: Path, out: Path) -> None:
        self.page, self.log = out / "report.html", out.with_suffix(".log")
        words = ["--out", str(out), "--watch", "--every", "0.2", "--bootstrap", "5"]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "analysis.report", str(runs), *words], stdout=log, stderr=log
            )
        self.seen, self.torn, self._end = 0, [], threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while not self._end.wait(0.002):
            if self.page.exists():
                text = self.page.read_text()
                self.seen += 1
                if not (text.startswith("<!doctype html>") and text.endswith("</html>\n")):
                    self.torn.append(len(text))

    def wait(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert self.process.poll() is None, f"it ended: {self.log.read_text()}"
            assert time.monotonic() < end, f"{what}: not within {PATIENCE} s; {self.log.read_text()}"
            time.sleep(0.05)

    def shows(self, *said: str) -> Callable[[], bool]:
        return lambda: self.page.exists() and all(word in self.page.read_text() for word in said)

    def close(self) -> None:
        self._end.set()
        self._reader.join()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def watcher(tmp_path) -> Iterator[Watcher]:
    (tmp_path / "runs").mkdir()
    made = Watcher(tmp_path / "runs", tmp_path / "out")
    yield made
    made.close()


@pytest.mark.slow
def test_a_page_follows_a_study_from_before_its_first_record_to_an_interrupt(watcher, tmp_path):
    runs = tmp_path / "runs"
    watcher.wait(lambda: "looking again every 0.2 s" in watcher.log.read_text(), "no record yet")
    assert not watcher.page.exists()

    add_run(runs, "first", (0, 0), (1000, 5))
    watcher.wait(watcher.shows("1 run on", "2 evaluations", f'content="{REFRESH}"'), "the first run")

    with open(runs / "first" / schema.RECORDS, "a") as file:  # the writer was killed inside its third line
        file.write(record("first", 2000, 9)[:40])
    said = watcher.log.read_text().count("report: ")
    watcher.wait(lambda: watcher.log.read_text().count("report: ") > said, "a torn line")
    assert watcher.shows("2 evaluations")()

    os.rename(runs, tmp_path / "away")  # the folder is gone for a moment
    refused = watcher.log.read_text().count("looking again")
    watcher.wait(lambda: watcher.log.read_text().count("looking again") > refused, "no folder")
    assert watcher.shows("2 evaluations")()  # the last page stays

    add_run(tmp_path / "away", "second", (0, 0), (1000, 64))
    os.rename(tmp_path / "away", runs)
    watcher.wait(watcher.shows("2 runs on", "4 evaluations", "run-second"), "the second run")

    watcher.process.send_signal(signal.SIGINT)
    assert watcher.process.wait(PATIENCE) == 130
    assert "Traceback" not in watcher.log.read_text()
    assert watcher.seen > 100 and watcher.torn == []


@pytest.mark.slow
def test_an_interrupt_while_a_page_is_drawn_leaves_no_traceback(watcher, tmp_path):
    add_run(tmp_path / "runs", "first", *((1000 * k, k) for k in range(30)))
    watcher.wait((tmp_path / "out" / "figures").exists, "the first figure's folder")
    watcher.process.send_signal(signal.SIGINT)
    assert watcher.process.wait(PATIENCE) == 130
    assert "Traceback" not in watcher.log.read_text() and watcher.torn == []


def test_a_file_that_vanishes_between_two_looks_is_no_error(tmp_path):
    """A folder being collected: names are listed, then replaced before they are looked at."""
    add_run(tmp_path, "a", (0, 0))
    (tmp_path / "evals.csv").symlink_to(tmp_path / "nowhere")  # listed, and not there when looked at
    before = _state(tmp_path)
    assert [Path(name).parent.name for name, *_ in before] == ["a"]
    add_run(tmp_path, "a", (1, 0))
    assert _state(tmp_path) != before
    add_run(tmp_path, "b", (0, 0))
    assert len(_state(tmp_path)) == 2
