"""The Ray engine on a real cluster of two nodes on this machine, shared by the tests; nodes are killed and added."""

import os
import re
import shutil
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from scaling.code_version import code_version
from scaling.schema import RECORDS, records
from scaling.status_file import read_status
from scaling.store import RunStore
from scaling.sweep.grid import expand
from scaling.training.run import train

pytest.importorskip("ray", reason='pip install -e ".[ray]"')
pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[3]
TINY = {
    "data.n_unique": 32, "data.holdout": 32, "train.images": 6_400, "evaluate.at": 2, "evaluate.samples": 8,
    "evaluate.sampler_steps": 4, "evaluate.draws": 2, "model.width": 2,
}  # fmt: skip


@contextmanager
def environment(**variables):
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Nodes:
    """Ray's own cluster of several nodes on one machine. Their processes import the sweep's fake training."""

    def __init__(self, fake: Path) -> None:
        from ray.cluster_utils import Cluster

        self.fake = fake
        with self._environment():
            self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.address = self.cluster.address

    def _environment(self, *before: Path):
        path = os.pathsep.join(map(str, [*before, self.fake, ROOT]))
        return environment(PYTHONPATH=path, RAY_USAGE_STATS_ENABLED="0")

    def add(self, *before: Path, cpus: int = 1):
        """before: folders that its Python looks into first."""
        with self._environment(*before):
            return self.cluster.add_node(num_cpus=cpus)

    def kill(self, node) -> None:
        self.cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def cluster(fake_training):
    made = Nodes(fake_training)
    yield made
    made.cluster.shutdown()


@pytest.fixture
def nodes(cluster):
    """The head alone, of one CPU; nodes that a test adds go with it."""
    yield cluster
    for node in list(cluster.cluster.worker_nodes):
        cluster.kill(node)


def until(condition, process, seconds=240):
    """Waits for the condition while the process runs; what that said otherwise."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError(process.communicate()[0])
        time.sleep(0.1)


def states(runs: Path) -> dict[int, dict]:
    """seed -> status of every run folder that has one."""
    folders = [path.parent for path in runs.glob("*/config.yaml")]
    return {yaml.safe_load((folder / "config.yaml").read_text())["seed"]: read_status(folder) for folder in folders}


def share(runs: Path, seed: int) -> float:
    """How much of its images a running run has seen."""
    status = states(runs).get(seed, {})
    running = status.get("state") == "running" and status.get("images_total")
    return (status.get("images_seen") or 0) / status["images_total"] if running else 0.0


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def rows(folder: Path) -> list[dict]:
    """All records of a run but the clock's."""
    found = list(records(folder / RECORDS))
    for record in found:
        del record["evals"]["wall_seconds"]
    return found


@pytest.mark.slow
def test_a_killed_worker_and_a_lost_node_change_no_record(sweep, nodes, tmp_path):
    """Oracle: the same cells trained in this process without a disturbance."""
    made, second = sweep(2), nodes.add()
    content = yaml.safe_load((made.folder / "sweep.yaml").read_text())
    content["parameters"] |= {key: {"value": value} for key, value in TINY.items()}
    (made.folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    process = made.start("--engine=ray", f"--ray-address={nodes.address}", "--runtime.checkpoint_every=0.2")
    until(lambda: sum(share(made.runs, seed) > 0 for seed in range(2)) == 2, process)
    on_second, on_head = [], []
    for seed in range(2):
        if share(made.runs, seed) > 0:
            pid = states(made.runs)[seed]["pid"]
            (on_second if parent(pid) == second.all_processes["raylet"][0].process.pid else on_head).append((seed, pid))
    ((lost, _),), ((killed, pid),) = on_second, on_head
    os.kill(pid, signal.SIGKILL)
    nodes.kill(second)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert all(line.startswith("sweep: ") for line in said.splitlines()), said  # nothing of Ray's between the lines
    assert "2 cells: 2 done, 0 failed, 0 left" in said, said
    for seed, why in ((killed, "died"), (lost, "is gone")):
        assert re.search(rf"sweep: again \w+ seed={seed}: its [^\n]*{why}", said), said
    assert not list(made.runs.glob("*/lock.json")) and not list(made.runs.glob(".workers/*.token"))

    for cell in expand(made.folder / "sweep.yaml", [f"--runtime.out={tmp_path / 'calm'}"]).cells:
        with RunStore.open(cell.config) as store:
            train(cell.config, store)
        calm = rows(store.folder)
        assert len(calm) == 3 and rows(made.runs / cell.run_id) == calm


def test_a_signal_a_late_node_other_code_and_a_local_sweep_beside(sweep, nodes, tmp_path):
    """Every cell is trained once, but the two that a signal interrupted; a node of other code trains none."""
    made = sweep(8)
    made.fake(FAKE="hang0,hang1")
    shutil.copytree(ROOT / "scaling", tmp_path / "other" / "scaling")
    with open(tmp_path / "other" / "scaling" / "flops.py", "a") as file:
        file.write("# another text\n")
    stranger = nodes.add(tmp_path / "other")
    ray = ("--engine=ray", f"--ray-address={nodes.address}")
    process = made.start(*ray)
    until(lambda: made.trained() == [0], process)
    nodes.add()
    until(lambda: made.trained() == [0, 1], process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143 and "the same command goes on where it stopped" in said, said
    # Ray lists the node that the test before removed for some seconds more: that one "is gone"
    (line,) = [line for line in said.splitlines() if "not used" in line and not line.endswith(" is gone")]
    assert re.fullmatch(rf"sweep: not used: \S+ has version \w+ of the code, the driver has {code_version()};.*", line)
    assert {seed: status["state"] for seed, status in states(made.runs).items()} == {0: "interrupted", 1: "interrupted"}
    nodes.kill(stranger)

    made.fake(FAKE="", FAKE_SECONDS="0.5")
    processes = [made.start(*ray), made.start(FAKE_SECONDS="0.5")]
    for process in processes:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert {status["state"] for status in states(made.runs).values()} == {"done"}
    assert made.trained() == sorted([*range(8), 0, 1])


@pytest.mark.slow
def test_a_node_that_does_not_see_the_folder_is_refused(sweep, nodes):
    """/proc/self/cwd names another folder in every process: the driver's is not what the node finds there."""
    made = sweep(2)
    made.fake()
    code, said = made.run("--engine=ray", f"--ray-address={nodes.address}", "--runtime.out=/proc/self/cwd/runs")
    assert code == 2 and made.trained() == [], said
    assert re.search(r"\S+ does not see the driver's folder /proc/self/cwd/runs; mount it there at the same path", said)


@pytest.mark.slow
def test_a_ray_of_our_own_ends_with_the_command(sweep):
    """No process, no scratch folder and no word of Ray's is left."""
    made = sweep(2)
    made.fake(FAKE_SECONDS="0.1")
    before = scratch()
    code, said = made.run("--engine=ray")
    assert code == 0 and made.trained() == [0, 1], said
    assert all(line.startswith("sweep: ") for line in said.splitlines()), said
    assert scratch() == before and not ray_processes(before)


@pytest.mark.slow
def test_a_ray_of_our_own_dies_with_a_killed_driver(sweep):
    made = sweep(2)
    made.fake(FAKE="hang0,hang1")
    before = scratch()
    process = made.start("--engine=ray")
    until(lambda: made.trained() == [0, 1], process)
    assert ray_processes(before)
    process.kill()
    process.wait()
    end = time.monotonic() + 60
    while ray_processes(before):
        assert time.monotonic() < end, ray_processes(before)
        time.sleep(0.2)
    made.fake(FAKE="")
    code, said = made.run("--engine=ray")
    assert code == 0 and {status["state"] for status in states(made.runs).values()} == {"done"}, said


def scratch() -> set[Path]:
    return set(Path("/tmp").glob("ray-*"))


def ray_processes(before: set[Path]) -> list[str]:
    """Command lines that name a Ray folder which was not there before, or one that is gone since."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        names = set(re.findall(r"/tmp/ray-[a-z0-9_]+", text))
        if any(Path(name) not in before for name in names):
            found.append(text)
    return found
