"""An audit as rows of the schema, and their files: what a study's tables hold, as far as it is known."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scaling.arrays import GALLERY, IMAGE_GALLERY, SPURIOUS_GALLERY
from scaling.atomic import replace_bytes
from scaling.audits.images import AuditImages
from scaling.audits.refusal import AuditError
from scaling.code_version import code_version, commit
from scaling.columns import IDENTITY, SCHEMA_VERSION
from scaling.data.cache import content_hash
from scaling.gallery import GALLERY_BYTES
from scaling.identity import SCIENCE_VERSION
from scaling.table_files import TableFiles
from scaling.tables import complete_row, typed
from scaling.training.instruments.measurement import Measurement

TABLES = ("strata", "noise_levels", "prompts", "images")


def audit_id(images: AuditImages, subject: str, asked: Mapping[str, object], *, seed: int | None) -> str:
    """First 12 hex digits of SHA-256 over all that the numbers depend on; seed None: equal for all seeds."""
    data = images.data
    inputs = {
        "subject": subject,
        "images": content_hash(data.pool),
        "copies": data.pool_copies.tolist(),
        "holdout": content_hash(data.holdout),
        "asked": dict(asked),
        "seed": seed,
        "science_version": SCIENCE_VERSION,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, allow_nan=False).encode()).hexdigest()[:12]


def audit_rows(found: Measurement, columns: Mapping[str, object]) -> dict[str, list[dict]]:
    """Rows of every table; raises SchemaError on what the schema does not allow."""
    versions = {
        "schema_version": SCHEMA_VERSION, "science_version": SCIENCE_VERSION, "code_version": code_version(),
        "commit": commit(),
    }  # fmt: skip
    evals = {**columns, **versions, **found.evals}
    identity = {column.name: evals.get(column.name) for column in IDENTITY}
    made = {"evals": [_row("evals", evals)]}
    for table in TABLES:
        made[table] = [_row(table, {**identity, **row}) for row in getattr(found, table)]
    return made


def _row(table: str, row: Mapping[str, object]) -> dict:
    """`complete_row`; how many images a stranger's model has seen is often not known, and then stays empty."""
    if row.get("images_seen") is not None:
        return complete_row(table, row)
    return {**complete_row(table, {**row, "images_seen": 0}), "images_seen": None}


def write_tables(rows: Mapping[str, list[dict]], arrays: Mapping[str, np.ndarray], out: Path) -> None:
    """evals, strata, noise_levels, prompts, images (parquet and csv) and gallery.npz, put in place together."""
    run = rows["evals"][0]["run_id"]
    try:
        with TableFiles(out, csv=True) as files:
            files.add({table: typed(table, own) for table, own in rows.items()})
            files.add_file("gallery.npz", _gallery(run, arrays))
    except OSError as error:
        raise AuditError(f"--out {out}: cannot be written ({error.strerror}); give another folder") from None


def write_file(path: Path, content: bytes) -> None:
    """Raises AuditError where it cannot be written."""
    try:
        replace_bytes(path, content)
    except OSError as error:
        raise AuditError(f"--out {path.parent}: cannot be written ({error.strerror}); give another folder") from None


def _gallery(run: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    ids, pixels = IMAGE_GALLERY
    shown = {f"{run}.{name}": arrays[name] for name in (*GALLERY, *SPURIOUS_GALLERY) if name in arrays}
    keep = min(len(arrays[ids]), GALLERY_BYTES // max(1, arrays[pixels][0].nbytes))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **shown, **{ids: arrays[ids][:keep], pixels: arrays[pixels][:keep]})
    return buffer.getvalue()
