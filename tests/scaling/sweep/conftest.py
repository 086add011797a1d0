"""Sweeps over a training that is none: quick, and it fails, hangs or dies on demand."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
# Python imports `sitecustomize` at the start of every process, so also of the workers: the engine itself is unchanged.
FAKE = textwrap.dedent("""
    import os, signal, sys, time, types

    def asked(config, name):
        # a file beside the runs, or the environment: workers of a cluster that runs have no environment of ours
        path = os.path.join(os.path.dirname(os.path.abspath(config.runtime.out)), name)
        return open(path).read() if os.path.exists(path) else os.environ.get(name, "")

    def train_together(requests, ended):
        if not asked(requests[0].config, "FAKE_LOG"):
            del sys.modules["scaling.training.run"]
            from scaling.training.run import train_together as real
            sys.modules["scaling.training.run"] = module
            return real(requests, ended)
        with open(asked(requests[0].config, "FAKE_LOG") + ".packs", "a") as log:
            log.write(f"{len(requests)}\\n")
        for request in requests:
            try:
                train(request.config, request.store, request.progress)
            except Exception as error:
                ended(request, error)
            else:
                ended(request, None)

    def train(config, store, progress):
        store.set_status("running", images_total=64)  # before the log, which says that this cell is under way
        with open(asked(config, "FAKE_LOG"), "a") as log:
            log.write(f"{config.seed}\\n")
        (progress or dict)({"images_seen": 0, "images_total": 64, "images_per_second": None})
        behaviour = asked(config, "FAKE").split(",")
        if f"fail{config.seed}" in behaviour:
            raise RuntimeError("the loss\\nbecame odd")
        if f"hang{config.seed}" in behaviour:
            for _ in range(600):  # not one long sleep: Ray ends a task between two lines of Python
                time.sleep(0.1)
        if f"die{config.seed}" in behaviour or (f"once{config.seed}" in behaviour and not store.measured()):
            store.append(record(config, store, len(store.measured())))
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(asked(config, "FAKE_SECONDS") or 0))
        store.append(record(config, store, 64))
        store.set_status("done", images_seen=64, wall_seconds=1.5, n_memorized=3, n_generated=10)

    def record(config, store, images_seen):
        from scaling.schema import SCHEMA_VERSION
        version = {"schema_version": SCHEMA_VERSION}
        return {"evals": {"run_id": store.run_id, "seed": config.seed, "images_seen": images_seen, **version}}

    module = types.ModuleType("scaling.training.run")
    module.train_together = train_together
    sys.modules["scaling.training.run"] = module
""")


class Sweep:
    """A sweep over seeds in a folder of its own, run as the command is."""

    def __init__(self, folder: Path, seeds: int) -> None:
        self.folder, self.runs, self.log = folder, folder / "runs", folder / "trained.log"
        (folder / "fake").mkdir()
        (folder / "fake" / "sitecustomize.py").write_text(FAKE)
        sweep = {
            "method": "grid",
            "command": ["${env}", "${interpreter}", "-m", "scaling.train", "${args}"],
            "parameters": {"seed": {"values": list(range(seeds))}},
        }
        (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))

    def fake(self, **asked: str) -> None:
        """What the fake training is to do, for workers that have no environment of ours."""
        for name, value in {"FAKE_LOG": str(self.log), **asked}.items():
            (self.folder / name).write_text(value)

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder / "fake"), str(ROOT)])
        own = {"PYTHONPATH": path, "FAKE_LOG": str(self.log), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return os.environ | own

    def python(self, code: str) -> None:
        subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=self._environment(), check=True)

    def start(self, *options: str, **environment: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "scaling.sweep", "sweep.yaml", "--runtime.out=runs", "--workers=2", *options]
        if not any(option.startswith("--pack") for option in options):
            command.append("--pack=1")  # not measured here whether it pays
        made = self._environment() | environment
        return subprocess.Popen(
            command, cwd=self.folder, env=made, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )  # fmt: skip

    def run(self, *options: str, **environment: str) -> tuple[int, str]:
        """(exit status, what was printed)."""
        process = self.start(*options, **environment)
        try:
            said, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=20)
            raise AssertionError(said) from None
        return process.returncode, said

    def packs(self) -> list[int]:
        """How many cells each training had side by side, in the order of their starts."""
        return list(map(int, Path(f"{self.log}.packs").read_text().split()))

    def trained(self) -> list[int]:
        """The seeds whose training was started, as often as it was."""
        return sorted(map(int, self.log.read_text().split())) if self.log.exists() else []


@pytest.fixture(scope="session")
def fake_training(tmp_path_factory):
    """A folder that gives a Python which looks into it first the fake training."""
    folder = tmp_path_factory.mktemp("fake")
    (folder / "sitecustomize.py").write_text(FAKE)
    return folder


@pytest.fixture
def sweep(tmp_path):
    return lambda seeds: Sweep(tmp_path, seeds)
