"""From what was given to rows and sentences: the steps of an audit after everything was checked without torch."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from scaling.audits import words
from scaling.audits.bench import audit_bench
from scaling.audits.contact_sheet import contact_sheet
from scaling.audits.given import Given
from scaling.audits.images import AuditImages
from scaling.audits.measure import Said, audit_measures
from scaling.audits.pipeline_folder import PipelineFolder
from scaling.audits.record import audit_id, audit_rows, write_file, write_tables
from scaling.audits.refusal import AuditError
from scaling.audits.samples import Samples
from scaling.audits.subject import Subject
from scaling.compare.runs import Run
from scaling.config import ConfigError
from scaling.fields import EvaluateConfig
from scaling.memorization.criteria import MEMORIZED
from scaling.runtime import RuntimeConfig
from scaling.training.bench import Bench
from scaling.training.instruments.measurement import Measurement
from scaling.training.record import data_columns
from scaling.training.run import choose_device

DRAWN = 512  # samples of a model, unless asked otherwise


@dataclass(frozen=True, eq=False)
class Audit:
    """Everything that is shown and written."""

    rows: Mapping[str, list[dict]]
    evals: Mapping[str, object]  # the row, and n_null_searched: the held-out images that the null searched
    sentences: list[str]
    notes: list[str]
    extracted: list[dict[str, object]]  # the training images that came out, most hits first
    measurement: Measurement
    images: AuditImages


def audit(found: Given, images: AuditImages, options: argparse.Namespace) -> Audit:
    """Raises AuditError. What cannot be measured stays empty, with a note."""
    device, config = _device(options.device), _config(found, options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    subject = _subject(found, options, device)
    bench = _bench(found, images, subject, config, device, options)
    with Said() as said:
        measured = audit_measures(subject, bench, config, basin_wanted=options.basin_images > 0)
    asked = {name: getattr(options, name) for name in ("steps", "basin_images", "features")}
    asked["samples"] = config.samples
    identity = {
        "run_id": audit_id(images, subject.sha256, asked, seed=options.seed),
        "cell_id": audit_id(images, subject.sha256, asked, seed=None),
    }
    own = {"dataset": _source(found, options), "near": "exact", **data_columns(images.data)}
    columns = {**own, **subject.columns, **identity}
    for name in ("params", "images_seen"):
        columns[name] = columns.get(name) if getattr(options, name) is None else getattr(options, name)
    rows = audit_rows(measured, columns)
    searched = len(bench.null.images) if len(bench.null.images) > 1 else None
    evals = {**rows["evals"][0], "n_null_searched": searched}
    notes = words.caveats(evals, [*images.notes, *subject.notes, *said.lines])
    return Audit(rows, evals, words.sentences(evals), notes, _extracted(measured, images), measured, images)


def _device(name: str) -> torch.device:
    try:
        return choose_device(RuntimeConfig(device=name))
    except ConfigError as error:
        raise AuditError(str(error).replace("runtime.device=", "--device ")) from None


def _config(found: Given, options: argparse.Namespace) -> EvaluateConfig:
    own = found.config.evaluate if isinstance(found, Run) else EvaluateConfig()
    samples = len(found.images) if isinstance(found, Samples) else options.samples or DRAWN
    changes = {"samples": samples, "basin_images": max(1, options.basin_images), "features": options.features}
    if isinstance(found, Run) and options.steps is not None:
        changes["sampler_steps"] = options.steps
    return EvaluateConfig.model_validate({**own.model_dump(), **changes})


def _source(found: Given, options: argparse.Namespace) -> str:
    return found.config.data.source if options.data is None else options.data


def _subject(found: Given, options: argparse.Namespace, device: torch.device) -> Subject:
    if isinstance(found, Samples):
        drawn = torch.from_numpy(found.images)
        return Subject(lambda count: drawn, found.sha256, n_nonfinite=found.n_nonfinite, notes=found.notes)
    asked = {"steps": options.steps, "batch": options.batch, "seed": options.seed, "device": device}
    if isinstance(found, PipelineFolder):
        from scaling.audits.pipeline import pipeline_subject  # diffusers' pipelines: seconds

        return pipeline_subject(found, **asked, say=lambda line: print(f"audit: {line}", flush=True))
    from scaling.audits.own_run import run_subject

    return run_subject(found, **asked, own_data=options.data is None)


def _bench(
    found: Given,
    images: AuditImages,
    subject: Subject,
    config: EvaluateConfig,
    device: torch.device,
    options: argparse.Namespace,
) -> Bench:
    if isinstance(found, Run) and options.data is None:
        settings = found.config.model_copy(update={"evaluate": config})
        return Bench.of(settings, found.data, found.source, device)
    return audit_bench(images, subject, config, device)


def _extracted(measured: Measurement, images: AuditImages) -> list[dict[str, object]]:
    """Names, copies and hits of the training images that came out."""
    trained = [row for row in measured.images if row["in_training"]]
    kept = ("image_id", "copies", "n_hits", "best_ratio")
    hit = [
        {"image": name, **{key: row[key] for key in kept}}
        for name, row in zip(images.names, trained, strict=True)
        if row.get("n_hits")
    ]
    return sorted(hit, key=lambda row: (-row["n_hits"], row["best_ratio"]))


def write(made: Audit, out: Path, options: argparse.Namespace) -> None:
    """Tables, gallery.npz, audit.json and, where a sample is a copy, copies.png; raises AuditError."""
    arrays = made.measurement.arrays
    write_tables(made.rows, arrays, out)
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    sheet = {
        "asked": {name: value for name, value in asked.items() if name != "out"},
        "sentences": made.sentences,
        "notes": made.notes,
        "evals": {name: value for name, value in made.evals.items() if value is not None},
        "strata": [_known(row) for row in made.rows["strata"]],
        "extracted": made.extracted,
        "samples": _sample_rows(made),
    }
    write_file(out / "audit.json", json.dumps(sheet, indent=1, allow_nan=False).encode() + b"\n")
    picture = out / "copies.png"
    if not made.evals.get("n_memorized"):
        picture.unlink(missing_ok=True)  # of an earlier audit
        return
    copied = arrays["ratio"] < MEMORIZED
    write_file(
        picture,
        contact_sheet(
            arrays["samples"][copied], arrays["ratio"][copied], arrays["nearest"][copied], made.images.data.pool
        ),
    )


def _known(row: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None}


def _sample_rows(made: Audit) -> list[dict[str, object]]:
    """Of every finite sample, in the order given: its gap ratio and the training image that it is nearest to."""
    arrays = made.measurement.arrays
    if "ratio" not in arrays:
        return []
    ids = [row["image_id"] for row in made.measurement.images]
    return [
        {"gap_ratio": round(float(ratio), 6), "image_id": ids[at]}
        for ratio, at in zip(arrays["ratio"], arrays["nearest"], strict=True)
    ]
