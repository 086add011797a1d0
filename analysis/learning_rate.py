"""The width rule: which peak rate trains each size best, and how it changes with the width.

A scaling law over sizes of which some are badly tuned is a law of the tuning. `python -m analysis.learning_rate TABLES
--out DIR` reads a grid of rates (sweeps/learning_rate.yaml), finds the rate of the lowest hold-out loss of each width
and seed, and fits ln lr = ln lr_16 + a ln(width/16): `train.lr` and `train.lr_width_exponent`. Writes
learning_rate.json, .svg and .png.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t as student

from analysis.command import answer_json, command_line
from analysis.table import load

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
REFERENCE_WIDTH = 16
LEVEL = 0.9


@dataclass(frozen=True)
class Best:
    """The best rate of a width and seed. at_edge: the lowest loss is at an end of the grid, the optimum beyond it."""

    width: int
    seed: int
    lr: float
    holdout_loss: float
    at_edge: bool


@dataclass(frozen=True)
class Rule:
    """lr(width) = lr (width/16)^exponent, with the interval of each at `level`, over n optima of `widths` widths."""

    lr: float
    lr_lo: float
    lr_hi: float
    exponent: float
    exponent_lo: float
    exponent_hi: float
    level: float
    n: int
    widths: int

    def at(self, width: float) -> float:
        """The peak rate of this width."""
        return self.lr * (width / REFERENCE_WIDTH) ** self.exponent

    @property
    def words(self) -> str:
        """The rule with the interval of its exponent."""
        return f"lr = {self.lr:.2g} (w/16)^{self.exponent:.2f} ({self.exponent_lo:.2f} to {self.exponent_hi:.2f})"


def last_rows(evals: "DataFrame") -> "DataFrame":
    """The last evaluation of each run that was trained and has a hold-out loss."""
    last = evals.loc[evals.groupby("run_id")["images_seen"].idxmax()]
    return last[last["holdout_loss"].notna() & (last["images_seen"] > 0)]


def best_rates(last: "DataFrame") -> list[Best]:
    """One a width and seed: the vertex of the parabola in ln lr through the lowest loss and its neighbours.

    last: a row a run with width, seed, lr, holdout_loss. Raises ValueError where a width and seed has fewer than three
    rates, or two runs of one rate.
    """
    found = []
    for (width, seed), part in last.groupby(["width", "seed"]):
        part = part.sort_values("lr")
        if len(part) < 3 or part["lr"].duplicated().any():
            raise ValueError(
                f"width {width}, seed {seed}: {len(part)} runs with {part['lr'].nunique()} peak rates; "
                f"the optimum needs at least three rates, one run each"
            )
        found.append(_best(int(width), int(seed), np.log(part["lr"].to_numpy()), part["holdout_loss"].to_numpy()))
    return found


def _best(width: int, seed: int, log_lr: Array, loss: Array) -> Best:
    at = int(loss.argmin())
    if at in (0, len(loss) - 1):
        return Best(width, seed, float(np.exp(log_lr[at])), float(loss[at]), at_edge=True)
    near = slice(at - 1, at + 2)
    a, b, c = np.polyfit(log_lr[near], loss[near], 2)
    return Best(width, seed, float(np.exp(-b / (2 * a))), float(c - b**2 / (4 * a)), at_edge=False)


def rule(optima: Sequence[Best], level: float = LEVEL) -> Rule:
    """Least squares over the optima inside the grid; Student's interval. Raises ValueError below two widths."""
    inside = [best for best in optima if not best.at_edge]
    x = np.log([best.width / REFERENCE_WIDTH for best in inside])
    y = np.log([best.lr for best in inside])
    if len(set(x)) < 2 or len(x) < 3:
        raise ValueError(
            f"{len(inside)} optima of {len(set(x))} widths lie inside the grid of rates: the rule needs three of two "
            f"widths; add rates beyond the edges"
        )
    design = np.column_stack([np.ones_like(x), x])
    value, *_ = np.linalg.lstsq(design, y, rcond=None)
    freedom = len(x) - 2
    variance = float(((y - design @ value) ** 2).sum()) / freedom
    se = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    half = student.ppf(0.5 + level / 2, freedom) * se
    (log_lr, exponent), (low, exponent_lo), (high, exponent_hi) = value, value - half, value + half
    lr, lr_lo, lr_hi = np.exp([log_lr, low, high])
    return Rule(
        float(lr), float(lr_lo), float(lr_hi), float(exponent), float(exponent_lo), float(exponent_hi),
        level, len(x), len(set(x)),
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where the tables hold no grid of rates that the rule could be told from, in one line."""
    parser = command_line(
        "analysis.learning_rate",
        "TABLES --out DIR",
        __doc__.split("\n\n")[0],
        "results/learning_rate --out out/learning_rate",
    )
    parser.add_argument("tables", metavar="TABLES", type=Path, help="folder of scaling.collect, or of the runs")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for learning_rate.json, .svg and .png")
    options = parser.parse_args(argv)

    def answer() -> dict[str, Any]:
        from analysis.pictures.learning_rate_plot import plot_learning_rate  # matplotlib arrives only now

        last = last_rows(load(options.tables).evals)
        optima = best_rates(last)
        fitted = rule(optima)
        figure = plot_learning_rate(last, optima, fitted.at, fitted.words)
        options.out.mkdir(parents=True, exist_ok=True)
        for suffix in ("svg", "png"):
            figure.savefig(options.out / f"learning_rate.{suffix}", dpi=150)
        return {"rule": asdict(fitted), "optima": [asdict(best) for best in optima]}

    return answer_json("analysis.learning_rate", str(options.out / "learning_rate.json"), answer)


if __name__ == "__main__":
    sys.exit(main())
