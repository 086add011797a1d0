from itertools import product

import pytest
import yaml

from scaling.config import ConfigError, given, load
from scaling.identity import run_id
from scaling.sweep.grid import expand, merged

COMMAND = ["${env}", "${interpreter}", "-m", "scaling.train", "--config", "base.yaml", "${args}"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, as for `wandb agent`: relative files are found from it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("data: {holdout: 64}\nmodel: {width: 8}\n")
    return tmp_path


def sweep(parameters, command=COMMAND, method="grid", **more):
    content = {"method": method, "parameters": parameters, **more}
    if command is not None:
        content["command"] = command
    with open("sweep.yaml", "w") as file:
        yaml.safe_dump(content, file, sort_keys=False)
    return "sweep.yaml"


def by_agents(files, axes, after=()):
    """run_ids as an agent makes them: the cartesian product, each value written into a flag as W&B does."""
    points = product(*([f"--{key}={value}" for value in values] for key, values in axes.items()))
    return [run_id(load([*(f"--config={file}" for file in files), *point, *after])) for point in points]


def test_cells_are_the_product_and_each_is_what_an_agent_would_run():
    axes = {
        "model.width": [2],
        "data.duplication.design": ["uniform"],
        "data.duplication.fraction": [0.25, "1/8"],
        "data.duplication.copies": [3, 4],
        "data.noise_draws": [None, 4],
        "evaluate.at": [[0, 640], 3],
        "model.attention": [True],
        "train.lr": [1e-3],
        "seed": [1],
    }
    grid = expand(sweep({key: {"values": values} for key, values in axes.items()}))
    assert [cell.run_id for cell in grid.cells] == by_agents(["base.yaml"], axes)
    assert len(grid.cells) == 16 and grid.notes == []


def test_a_label_names_what_varies():
    grid = expand(sweep({"model.width": {"values": [2, 4]}, "seed": {"value": 3}}))
    assert [cell.label for cell in grid.cells] == ["model.width=2", "model.width=4"]
    assert {cell.config.seed for cell in grid.cells} == {3} and {cell.config.data.holdout for cell in grid.cells} == {
        64
    }


@pytest.mark.parametrize(
    ("name", "said"), [("n_memorized", False), ("strata/8/n_hits", False), ("accuracy", True), (None, True)]
)
def test_a_metric_that_no_run_logs_is_said(name, said):
    """An agent's server would wait for it for ever."""
    grid = expand(sweep({"seed": {"value": 3}}, metric={"name": name, "goal": "minimize"}))
    assert any("no run logs it" in note for note in grid.notes) == said


def test_nested_parameters_are_dotted_keys():
    nested = {"model": {"parameters": {"width": {"values": [2, 4]}, "blocks": {"value": 2}}}, "seed": {"value": 1}}
    flat = {"model.width": {"values": [2, 4]}, "model.blocks": {"value": 2}, "seed": {"value": 1}}
    assert expand(sweep(nested)).cells == expand(sweep(flat)).cells
    whole = load(
        ["--config=base.yaml", "--model={'width': 4, 'blocks': 2}", "--seed=1"]
    )  # as W&B passes the nested form
    assert expand(sweep(nested)).cells[1].run_id == run_id(whole)


def test_a_swept_config_is_an_overlay_below_every_flag(folder):
    (folder / "wide.yaml").write_text("model: {width: 32}\ntrain: {images: 640}\n")
    (folder / "near.yaml").write_text("data: {n_unique: 32}\n")
    grid = expand(sweep({"seed": {"values": [0, 1]}, "config": {"values": ["wide.yaml", "near.yaml"]}}))
    wanted = [by_agents(["base.yaml", file], {"seed": [0, 1]}) for file in ("wide.yaml", "near.yaml")]
    assert [cell.run_id for cell in grid.cells] == wanted[0] + wanted[1]
    assert [cell.label for cell in grid.cells][:2] == ["config=wide seed=0", "config=wide seed=1"]
    # defaults < files in order < flags: a swept key wins over an overlay, wherever it stands in the file
    overlay, width = {"config": {"value": "wide.yaml"}}, {"model.width": {"value": 4}}
    for parameters in (overlay | width, width | overlay):
        (cell,) = expand(sweep(parameters)).cells
        assert (cell.config.model.width, cell.config.train.images) == (4, 640)


def test_flags_of_the_command_line_come_last_and_merge_equal_cells():
    path = sweep({"model.width": {"values": [2, 4]}, "seed": {"values": [0, 1]}})
    grid = expand(path, ["--seed=7", "--runtime.out=elsewhere"])
    assert [cell.run_id for cell in grid.cells] == by_agents(["base.yaml"], {"model.width": [2, 4]}, ["--seed=7"])
    assert {cell.config.runtime.out for cell in grid.cells} == {"elsewhere"}
    assert len(grid.notes) == 2
    assert (
        f"model.width=2 seed=1: the same run as model.width=2 seed=0 ({grid.cells[0].run_id}); run once" in grid.notes
    )


def test_literal_flags_around_the_arguments_lose_and_win():
    command = [*COMMAND[:-1], "--model.width=2", "--seed=5", "${args}", "--train.images=640"]
    (cell,) = expand(sweep({"model.width": {"value": 4}, "train.images": {"value": 64}}, command)).cells
    assert (cell.config.model.width, cell.config.seed, cell.config.train.images) == (4, 5, 640)


def test_params_and_their_width_are_one_run():
    grid = expand(sweep({"model.params": {"values": [2743, 2750]}}, [*COMMAND[:4], "${args}"]))
    assert len(grid.cells) == 1 and grid.cells[0].config.model.width == 2 and len(grid.notes) == 1


@pytest.mark.parametrize(
    ("parameters", "options", "says"),
    [
        ({"modle.width": {"value": 4}}, {}, r"parameters\.modle\.width: no such .*did you mean model\.width"),
        ({"modle": {"parameters": {"width": {"value": 4}}}}, {}, r"parameters\.modle: no such .*did you mean model\?"),
        ({"model": {"parameters": {"widht": {"value": 4}}}}, {}, r"parameters\.model\.widht: .*mean model\.width"),
        ({"model.width": {"values": [4, "wide"]}}, {}, r"model\.width=wide: "),
        ({"model.width": {"values": [4, -1]}}, {}, r"model\.width=-1: "),
        ({"model.width": {"values": [4, 3], "params": 1}}, {}, "a grid takes `value`, `values`"),
        ({"model.width": {"min": 1, "max": 4}}, {}, "a grid takes `value`, `values`"),
        ({"model.width": 4}, {}, "a grid takes `value`, `values`"),
        ({"model.width": {"values": []}}, {}, r"parameters\.model\.width: empty grid; values=\[\] gives no run"),
        ({}, {}, "empty grid; name at least one parameter"),
        (None, {}, "no sweep; a W&B sweep file has"),
        ({"seed": {"value": 1}}, {"method": "random"}, "method: random is drawn by the W&B server; use .*wandb agent"),
        ({"seed": {"value": 1}}, {"method": "bayes"}, "method: bayes is drawn"),
        ({"seed": {"value": 1}}, {"method": None}, "method: None; use method: grid"),
        ({"seed": {"value": 1}}, {"command": None}, "command: none is not run here; write .*scaling.train"),
        ({"seed": {"value": 1}}, {"command": ["python", "train.py", "${args}"]}, "command: .*is not run here"),
        ({"seed": {"value": 1}}, {"command": ["rm", "-m", "scaling.train", "${args}"]}, "command: rm: only "),
        ({"seed": {"value": 1}}, {"command": [*COMMAND[:-1], "${args_json}"]}, "command: .*is not run here"),
        ({"config": {"value": "missing.yaml"}}, {}, "missing.yaml"),
        ({"data.duplication.copies": {"values": [2]}}, {}, "design none takes no copies"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_names_the_file(parameters, options, says):
    path = sweep(parameters, **{"command": COMMAND, **options})
    with pytest.raises(ConfigError, match=rf"^sweep\.yaml: .*{says}") as caught:
        expand(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "a: [", "- 1", "\x00"])
def test_what_is_no_sweep_is_said(folder, content):
    (folder / "sweep.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"^sweep\.yaml: ") as caught:
        expand("sweep.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_sweep_file_is_said():
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file or directory\)"):
        expand("none.yaml")


def test_an_unknown_flag_is_said_with_the_nearest_key():
    with pytest.raises(ConfigError, match=r"modle\.width: no such configuration key; did you mean model\.width"):
        expand(sweep({"seed": {"value": 1}}), ["--modle.width=3"])


def test_merging_takes_later_leaves_and_replaces_lists():
    first = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert merged(first, {"a": {"c": [3]}}, {"e": {"f": None}}) == {"a": {"b": 1, "c": [3]}, "d": 4, "e": {"f": None}}
    assert first == {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert given(["--seed=1"]) == {"seed": 1}
