"""A run that is asked for. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scaling.fields import ExperimentConfig
from scaling.store import RunStore

Progress = Callable[[Mapping[str, object]], None]


@dataclass(frozen=True, eq=False)
class Request:
    """A run to train and measure, its store open. progress, if given, is told how far it is."""

    config: ExperimentConfig
    store: RunStore
    progress: Progress | None = None
