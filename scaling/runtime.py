"""Where and how fast a run is made, never what it is: the section that no identity contains. No torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scaling.field_types import Positive, Section


def _folder(path: str) -> str:
    """Locks are names made by exclusive creation, results appended lines and renamed files: object stores have none."""
    if "://" in path:
        raise ValueError(
            "runs need a folder with file locks, rename and append, which no URL of an object store has; "
            "give a (shared) folder's path and copy finished runs there (docs/cluster.md)"
        )
    return path


class RuntimeConfig(Section):
    """Where and how fast the run is made."""

    out: Annotated[str, AfterValidator(_folder)] = "runs"
    """folder of the run folders"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    threads: Positive = 1
    """CPU threads of this process; results depend on it in the last bits"""
    compile: bool = False
    """torch.compile the network (worth it on GPU only)"""
    logger: Literal["auto", "none", "wandb"] = "auto"
    """wandb: show the run there too (auto: under a W&B agent); what is true stays in the run folder"""
    wandb_mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online where a key is found, else offline"""
    progress: bool = True
    """show progress"""
    checkpoint_every: Annotated[float, Field(gt=0)] = 60.0
    """seconds between checkpoints"""
    other_code: bool = False
    """go on with a run that another version of the code began: its records then come from both, each names its own"""
