"""Which finished runs of a store have the same weights: runs/.trained/<train_id>/<run_id>, an empty file each."""

from collections.abc import Iterable
from pathlib import Path

from scaling.identity import RUN_ID
from scaling.links import refuse_links
from scaling.status_file import read_status
from scaling.store_errors import StoreError


def mark_trained(folder: Path, train_id: str) -> None:
    """Lets `donor` find this run folder."""
    markers = folder.parent / ".trained" / train_id
    markers.mkdir(parents=True, exist_ok=True)
    (markers / folder.name).touch()


def donor(own: Path, train_id: str, at: Iterable[int] = ()) -> Path | None:
    """Another finished run beside the run folder `own` that trained the same and kept its weights, or None.

    at: images_seen at which it must have kept them.
    """
    if not RUN_ID.fullmatch(train_id):
        raise ValueError(f"{train_id!r}: not a train_id")
    out, wanted, found = own.parent, {f"{images}.safetensors" for images in at}, {}
    for marker in sorted((out / ".trained" / train_id).glob("*")):
        folder = out / marker.name
        if not RUN_ID.fullmatch(marker.name) or folder.is_symlink():  # a name is a run of this store, or nothing
            continue
        try:
            refuse_links(folder)
            status = read_status(folder)
        except StoreError:  # its own status page and sweep report it; this run can train by itself
            continue
        weights = {path.name for path in (folder / "weights").glob("*.safetensors")}
        trained = status.get("state") == "done" and status.get("train_id") == train_id
        if folder != own and trained and weights and weights >= wanted:
            found[folder] = len(weights)
    return max(found, key=lambda folder: found[folder], default=None)
