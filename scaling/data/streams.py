"""Named random streams: every random number of a run is a function of (seed, stream, counter). No torch.

Philox is counter-based: there is no state to save, and a resumed run draws what an undisturbed one would have drawn.
"""

import numpy as np

# Append only: the position is part of every result.
STREAMS = (
    "draw",  # order of the source's images
    "fold",  # partition of the pool
    "near",  # noise of near copies
    "key",  # planted grey keys
    "label",  # random labels
    "order",  # order of the training images in an epoch
    "sigma",  # training noise level
    "noise",  # training noise
    "frozen",  # frozen (sigma, noise) pairs
    "evaluation",  # noise of the losses
    "sample",  # initial noise of generated samples
    "basin",  # noise of basin recovery
    "sample_label",  # labels of generated samples
    "density",  # noise of the log-density bound
    "prompt",  # noise of prompted extraction
    "patch",  # where the random patch of a prompt lies
    "cyclic",  # noise of the cyclic attack
    "projection",  # random projection of gradients
    "trajectory",  # noise on training images that the sampler's path is compared with
)
CONSTANT = 20_240_601  # the seed of what is equal in every run: evaluation, sample and basin noise


def generator(seed: int, stream: str, counter: int = 0) -> np.random.Generator:
    """An independent generator for each (seed, stream, counter)."""
    philox = np.random.Philox(key=[seed, STREAMS.index(stream)], counter=[0, 0, 0, counter])
    return np.random.Generator(philox)
