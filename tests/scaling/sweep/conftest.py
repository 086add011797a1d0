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

    def train(config, store, progress):
        store.set_status("running", images_total=64)  # before the log, which says that this cell is under way
        with open(os.path.join(os.environ["FAKE_LOG"]), "a") as log:
            log.write(f"{config.seed}\\n")
        progress({"images_seen": 0, "images_total": 64, "images_per_second": None})
        behaviour = os.environ.get("FAKE", "").split(",")
        if f"fail{config.seed}" in behaviour:
            raise RuntimeError("the loss\\nbecame odd")
        if f"hang{config.seed}" in behaviour:
            time.sleep(60)
        if f"die{config.seed}" in behaviour or (f"once{config.seed}" in behaviour and not store.measured()):
            store.append(record(config, store, len(store.measured())))
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        store.append(record(config, store, 64))
        store.set_status("done", images_seen=64, wall_seconds=1.5, n_memorized=3, n_generated=10)

    def record(config, store, images_seen):
        from scaling.schema import SCHEMA_VERSION
        version = {"schema_version": SCHEMA_VERSION}
        return {"evals": {"run_id": store.run_id, "seed": config.seed, "images_seen": images_seen, **version}}

    module = types.ModuleType("scaling.training.run")
    module.train = train
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

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder / "fake"), str(ROOT)])
        return os.environ | {"PYTHONPATH": path, "FAKE_LOG": str(self.log)}

    def python(self, code: str) -> None:
        subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=self._environment(), check=True)

    def start(self, *options: str, **environment: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "scaling.sweep", "sweep.yaml", "--runtime.out=runs", "--workers=2", *options]
        made = self._environment() | environment
        return subprocess.Popen(
            command, cwd=self.folder, env=made, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )  # fmt: skip

    def run(self, *options: str, **environment: str) -> tuple[int, str]:
        """(exit status, what was printed)."""
        process = self.start(*options, **environment)
        try:
            said, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=20)
            raise AssertionError(said) from None
        return process.returncode, said

    def trained(self) -> list[int]:
        """The seeds whose training was started, as often as it was."""
        return sorted(map(int, self.log.read_text().split())) if self.log.exists() else []


@pytest.fixture
def sweep(tmp_path):
    return lambda seeds: Sweep(tmp_path, seeds)
