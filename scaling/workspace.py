"""python -m scaling.workspace ENTITY/PROJECT: a W&B workspace with the report's views of the runs logged there.

The panels are data (`VIEWS`); wandb-workspaces, of the extra `workspace`, is what puts them into W&B's own form. Counts
are drawn as shares by W&B's expressions: no ratio is logged. Runs are grouped by cell_id, so a line is a cell's mean.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from scaling.command import command_line
from scaling.redact import redacted
from scaling.training.wandb_view import unreachable

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

PURPOSE = "Make a W&B workspace that draws the report's views of a project's runs."
COPIES = (1, 2, 4, 8)  # strata shown unless told


class Line(NamedTuple):
    """Columns, or shares HITS/TRIALS of columns, over images_seen."""

    title: str
    y: tuple[str, ...]


class Scatter(NamedTuple):
    """The last values of two columns, a point a run."""

    title: str
    x: str
    y: str


class Media(NamedTuple):
    """A panel of pictures."""

    title: str
    key: str


Panel = Line | Scatter | Media
VIEWS: dict[str, tuple[Panel, ...]] = {
    "Memorization": (
        Line("share of samples memorized, null", ("n_memorized/n_generated", "n_null_memorized/n_generated")),
        Line("chains that came back, null", ("n_basin_recovered/n_basin", "n_null_basin_recovered/n_null_basin")),
        Line("membership (chance .5)", ("membership_auc",)),
        Line("distance to the ideal denoiser, null", ("ideal_distance", "ideal_distance_null")),
        Media("samples and nearest training images", "gallery"),
    ),
    "Generalization and quality": (
        Line("loss, seen and held out", ("seen_loss", "holdout_loss")),
        Line("KID, and what a perfect copier reaches", ("kid", "kid_train")),
        Line("coverage", ("coverage",)),
    ),
    "Size and boundary": (
        Scatter("memorized samples against size", "params", "n_memorized"),
        Scatter("hold-out loss against size (double descent?)", "params", "holdout_loss"),
        Scatter("the boundary: less of both is better", "holdout_loss", "n_memorized"),
    ),
}


def views(copies: Sequence[int]) -> dict[str, tuple[Panel, ...]]:
    """All sections, with one of a panel a stratum."""
    strata = tuple(
        Line(f"chains that came back, {r} {'copy' if r == 1 else 'copies'}",
             (f"strata/{r}/n_basin_recovered/strata/{r}/n_basin",))
        for r in copies
    )  # fmt: skip
    return {**VIEWS, "By copies": strata} if strata else VIEWS


def share(y: str) -> tuple[str, str] | None:
    """(hits, trials) where y is a share of two columns, which may be those of a stratum.

    >>> share("n_memorized/n_generated"), share("strata/8/n_basin_recovered/strata/8/n_basin"), share("kid")
    (('n_memorized', 'n_generated'), ('strata/8/n_basin_recovered', 'strata/8/n_basin'), None)
    """
    found = re.fullmatch(r"((?:strata/\d+/)?\w+)/((?:strata/\d+/)?\w+)", y)
    return found.groups() if found else None


def workspace(entity: str, project: str, name: str, sections: dict[str, tuple[Panel, ...]]) -> "Workspace":
    """The sections in W&B's form; nothing is sent."""
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(name=title, is_open=True, panels=[_panel(panel) for panel in panels])
            for title, panels in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis="images_seen"),
        runset_settings=ws.RunsetSettings(groupby=[ws.Config("cell_id")]),
    )


def _panel(panel: Panel) -> object:
    import wandb_workspaces.reports.v2 as wr

    if isinstance(panel, Media):
        return wr.MediaBrowser(title=panel.title, media_keys=[panel.key])
    if isinstance(panel, Scatter):
        x, y = wr.SummaryMetric(panel.x), wr.SummaryMetric(panel.y)
        return wr.ScatterPlot(title=panel.title, x=x, y=y, log_x=panel.x == "params")
    shares = [pair for pair in map(share, panel.y) if pair]
    columns = [name for y in panel.y for name in (share(y) or (y,))]
    expressions = [f"${{{hits}}} / ${{{trials}}}" for hits, trials in shares]
    more = {"custom_expressions": expressions} if expressions else {}
    return wr.LinePlot(title=panel.title, x="images_seen", y=columns, **more)


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where it cannot be made or kept, in one line."""
    options = _parser().parse_args(argv)
    try:
        entity, project = options.project
        made = workspace(entity, project, options.name, views(options.copies))
        _sign_in()
        print(made.save().url)
    except ModuleNotFoundError as error:
        if error.name != "wandb_workspaces":
            raise
        return _complain('wandb-workspaces is not installed: pip install -c constraints.txt -e ".[workspace]"')
    except Exception as error:  # W&B's clients raise errors of no common kind
        return _complain(" ".join(str(error).split()) or type(error).__name__)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_line("scaling.workspace", "ENTITY/PROJECT [options]", PURPOSE, "me/memorization --copies 1,2,4,8")
    parser.add_argument("project", metavar="ENTITY/PROJECT", type=_project, help="where the runs are")
    parser.add_argument("--name", default="memorization", help="of the workspace (default: memorization)")
    parser.add_argument("--copies", type=_copies, default=COPIES, metavar="N,N,…", help="strata (default: 1,2,4,8)")
    return parser


def _project(text: str) -> tuple[str, str]:
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", text):
        raise argparse.ArgumentTypeError(f"{text}: give ENTITY/PROJECT, as in the project's address")
    entity, project = text.split("/")
    return entity, project


def _copies(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise argparse.ArgumentTypeError(f"{text}: numbers of copies, as 1,2,4,8")
    return tuple(map(int, text.split(",")))


def _sign_in() -> None:
    """Raises ConnectionError where no server answers or no key is found: wandb.Api() would wait, or prompt."""
    import wandb

    url = wandb.setup(wandb.Settings(silent=True, console="off")).settings.base_url
    if why := unreachable(url):
        raise ConnectionError(f"{why}try again")
    if not wandb.login(prompt=False, verify=True):
        raise ConnectionError("no W&B API key found; run `wandb login`, or set WANDB_API_KEY")


def _complain(why: str) -> int:
    print(f"scaling.workspace: {redacted(why)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
