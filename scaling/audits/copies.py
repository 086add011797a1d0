"""--copies FILE.csv: how often a training image stood in the training set. No torch."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scaling.audits.refusal import AuditError
from scaling.limits import Refused, read_bytes

FILE_BYTES = 2**26
LARGEST = 10**6  # copies of one image
FORM = "two columns with a header: file (or index, counted from 0) and copies"


def read_copies(path: Path, names: Sequence[str] | None, count: int) -> np.ndarray:
    """Copies int64 [count] of the images as the source holds them; 1 where the file names none.

    names: their files relative to the source's folder, None where it has no files. Raises AuditError, naming the line.
    """
    try:
        text = read_bytes(path, FILE_BYTES, follow=True).decode("utf-8-sig")
    except (Refused, OSError, UnicodeDecodeError) as error:
        raise AuditError(
            f"--copies {path}: {getattr(error, 'strerror', None) or error}; give a csv of {FORM}"
        ) from None
    lines = [row for row in csv.reader(io.StringIO(text)) if row]
    head = [name.strip().lower() for name in lines[0]] if lines else []
    if head not in (["file", "copies"], ["index", "copies"]):
        raise AuditError(f"--copies {path}: header {','.join(head) or 'missing'}; give {FORM}")
    if head[0] == "file" and names is None:
        raise AuditError(f"--copies {path}: this source has no files; give index,copies")
    places = {name: at for at, name in enumerate(names)} if head[0] == "file" else {}
    copies, seen = np.ones(count, np.int64), set()
    for number, row in enumerate(lines[1:], start=2):
        at, r = _row(row, places if head[0] == "file" else None, count, f"--copies {path} line {number}")
        if at in seen:
            raise AuditError(f"--copies {path} line {number}: {row[0]} was named before; name each image once")
        seen.add(at)
        copies[at] = r
    return copies


def _row(row: Sequence[str], places: Mapping[str, int] | None, count: int, where: str) -> tuple[int, int]:
    if len(row) != 2:
        raise AuditError(f"{where}: {len(row)} fields; give {FORM}")
    name, r = (field.strip() for field in row)
    if not (r.isascii() and r.isdigit() and len(r) <= 7 and 1 <= int(r) <= LARGEST):
        raise AuditError(f"{where}: copies={r}; a whole number from 1 to {LARGEST:,}")
    if places is not None:
        if name not in places:
            raise AuditError(f"{where}: {name} is no file of the source; write it relative to the folder")
        return places[name], int(r)
    if not (name.isascii() and name.isdigit() and len(name) <= 12 and int(name) < count):
        raise AuditError(f"{where}: index={name}; the source has images 0 to {count - 1}")
    return int(name), int(r)
