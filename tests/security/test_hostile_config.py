"""Configurations and sweep files that would crash, hang, expand or write elsewhere: one clear line each."""

# ruff: noqa: E501 (a hostile input stands on one line)
import os
import time
from pathlib import Path

import pytest
import yaml

from scaling.config import ConfigError, build, given, load
from scaling.data.sources import SourceError, load_images
from scaling.identity import run_id
from scaling.store import RunStore
from scaling.store_errors import reason
from scaling.sweep.grid import expand
from scaling.train import main as train

LAUGHS = "seed: 1\nx: [&a [1,1,1,1,1,1,1,1,1,1]" + "".join(
    f", &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]" for i in range(9)
) + "]\n"  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--evaluate.at=" + "[" * 50_000 + "]" * 50_000, "nested too deeply"),  # ended the process in libyaml
        ("--evaluate.at=" + "[" * 400 + "]" * 400, "evaluate.at="),
        (f"--evaluate.at=[{LAUGHS[12:-2]}]", "write out to more than|no YAML"),
        ("--data.duplication.fraction=1e-999999999", "write a number"),  # filled the memory
        ("--data.duplication.fraction=1/0", "write a number"),
        ("--data.duplication.fraction=1e1_0000_0000", "write a number"),
        ("--seed=" + "9" * 5_000, "seed="),
        ("--data.source=a\0b", "control characters"),
        ("--data.source=digits\n", "control characters"),
        ("--runtime.out=runs/‮snur", "control characters"),
        ("--data.source=\ud800", "control characters"),
        ("--data.source=" + "x" * 10_000, "10,000 characters"),
        ("--config={seed: [}", "no YAML"),
        ("--config=" + "x" * 5_000, "config"),
        ("--train.lr=!!python/object/apply:os.system ['touch pwned']", "no YAML"),
        ("--seed=!!int ''", "seed=!!int ''"),  # an IndexError in PyYAML
        ("--data.source=!!python/name:os.system", "no YAML"),
    ],
)  # fmt: skip
def test_a_flag_that_crashed_or_hung_is_one_line(flag, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=why) as error:
        build(given([flag]))
    assert len(str(error.value)) < 1_200 and str(error.value).isprintable()
    assert time.monotonic() - began < 15 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (LAUGHS, "write out to more than"),
        ("data: [" + "[" * 20_000, "nested too deeply|no YAML"),
        ("data: other.yaml\n", "data=other.yaml: a section"),  # jsonargparse would open that file
        ("data: {duplication: other.yaml}\n", r"data\.duplication=other.yaml: a section"),
        ("seed: 1\nseed: 2\n", "key seed stands twice"),
        ("seed: " + "9" * 6_000, "digits"),
        (b"\xff\xfe\xff", "no YAML"),
        ("seed: &a [*a]", "stands for itself"),
        ("seed: !!python/object/apply:os.system ['touch pwned']", "no YAML"),
        ("runtime: {out: \"a\\0b\"}", "control characters"),
        ("- 1\n- 2\n", "config|not read"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_one_line(content, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("other.yaml").write_text("source: digits\n")
    Path("c.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=why) as error:
        build(given(["--config=c.yaml"]))
    assert str(error.value).isprintable() and not Path("pwned").exists()


@pytest.mark.parametrize("flag", ["--config={}", "--data={}", "--config={}/fifo"])
def test_what_is_no_file_is_not_waited_for(flag, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match=r"no regular file|a section"):
        given([flag.format(tmp_path)])
    with pytest.raises(ConfigError, match="no regular file"):
        expand(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="no regular file"):
        given(["--config=/dev/zero"])


def test_two_spellings_of_a_fraction_are_one_run():
    """What exact_fraction accepts it reads as before: decimal text, p/q, floats with many digits."""
    runs = [run_id(build({"data": {"duplication": {"design": "uniform", "fraction": f, "copies": 2}}}))
            for f in ("0.1", 0.1, "1/10", "1e-1", " .1", "+0.1", "10/100")]  # fmt: skip
    assert len(set(runs)) == 1
    assert str(build({"model": {"skips": 5.636375680269776e-75}}).model.skips).startswith("352273480016861/625")


# -- sweeps ------------------------------------------------------------------------------------------------------------


def sweep(folder: Path, parameters: object, command: object = None) -> Path:
    path = folder / "sweep.yaml"
    command = ["${env}", "${interpreter}", "-m", "scaling.train", "${args}"] if command is None else command
    path.write_text(yaml.safe_dump({"method": "grid", "command": command, "parameters": parameters}))
    return path


@pytest.mark.parametrize(
    ("parameters", "command", "why"),
    [
        ({"seed": {"values": [1]}}, 5, "command"),
        ({"seed": {"values": [1]}}, ["-m", "scaling.train", "--help", "${args}"], "--help"),
        ({"seed": {"values": [1]}}, ["-m", "scaling.train", "--print_config", "${args}"], "print_config"),
        ({"seed": {"values": [1]}}, ["-m", "os", "${args}"], "command"),
        ({"seed": {"values": [1]}}, ["sh", "-c", "id", "scaling.train", "${args}"], "only scaling.train"),
        ({"config": {"values": [{"seed": 3}]}}, None, "parameters.config"),
        ({"config": {"value": "/dev/zero"}}, None, "no regular file"),
        ({"data": {"parameters": 5}}, None, "parameters.data"),
        ({"seed": {"values": list(range(2_000))}, "data.draw": {"values": list(range(2_000))}}, None, "4,000,000 cells"),
        ({"data.source": {"values": ["digits", "a\x1b[2Jb"]}}, None, "control characters"),
        ({"__class__": {"values": [1]}}, None, "no such configuration key"),
        ({"seed": {"values": [[[[]]]]}}, None, "seed"),
    ],
)  # fmt: skip
def test_a_hostile_sweep_is_one_line(tmp_path, parameters, command, why):
    with pytest.raises(ConfigError, match=why) as error:
        expand(sweep(tmp_path, parameters, command))
    assert str(error.value).isprintable()


def test_swept_values_are_no_flags_and_no_commands(tmp_path):
    """A value that looks like flags, a substitution or a command is the text of its one key."""
    odd = ["digits --runtime.out=/tmp/elsewhere", "$(touch pwned)", "`id`; rm -rf .", "--seed=7", "../../etc/passwd"]
    grid = expand(sweep(tmp_path, {"data.source": {"values": odd}}))
    assert [cell.config.data.source for cell in grid.cells] == odd
    assert {cell.config.seed for cell in grid.cells} == {0} and {cell.config.runtime.out for cell in grid.cells} == {
        "runs"
    }
    assert all(len(cell.run_id) == 12 and cell.run_id.isalnum() for cell in grid.cells)


def test_labels_and_reasons_move_no_cursor(tmp_path):
    """A label shows values of a sweep file, a reason the words of a library."""
    (tmp_path / "a\x1b[2J.yaml").write_text("seed: 1\n")
    (tmp_path / "b.yaml").write_text("seed: 2\n")
    files = [str(tmp_path / name) for name in ("a\x1b[2J.yaml", "b.yaml")]
    grid = expand(sweep(tmp_path, {"config": {"values": files}}))
    assert [cell.label.isprintable() for cell in grid.cells] == [True, True] and r"\x1b[2J" in grid.cells[0].label
    assert reason(RuntimeError("loss\n\x1b[2J odd")) == r"RuntimeError: loss \x1b[2J odd"


# -- sources -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    ["hf:../../../etc", "hf:/etc", "folder:/proc/self/fd", "folder:../none", "parquet:/dev/zero", "parquet:../none",
     "idx:/etc", "idx:/dev/null", "hf:a/b@../../x", "hf:" + "a" * 3_000, "folder:a\0b", "parquet:a\nb", "hf:\x1b[2J", "‮"],
)  # fmt: skip
def test_a_source_that_is_none_is_one_line_and_writes_nothing(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(SourceError) as error:
        load_images(source, 8)
    assert str(error.value).isprintable() and not list(tmp_path.iterdir())


def test_a_run_writes_only_below_its_out_folder(tmp_path, monkeypatch, capsys):
    """Whatever its source is called, a run's folder is named by its run_id; a source with a line break is no run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for source in ("hf:../../evil", "folder:../../evil", "parquet:/evil/../x"):
        config = load([f"--data.source={source}", "--runtime.out=runs"])
        with RunStore.open(config) as store:
            assert store.folder == Path("runs") / run_id(config)
    assert {path.parts[0] for path in Path(".").rglob("*")} == {Path("runs").name}
    assert train(["--data.source=digits\n\x1b[2J", "--runtime.out=runs"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
