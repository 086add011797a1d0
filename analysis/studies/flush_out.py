"""Study 4: single changes to a cell that memorizes, ranked by what they remove and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import sub
from typing import TYPE_CHECKING, Any

from analysis.ask import question
from analysis.placed_models import placed_models
from analysis.questions.answer import Answer
from analysis.questions.interventions import EARLY_STOP
from analysis.studies.flush_out_figures import moves
from analysis.studies.over_runs import DRAWS, LEVEL, SEED, share_of_runs
from analysis.studies.quoted import count, interval, number, share, table
from analysis.studies.study import Study
from analysis.summary import holdout_minima, last_evaluations
from analysis.table import Tables, load

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.plots import ReportFigure

REFERENCE = "reference"
BOUNDARY = "memorization"  # the study on whose boundary the moves are placed
# What a reader calls a change, by the keys of the configuration that it changes (and the value where one key has two).
WORDS = {
    "data.n_unique": "4 times as many images",
    "data.duplication.copies": "4 copies instead of 16",
    'data.duplication.near: "exact" -> "shift"': "near copies: shifted",
    'data.duplication.near: "exact" -> "noise"': "near copies: noised",
    "model.width": "half the width",
    "model.prune": "30 % of the weights pruned",
    "model.skips": "skips at half strength",
    "model.attention": "attention",
    "model.channel_mult": "three levels",
    'model.family: "unet" -> "mlp"': "MLP",
    'model.family: "unet" -> "dit"': "transformer (DiT)",
    "train.weight_decay": "weight decay 1",
    "train.ema": "raw weights instead of averaged",
    'data.conditioning: "none" -> "class"': "class labels",
    'data.conditioning: "none" -> "random"': "random labels",
    'data.conditioning: "none" -> "unique"': "a label for each image",
    "early stop": "early stop at the hold-out minimum",
}


@dataclass(frozen=True)
class Change:
    """One change, its effect by the answer's row, and the evaluations at which it was read."""

    name: str
    row: Mapping[str, Any]  # of the question `interventions`; empty: the reference itself
    evals: "DataFrame"  # one row a run

    @property
    def memorized(self) -> str:
        """The share of copies among the samples: mean of its runs, with the wider interval."""
        return share(*share_of_runs(self.evals["n_memorized"], self.evals["n_generated"]))

    def effect(self, name: str) -> str:
        """`value (lo to hi)` of one effect of the row."""
        return interval(*(self.row[f"{name}{end}"] for end in ("", "_lo", "_hi"))) if self.row else ""


def numbers(tables: Tables, folder: Path) -> Mapping[str, str]:
    """Every number of the page by name; `folder` lies beside that of the study whose boundary is asked."""
    answer = _answer(tables)
    found = changes(tables, answer)
    chance = _on_boundary(tables, found, load(folder.parent / BOUNDARY))
    header = ("change", "copies among samples", "removed (logit)", "hold-out loss, change", "KID, change",
              "removed at equal hold-out loss", "on the boundary of hold-out loss", "… of as many images",
              "on that of KID")  # fmt: skip
    rows: list[dict[str, Any]] = [dict(row) for row in answer.rows]
    effects = ("benefit", "cost_holdout_loss", "cost_kid", "benefit_equal_loss")
    cells = [[one.name, one.memorized, *(one.effect(name) for name in effects), *chance[one.name]] for one in found]
    made = {
        "ranked": table(header, cells), "n_runs": count(tables.evals["run_id"].nunique()),
        "n_changes": count(len(found) - 1), "n_seeds": count(max(row["n_seeds"] for row in rows)),
    }  # fmt: skip
    for one in found:
        key = sub(r"\W+", "_", one.name.lower()).strip("_")
        made |= {f"{key}_memorized": one.memorized, f"{key}_chance": ", ".join(chance[one.name])}
        made |= {f"{key}_{name}": one.effect(name) for name in effects if one.row}
    return made


def _answer(tables: Tables) -> Answer:
    return question("interventions")(tables, rate=0.01, at={}, level=LEVEL, draws=DRAWS, seed=SEED)


def changes(tables: Tables, answer: Answer) -> list[Change]:
    """The reference, then every change in rank; raises ValueError on a change without a name here."""
    rows: list[dict[str, Any]] = [dict(row) for row in answer.rows]
    last = last_evaluations(tables.evals).set_index("run_id", drop=False)
    early = next(row for row in rows if row["change"] == EARLY_STOP)
    base = set(early["runs"])
    minima = holdout_minima(tables.evals[tables.evals["run_id"].isin(base)])
    found = [Change(REFERENCE, {}, last.loc[sorted(base)])]
    for row in rows:
        runs = sorted(set(row["runs"]) - base)
        found.append(Change(named(row["change"]), row, last.loc[runs] if runs else minima))
    return found


def named(change: str) -> str:
    """What a reader calls the change; of several keys, the first that has a name (a family brings its own width)."""
    of_more = "model.family" in change or "channel_mult" in change
    for key, words in WORDS.items():
        if (change.startswith(key) or f", {key}" in change) and not (of_more and key == "model.width"):
            return words
    raise ValueError(f"{change}: no name for it in analysis.studies.flush_out.WORDS")


def _on_boundary(tables: Tables, found: Sequence[Change], study: Tables) -> Mapping[str, Sequence[str]]:
    """Name -> mean over its runs of the probability to lie on the study's boundary: by hold-out loss of all its cells
    and of those of as many images as the reference has, by KID of all."""
    import pandas

    rows = pandas.concat([one.evals.assign(_change=one.name) for one in found], ignore_index=True)
    # A reading is a model of its own: the reference stands here at its end and at its minimum.
    names = rows["_change"] + " " + rows["run_id"]
    rows = rows.assign(run_id=names)
    size = found[0].evals["n_unique"].iloc[0]
    alike, own = study.evals[study.evals["n_unique"] == size], rows["n_unique"] == size
    chance: dict[str, Mapping[str, float]] = {}
    for which, evals, kept in (("all", study.evals, own.notna()), ("alike", alike, own)):
        beside = Tables(evals, study.strata, study.noise_levels, study.prompts, study.images)
        models = Tables(rows[kept], tables.strata, tables.noise_levels, tables.prompts, tables.images)
        for there in placed_models(beside, models, LEVEL).placements:
            each = there.models.assign(chance=[one.p_front for one in there.found]).groupby("_change")["chance"]
            chance[f"{which} {there.column}"] = each.mean().to_dict()
    asked = ("all holdout_loss", "alike holdout_loss", "all kid")
    return {one.name: ["" if one.name not in chance[key] else number(chance[key][one.name]) for key in asked]
            for one in found}  # fmt: skip


def figures(tables: Tables, folder: Path) -> Sequence["ReportFigure"]:
    """Where the changes take the reference."""
    found = changes(tables, _answer(tables))
    return [moves([(one.name, one.evals) for one in found], load(folder.parent / BOUNDARY))]


STUDY = Study("flush_out", numbers, figures, beside=(BOUNDARY,))
