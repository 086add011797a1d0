"""`python -m analysis.simulate PLAN.yaml --out DIR`: a study with known truth, and what its grid would resolve.

Writes one study's tables (scaling.schema) and truth.json; then simulates and fits many studies and says, before
anything is trained, how wide each interval would be (plan.json). `--tables-only` stops after the tables.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.command import command_line

if TYPE_CHECKING:
    from analysis.planning.planned import StudyPlan

QUIET = 3.0  # seconds before the first progress line
LUCK = (
    "The truth is the law of a run without luck. A fit of runs with luck finds a flatter one, of their mean rate;\n"
    "coverage counts this as a miss, and the more runs, the more it shows."
)


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where the plan cannot be used or what it assumes is impossible, in one line."""
    made = command_line(
        "analysis.simulate",
        "PLAN.yaml --out DIR [options]",
        "A study with known truth, and what its grid would resolve, before anything is trained.",
        "sweeps/plans/quickstart_plan.yaml --out out/plan",
    )
    made.add_argument("plan", help="a YAML file as in sweeps/plans/")
    made.add_argument("--out", required=True, metavar="DIR", help="for the tables, truth.json and plan.json")
    made.add_argument("--seed", type=int, default=0, help="of the study in the tables, and of the simulated ones")
    made.add_argument("--tables-only", action="store_true", help="write one study and its truth, and stop")
    made.add_argument("--csv", action="store_true", help="tables as csv instead of parquet")
    made.add_argument("--studies", type=int, help="simulated studies (default: the plan's)")
    options = made.parse_args(argv)
    try:
        _run(options)
    except (ValueError, OSError) as error:
        print(f"analysis.simulate: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    # Laws and fits: not for --help or a mistyped option.
    from analysis.planning.expected_intervals import expected, with_seeds
    from analysis.planning.planned import read_plan
    from analysis.planning.simulated_curves import truth
    from analysis.planning.simulated_study import simulated

    plan = read_plan(options.plan)
    studies = plan.studies if options.studies is None else options.studies
    if studies < 2 or options.seed < 0:
        raise ValueError(f"--studies {studies} --seed {options.seed}: 2 studies or more, a seed of 0 or more")
    known = truth(plan) | {"seed": options.seed}  # raises where the assumed truth is impossible, before any file
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    write_tables(out, simulated(plan, options.seed), csv=options.csv)
    (out / "truth.json").write_text(json.dumps(known, indent=2, allow_nan=False) + "\n")
    if options.tables_only:
        print(f"{out}: a simulated study of {plan.seeds * len(plan.cells)} runs, and its truth.json")
        return
    plans = with_seeds(plan)
    ticks = Progress(len(plans) * studies)
    found = [expected(one, studies=studies, seed=options.seed, tick=ticks.tick) for one in plans]
    ticks.end()
    answer = {"name": plan.name, "level": plan.level, "cluster": plan.cluster, "draws": plan.draws,
              "seed": options.seed, "planned_seeds": plan.seeds, "by_seeds": found}  # fmt: skip
    (out / "plan.json").write_text(json.dumps(answer, indent=2, allow_nan=False) + "\n")
    print(printed(plan, answer))


def write_tables(folder: Path, tables: Mapping[str, Any], *, csv: bool = False) -> None:
    """A TABLES folder, as scaling.collect writes it."""
    for name, frame in tables.items():
        if csv:
            frame.to_csv(folder / f"{name}.csv", index=False)
        else:
            frame.to_parquet(folder / f"{name}.parquet", index=False)


class Progress:
    """One line on standard error that is written over, once the work takes more than a few seconds."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.start, self.said = total, 0, time.monotonic(), 0.0

    def tick(self) -> None:
        """One more is done; the line is written anew at most twice a second."""
        self.done += 1
        passed = time.monotonic() - self.start
        if passed > QUIET and passed - self.said > 0.5:
            left = passed / self.done * (self.total - self.done)
            print(f"\r{self.done} of {self.total} studies, {left:.0f} s left   ", end="", file=sys.stderr, flush=True)
            self.said = passed

    def end(self) -> None:
        """End the line, if one was written."""
        if self.said:
            print(file=sys.stderr)


def printed(plan: "StudyPlan", answer: Mapping[str, Any]) -> str:
    """A row for each quantity and number of seeds: the interval's median width, share with an answer, coverage."""
    rows = [["quantity", "truth", "seeds", "runs", "median width", "answerable", "coverage"]]
    for k, quantity in enumerate(answer["by_seeds"][0]["quantities"]):
        for first, one in enumerate(answer["by_seeds"]):
            found = one["quantities"][k]
            named = ["", ""] if first else [quantity["quantity"], _number(quantity["truth"])]
            ratio = "x " if quantity["scale"] == "ratio" else ""
            rows.append([*named, str(one["seeds"]), str(one["runs"]), ratio + _with_error(found["width"]),
                         _percent(found["answerable"]), _percent(found["coverage"])])  # fmt: skip
    for first, one in enumerate(answer["by_seeds"] if plan.double_descent else []):
        assumed = f"prominence {plan.descent.prominence if plan.descent else 0:g}"
        named = ["", ""] if first else ["double descent", assumed]
        told = one["double_descent"]
        shares = [f"{verdict} {_percent(told[verdict])}" for verdict in ("present", "absent", "cannot_tell")]
        rows.append([*named, str(one["seeds"]), str(one["runs"]), *shares])
    sizes = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(size) for text, size in zip(row, sizes, strict=True)).rstrip() for row in rows]
    title = (
        f"{plan.name}: what {100 * plan.level:g} % intervals would be; "
        f"{answer['by_seeds'][0]['studies']} simulated studies for each number of seeds.\n"
        "In brackets the 95 % Monte-Carlo interval of each number; x: a width is the ratio of the interval's ends.\n"
        "answerable: studies whose interval has both ends; coverage: intervals that hold the truth."
    )
    own = next(one for one in answer["by_seeds"] if one["seeds"] == plan.seeds)
    why = [f"{q['quantity']}: {q['why']}" for q in own["quantities"] if q["why"] and q["answerable"]["value"] < 1]
    if plan.double_descent and own["double_descent"]["why"]:
        why.append(f"double descent: {own['double_descent']['why']}")
    lucky = plan.rate.luck_run > 0 or plan.rate.luck_draw > 0
    note = ["", LUCK] if lucky else []
    said = ["", f"Why some of {plan.seeds} seeds have no answer (the commonest reason):", *why] if why else []
    return "\n".join([title, "", *lines, *note, *said])


def _with_error(width: Mapping[str, Any]) -> str:
    return "-" if width["value"] is None else " ".join(
        [_number(width["value"]), f"[{_number(width['lo'])}, {_number(width['hi'])}]"]
    )  # fmt: skip


def _percent(share: Mapping[str, Any]) -> str:
    if share["value"] is None:
        return "-"
    return f"{100 * share['value']:.0f} % [{100 * share['lo']:.0f}, {100 * share['hi']:.0f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1e4 else f"{value:.2e}"


if __name__ == "__main__":
    raise SystemExit(main())
