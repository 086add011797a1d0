"""Nothing in a run folder leads out of it. Standard library only."""

import os
from contextlib import suppress
from pathlib import Path

from scaling.store_errors import StoreError


def refuse_links(folder: Path) -> None:
    """Raises StoreError where a run folder, or something in it, is a link, pipe or device: what is written or removed
    in a run folder that came from elsewhere stays inside it."""
    if folder.is_symlink():
        raise StoreError(f"{folder}: a symbolic link is no run folder; put the folder itself in its place")
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:  # its writer may end just now
        for entry in entries:
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                kind = "a symbolic link" if entry.is_symlink() else "no regular file"
                raise StoreError(f"{entry.path}: {kind}; remove it, or put the file itself in its place")
            if entry.is_dir() and entry.name != "wandb":  # W&B links inside its own folder, which nothing here reads
                refuse_links(Path(entry.path))
