"""What finished runs of this machine say about the cost of the next ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean

import numpy as np

from scaling.forecasts.cost_model import CostModel, Seconds, fit
from scaling.forecasts.server_core import START_SECONDS
from scaling.forecasts.timed_runs import Run, finished_runs, newest
from scaling.forecasts.timing_cache import cached
from scaling.runtime import RuntimeConfig

REPLICATE_SD, REPLICATES = 0.1, 4  # sd of ln seconds between equal runs before any were seen, worth so many of them


@dataclass(frozen=True, eq=False)
class Calibration:
    """The runs, the cost model fitted to them, and what replicates of a cell took."""

    runs: Mapping[str, Run]
    model: CostModel
    replicates: Mapping[str, Sequence[float]]  # cell_id -> seconds
    replicate_sd: float

    @classmethod
    def of(cls, runs: Iterable[Run]) -> "Calibration":
        """Of these runs, the later of two with one run_id."""
        found = {run.run_id: run for run in runs}
        replicates: dict[str, list[float]] = {}
        for run in found.values():
            replicates.setdefault(run.cell_id, []).append(run.seconds)
        logs = [np.log(seconds) for seconds in replicates.values()]
        squares = sum(float(((one - one.mean()) ** 2).sum()) for one in logs)
        freedom = sum(len(one) - 1 for one in logs)
        sd = sqrt((REPLICATES * REPLICATE_SD**2 + squares) / (REPLICATES + freedom))
        return cls(found, fit([run.timing for run in found.values()]), replicates, sd)

    def seconds(self, cell: str, amounts: np.ndarray) -> Seconds:
        """Of a run of this cell that does so much work: as its replicates took, else as the model says."""
        if not (known := self.replicates.get(cell)):
            return self.model.seconds(amounts)
        return Seconds.of(exp(fmean(map(log, known))) + START_SECONDS, self.replicate_sd * sqrt(1 + 1 / len(known)))

    @property
    def words(self) -> str:
        """Whose speed a forecast by it rests on."""
        count = len(self.runs)
        if not count:
            return "the speed of a plain CPU core: no run of this machine is finished yet"
        return f"{count} finished run{'s' * (count > 1)} of this machine"


def calibrate(out: Path, runtime: RuntimeConfig, names: Sequence[str] | None = None) -> Calibration:
    """From the cache and the newest finished runs in `out`, or those of these names; runtime: of the next ones."""
    here = finished_runs(out, runtime, newest(out) if names is None else names)
    return Calibration.of([*cached(runtime), *here])
