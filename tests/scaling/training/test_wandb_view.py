"""The W&B view, with the real wandb client against a server on the loopback: nothing leaves this machine."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaling.config import load
from scaling.identity import canonical, cell_id, run_id, train_id
from scaling.schema import GALLERY
from scaling.sweep.metric import is_logged
from scaling.training.wandb_gallery import CELL_PIXELS, gallery_grid
from scaling.training.wandb_view import CLOSE_SECONDS, history_row, run_arguments, wanted
from tests.wandb_stub.stub import WandbStub

ROOT = Path(__file__).resolve().parents[3]
FLAGS = ["--runtime.logger=wandb", "--data.duplication.design=uniform", "--data.duplication.fraction=1/2"]
FLAGS += ["--data.duplication.copies=4", "--seed=7"]
CONFIG = load(FLAGS)
RUN = run_id(CONFIG)
PREAMBLE = """
import sys, time
import numpy as np
from scaling.config import load
from scaling.training.wandb_view import open_view

def evals(images_seen):
    return {"run_id": "r", "images_seen": images_seen, "seen_loss": 1 / (1 + images_seen), "attention": False,
            "n_memorized": np.int64(images_seen // 2), "noise_draws": None, "kid": float("nan")}

def log(view, images_seen):
    view.log(evals(images_seen), [{"copies": 1, "n_hits": 0}, {"copies": 4, "n_hits": images_seen, "seen_loss": None}],
             [{"kind": "loss", "sigma": 0.5, "seen_loss": 0.25}])

def timed(call, *arguments, **more):
    start = time.monotonic()
    call(*arguments, **more)
    return time.monotonic() - start

view = open_view(load(sys.argv[1:]), images_total=400)
"""


def run(script: str, tmp_path: Path, env: dict[str, str], *flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PREAMBLE + script, *FLAGS, f"--runtime.out={tmp_path / 'runs'}", *flags]
    done = subprocess.run(command, env=env, cwd=ROOT, text=True, capture_output=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done


def scalars(row: dict) -> dict:
    return {name: value for name, value in row.items() if not name.startswith("_") and name != "record"}


@pytest.fixture
def stub():
    with WandbStub() as server:
        yield server


@pytest.fixture(scope="module")
def seen_twice(tmp_path_factory):
    """A run logged up to images_seen=100 and ended by SIGTERM, then again from its first record to its end."""
    tmp_path, outputs = tmp_path_factory.mktemp("view"), []
    with WandbStub() as server:
        script = "log(view, 0); log(view, 100); view.close(143)"
        outputs.append(run(script, tmp_path, server.environ()))
        first = [server.runs[RUN].state, server.runs[RUN].preempting, len(server.runs[RUN].history)]
        script = """
arrays = {"gallery_samples": np.full((2, 1, 8, 8), 200, np.uint8), "gallery_nearest": np.zeros((2, 1, 8, 8), np.uint8),
          "gallery_ratio": np.float32([0.1, 0.9]), "gallery_copies": np.array([4, 1])}
log(view, 0); log(view, 100)
view.log(evals(400), gallery=arrays)
view.close()
"""
        outputs.append(run(script, tmp_path, server.environ()))
        yield server, first, outputs, tmp_path


def test_a_run_arrives_with_its_configuration_group_and_tags(seen_twice):
    server, _, _, tmp_path = seen_twice
    seen = server.runs[RUN]
    ids = {"run_id": RUN, "cell_id": cell_id(CONFIG), "train_id": train_id(CONFIG), "images_total": 400}
    assert seen.config == json.loads(canonical(CONFIG)) | ids
    assert (seen.group, seen.job_type, seen.tags) == (cell_id(CONFIG), "train", ["digits", "unet", "uniform"])
    assert seen.name == f"unet-16 uniform x4 seed 7 {RUN}"
    assert (server.unanswered, seen.project) == ([], "diffusion-memorization-scaling")
    assert list((tmp_path / "runs" / RUN / "wandb").glob(f"run-*-{RUN}/*.wandb"))


def test_images_seen_is_the_axis_and_a_resumed_run_adds_only_what_is_new(seen_twice):
    server, first, outputs, _ = seen_twice
    seen = server.runs[RUN]
    assert first == ["failed", False, 2]
    name, glob, step_metric = "1", "2", "5"  # fields of wandb's MetricRecord; step_metric counts from 1
    everything = next(metric for metric in seen.metrics if metric.get(glob) == "*")
    assert seen.metrics[everything[step_metric] - 1][name] == "images_seen"
    assert [row["images_seen"] for row in seen.history] == [0, 100, 400]
    assert scalars(seen.history[1]) == {
        "images_seen": 100,
        "seen_loss": 1 / 101,
        "attention": False,
        "n_memorized": 50,
        "strata/1/n_hits": 0,
        "strata/4/n_hits": 100,
    }
    assert (seen.state, seen.exit_code, seen.summary["n_memorized"]) == ("finished", 0, 200)
    assert "record" not in seen.summary
    assert [done.stdout + done.stderr for done in outputs] == ["", ""]


def test_the_whole_record_can_be_made_again_from_history(seen_twice):
    assert json.loads(seen_twice[0].runs[RUN].history[1]["record"]) == {
        "evals": {"run_id": "r", "images_seen": 100, "seen_loss": 1 / 101, "attention": False, "n_memorized": 50},
        "strata": [{"copies": 1, "n_hits": 0}, {"copies": 4, "n_hits": 100}],
        "noise_levels": [{"kind": "loss", "sigma": 0.5, "seen_loss": 0.25}],
        "prompts": [],
    }


def test_the_gallery_arrives_as_one_image(seen_twice):
    seen = seen_twice[0].runs[RUN]
    (content,) = [content for name, content in seen.files.items() if name.startswith("media/images/gallery")]
    assert Image.open(io.BytesIO(content)).size == (seen.history[2]["gallery"]["width"], 2 * 82)
    assert "gallery" not in seen.history[1]


def test_an_agent_says_which_run_this_is(stub, tmp_path):
    agent = {"WANDB_SWEEP_ID": "sw1", "WANDB_RUN_ID": "given", "WANDB_PROJECT": "study", "WANDB_DIR": str(tmp_path)}
    done = run("log(view, 0); view.close()", tmp_path, stub.environ(**agent))
    assert (list(stub.runs), done.stderr) == (["given"], "")
    seen = stub.runs["given"]
    assert (seen.project, seen.config["run_id"], seen.state) == ("study", RUN, "finished")
    assert list((tmp_path / "wandb").glob("run-*-given"))


SHOWN = """
from scaling.training.wandb_view import shown
view.close()
with shown(load(sys.argv[1:]), images_total=400) as tell:
    tell({"evals": evals(0)}, {})
    {then}
"""


def test_under_an_agent_a_failed_run_is_not_given_out_again_and_says_why(stub, tmp_path):
    """The server gives out again what is marked as preempting and ends with an exit code other than 0: so 0."""
    agent = {"WANDB_SWEEP_ID": "sw1", "WANDB_RUN_ID": "given", "WANDB_DIR": str(tmp_path)}
    script = SHOWN.replace("{then}", "raise RuntimeError(f'diverged in {load(sys.argv[1:]).runtime.out}')")
    with pytest.raises(AssertionError, match="RuntimeError: diverged"):
        run(script, tmp_path, stub.environ(**agent))
    seen = stub.runs["given"]
    assert (seen.state, seen.exit_code, seen.preempting, len(seen.history)) == ("finished", 0, True, 1)
    assert seen.tags == ["digits", "unet", "uniform", "failed"]
    assert seen.summary["failure"] == "diverged in runs"  # and not where that is on this machine


def test_without_an_agent_a_failed_run_is_failed(stub, tmp_path):
    with pytest.raises(AssertionError, match="RuntimeError: diverged"):
        run(SHOWN.replace("{then}", "raise RuntimeError('diverged')"), tmp_path, stub.environ())
    seen = stub.runs[RUN]
    assert (seen.state, seen.exit_code, seen.preempting) == ("failed", 1, False)
    assert (seen.tags[-1], seen.summary["failure"]) == ("failed", "diverged")


@pytest.mark.parametrize(
    ("flags", "sweep", "shown"),
    [([], False, False), ([], True, True), (["--runtime.logger=none"], True, False), (FLAGS, False, True)],
)
def test_a_run_is_shown_where_it_is_asked_for_and_under_an_agent(monkeypatch, flags, sweep, shown):
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    if sweep:
        monkeypatch.setenv("WANDB_SWEEP_ID", "sw1")
    assert wanted(load(flags)) == shown


@pytest.mark.parametrize("name", ["n_memorized", "seen_loss", "strata/4/n_hits", "attention"])
def test_what_a_sweep_may_optimise_is_in_a_history_row(seen_twice, name):
    assert is_logged(name) and name in seen_twice[0].runs[RUN].history[1]


@pytest.mark.parametrize("name", ["loss", "config", "record", "strata/4/copies", "strata/x/n_hits", "strata/4/kid"])
def test_what_no_run_logs_is_known(name):
    assert not is_logged(name)


def test_a_key_in_netrc_is_found(stub, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {stub.url.removeprefix('http://')} login user password {'b' * 40}\n")
    env = stub.environ(NETRC=str(netrc))
    del env["WANDB_API_KEY"]
    run("log(view, 0); view.close()", tmp_path, env)
    assert stub.runs[RUN].state == "finished"


def test_the_runs_of_a_warm_worker_stay_apart(stub, tmp_path):
    """One opened while another is still open; and the first again, which has its record of images_seen=0 already."""
    script = """
time.sleep(2)  # the first is open by now
other = open_view(load([*sys.argv[1:], "--seed=8"]), images_total=400)
log(view, 0); log(other, 0); log(other, 100); other.close(1); view.close()
view = open_view(load(sys.argv[1:]), images_total=400)
log(view, 0); view.close()
"""
    done = run(script, tmp_path, stub.environ())
    seen = [(each.config["seed"], len(each.history), each.state) for each in stub.runs.values()]
    assert (sorted(seen), done.stderr) == ([(7, 1, "finished"), (8, 2, "failed")], "")


def test_a_summary_that_is_ahead_of_the_history_hides_no_row(stub, tmp_path):
    """What a killed process leaves: the server has the summary of its second evaluation, and the row of the first."""
    run("log(view, 0); view.close(1)", tmp_path, stub.environ())
    stub.runs[RUN].summary["images_seen"] = 100
    run("log(view, 0); log(view, 100); log(view, 400); view.close()", tmp_path, stub.environ())
    assert [row["images_seen"] for row in stub.runs[RUN].history] == [0, 100, 400]


def test_without_a_key_the_run_is_offline_and_says_in_one_line_how_to_send_it(stub, tmp_path):
    env = stub.environ()
    del env["WANDB_API_KEY"]
    done = run("log(view, 0); view.close()", tmp_path, env)
    (folder,) = (tmp_path / "runs" / RUN / "wandb").glob(f"offline-run-*-{RUN}")
    said = f"W&B: no API key found; this run is logged offline; to send it: wandb sync {folder}\n"
    assert (done.stdout, done.stderr, stub.runs) == ("", said, {})
    subprocess.run([sys.executable, "-m", "wandb", "sync", folder], env=stub.environ(), check=True, capture_output=True)
    assert (stub.runs[RUN].config["run_id"], stub.runs[RUN].history[0]["seen_loss"]) == (RUN, 1)


@pytest.mark.parametrize("mode", [{"WANDB_MODE": "disabled"}, {}])
def test_disabled_leaves_no_trace(stub, tmp_path, mode):
    flags = [] if mode else ["--runtime.wandb_mode=disabled"]
    done = run("log(view, 0); view.close()", tmp_path, stub.environ(**mode), *flags)
    assert (done.stderr, stub.runs, list(tmp_path.iterdir())) == ("", {}, [])


def test_an_unreachable_server_costs_no_time_and_one_line(stub, tmp_path):
    """Nothing listens on the port. wandb's service would ask it again and again, and its teardown wait for that."""
    script = """
calls = [timed(log, view, images_seen) for images_seen in range(20)]
print(max(calls), timed(view.close))
"""
    stub.stop()
    done = run(script, tmp_path, stub.environ())
    slowest, closing = map(float, done.stdout.split())
    assert slowest < 0.05 and closing < CLOSE_SECONDS, done.stderr
    assert done.stderr.startswith(f"W&B: no server answers at {stub.url} (")
    assert done.stderr.count("\n") == 1
    (folder,) = (tmp_path / "runs" / RUN / "wandb").glob(f"offline-run-*-{RUN}")
    assert done.stderr.endswith(f"; this run is logged offline; to send it: wandb sync {folder}\n")


@pytest.mark.slow
@pytest.mark.parametrize("close_seconds", [20, 0.5])
def test_a_server_that_never_answers_is_left_after_the_limit(tmp_path, close_seconds):
    """wandb.init hangs: the run is offline after INIT_SECONDS, or close gives up before; both end the program."""
    script = f"""
import scaling.training.wandb_view as module
module.INIT_SECONDS, module.CLOSE_SECONDS = 2.0, {close_seconds}
log(view, 0)
time.sleep(1)
print(timed(view.close))
"""
    hang = {"UpsertBucket": 60}
    with WandbStub(before=lambda operation: time.sleep(hang.get(operation, 0))) as server:
        start = time.monotonic()
        done = run(script, tmp_path, server.environ())
        assert time.monotonic() - start < 12
    assert float(done.stdout) < 8
    assert done.stderr.count("\n") == 1
    said = "this run is logged offline" if close_seconds == 20 else "not everything was sent within 0.5 s"
    assert said in done.stderr


def test_a_server_that_dies_in_the_middle_does_not_stop_the_run(stub, tmp_path):
    """And the command that is printed then brings every row once the server is back."""
    script = """
import scaling.training.wandb_view as module
module.FINISH_SECONDS = 1.0
log(view, 0)
print("logged", flush=True)
input()
calls = [timed(log, view, images_seen) for images_seen in range(1, 20)]
print(max(calls), timed(view.close))
"""
    command = [sys.executable, "-c", PREAMBLE + script, *FLAGS, f"--runtime.out={tmp_path / 'runs'}"]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command, env=stub.environ(), cwd=ROOT, **pipes) as client:
        stub.wait_for(lambda: RUN in stub.runs)
        stub.stopped = True
        output, said = client.communicate("\n", timeout=60)
    slowest, closing = map(float, output.splitlines()[1].split())
    assert (client.returncode, slowest < 0.05, closing < 10) == (0, True, True)
    (folder,) = (tmp_path / "runs" / RUN / "wandb").glob(f"run-*-{RUN}")
    assert said == f"W&B: not everything was sent within 1 s; to send it: wandb sync --no-skip-online {folder}\n"
    stub.stopped = False
    sync = [sys.executable, "-m", *said.partition("to send it: ")[2].split()]
    subprocess.run(sync, env=stub.environ(), check=True, capture_output=True, timeout=60)
    assert [row["images_seen"] for row in stub.runs[RUN].history] == list(range(20))


def test_a_malformed_key_is_not_repeated(stub, tmp_path):
    done = run("log(view, 0); view.close()", tmp_path, stub.environ(WANDB_API_KEY="my secret"))
    assert done.stderr.startswith("W&B: WANDB_API_KEY invalid")
    assert (done.stderr.count("\n"), "secret" in done.stderr, stub.runs) == (1, False, {})


def test_what_wandb_refuses_is_one_line_and_the_run_goes_on(stub, tmp_path):
    script = """
empty = np.zeros((0, 1, 8, 8), np.uint8)
view.log(evals(0), gallery={"gallery_samples": empty})
view.log(evals(1), [{"copies": 4, "n_hits": object()}])
log(view, 2)
view.close()
print("went on")
"""
    done = run(script, tmp_path, stub.environ())
    assert (done.stdout, len(stub.runs[RUN].history)) == ("went on\n", 1)
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(f"the run goes on without it, and its records are in {tmp_path / 'runs' / RUN}\n")


def test_importing_the_view_brings_neither_wandb_nor_torch():
    code = "import sys, scaling.training.wandb_view; sys.exit(bool({'wandb', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_history_row_has_no_gaps():
    """Missing values are left out everywhere: null would be drawn as a point, NaN would be refused by the server."""
    evals = {"images_seen": 5, "kid": None, "frechet": np.float32("nan"), "lr": float("inf"), "dataset": "digits"}
    nested = {"strata": [{"copies": 2, "seen_loss": float("nan"), "n_hits": 3}], "noise_levels": (), "prompts": ()}
    row = history_row(evals, nested)
    assert row.pop("record") == (
        '{"evals":{"images_seen":5,"dataset":"digits"},"strata":[{"copies":2,"n_hits":3}],'
        '"noise_levels":[],"prompts":[]}'
    )
    assert row == {"images_seen": 5, "strata/2/n_hits": 3}


@pytest.mark.parametrize("name", ["WANDB_RUN_ID", "WANDB_SWEEP_ID"])
def test_an_id_of_the_environment_is_left_to_wandb(monkeypatch, name):
    for each in ("WANDB_RUN_ID", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(each, raising=False)
    assert run_arguments(CONFIG, 400)["id"] == RUN
    monkeypatch.setenv(name, "given")
    assert "id" not in run_arguments(CONFIG, 400)


def test_nothing_of_runtime_reaches_wandb():
    config = load([*FLAGS, "--runtime.out=/secret/place", "--data.source=folder:" + "x" * 100])
    arguments = run_arguments(config, 400)
    assert "secret" not in json.dumps(arguments)
    assert "runtime" not in arguments["config"]
    assert max(map(len, arguments["tags"])) == 64


@pytest.mark.parametrize("channels", [1, 3])
def test_the_grid_shows_each_sample_beside_its_nearest_image(channels):
    """Pixel for pixel: sample g has grey 40 g in its corner, its nearest image 40 g + 20."""
    grey = np.arange(6)[:, None, None, None] * 40
    shape = (6, channels, 8, 8)
    arrays = (np.broadcast_to(grey, shape), np.broadcast_to(grey + 20, shape), np.full(6, 0.5), np.ones(6, int))
    gallery = dict(zip(GALLERY, (arrays[0].astype(np.uint8), arrays[1].astype(np.uint8), *arrays[2:]), strict=True))
    sheet = np.asarray(gallery_grid(gallery))
    width, height = 2 * CELL_PIXELS + 6, CELL_PIXELS + 18
    columns = sheet.shape[1] // width
    assert sheet.shape == (-(-6 // columns) * height, columns * width, 3)
    for at in range(6):
        top, left = at // columns * height + 2, at % columns * width + 2
        assert (sheet[top : top + 64, left : left + 64] == 40 * at).all()
        assert (sheet[top : top + 64, left + 66 : left + 130] == 40 * at + 20).all()
        assert (sheet[top + 64 : top + 80, left : left + 64] < 128).any()  # the caption
