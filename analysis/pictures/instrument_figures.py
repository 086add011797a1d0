"""The report's figures of single instruments: from which rows, with caption and alternative text."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from analysis.columns import TableError
from analysis.pictures import instrument_plots
from analysis.pictures.instrument_points import budget_points, noise_points, prompted_points
from analysis.pictures.photographs import prompt_points
from analysis.pictures.points import said_runs, with_runs
from analysis.pictures.scales import study_scale
from analysis.plots import Ordered, ReportFigure
from analysis.richness import budget_curves
from analysis.summary import last_evaluations, main_setting, pooled_rates
from analysis.table import Tables
from analysis.words import count_label, several
from scaling.schema import PROMPT_GALLERY

if TYPE_CHECKING:
    from pandas import DataFrame

Figures = list[ReportFigure] | str  # the figures, or in words why there is none
MOST_STRIPS, MOST_PROMPTS = 4, 10
HALF = "1/2"  # the context that evals counts: shown first


def noise(tables: Tables, level: float) -> Figures:
    """Gap of the losses, ideal_distance and trajectory_distance at each noise level of the last evaluations."""
    rows = last_evaluations(tables.noise_levels)
    rows = rows.assign(
        gap=rows["holdout_loss"] - rows["seen_loss"], gap_se=np.hypot(rows["holdout_loss_se"], rows["seen_loss_se"])
    )
    measured = ["gap", "ideal_distance", "trajectory_distance"]
    rows = rows[rows[measured].notna().any(axis=1)]
    if rows.empty:
        return "No figure over noise levels: ask for loss, ideal or trajectory in evaluate.measures."
    rows, line, setting = _one_line_variable(tables, rows, ("design",))
    z = ndtri((1 + level) / 2)
    figure = instrument_plots.plot_noise_levels(rows, line, z)
    at = noise_points(figure.axes, rows, line, z)
    caption = (
        f"Where in the noise the training images are known. Left: hold-out minus seen loss; band: {100 * level:g} % "
        f"from both standard errors (over images) as if independent, so a little wide where images share their noise. "
        f"Middle: distance to the ideal denoiser of the training set. Right: distance of the sampler's path from "
        f"noised training images. Faint lines are single runs. The left panel's null is 0; the others have none at "
        f"single levels: ideal_distance has its own in the table. n = {said_runs(rows['run_id'].nunique())}{setting}."
        f"{at.note}"
    )
    ends = rows[rows["gap"].notna()].groupby("sigma")["gap"].mean()
    alt = "Losses, distance to the ideal denoiser and path distance against noise level" + (
        f"; the mean gap is largest, {ends.max():.3g}, at sigma {ends.idxmax():.2g}." if len(ends) else "."
    )
    return [ReportFigure("noise_levels", "noise", figure, caption, alt, wide=True, data=at.data, marks=at.marks)]


def budget(tables: Tables, level: float) -> Figures:
    """Images found against samples drawn, beside the perfect copier of the same plan."""
    if not tables.images["n_hits"].notna().any():
        return "No figure of the attack budget: ask for neighbors in evaluate.measures and evaluate.samples > 0."
    try:
        curves = budget_curves(tables.images, tables.evals, level)
    except TableError as error:
        return f"No figure of the attack budget: {error}."
    of_run = last_evaluations(tables.evals)[["run_id", "params", "design", "n_train"]]
    curves, line, setting = _one_line_variable(tables, curves.merge(of_run, on="run_id"), ("design",))
    figure = instrument_plots.plot_budget(curves, line)
    at, ends = budget_points(figure.axes[0], curves, line), curves.sort_values("b").groupby("run_id").tail(1)
    flagged = int(ends["chao1_flagged"].sum())
    caption = (
        f"Training images found among the first samples drawn (solid, exact rarefaction; band: {100 * level:g} %, the "
        f"attack repeated on the run) beside a perfect copier of the same plan (dashed): its curve rises from the "
        f"budget alone, so only the distance to it tells of memory, and runs compare at equal budget only. At the "
        f"right: Chao1, a lower bound of what an endless attack finds, with its interval; open where none is expected "
        f"beyond those found, which proves nothing ({flagged} of {len(ends)}). The null of held-out images stands in "
        f"the table. n = {said_runs(len(ends))}{setting}.{at.note}"
    )
    alt = (
        f"Share of training images found against samples drawn: {100 * (ends['found'] / ends['n_unique']).mean():.1f} "
        f"% at the last, a perfect copier {100 * (ends['copier'] / ends['n_unique']).mean():.1f} % (means of runs)."
    )
    return [ReportFigure("attack_budget", "budget", figure, caption, alt, wide=True, data=at.data, marks=at.marks)]


def prompted(tables: Tables, level: float) -> Figures:
    """Prompted recovery of the strata against copies, by context; ceiling and null of the same prompts."""
    rows = last_evaluations(tables.prompts)
    rows = rows[rows["n_prompt_recovered"].notna() & (rows["n_prompts"] > 0)]
    if rows.empty:
        return "No figure of prompted recovery: ask for prompts in evaluate.measures."
    rows, line, setting = _one_line_variable(tables, rows, ("design", "rounds"))
    by = ("context", line.name, "copies")
    rates = with_runs(pooled_rates(rows, by, "n_prompt_recovered", "n_prompts", level=level), rows, by)
    # The ceiling of unlike training sets differs: each line has its own; at one n_unique all lines share it.
    ends = _ends(rows, ("context", "copies", *(["n_unique"] if line.name == "n_unique" else [])))
    figure = instrument_plots.plot_prompted(rates, ends, line, ylabel=f"prompts recovered ({100 * level:g} % interval)")
    at = prompted_points(figure.axes, rates, ends, line)
    rounds = ", ".join(f"{value:g}" for value in sorted(rows["rounds"].dropna().unique())) or "unknown"
    caption = (
        f"Share of prompted training images whose unknown part the sampler restores, by the copies of the image and "
        f"what was given ({rounds} resampling rounds a level; Wilson intervals of prompts). Dashed: the ideal "
        f"denoiser under the same filling, the ceiling. Dotted: held-out images, the null. n = "
        f"{said_runs(rows['run_id'].nunique())}{setting}, {rows['n_prompts'].sum():g} prompts.{at.note}"
    )
    shares = rows.groupby("context")[["n_prompt_recovered", "n_prompts"]].sum()
    shares = 100 * shares["n_prompt_recovered"] / shares["n_prompts"]
    said = "; ".join(f"{context}: {share:.0f} %" for context, share in shares.items())
    alt = f"Prompted recovery against copies, a panel a context; pooled {said}."
    return [ReportFigure("prompted_recovery", "prompts", figure, caption, alt, wide=True, data=at.data, marks=at.marks)]


def _ends(rows: "DataFrame", by: tuple[str, ...]) -> "DataFrame":
    """Ceiling and null of the prompts, pooled over `by`; NaN where no run measured it."""
    asked = (("ceiling", "n_ideal_recovered", "n_prompts"), ("null", "n_null_prompt_recovered", "n_null_prompts"))
    found = rows[[*by]].drop_duplicates()
    for name, hits, trials in asked:
        known = pooled_rates(rows, by, hits, trials)[[*by, "rate"]]
        found = found.merge(known.rename(columns={"rate": name}), on=[*by], how="left")
    return found


def prompts(tables: Tables, level: float) -> Figures:
    """A few prompts with what the model made of them, of the run that restores most and the one that restores least."""
    rows = last_evaluations(tables.evals)
    rows = rows[[all(name in tables.gallery.get(str(run), {}) for name in PROMPT_GALLERY) for run in rows["run_id"]]]
    rows = rows[[len(tables.gallery[str(run)]["prompt_context"]) > 0 for run in rows["run_id"]]]
    if rows.empty:
        return "No pictures of prompts: ask for prompts in evaluate.measures; the runs kept none."
    rows = rows.assign(share=[tables.gallery[str(run)]["prompt_recovered"].mean() for run in rows["run_id"]])
    rows = rows.sort_values(["share", "params"])
    shown = rows.iloc[sorted({0, len(rows) - 1}, reverse=True)]
    strips, titles, given = [], [], []
    for row in shown.itertuples():
        arrays = {name.removeprefix("prompt_"): tables.gallery[str(row.run_id)][name] for name in PROMPT_GALLERY}
        contexts = sorted(dict.fromkeys(map(str, arrays["context"])), key=lambda context: context != HALF)
        contexts = contexts[: MOST_STRIPS // len(shown)]
        for context in contexts:
            mine = np.flatnonzero(arrays["context"] == context)
            mine = mine[np.unique(np.linspace(0, len(mine) - 1, min(len(mine), MOST_PROMPTS)).round().astype(int))]
            given.append((str(row.run_id), context))
            strips.append({name: arrays[name][mine] for name in arrays if name != "context"})
            titles.append(
                f"run {row.run_id}: {count_label(row.params)} parameters, {row.n_unique:g} unique images; "
                f"given: {instrument_plots.context_words(context)}"
            )
    figure = instrument_plots.plot_prompts(strips, titles)
    at = prompt_points(figure, strips, *zip(*given, strict=True))
    shown_prompts = sum(len(strip["recovered"]) for strip in strips)
    caption = (
        f"Prompts from training images: the pixels given (striped: unknown), what the sampler makes of them, the "
        f"original. Green frame and ✓: recovered, nearer to the original than a third of the distance to any other "
        f"training image, over the unknown pixels; ✗: missed; above: its copies. Evenly chosen over the copies, "
        f"whether recovered or not; the runs that restore most and least. "
        f"n = {several(shown_prompts, 'prompt')} of {said_runs(len(shown))}; rates, null and ceiling stand in the "
        f"figure of prompted recovery."
    )
    back = int(sum(strip["recovered"].sum() for strip in strips))
    alt = f"{several(shown_prompts, 'prompt')} with completion and original, {back} of them recovered."
    return [ReportFigure("prompts", "prompts", figure, caption, alt, wide=True, data=at.data, marks=at.marks)]


def _one_line_variable(tables: Tables, rows: "DataFrame", keys: tuple[str, ...]) -> tuple["DataFrame", Ordered, str]:
    """The rows of one setting in which only n_unique or params (whichever has more values) makes lines."""
    line, other = ("n_unique", "params") if rows["n_unique"].nunique() > rows["params"].nunique() else (
        "params", "n_unique",
    )  # fmt: skip
    held = (*keys, other) if other == "params" else (*keys, other, "n_train")
    kept, setting = main_setting(rows, held)
    return kept.reset_index(drop=True), study_scale(tables, line), setting


BUILDERS = (noise, budget, prompted, prompts)
