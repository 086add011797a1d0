"""The LightningDataModule: steps go in, batches are made on the device (scaling.data.batches)."""

import pytorch_lightning as pl


class StepData(pl.LightningDataModule):
    """Hands the module the numbers of the steps still to do.

    A batch is a pure function of (seed, step), so a resumed run asks for the next step; there is no loader to rewind.
    """

    def __init__(self, first_step: int, total_steps: int) -> None:
        super().__init__()
        self.steps = range(first_step, total_steps)

    def train_dataloader(self) -> range:
        return self.steps
