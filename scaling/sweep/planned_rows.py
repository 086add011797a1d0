"""The strata that a sweep's runs will have at their last evaluation, as a csv: what `analysis.fit --predict` takes."""

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path

import numpy as np

from scaling.atomic import replace_bytes
from scaling.data.duplication import plan
from scaling.forecasts.forecast import forecast
from scaling.identity import cell_id
from scaling.memorization.basin import DRAWS
from scaling.memorization.subset import equal_subset
from scaling.store_errors import StoreError
from scaling.sweep.grid import Cell

COLUMNS = (
    "run_id", "cell_id", "seed", "design", "width", "params", "n_unique", "n_train", "images_seen", "copies",
    "n_images", "exposures", "n_basin", "n_generated",
)  # fmt: skip


def planned_rows(cells: Iterable[Cell]) -> Iterator[dict[str, object]]:
    """One row a stratum of each cell, keyed like `strata`; n_basin and n_generated are the trials it will have: 0 where
    `evaluate.measures` asks for no basin, or no neighbors.

    Raises ConfigError where a plan cannot be made. Folds are not taken out: they differ from run to run.
    """
    for cell in cells:
        config, work = cell.config, forecast(cell.config).work
        made, measures = plan(config.data), config.evaluate.measures
        chains = made.copies[equal_subset(made.copies, config.evaluate.basin_images if "basin" in measures else 0)]
        samples = config.evaluate.samples if "neighbors" in measures else 0
        for copies in made.strata:
            yield {
                "run_id": cell.run_id, "cell_id": cell_id(config), "seed": config.seed,
                "design": config.data.duplication.design, "width": config.model.width, "params": work.params,
                "n_unique": made.n_unique, "n_train": made.n_train, "images_seen": work.images, "copies": copies,
                "n_images": int(np.sum(made.copies == copies)), "exposures": work.images * copies / made.n_train,
                "n_basin": DRAWS * int(np.sum(chains == copies)), "n_generated": samples,
            }  # fmt: skip


def write_rows(cells: Iterable[Cell], path: Path) -> int:
    """How many rows were written, all or none; raises StoreError where `path` cannot be written."""
    text, rows = StringIO(), list(planned_rows(cells))
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        replace_bytes(path, text.getvalue().encode(), durable=False)
    except OSError as error:
        raise StoreError(f"--rows {path}: cannot be written ({error.strerror}); name another file") from None
    return len(rows)
