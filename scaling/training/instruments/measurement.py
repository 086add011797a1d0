"""What an evaluation has found so far: columns by table, arrays to look at, and what was refused."""

import logging
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from torch import Tensor

from scaling.data.sources import image_id
from scaling.fields import EvaluateConfig
from scaling.training.bench import Bench

SHOWN = 512  # images of the pool, and of the hold-out, that are kept to be looked at
log = logging.getLogger(__name__)


@dataclass
class Measurement:
    """Columns by table; strata by ascending copies, images in the order pool, hold-out."""

    evals: dict[str, object] = field(default_factory=dict)
    strata: list[dict[str, object]] = field(default_factory=list)
    noise_levels: list[dict[str, object]] = field(default_factory=list)
    prompts: list[dict[str, object]] = field(default_factory=list)
    images: list[dict[str, object]] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    density_errors: tuple[Tensor, Tensor] | None = None  # of the training images measured, of held-out ones
    refused: set[str] = field(default_factory=set)  # values that were not finite

    @classmethod
    def empty(cls, bench: Bench, config: EvaluateConfig) -> "Measurement":
        """The rows with what is known without a model."""
        strata = [{"copies": r, "n_images": int((bench.train.copies == r).sum())} for r in bench.train.strata]
        evals = {"n_generated": 0, "n_nonfinite": 0, "n_draws": config.draws}
        images = _image_rows(bench)
        return cls(evals=evals, strata=strata, images=images, arrays=_pictures(images, bench))

    def number(self, value: float, what: str) -> float | None:
        """The value, or None with a line in the log (the first time) where it is not finite."""
        if isfinite(value):
            return value
        if what not in self.refused:
            log.warning("%s is %s and left empty: too few samples, or weights far too large", what, value)
        self.refused.add(what)
        return None

    def in_training(self, bench: Bench) -> list[dict[str, object]]:
        """The images rows of the training images, in the order of bench.train."""
        return [self.images[position] for position in bench.data.positions]

    def fill_images(self, rows: list[int], name: str, values: Tensor) -> None:
        """The column `name` of these images rows from values [rows]; one that is not finite stays empty."""
        for at, value in zip(rows, values.tolist(), strict=True):
            self.images[at][name] = self.number(value, f"{name} of an image")


def _image_rows(bench: Bench) -> list[dict[str, object]]:
    data = bench.data
    pixels, labels = np.concatenate([data.pool, data.holdout]), np.concatenate([data.pool_labels, data.holdout_labels])
    copies = np.concatenate([data.pool_copies, np.zeros(len(data.holdout), int)])
    inside = np.concatenate([data.in_training, np.zeros(len(data.holdout), bool)])
    roles = ["train" if isin else "left_out" for isin in data.in_training] + ["holdout"] * len(data.holdout)
    rows = [
        {"image_id": image_id(image), "role": role, "label": int(label), "copies": int(r), "in_training": bool(isin)}
        for image, role, label, r, isin in zip(pixels, roles, labels, copies, inside, strict=True)
    ]
    for name, values in bench.density.items():
        for row, value in zip(rows, values.tolist(), strict=True):
            row[name] = value if isfinite(value) else None
    return rows


def _pictures(rows: list[dict[str, object]], bench: Bench) -> dict[str, np.ndarray]:
    """Pixels by image_id, so that whoever reads the tables can look at an image that they name."""
    pool, holdout = bench.data.pool[:SHOWN], bench.data.holdout[:SHOWN]
    first = len(bench.data.pool)
    shown = rows[: len(pool)] + rows[first : first + len(holdout)]
    ids = np.array([row["image_id"] for row in shown])
    return {"image_ids": ids, "image_pixels": np.concatenate([pool, holdout])}
