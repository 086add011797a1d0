"""The files of an export, and how they come into their folder: all of them or none."""

import json
import os
import shutil
from pathlib import Path

import yaml
from safetensors import SafetensorError

from scaling.atomic import TEMPORARY
from scaling.export.measured import LOCAL, Measured, source_kind
from scaling.store_errors import StoreError

SHIPPED = Path(__file__).with_name("pipeline.py")
NAMES = frozenset(("README.md", "model_index.json", "pipeline.py", "scheduler", "training.yaml", "unet", "samples.png"))


def refuse_place(out: Path, run_folder: Path) -> None:
    """Raises StoreError where `out` cannot become an export: told before anything is made."""
    if out.resolve().is_relative_to(run_folder.resolve()):
        raise StoreError(f"--out {out}: inside the run folder; give a folder of its own")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise StoreError(f"--out {out}: exists and is no folder; give another one")
    if out.is_dir() and (strange := sorted({path.name for path in out.iterdir()} - NAMES)):
        raise StoreError(f"--out {out}: not empty and no export (it has {strange[0]}); give an empty or new folder")


def write(run: Measured, out: Path, *, pictures: bool) -> bool:
    """The export as `out`; False where it is there already, byte for byte. Raises StoreError, and leaves `out` as it
    was, where it holds anything else or cannot be written."""
    made = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}{TEMPORARY}")
    try:
        made.mkdir(parents=True)
        _fill(made, run, pictures=pictures)
        if out.is_dir() and any(out.iterdir()):
            if contents(out) != contents(made):
                raise StoreError(f"--out {out}: holds another export; remove it, or give another folder")
            return False
        os.replace(made, out)  # also over an empty folder
        return True
    except (OSError, SafetensorError) as error:  # the latter where the disk is full in the middle of the tensors
        line = getattr(error, "strerror", None) or error
        raise StoreError(f"--out {out}: cannot be written ({line}); give another folder") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Relative name -> content of every file of an export; raises StoreError on a link, which would lead elsewhere."""
    paths = sorted(folder.rglob("*"))
    if links := [path for path in paths if path.is_symlink()]:
        raise StoreError(f"{links[0]}: a symbolic link; give another folder")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def _fill(folder: Path, run: Measured, *, pictures: bool) -> None:
    # diffusers and torch arrive only now
    from diffusers import EDMEulerScheduler

    from scaling.diffusion.sampler import RHO, SIGMA_MAX, SIGMA_MIN
    from scaling.export.card import model_card
    from scaling.export.weights import measured_unet

    if pictures:
        from scaling.export.picture import samples_png

        (folder / "samples.png").write_bytes(samples_png(run))
    network = measured_unet(run)
    network.model.save_pretrained(folder / "unet")
    levels = {"sigma_min": SIGMA_MIN, "sigma_max": SIGMA_MAX, "rho": RHO}
    EDMEulerScheduler(**levels, sigma_data=run.sigma_data).save_pretrained(folder / "scheduler")
    skips_kept = None if run.config.model.skips == 1 else sum(network.alive)
    (folder / "model_index.json").write_text(json.dumps(_index(run, skips_kept), indent=2) + "\n")
    shutil.copyfile(SHIPPED, folder / "pipeline.py")
    (folder / "training.yaml").write_text(yaml.safe_dump(_training(run), sort_keys=False))
    (folder / "README.md").write_text(model_card(run, pictures=pictures))


def _index(run: Measured, skips_kept: int | None) -> dict[str, object]:
    from diffusers import __version__

    return {
        "_class_name": ["pipeline", "HeunPipeline"],  # file and class: with trust_remote_code no further argument
        "_diffusers_version": __version__,
        "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "EDMEulerScheduler"],
        "mean": run.mean,
        "sampler_steps": run.config.evaluate.sampler_steps,
        "skips_kept": skips_kept,
    }


def _training(run: Measured) -> dict[str, object]:
    """The configuration; of a local source only its kind."""
    tree = run.config.model_dump(mode="json", exclude={"runtime"})
    kind = source_kind(run.config.data.source)
    return {**tree, "data": {**tree["data"], "source": f"{kind}:PLACE"}} if kind in LOCAL else tree
