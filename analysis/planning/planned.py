"""A planned study: its grid, what is assumed true, what one wants to know. Read strictly from a YAML file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.formulas.law import Law
from analysis.laws import law
from analysis.planning.plan_fields import (
    NEEDED,
    PlanError,
    choice,
    fields,
    mapping,
    number,
    section,
    several,
    span,
    text,
    whole,
)
from analysis.planning.planned_grid import Cell, cells
from scaling import schema

VARIABLES = ("params", "copies", "n_unique", "images_seen")  # a rate law is one of some of these
POSITIVE = number(0, open_lo=True)


@dataclass(frozen=True)
class RateTruth:
    """logit f of a stratum = law(x) + luck; counts are beta-binomial about it.

    The parameters are those of a run without luck: averaged over luck, the rate follows a flatter curve.
    """

    law: Law
    parameters: Mapping[str, float]
    luck_run: float  # sd of the logit between runs, shared by a run's strata and evaluations
    luck_draw: float  # the same between draws of images, shared by all runs of one seed
    overdispersion: float  # correlation of two trials of one count besides
    null: float  # rate of every null


@dataclass(frozen=True)
class LossTruth:
    """holdout_loss = E + A/params^alpha + B/images_seen^beta + overfit max(0, ln(images_seen/t_over))^2 (+ a bump).

    t_over = overfit_epochs n_unique; seen_loss lacks the last two.
    """

    E: float
    A: float
    alpha: float
    B: float
    beta: float
    overfit: float
    overfit_epochs: float
    untrained: float  # at images_seen = 0, where the law has no value
    sd_run: float
    sd_draw: float
    se: float  # of each measurement: added, and told as holdout_loss_se


@dataclass(frozen=True)
class Descent:
    """A bump of holdout_loss along ln params, of this prominence over the planned sizes at the end of training."""

    prominence: float
    peak: float
    width: float  # sd in ln params


@dataclass(frozen=True)
class StudyPlan:
    """The grid with its seeds, the assumed truth, the questions, and how many studies and draws tell the intervals."""

    name: str
    cells: tuple[Cell, ...]
    seeds: int
    rate: RateTruth
    loss: LossTruth
    descent: Descent | None
    n_basin: int  # chains a stratum
    n_holdout: int
    ended_early: float  # share of runs that stop at an earlier evaluation
    max_copies: tuple[dict[str, Any], ...]
    predict: tuple[dict[str, Any], ...]
    tau_mem: tuple[dict[str, Any], ...]
    double_descent: dict[str, Any] | None  # window, valley
    cluster: str
    level: float
    studies: int
    draws: int


AT = dict.fromkeys(VARIABLES, (POSITIVE, None))
RATE = {
    "law": (text, "logistic"),
    "x": (several(choice(*VARIABLES)), NEEDED),
    "parameters": (mapping(number()), NEEDED),
    "luck_run": (number(0), 0.0),
    "luck_draw": (number(0), 0.0),
    "overdispersion": (number(0, 0.99), 0.0),
    "null": (number(0, 1), 0.002),
}
LOSS = {
    "E": (number(0), 0.5), "A": (number(0), 2.0), "alpha": (number(0), 0.25), "B": (number(0), 10.0),
    "beta": (number(0), 0.4), "overfit": (number(0), 0.0), "overfit_epochs": (POSITIVE, 100.0),
    "untrained": (POSITIVE, 1.0), "sd_run": (number(0), 0.01), "sd_draw": (number(0), 0.0), "se": (POSITIVE, 0.01),
}  # fmt: skip
DESCENT = {"prominence": (POSITIVE, NEEDED), "peak": (POSITIVE, NEEDED), "width": (POSITIVE, 0.7)}
TRUTH = {
    "rate": (section(RATE), NEEDED),
    "holdout_loss": (section(LOSS), {name: default for name, (_, default) in LOSS.items()}),
    "double_descent": (section(DESCENT), None),
    "ended_early": (number(0, 1), 0.0),
}
CELL = {"params": (POSITIVE, None), "n_unique": (POSITIVE, None), "images": (POSITIVE, None), "design": (text, None),
        "copies": (POSITIVE, None)}  # fmt: skip
ASKED = {
    "max_copies": (several(section({"rate": (number(0, 0.999, open_lo=True), 0.01), **AT}), 0), ()),
    "predict": (several(section(AT), 0), ()),
    "tau_mem": (several(section({"eps": (number(0, 0.999, open_lo=True), 0.01), **CELL}), 0), ()),
    "double_descent": (section({"window": (span, None), "valley": (span, None)}), None),
}
NOTHING = {"max_copies": (), "predict": (), "tau_mem": (), "double_descent": None}
PLAN = {
    "name": (text, NEEDED),
    "grid": (lambda value, where: value, None),
    "sweep": (text, None),
    "sizes": (mapping(whole(1)), None),
    "measure": (section({"n_basin": (whole(1), 128), "n_holdout": (whole(1), 256)}),
                {"n_basin": 128, "n_holdout": 256}),
    "truth": (section(TRUTH), NEEDED),
    "questions": (section(ASKED), NOTHING),
    "cluster": (choice("run_id", "draw"), "run_id"),
    "level": (number(0.5, 0.999), 0.95),
    "studies": (whole(2), 100),
    "draws": (whole(40), 100),
}  # fmt: skip


def read_plan(path: Path | str) -> StudyPlan:
    """The plan in a YAML file; raises PlanError, naming the file."""
    path = Path(path)
    content = _yaml(path)
    try:
        if isinstance(content, Mapping) and "sweep" in content:
            sweep = path.parent / text(content["sweep"], "sweep")
            if "grid" in content:
                raise PlanError("grid and sweep are both given; give the sweep file, or the grid")
            parameters = _yaml(sweep)
            if not isinstance(parameters, Mapping) or "parameters" not in parameters:
                raise PlanError(f"sweep: {sweep} has no parameters; name a W&B sweep file of method grid")
            content = {**content, "grid": parameters["parameters"]}
        return plan(content)
    except ValueError as error:
        raise PlanError(f"{path}: {error}") from None


def _yaml(path: Path) -> object:
    try:
        return schema.read_yaml(path)
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror or error}; name a plan, for instance in sweeps/plans/") from None
    except ValueError as error:
        raise PlanError(f"{path}: not YAML ({error}); correct it") from None


def plan(content: object) -> StudyPlan:
    """The plan in a mapping, as a YAML file holds it; raises PlanError before any work."""
    found = fields(content, "", PLAN)
    if found["grid"] is None:
        raise PlanError("the plan has no grid: write params (or width and sizes), n_unique, images, seeds, …")
    grid, seeds = cells(found["grid"], found["sizes"])
    truth, asked = found["truth"], found["questions"]
    made = StudyPlan(
        name=found["name"], cells=grid, seeds=seeds, rate=_rate(truth["rate"]), loss=LossTruth(**truth["holdout_loss"]),
        descent=Descent(**truth["double_descent"]) if truth["double_descent"] else None, **found["measure"],
        ended_early=truth["ended_early"], **asked, cluster=found["cluster"], level=found["level"],
        studies=found["studies"], draws=found["draws"],
    )  # fmt: skip
    _check_questions(made)
    return made


def _rate(truth: dict[str, Any]) -> RateTruth:
    x = truth.pop("x")
    chosen = law(truth.pop("law"), x)
    if not chosen.rate:
        raise PlanError(f"truth.rate.law: {chosen.name} is no law of a rate; logistic or exposure")
    if chosen.name == "exposure" and x[0] != "images_seen":
        raise PlanError(f"truth.rate.x: the first variable of exposure is images_seen, not {x[0]}")
    spec = {name: (number(*chosen.bounds[name], open_lo=name in chosen.log), NEEDED) for name in chosen.parameters}
    parameters = fields(truth.pop("parameters"), "truth.rate.parameters", spec)
    return RateTruth(chosen, parameters, **truth)


def _check_questions(made: StudyPlan) -> None:
    """Raises PlanError on a question that the plan cannot even pose."""
    x = made.rate.law.variables
    for kind, rows, needed in (
        ("max_copies", made.max_copies, [name for name in x if name != "copies"]),
        ("predict", made.predict, list(x)),
    ):
        for k, row in enumerate(rows):
            missing = [name for name in needed if row[name] is None]
            if missing:
                raise PlanError(f"questions.{kind}[{k}]: {', '.join(missing)} is missing; the law needs it")
    if made.max_copies and "copies" not in x:
        raise PlanError("questions.max_copies: the rate law does not hold copies; add it to truth.rate.x")
    for k, row in enumerate(made.tau_mem):
        asked_cell(made, row, f"questions.tau_mem[{k}]")
    sizes = {cell.params for cell in made.cells}
    if made.double_descent:
        if made.seeds < 2:
            raise PlanError("questions.double_descent: the test needs 2 seeds or more; raise seeds")
        if len({ends is None for ends in made.double_descent.values()}) > 1:
            raise PlanError(
                "questions.double_descent: window and valley go together; without both it is the search test"
            )
        for name, (lo, hi) in ((name, ends) for name, ends in made.double_descent.items() if ends):
            if not any(lo <= size <= hi for size in sizes):
                listed = ", ".join(map(str, sorted(sizes)))
                raise PlanError(f"questions.double_descent.{name}: no size of the grid in {lo:g} to {hi:g} ({listed})")
        if len({cell.group for cell in made.cells}) > 1:
            raise PlanError("questions.double_descent: cells differ in more than size; plan one curve at a time")


def asked_cell(made: StudyPlan, row: Mapping[str, object], where: str) -> Cell:
    """The one cell that fulfils `row`; raises PlanError where there are none or several."""

    def fits(cell: Cell) -> bool:
        own = {name: getattr(cell, name) for name in ("params", "n_unique", "images", "design")}
        own["copies"] = cell.strata[-1][0]
        return all(row[name] is None or row[name] == value for name, value in own.items())

    chosen = [cell for cell in made.cells if fits(cell)]
    if len(chosen) != 1:
        asked = ", ".join(f"{name}={row[name]:g}" if name != "design" else f"design={row[name]}"
                          for name in CELL if row[name] is not None) or "no condition"  # fmt: skip
        raise PlanError(f"{where}: {len(chosen)} cells of the grid have {asked}; name exactly one by {', '.join(CELL)}")
    return chosen[0]
