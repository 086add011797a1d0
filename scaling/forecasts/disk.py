"""How much disk a run and a sweep will take, and whether there is so much: bytes in closed form. No torch.

The constants are those of real run folders (a test writes some and compares): what compresses is counted as it did.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scaling.fields import ExperimentConfig
from scaling.forecasts.run_work import RunWork
from scaling.store_errors import StoreError

FLOAT = 4
GENERATIONS = 2  # of checkpoints
HEADER = 110  # bytes of a tensor's name, type and place at the beginning of a safetensors file
CHECKPOINT = 1_000  # of a generation, beside its numbers
RECORD, STRATUM, LEVEL, PROMPT = 3_900, 430, 231, 166  # of evals.jsonl: an evals row, and each row nested in it
SHEETS = 3_500  # config.yaml, status.json and the descriptions in model/
PARQUET, IMAGE, IMAGE_MEASURED = (
    10_000,
    40,
    12,
)  # of images.parquet: its frame, a row, and what an instrument adds to it
NPZ, SAMPLE, PICTURE = 2_500, 6, 13  # of samples.npz: its frame, and beside the pixels of a sample and of a picture
SAMPLE_PIXEL, PICTURE_PIXEL = 0.8 * FLOAT, 0.42  # compressed
PICTURES = 512  # of the pool, and of the hold-out, that samples.npz shows
BY_IMAGE = {"loss", "membership", "neighbors", "basin", "prompts", "density", "leverage"}
OF_SAMPLES = {"neighbors", "cliques", "quality", "trajectory", "cyclic"}
USUALLY = 4  # of these instruments' columns are in IMAGE
ENOUGH = 0.8  # of a forecast: less room than this is surely too little


class Disk(NamedTuple):
    """Bytes of a run folder."""

    kept: int  # by the finished run
    checkpoints: int  # beside it while it trains


def run_disk(config: ExperimentConfig, work: RunWork) -> Disk:
    """Bytes of a run folder."""
    evaluate, points = config.evaluate, len(work.steps)
    tensors, weights = work.shape.tensors, FLOAT * work.params
    one = weights + HEADER * tensors
    wanted, strata = set(evaluate.measures), len(work.copies)
    levels = evaluate.draws if config.train.sigma.law == "lognormal" else 1
    levels = levels * bool({"loss", "ideal"} & wanted) + evaluate.sampler_steps * ("trajectory" in wanted)
    prompts = len(evaluate.contexts) * strata * ("prompts" in wanted)
    records = points * (RECORD + STRATUM * strata + LEVEL * levels + PROMPT * prompts)
    images = work.n_unique + work.n_left_out + config.data.holdout
    columns = max(len(BY_IMAGE & wanted) - USUALLY, 0)
    table = PARQUET + images * (IMAGE + IMAGE_MEASURED * columns)
    shown = min(work.n_unique + work.n_left_out, PICTURES) + min(config.data.holdout, PICTURES)
    drawn = evaluate.samples * bool(OF_SAMPLES & wanted)
    arrays = NPZ + drawn * (SAMPLE_PIXEL * work.pixels + SAMPLE) + shown * (PICTURE_PIXEL * work.pixels + PICTURE)
    model = one * (config.model.family == "unet")
    kept = round(SHEETS + points * one + records + table + arrays + model)
    moments = {"adamw": 2, "sgd": 1}[config.train.optimizer]
    return Disk(kept, GENERATIONS * ((2 + moments) * weights + CHECKPOINT))  # raw weights and their average


def sweep_disk(runs: Sequence[Disk], workers: int) -> int:
    """Bytes that these runs need at most at once: all that they keep, and the checkpoints of the largest running."""
    return sum(run.kept for run in runs) + sum(sorted((run.checkpoints for run in runs), reverse=True)[:workers])


def free_bytes(folder: Path) -> int:
    """Of the disk that `folder` is on, or will be."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def check_room(needed: int, folder: Path) -> str | None:
    """A warning in one line where the room in `folder` is less than the forecast; raises StoreError if by far."""
    free = free_bytes(folder)
    if needed <= free:
        return None
    line = (
        f"runtime.out={folder}: the runs need about {size(needed)} and {size(free)} are free there; "
        f"make room, give another folder with --runtime.out=DIR, or fewer evaluations (evaluate.at)"
    )
    if free < ENOUGH * needed:
        raise StoreError(line)
    return line


def size(count: float) -> str:
    """1500000 -> 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
