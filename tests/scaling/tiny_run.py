"""A run that trains in a second: what tests of commands on finished runs need."""

from pathlib import Path

from scaling.config import load
from scaling.store import RunStore

FLAGS = [
    "--model.width=2", "--train.batch_size=32", "--train.warmup_images=0", "--data.n_unique=12", "--data.holdout=24",
    "--evaluate.at=1", "--evaluate.samples=24", "--evaluate.sampler_steps=6", "--runtime.progress=false",
    "--data.duplication.design=spectrum", "--data.duplication.levels=3",
]  # fmt: skip


def trained(out: Path, *flags: str) -> Path:
    """The folder of the finished run."""
    from scaling.training.run import train

    config = load([*FLAGS, f"--runtime.out={out}", *flags])
    with RunStore.open(config) as store:
        train(config, store)
    return store.folder
