"""What a run asks of a machine, counted before it runs: passes, numbers, products, records. No seconds, no torch."""

from dataclasses import dataclass

import numpy as np

from scaling import sizes
from scaling.data.duplication import plan
from scaling.fields import ExperimentConfig
from scaling.flops import forward_flops
from scaling.forecasts.network_shape import NetworkShape, network_shape
from scaling.training.cost import Images, image_pairs, instrument_costs
from scaling.training.points import evaluation_steps

KNOWN_CHANNELS = {"digits": 1, "fashion_mnist": 1, "cifar10": 3}  # others count as grey unless data.channels says more
CLASSES = 10  # of a source whose images were not read yet
TERMS = {
    "step_layer": "a convolution with what surrounds it in a training step, whatever its size",
    "step_linear": "a linear layer in a training step, whatever its size",
    "step_weight": "a weight in a training step: optimizer and average",
    "step_activation": "a layer's output number, forward and backward",
    "step_convolution": "a FLOP of a convolution in training, channels rounded up to those taken at once",
    "step_product": "a FLOP of a linear layer or of attention in training",
    "pass_layer": "a convolution with what surrounds it in a pass of an instrument, whatever its size",
    "pass_linear": "a linear layer in a pass of an instrument, whatever its size",
    "pass_activation": "a layer's output number in it",
    "pass_convolution": "a FLOP of a convolution in it",
    "pass_product": "a FLOP of a linear layer or of attention in it",
    "pair": "a pixel of an image compared with one of another image",
    "image": "an image's row and hash in a record",
    "evaluation": "an evaluation, whatever it measures",
}
ONCE = "leverage"  # the instrument that only the last evaluation has


@dataclass(frozen=True, eq=False)
class RunWork:
    """Amounts in the order of TERMS: `training` [T] of one step, `evaluations` [E T] each after its `steps` [E]."""

    params: int
    n_unique: int
    n_left_out: int
    n_train: int
    copies: tuple[int, ...]  # the distinct ones, ascending
    pixels: int
    batch_size: int
    forward_flops: int
    shape: NetworkShape
    steps: tuple[int, ...]
    training: np.ndarray
    evaluations: np.ndarray

    @property
    def images(self) -> int:
        """images_seen at the end of training."""
        return self.steps[-1] * self.batch_size

    @property
    def train_flops(self) -> float:
        """Forward + backward = 3 forward."""
        return 3.0 * self.forward_flops * self.images

    def stretches(self) -> np.ndarray:
        """[E T] from each evaluation to the next one's end: what lies between two wall_seconds of a run's records."""
        steps = np.diff([0, *self.steps])
        return steps[:, None] * self.training + self.evaluations

    def total(self, *, trains: bool = True) -> np.ndarray:
        """[T] of the whole run. trains=False: it measures the weights that another run of its training kept."""
        return self.evaluations.sum(axis=0) + trains * self.steps[-1] * self.training


def run_work(config: ExperimentConfig) -> RunWork:
    """Raises ConfigError on duplication that cannot be made."""
    made, model, size = plan(config.data), config.model, config.data.image_size
    channels = config.data.channels or KNOWN_CHANNELS.get(config.data.source, 1)
    labels = {"none": 0, "unique": made.n_unique}.get(config.data.conditioning, CLASSES)
    stays = 1.0 if config.data.fold.index is None else 1 - 1 / config.data.fold.of
    n_unique, n_train = round(made.n_unique * stays), round(made.n_train * stays)
    images = Images(n_unique, made.n_unique - n_unique, config.data.holdout)
    shape = network_shape(model, size, channels, labels)
    params = sizes.count_params(model, model.width, size, channels, labels)
    flops, batch = forward_flops(model, image_size=size, channels=channels), config.train.batch_size
    steps = evaluation_steps(config.evaluate, config.train, n_train)
    return RunWork(
        params=params,
        n_unique=n_unique,
        n_left_out=images.n_left_out,
        n_train=n_train,
        copies=tuple(made.strata),
        pixels=channels * size**2,
        batch_size=batch,
        forward_flops=flops,
        shape=shape,
        steps=tuple(steps),
        training=_amounts(
            step_layer=shape.convolutions, step_linear=shape.linears, step_weight=params,
            step_activation=batch * shape.activations,
            step_convolution=3 * batch * shape.convolution, step_product=3 * batch * (flops - shape.convolution_exact),
        ),
        evaluations=_evaluations(config, images, shape, flops, channels * size**2, len(steps)),
    )  # fmt: skip


def _evaluations(
    config: ExperimentConfig, images: Images, shape: NetworkShape, flops: int, pixels: int, count: int
) -> np.ndarray:
    keys, rows = config.data.keys, images.n_unique + images.n_left_out + images.n_holdout
    costs = instrument_costs(
        config.evaluate, images.n_unique, images.n_holdout, keys=keys, n_left_out=images.n_left_out
    )  # fmt: skip
    pairs = image_pairs(config.evaluate, images, keys=keys)

    def passes(of_last: bool) -> np.ndarray:
        asked = [cost for name, cost in costs.items() if (name == ONCE) == of_last]
        calls, through = sum(cost.calls for cost in asked), sum(cost.images for cost in asked)
        return _amounts(
            pass_layer=calls * shape.convolutions,
            pass_linear=calls * shape.linears,
            pass_activation=through * shape.activations,
            pass_convolution=through * shape.convolution,
            pass_product=through * (flops - shape.convolution_exact),
        )

    found = np.tile(passes(False) + _amounts(pair=pairs.each * pixels, image=rows, evaluation=1), (count, 1))
    found[0] += _amounts(pair=pairs.once * pixels)
    found[-1] += passes(True)
    return found


def _amounts(**amounts: float) -> np.ndarray:
    return np.array([float(amounts.get(term, 0)) for term in TERMS])
