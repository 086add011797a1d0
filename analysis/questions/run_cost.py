"""What a run would cost: ln wall_seconds = a + b ln params + c ln images_seen over the runs trained, else its FLOPs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.questions.observations import Observations

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray
FEWEST = 4  # runs below which no line of cost is fitted


@dataclass(frozen=True)
class Cost:
    """What a run costs, exp(a + b ln params + c ln images_seen) in `unit`, and how that was told."""

    unit: str  # second, FLOP or run
    line: tuple[float, float, float]  # a, b, c
    said: str

    def of(self, params: Array, images_seen: Array) -> Array:
        """Of runs with params, images_seen [c] -> [c]."""
        a, b, c = self.line
        return np.exp(a + b * np.log(params) + c * np.log(images_seen))


def run_cost(observed: Observations, evals: "DataFrame") -> Cost:
    """The cost of a run from those in `observed`; a variable that does not vary is taken to cost in proportion."""
    wanted = observed.frame[["run_id", "images_seen"]].drop_duplicates()
    rows = evals.merge(wanted, on=["run_id", "images_seen"])
    for column, unit in (("wall_seconds", "second"), ("train_flops", "FLOP")):
        known = rows[(rows[column] > 0) & (rows["params"] > 0)]
        if len(known) >= FEWEST:
            return _line(known, column, unit)
    return Cost("run", (0.0, 0.0, 0.0), "neither wall_seconds nor train_flops was recorded: every run counts alike")


def _line(known: "DataFrame", column: str, unit: str) -> Cost:
    y = np.log(known[column].to_numpy(float))
    logs = {name: np.log(known[name].to_numpy(float)) for name in ("params", "images_seen")}
    slopes = dict.fromkeys(logs, 1.0)
    varied = [name for name, values in logs.items() if np.ptp(values) > 1e-9]
    y = y - sum(logs[name] for name in logs if name not in varied)
    design = np.column_stack([np.ones(len(y)), *(logs[name] for name in varied)])
    solved = np.linalg.pinv(design) @ y  # where both move together, their common slope is shared alike
    slopes |= dict(zip(varied, solved[1:].tolist(), strict=True))
    spread = float(np.std(y - design @ solved))
    fixed = [name for name in logs if name not in varied]
    said = (
        f"cost: {column} ~ params^{slopes['params']:.2f} images_seen^{slopes['images_seen']:.2f} from {len(y)} runs "
        f"(scatter of ln {spread:.2f})"
    )
    said += f"; {', '.join(fixed)} did not vary and is taken to cost in proportion" if fixed else ""
    return Cost(unit, (float(solved[0]), slopes["params"], slopes["images_seen"]), said)
