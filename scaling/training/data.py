"""The LightningDataModule: steps go in, batches are made on the device (scaling.data.batches)."""

import pytorch_lightning as pl


class StepData(pl.LightningDataModule):
    """Counts the steps still to do.

    A batch is a pure function of (seed, step), and every run keeps its own step, so there is no loader to rewind.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = range(steps)

    def train_dataloader(self) -> range:
        """Step numbers stand for batches, which are a function of them."""
        return self.steps
