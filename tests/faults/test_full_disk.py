"""A full disk is no fault of a cell: the engine looks at it again later, and fails it for other refusals only."""

import errno
import os

import pytest

from scaling import store as store_module
from scaling.config import load
from scaling.status_file import read_status
from scaling.sweep.worker import outcome


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, "busy"), (errno.EDQUOT, "busy"), (errno.EROFS, "failed")])
def test_a_cell_without_room_is_put_off(tmp_path, monkeypatch, number, kind):
    """While the room is missing not even its status can be written; with room it goes on as if nothing had been."""
    config = load([f"--runtime.out={tmp_path}", "--seed=3"])
    with monkeypatch.context() as disk:

        def refuse(path, content, **options):
            raise OSError(number, os.strerror(number), str(path))

        disk.setattr(store_module, "replace_bytes", refuse)
        said = outcome(config)
    assert said[0] == kind and "make room" in said[1]
    (folder,) = (path for path in tmp_path.iterdir() if path.name[0] != ".")
    assert read_status(folder) == {} and not (folder / "lock.json").exists()
