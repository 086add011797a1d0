"""python -m scaling.workspace: panels of what a run logs, kept by the real client at a server on the loopback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scaling import schema
from scaling.workspace import VIEWS, Line, Media, Scatter, main, share, views, workspace
from tests.wandb_stub.nodes import ENTITY
from tests.wandb_stub.stub import WandbStub

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = {column.name for column in schema.TABLES["evals"] if column.type in (int, float)}
OF_STRATA = {column.name for column in schema.own_columns("strata") if column.type in (int, float)}


def named(panel) -> list[str]:
    if isinstance(panel, Scatter):
        return [panel.x, panel.y]
    return [name for y in panel.y for name in (share(y) or (y,))]


def test_every_panel_draws_what_a_run_logs():
    """Columns of the schema under the names that training/wandb_view.py gives them; a share is of its trials."""
    trials = {column.name: column.trials for table in ("evals", "strata") for column in schema.TABLES[table]}
    for panel in (panel for section in views([1, 8]).values() for panel in section if not isinstance(panel, Media)):
        for name in named(panel):
            stratum = name.startswith("strata/")
            assert name.rpartition("/")[2] in (OF_STRATA if stratum else NUMBERS), name
        for hits, of in filter(None, map(share, panel.y if isinstance(panel, Line) else ())):
            assert trials[hits.rpartition("/")[2]] == of.rpartition("/")[2], (hits, of)
            assert hits.rpartition("/")[0] == of.rpartition("/")[0]


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")  # its own
def test_the_workspace_has_every_panel_and_groups_replicates():
    spec = json.loads(workspace("e", "p", "n", views([4]))._to_model().spec.model_dump_json(by_alias=True))
    sections = spec["section"]["panelBankConfig"]["sections"]
    assert {section["name"]: len(section["panels"]) for section in sections if section["panels"]} == {
        **{title: len(panels) for title, panels in VIEWS.items()}, "By copies": 1
    }  # fmt: skip
    (stratum,) = next(section["panels"] for section in sections if section["name"] == "By copies")
    assert stratum["config"]["expressions"] == ["${strata/4/n_basin_recovered} / ${strata/4/n_basin}"]
    assert stratum["config"]["xAxis"] == "images_seen"
    assert "cell_id" in json.dumps(spec["section"]["runSets"][0]["grouping"])


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "scaling.workspace", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=120)


def test_it_is_kept_by_a_server():
    with WandbStub() as stub:
        done = run(f"{ENTITY}/study", "--name", "mine", **stub.environ())
        assert done.returncode == 0 and not stub.unanswered, done.stderr
        (view,) = stub.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == (ENTITY, "study", "mine")
    assert "n_basin_recovered" in view["spec"] and done.stdout.strip().startswith("http")


def test_without_a_key_it_says_so_in_one_line():
    with WandbStub() as stub:
        environment = stub.environ()
        environment.pop("WANDB_API_KEY")
        done = run("me/study", **environment)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no W&B API key found" in done.stderr


@pytest.mark.parametrize("arguments", [["study"], ["me/study", "--copies", "1,x"], ["me/study", "--copies", "0"]])
def test_wrong_words_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and arguments[-1] in capsys.readouterr().err
