"""Speeds of runs side by side, from given seconds: by hand."""

from scaling.config import load
from scaling.training import packing


def test_speed_is_that_of_one_run_and_more_are_tried_only_while_it_grows(monkeypatch):
    """1 s alone; 2 together 1.5 s a step of both (1.33), 4 in 2 s (2), 8 in 5 s (1.6): 16 is not tried."""
    together = {2: 1.5, 4: 2.0, 8: 5.0}
    monkeypatch.setattr(packing, "step_of", lambda module, device: len(module.members))
    monkeypatch.setattr(packing, "fastest", lambda ks, device: [1.0, together[ks[1]]])
    flags = ["--model.width=2", "--data.n_unique=8", "--train.batch_size=8"]
    assert packing.speedups(load(flags)) == {1: 1.0, 2: 2 / 1.5, 4: 2.0, 8: 1.6}
