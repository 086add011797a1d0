"""What somebody who trains on images of their own would take from a study: copies, images, size, and when to stop."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.ask import asked
from analysis.onset import onsets
from analysis.onsets.crossing import Status
from analysis.pages import page, words
from analysis.pages.headlines import beyond_telling, place
from analysis.questions.comparable import SETTING, replicates, with_rate_rule
from analysis.questions.wasted import Ladder, differences_se, ladder
from analysis.summary import holdout_minima, main_setting
from analysis.table import Tables

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_PLACED = 3  # sizes, and models of one size, that are named


def recommendations(
    evals: "DataFrame", answers: Sequence[Mapping[str, Any]], level: float, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """(question, advice) for how many copies, how many images, which size, when to stop; each may be "cannot tell".

    answers as answers.json holds them: limits keep a rate below 1 %, and the advice takes the careful end of each.
    """
    known = {answer["question"]: answer for answer in answers}
    size, chosen = which_size(evals)
    return [
        ("How many copies?", _limit(known.get("max_copies"), "at most", "copies of an image", "lo")),
        ("How many images?", _limit(known.get("min_unique"), "at least", "unique images", "hi")),
        ("Which size?", size + " " + _limit(known.get("max_params"), "at most", "parameters", "lo")),
        ("When to stop?", when_to_stop(chosen, level, rng)),
    ]


def for_placed(models: "DataFrame", tables: Tables, *, level: float, draws: int, seed: int) -> list[tuple[str, str]]:
    """(question, advice) for how many images each size among the placed models of these data takes."""
    sizes = models.assign(run_id=models["run_id"].astype(str)).groupby("params", dropna=False)["run_id"].agg(list)
    said = []
    for size, names in sizes.head(MOST_PLACED).items():
        of = f"placed model {', '.join(names[:MOST_PLACED])}{' and others' if len(names) > MOST_PLACED else ''}"
        if not size > 0:
            said.append((f"How many images for {of}?",
                         "Cannot tell: its size is not known; give scaling.audit --params N."))  # fmt: skip
            continue
        found = asked("min_unique", tables, at={"params": size}, level=level, draws=draws, seed=seed).as_json()
        advice = _limit(found, "at least", "unique images", "hi")
        said.append((f"How many images at the {words.whole(size)} parameters of {of}?", advice))
    if len(sizes) > MOST_PLACED:
        said[-1] = (said[-1][0], f"{said[-1][1]} ({len(sizes) - MOST_PLACED} further sizes: ask min_unique.)")
    return said


def _limit(answer: Mapping[str, Any] | None, bound: str, unit: str, careful: str) -> str:
    if answer is None or not answer["answerable"]:
        told = "" if answer is None else str(answer["why"]).removeprefix("not answerable from these data: ")
        reason = f": {told.split('; ')[0]}" if told else ""  # all of it stands in the table of questions
        return f"To keep memorization below 1 % by {unit}: cannot tell{reason}."
    at_most = careful == "lo"
    if beyond_telling(answer):
        return (
            f"To keep memorization below 1 % by {unit}: cannot tell; the law's limit lies outside these data, its "
            f"careful end open ({words.limits(answer['lo'], answer['hi'])})."
        )
    end = answer[careful]
    safe = words.safe_whole(end, at_most=at_most) if end is not None and end >= 1 else None
    outside = "; this lies outside the data" if answer["extrapolated"] else ""
    advice = f"; {bound} {safe} to be on the safe side" if safe else "; no safe value within these data"
    return (
        f"To keep memorization below 1 %: {bound} {words.safe_whole(answer['value'], at_most=at_most)} {unit} "
        f"(the limit: {words.limits(answer['lo'], answer['hi'])}){place(answer)}{advice}{outside}."
    )


def which_size(evals: "DataFrame") -> tuple[str, "DataFrame"]:
    """The smallest size whose lowest hold-out loss is within 2 SE of the best size's, in words; and its runs' rows."""
    lowest = holdout_minima(evals)
    if lowest.empty or lowest["params"].nunique() < 2:
        return "For the best hold-out loss: cannot tell, it takes hold-out losses of two or more sizes.", evals.iloc[:0]
    lowest = with_rate_rule(lowest)
    varying = [name for name in SETTING if lowest[name].nunique(dropna=False) > 1]
    # Of settings with as many runs the largest training set: who trains on images of his own trains on all of them.
    lowest, setting = main_setting(lowest, varying or SETTING, counts=None)
    columns = {"loss": "holdout_loss", "loss_se": "holdout_loss_se", "hits": "n_memorized", "trials": "n_generated"}
    try:
        sizes = ladder(
            lowest["params"].to_numpy(float), replicates(lowest),
            {name: lowest[column].to_numpy(float) for name, column in columns.items()},
        )  # fmt: skip
    except ValueError as error:
        return f"For the best hold-out loss: cannot tell, {error}.", evals.iloc[:0]
    chosen, best = _smallest_equal_to_best(sizes)
    rows = evals[evals["run_id"].isin(lowest["run_id"][lowest["params"] == sizes.params[chosen]])]
    mean, other = (f"{np.nanmean(sizes.loss[:, k]):.3g}" for k in (chosen, best))
    same = "the lowest of all sizes" if chosen == best else (
        f"within 2 standard errors of the lowest, {other} at {words.whole(sizes.params[best])}"
    )  # fmt: skip
    largest = " It is the largest one tried: larger ones may be better." if chosen == len(sizes.params) - 1 else ""
    return (
        f"For the best hold-out loss: {words.whole(sizes.params[chosen])} parameters ({mean} at its lowest point, "
        f"{same}; n = {len(lowest)} runs{setting}).{largest}", rows,
    )  # fmt: skip


def _smallest_equal_to_best(sizes: Ladder) -> tuple[int, int]:
    """Columns of the smallest size that cannot be told from the best one, and of the best."""
    mean, se = np.nanmean(sizes.loss, axis=0), differences_se(sizes)
    best = int(np.argmin(mean))
    equal = [k for k in range(len(mean)) if k == best or mean[k] - mean[best] <= 2 * se[k, best]]
    return equal[0], best


def when_to_stop(rows: "DataFrame", level: float, rng: np.random.Generator) -> str:
    """Where the hold-out loss of these runs turns, and what is memorized by then."""
    found = onsets(rows, rng=rng, level=level, draws=1) if len(rows) else rows
    turned = found[found["t_over_status"] == Status.INTERP] if len(found) else found
    if not len(turned):
        falling = found["t_over_status"].isin([Status.ABOVE_RANGE, Status.CENSORED]).sum() if len(found) else 0
        more = f"; in {falling} of {len(found)} it still fell at the end: train longer" if falling else ""
        return f"Cannot tell: at the recommended size the hold-out loss of no run turned between two evaluations{more}."
    early, late = turned["t_over_a"].min(), turned["t_over_b"].max()
    still = (
        f"; {len(found) - len(turned)} further did not turn between two evaluations" if len(found) > len(turned) else ""
    )
    share = ""
    if turned["f_before"].notna().any():
        share = (
            f" There {words.percent(turned['f_before'].mean())} of the samples are memorized "
            f"(within {words.percent(turned['f_before_lo'].min())} to {words.percent(turned['f_before_hi'].max())}, "
            f"the outermost ends of the runs' {100 * level:g} % intervals)."
        )
    return (
        f"At the recommended size the hold-out loss is lowest at {words.whole(turned['t_over'].median())} images seen "
        f"(its turn lies between {words.whole(early)} and {words.whole(late)} in {len(turned)} runs{still}): stop "
        f"there.{share}"
    )


def recommendation_table(said: Sequence[tuple[str, str]], level: float) -> page.Html:
    """The table of `recommendations`, and what it is not: advice for other data."""
    note = (
        "From these runs only: another data set, family or schedule needs runs of its own. The limits are those of the "
        "questions below; sizes and stopping points are read at each run's lowest hold-out loss."
    )
    table = page.table("recommendations", ("question", f"advice ({100 * level:g} % intervals)"), said, texts=(0, 1))
    return page.joined([table, page.paragraph(note, "note")])
