"""The identities of a run: hashes of its canonical configuration. No torch.

`runtime` says where and how fast, never what: it is in no identity.
"""

import hashlib
import json
import re
from collections.abc import Mapping

from scaling import sizes
from scaling.fields import ExperimentConfig

SCIENCE_VERSION = 2  # raised when a configuration field is added or a recorded number changes its meaning
TRAINING_VERSION = 1  # raised only when training itself changes
RUN_ID = re.compile(r"[0-9a-f]{12}")  # and of the other identities


def resolve(config: ExperimentConfig) -> ExperimentConfig:
    """The same run with model.params replaced by the width of the nearest rung."""
    if config.model.params is None:
        return config
    varying = config.train.sigma.law != "fixed"
    width = sizes.nearest_width(config.model, config.data.image_size, config.model.params, varying_sigma=varying)
    return config.model_copy(update={"model": config.model.model_copy(update={"params": None, "width": width})})


def canonical(config: ExperimentConfig, *, without: tuple[str, ...] = ()) -> str:
    """Canonical JSON of all but `runtime` and the dotted keys in `without`; raises ValueError on NaN or infinity."""
    tree = resolve(config).model_dump(mode="json", exclude={"runtime"})
    for key in without:
        *path, last = key.split(".")
        section = tree
        for name in path:
            section = section[name]
        del section[last]
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(text: str, version: int) -> str:
    return hashlib.sha256(f"{text}{version}".encode()).hexdigest()[:12]


def run_id(config: ExperimentConfig) -> str:
    """First 12 hex digits of SHA-256 over the canonical configuration and SCIENCE_VERSION.

    >>> from scaling.config import build
    >>> run = build({"model": {"width": 8}})
    >>> run_id(run) == run_id(build({"model": {"params": 40_489}, "runtime": {"out": "elsewhere"}}))  # the same science
    True
    >>> replicate = build({"model": {"width": 8}, "seed": 1})
    >>> run_id(run) == run_id(replicate), cell_id(run) == cell_id(replicate)
    (False, True)
    """
    return _digest(canonical(config), SCIENCE_VERSION)


def canonical_section(config: ExperimentConfig, name: str) -> str:
    """What `canonical` says of one section of a resolved configuration."""
    tree = getattr(config, name).model_dump(mode="json")
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)


def run_id_of(seed: int, sections: Mapping[str, str]) -> str:
    """The run_id of `canonical_section` by name of section, for many configurations that share them."""
    parts = {**sections, "seed": str(seed)}
    return _digest("{" + ",".join(f'"{name}":{parts[name]}' for name in sorted(parts)) + "}", SCIENCE_VERSION)


def cell_id(config: ExperimentConfig) -> str:
    """The run without its seed and fold: replicates share it."""
    return _digest(canonical(config, without=("seed", "data.fold")), SCIENCE_VERSION)


def train_id(config: ExperimentConfig) -> str:
    """What training depends on: runs that share it have the same weights."""
    return _digest(canonical(config, without=("evaluate", "model.prune")), TRAINING_VERSION)
