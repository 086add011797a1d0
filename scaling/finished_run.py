"""A run that is done, as its folder says: configuration and status. No torch."""

from pathlib import Path

from scaling.config import ConfigError, build
from scaling.fields import ExperimentConfig
from scaling.limits import YAML_BYTES, Refused, parse_yaml, read_bytes
from scaling.store_errors import StoreError
from scaling.sweep.plan import state_of


def finished(folder: Path) -> tuple[ExperimentConfig, dict]:
    """The configuration and the status of a finished run; raises StoreError, one line, on what is none."""
    if not (folder / "config.yaml").exists():
        raise StoreError(f"{folder}: no run (it has no config.yaml); name the folder of a run, <runtime.out>/<run_id>")
    state, status = state_of(folder)
    if state == "done" and (missing := [name for name in ("data_sha256", "images_seen") if status.get(name) is None]):
        raise StoreError(f"{folder / 'status.json'}: done, but without {missing[0]}; train the run again")
    if state != "done":
        seen, total = (f"{status.get(name) or 0:,}" for name in ("images_seen", "images_total"))
        raise StoreError(f"run {folder.name} is {state} at {seen} of {total} images_seen; let it end first")
    try:
        return build(parse_yaml(read_bytes(folder / "config.yaml", YAML_BYTES))), status
    except (Refused, ConfigError, OSError) as error:
        line = " ".join(str(error).split())
        raise StoreError(f"{folder / 'config.yaml'}: not read by this code ({line}); train the run again") from None
