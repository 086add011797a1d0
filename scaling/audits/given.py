"""What lies at MODEL_OR_SAMPLES: samples, a diffusers pipeline, or a run of ours. No torch, nothing loaded yet."""

from pathlib import Path

from scaling.audits.pipeline_folder import PipelineFolder, read_pipeline
from scaling.audits.refusal import AuditError
from scaling.audits.samples import Samples, read_samples
from scaling.compare.runs import Run, open_run
from scaling.config import ConfigError
from scaling.data.pixels import SourceError
from scaling.records import RECORDS
from scaling.store_errors import StoreError

Given = Samples | PipelineFolder | Run
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl")


def given(path: Path, image_size: int | None) -> Given:
    """Raises AuditError on what is none of the three."""
    if not path.exists():
        raise AuditError(f"{path}: no such file or folder; give a folder of images, an .npz file or a model's folder")
    if not path.is_dir():
        if path.suffix == ".npz":
            return _fitting(read_samples(path, None), path, image_size)
        remedy = "a pickle may run code when it is read" if path.suffix in WEIGHTS[1:] else "it is no .npz file"
        raise AuditError(f"{path}: {remedy}; give a folder of images, an .npz file, or a pipeline's folder")
    if (path / "model_index.json").exists():
        return _fitting(read_pipeline(path), path, image_size)
    if (path / RECORDS).exists() or (path / "config.yaml").exists():
        return _fitting(_run(path), path, image_size)
    if (path / "preconditioning.json").exists():
        raise AuditError(
            f"{path}: the network of a run without its configuration; give the run's folder, {path.parent}"
        )
    if (path / "config.json").exists():
        raise AuditError(
            f"{path}: a network without its scheduler; save it as a pipeline: "
            f"DDPMPipeline(unet, scheduler).save_pretrained(...)"
        )
    if files := sorted(file.name for file in path.iterdir() if file.suffix in WEIGHTS):
        raise AuditError(f"{path}: {files[0]} is a file of weights without model_index.json; give a pipeline's folder")
    return read_samples(path, image_size)


def shape(found: Given) -> tuple[int, int]:
    """Channels and image size."""
    if isinstance(found, Samples):
        return found.shape
    if isinstance(found, PipelineFolder):
        return found.channels, found.image_size
    return found.data.pool.shape[1], found.data.pool.shape[2]


def _fitting(found: Given, path: Path, image_size: int | None) -> Given:
    size = shape(found)[1]
    if image_size not in (None, size):
        raise AuditError(
            f"--image-size {image_size}: {path} makes images of {size}x{size}; leave it out, or give {size}"
        )
    return found


def _run(path: Path) -> Run:
    try:
        run = open_run(path)
    except (StoreError, SourceError, ConfigError) as error:
        raise AuditError(str(error)) from None
    if run.config.data.conditioning != "none":
        raise AuditError(
            f"{path}: data.conditioning={run.config.data.conditioning}; a model that is given labels was measured by "
            f"its own run: see scaling.collect"
        )
    return run
