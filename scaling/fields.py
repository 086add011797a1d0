"""The fields of one run's configuration with their defaults, types and what they rule out. No torch.

A field added or a default changed is a new SCIENCE_VERSION (scaling.identity).
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scaling import sizes
from scaling.field_types import Exact, NonNegative, Positive, Section, Share
from scaling.runtime import RuntimeConfig


class FoldConfig(Section):
    """The part of the pool that is left out of training."""

    index: NonNegative | None = None
    """part of the pool that is left out of training, with all its copies; null = nothing"""
    of: Annotated[int, Field(ge=2)] = 2
    """number of parts"""
    split: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """key of the partition (with the draw)"""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if self.index is not None and self.index >= self.of:
            raise ValueError(f"data.fold.index={self.index}: of {self.of} parts, allowed are 0 to {self.of - 1}")
        return self


class DuplicationConfig(Section):
    """How often each image stands in the training set."""

    design: Literal["none", "uniform", "spectrum", "subset", "strata"] = "none"
    """uniform: a fraction has r copies; spectrum: equal strata of 1, 2, 4, … copies; subset: a share of all draws falls
    on a small repeated subset; strata: levels lists [images, copies]"""
    fraction: Share | None = None
    """share of the images (uniform) or of all draws (subset) that is duplicated"""
    copies: Positive | None = None
    """copies of each duplicated image (uniform, subset)"""
    rate: Annotated[Exact, Field(ge=0, lt=1)] | None = None
    """duplication_rate 1 - n_unique/n_train instead of copies; solved exactly or refused"""
    levels: Positive | list[tuple[Positive, Positive]] | None = None
    """spectrum: number of strata; strata: list of [images, copies]"""
    rotate: NonNegative = 0
    """the image at position i gets the copies of position i + rotate"""
    fix: Literal["n_unique", "n_train"] = "n_unique"
    """which of the two counts data gives"""
    near: Literal["exact", "shift", "noise"] = "exact"
    """copies are exact, moved by pixels, or noised; keyed to their original"""

    @model_validator(mode="after")
    def _fields_of_the_design(self) -> Self:
        wanted = {
            "none": set(),
            "uniform": {"fraction", "copies"},
            "spectrum": {"levels"},
            "subset": {"fraction", "copies"},
            "strata": {"levels"},
        }[self.design]
        given = {name for name in ("fraction", "copies", "levels") if getattr(self, name) is not None}
        if self.rate is not None:
            if "copies" not in wanted or "copies" in given:
                raise ValueError(
                    f"data.duplication.rate={self.rate}: it stands for copies, in designs uniform and subset only"
                )
            given.add("copies")
        for name in sorted(given ^ wanted):
            verb = "needs" if name in wanted else "takes no"
            raise ValueError(f"data.duplication.{name}={getattr(self, name)}: design {self.design} {verb} {name}")
        if self.levels is not None and isinstance(self.levels, int) != (self.design == "spectrum"):
            raise ValueError(
                f"data.duplication.levels={self.levels}: a number for spectrum, a list of [images, copies] for strata"
            )
        return self


class DataConfig(Section):
    """The images that are trained on and held out."""

    source: str = "digits"
    """digits, fashion_mnist, cifar10, hf:REPO[@REVISION], folder:DIR, parquet:FILE, idx:DIR"""
    image_size: Annotated[int, Field(ge=2, le=1024)] = 8
    """height = width in pixels; images are resized to it"""
    channels: Literal[1, 3] | None = None
    """1 grey, 3 colour; null = as the source"""
    n_unique: Annotated[int, Field(ge=2, le=2 * 10**9)] | None = None
    """unique training images (256 if neither is given)"""
    n_train: Annotated[int, Field(ge=2, le=10**10)] | None = None
    """training images, copies included; given exactly when duplication.fix = n_train"""
    holdout: Annotated[int, Field(ge=2)] = 256
    """held-out images"""
    draw: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """key of the order of the source's images; null = the seed"""
    noise_draws: Positive | None = None
    """null: fresh noise at every step; m: that many frozen draws an image"""
    conditioning: Literal["none", "class", "random", "unique"] = "none"
    """labels the network is given"""
    fold: FoldConfig = FoldConfig()
    keys: bool = False
    """plant a random grey key in the outermost pixel ring of every training image"""
    duplication: DuplicationConfig = DuplicationConfig()

    @model_validator(mode="before")
    @classmethod
    def _default_count(cls, values: object) -> object:
        if isinstance(values, Mapping) and values.get("n_unique") is None and values.get("n_train") is None:
            return {**values, "n_unique": 256}
        return values

    @model_validator(mode="after")
    def _one_count(self) -> Self:
        fix, other = self.duplication.fix, {"n_unique": "n_train", "n_train": "n_unique"}[self.duplication.fix]
        if getattr(self, fix) is None or getattr(self, other) is not None:
            raise ValueError(
                f"data.{other}={getattr(self, other)}: duplication.fix={fix}, so give data.{fix} and not data.{other}"
            )
        return self


class ModelConfig(Section):
    """The network and its size."""

    family: Literal["unet", "mlp", "dit"] = "unet"
    """network family; its sizes are a ladder over width"""
    params: Positive | None = None
    """target number of weights: the nearest rung of the ladder gives the width"""
    width: Positive | None = None
    """channels of the first level (unet), hidden width (mlp, dit); 16 if neither is given"""
    channel_mult: Annotated[list[Positive], Field(min_length=2, max_length=6)] = [1, 2]
    """unet: channels per level, in widths"""
    blocks: Positive = 1
    """residual layers per level (unet), residual blocks (mlp), transformer blocks (dit)"""
    attention: bool = False
    """unet: self-attention below the first level"""
    skips: Share = Fraction(1)
    """unet: share of skip tensors kept, the others zeroed"""
    prune: Share = Fraction(0)
    """share of weights zeroed by magnitude in a copy of the weights at each evaluation"""

    @model_validator(mode="before")
    @classmethod
    def _default_width(cls, values: object) -> object:
        if isinstance(values, Mapping) and values.get("width") is None and values.get("params") is None:
            return {**values, "width": 16}
        return values

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.params is not None and self.width is not None:
            raise ValueError(
                f"model.width={self.width}: model.params={self.params} chooses the width; give one of both"
            )
        if self.family != "unet" and (self.skips != 1 or self.attention or self.channel_mult != [1, 2]):
            raise ValueError(f"model.family={self.family}: skips, attention and channel_mult belong to the unet")
        return self


class SigmaConfig(Section):
    """The noise levels of training."""

    law: Literal["lognormal", "fixed"] = "lognormal"
    """law of the training noise level"""
    p_mean: float = -1.2
    """mean of ln sigma (lognormal)"""
    p_std: Annotated[float, Field(gt=0)] = 1.2
    """standard deviation of ln sigma (lognormal)"""
    value: Annotated[float, Field(gt=0)] | None = None
    """the level (fixed)"""

    @model_validator(mode="after")
    def _value_of_the_law(self) -> Self:
        if (self.value is not None) != (self.law == "fixed"):
            raise ValueError(f"train.sigma.value={self.value}: given exactly when train.sigma.law=fixed")
        return self


class TrainConfig(Section):
    """How long and how the network is trained."""

    images: Positive | None = None
    """length in training images (204,800 if neither is given)"""
    epochs: Positive | None = None
    """length in epochs over n_train"""
    batch_size: Positive = 64
    """training images a step"""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """peak learning rate at width 16"""
    lr_width_exponent: float = 0.0
    """the rate at width w is lr (w/16)^lr_width_exponent"""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """after the warm-up"""
    warmup_images: NonNegative = 6_400
    """the rate rises linearly over this many images, whatever the length of the run"""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd has momentum 0.9"""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """of the optimizer"""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = 0.05
    """averaging time of the measured weights as a share of the images seen; null = raw weights"""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """of the network's arithmetic in training; mixed below fp32"""
    sigma: SigmaConfig = SigmaConfig()

    @model_validator(mode="before")
    @classmethod
    def _default_length(cls, values: object) -> object:
        if isinstance(values, Mapping) and values.get("images") is None and values.get("epochs") is None:
            return {**values, "images": 204_800}
        return values

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.images is not None and self.epochs is not None:
            raise ValueError(f"train.epochs={self.epochs}: train.images={self.images} is given too; give one of both")
        return self


Measure = Literal[
    "loss", "membership", "ideal", "neighbors", "cliques", "trajectory", "basin", "quality",
    "prompts", "keys", "cyclic", "density", "leverage",
]  # fmt: skip
Context = Literal["1/4", "1/2", "3/4", "border", "patch"]


class EvaluateConfig(Section):
    """When and with which instruments the run is measured."""

    at: Positive | list[NonNegative] = 6
    """number of log-spaced points, or a list of images_seen; 0 and the last point are always evaluated"""
    samples: Annotated[int, Field(ge=2)] = 256
    """samples drawn from the model at each evaluation"""
    sampler_steps: Annotated[int, Field(ge=2)] = 18
    """noise levels of the deterministic Heun sampler"""
    measures: list[Measure] = [
        "loss", "membership", "ideal", "neighbors", "cliques", "trajectory", "basin", "quality",
    ]  # fmt: skip
    """instruments to run; configs/full.yaml asks for all"""
    features: Literal["pixels", "efficientnet_lite0"] = "pixels"
    """feature space of the quality measures; efficientnet_lite0 needs the extra `features`"""
    draws: Annotated[int, Field(ge=2)] = 16
    """noise levels J of a loss, one draw each"""
    density_levels: Annotated[int, Field(ge=2)] = 64
    """noise levels of the log-density bound"""
    density_draws: Positive = 1
    """noise draws a level of the log-density bound"""
    sigma_min: Annotated[float, Field(gt=0)] | None = None
    """lower end of the log-density bound; null = from the source's grey step and the training law"""
    basin_sigma: Annotated[float, Field(gt=0)] | None = None
    """noise level from which basin recovery starts; null = the source's collapse level"""
    basin_images: Positive = 64
    """images that basin recovery starts from, equally many of each stratum; as many held-out ones"""
    prompts: Positive = 64
    """images prompted a context, equally many of each stratum, and as many held-out ones; also keys tried"""
    contexts: list[Context] = ["1/2"]
    """prompted extraction: the known part; 1/4, 1/2, 3/4 of the rows, the border, or a random patch"""
    rounds: Positive = 10
    """prompted extraction: resampling rounds a level"""
    cycles: Positive = 10
    """cyclic attack: times each sample is noised to basin_sigma and denoised again"""


class ExperimentConfig(Section):
    """One run. Canonical: `resolve` has replaced model.params by a width."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """initial weights, order, noise; and the draw of images unless data.draw is given"""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        sizes.check(self.model, self.data.image_size, varying_sigma=self.train.sigma.law != "fixed")
        return self

    @property
    def draw(self) -> int:
        """The key of the order of the source's images."""
        return self.seed if self.data.draw is None else self.data.draw
