"""Placed models as a table: how surely each is on the boundary, behind which cells, and the smallest way to it."""

from collections.abc import Collection

from analysis.boundary.place import Move, Placed
from analysis.boundary_points import SHORT, BoundaryPoints
from analysis.pages import page, runs, words
from analysis.placed_models import PlacedModels, Placement

MOST_CELLS = 3  # named of those that dominate a model


def placed_table(placed: PlacedModels, kept: Collection[str], level: float, prefix: str = "") -> page.Html:
    """A row for each placed model and boundary, and beneath it what was not placed. prefix: of the rows' anchors.

    kept: the runs that have a part on the page.
    """
    rows, anchors = list[list[object]](), list[str]()
    for one in placed.placements:
        rows += [_row(one, k, kept) for k in range(len(one.found))]
        anchors += [prefix + one.anchor(k) for k in range(len(one.found))]
    parts = [page.bullets(placed.said, "not-placed")] if placed.said else []
    if rows:
        headers = (
            "placed model", "against", "its value", "memorized samples", "on the boundary with probability",
            "behind (share of draws)", "smallest fall of that value", "smallest fall of the memorized share",
        )  # fmt: skip
        note = (
            f"Each fall is the smallest that takes the model to the boundary with its other value as it is, with the "
            f"{100 * level:g} % interval of the draws; lower is better in both."
        )
        shown = page.table("placed_models", headers, rows, texts=(0, 1, 5, 6, 7), anchors=anchors)
        parts = [shown, page.paragraph(note, "note"), *parts]
    return page.joined(parts)


def _row(placement: Placement, k: int, kept: Collection[str]) -> list[object]:
    model, there = placement.models.iloc[k], placement.found[k]
    moves = {move.column: move for move in there.moves}
    return [
        model["run_id"], SHORT[placement.column], words.number(model[placement.column]),
        f"{words.whole(model['y'])}/{words.whole(model['y_trials'])} · {words.percent(model['y'] / model['y_trials'])}",
        f"{there.p_front:.2f}", _behind(placement.study, there, kept),
        *(_move(moves[name], bool(there.dominating)) for name in ("x", "y")),
    ]  # fmt: skip


def _behind(study: BoundaryPoints, there: Placed, kept: Collection[str]) -> page.Html:
    """The cells that dominate it most often, each leading to a run of its own."""
    said = []
    for row, share in there.by[:MOST_CELLS]:
        point = study.of_point.iloc[row]
        name = point["cell_id"] if isinstance(point["cell_id"], str) else point["runs"][0]
        often = "" if share is None else f" ({words.percent(share)})"
        said.append(page.Html(f"{runs.linked(name, point['runs'], kept)}{often}"))
    return page.Html("<br>".join(said)) if said else page.text("–")


def _move(move: Move, dominated: bool) -> str:
    if move.by == 0:
        return "any fall is enough" if dominated else "none needed"
    ends = "" if move.lo is None else f" ({words.limits(move.lo, move.hi)})"
    return f"{words.number(move.by)}{ends}"
