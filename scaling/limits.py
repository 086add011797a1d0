"""What comes from outside, read within limits: regular files of bounded size, nothing that expands, hangs or executes.

A run folder, table or sweep file may be somebody else's. Every refusal is one printable line (Refused), told before
memory is spent. Standard library; PyYAML, numpy and pyarrow where they are needed.
"""

import errno
import json
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Collection, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    import pyarrow.parquet as pq
    import yaml

MESSAGE_CHARACTERS = 1_000
YAML_BYTES = 200_000  # PyYAML reads some 100 kB a second
DEEPEST_YAML = 500  # brackets in brackets; the recursion of its constructor ends sooner
YAML_EXPANDED = 1_000_000  # characters of all scalars, an alias counted as what it stands for
ARRAY_BYTES = 2**32
SURELY_NO_BOMB = 2**26  # bytes; beyond, an archive may hold EXPANSION times its own size, as flat images do
EXPANSION = 100
TABLE_CELLS = 2**29  # rows x columns of a parquet file
TEXT_BYTES = 2**31  # of all its texts, written out


class Refused(ValueError):
    """Not read: what it is and what was allowed, in one printable line."""

    def __init__(self, message: str):
        super().__init__(printable(message))


def printable(text: str, limit: int = MESSAGE_CHARACTERS) -> str:
    """One line that moves no cursor and reorders no text: control, format and bidi characters become escapes."""
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text):,} characters)"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def open_regular(path: Path | str, limit: int, *, follow: bool = False) -> BinaryIO:
    """A regular file of at most so many bytes; raises Refused where it is none, OSError where it cannot be opened.

    follow: a link is somebody's wish in a path they typed (True), and a way out of a folder from elsewhere (False).
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe without a writer would be waited for
    try:
        descriptor = os.open(path, flags | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused("a symbolic link; put the file itself in its place") from None
        raise
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
        os.close(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise Refused("no regular file")
        raise Refused(f"{state.st_size:,} bytes, more than the {limit:,} that it may have")
    return open(descriptor, "rb")


def read_bytes(path: Path | str, limit: int, *, follow: bool = False) -> bytes:
    """The content of a file that `open_regular` opens."""
    with open_regular(path, limit, follow=follow) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def parse_json(content: bytes | str) -> Any:
    """JSON as the standard has it: no NaN, no infinity; raises Refused, also on nesting without end."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
        found = _DECODER.decode(text)
        if _HALF_PAIR.search(text):
            json.dumps(found, ensure_ascii=False).encode()  # half of a pair is no character: no file or table takes it
        return found
    except RecursionError:
        raise Refused("nested too deeply") from None
    except Refused:
        raise
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise Refused(str(error)) from None


def _no_constant(name: str) -> float:
    raise Refused(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)  # once: json.loads would make one for each of 100,000 files
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def parse_yaml(content: bytes | str) -> object:
    """Plain values of a YAML document; raises Refused on tags, on aliases that multiply, and on a key given twice."""
    import yaml

    if len(content) > YAML_BYTES:
        raise Refused(f"{len(content):,} bytes of YAML, more than the {YAML_BYTES:,} that it may have")
    if _deepest_brackets(content) > DEEPEST_YAML:  # its scanner's time grows with the square of the depth
        raise Refused("nested too deeply")
    # SafeLoader, never its C twin, whose recursion ends the process instead of raising.
    try:
        loader = yaml.SafeLoader(content)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _expanded(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except Refused:
        raise
    except RecursionError:
        raise Refused("nested too deeply") from None
    except Exception as error:  # its constructors have no common error: `!!bool x` is a KeyError
        raise Refused(f"no YAML ({' '.join(str(error).split()) or type(error).__name__})") from None


def _deepest_brackets(content: bytes | str) -> int:
    depth = deepest = 0
    for mark in re.findall(r"[][{}]", content if isinstance(content, str) else content.decode("latin1")):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _expanded(node: "yaml.Node", known: dict[int, int | None]) -> int:
    """Characters of the node with every alias written out."""
    import yaml

    if id(node) in known:
        characters = known[id(node)]
        if characters is None:
            raise Refused("an alias that stands for itself")
        return characters
    known[id(node)] = None
    if isinstance(node, yaml.MappingNode):
        _refuse_twins(node)
        size = sum(_expanded(part, known) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        size = sum(_expanded(part, known) for part in node.value)
    else:
        size = len(node.value)
    if size > YAML_EXPANDED:
        raise Refused(f"its aliases write out to more than {YAML_EXPANDED:,} characters")
    known[id(node)] = size + 1
    return size + 1


def _refuse_twins(node: "yaml.MappingNode") -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if key.id == "scalar" and key.value != "<<":
            if (key.tag, key.value) in seen:
                raise Refused(f"key {key.value} stands twice in one mapping (line {key.start_mark.line + 1})")
            seen.add((key.tag, key.value))


def read_yaml(path: Path) -> object:
    """`parse_yaml` of a file that the user named; raises Refused or OSError."""
    return parse_yaml(read_bytes(path, YAML_BYTES, follow=True))


def read_npz(path: Path, names: Collection[str] | None = None) -> "dict[str, np.ndarray]":
    """Numbers and texts of an npz file (of it only `names`); raises Refused or OSError.

    What it says that it holds is judged before anything is decompressed, and each array against its own header.
    """
    with open_regular(path, ARRAY_BYTES) as raw:
        stored = os.fstat(raw.fileno()).st_size
        return _unpacked(raw, stored, names)


def _unpacked(raw: BinaryIO, stored: int, names: Collection[str] | None) -> "dict[str, np.ndarray]":
    try:
        with zipfile.ZipFile(raw) as file:
            members = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
            wanted = {name: info for name, info in members.items() if names is None or name in names}
            size = sum(info.file_size for info in wanted.values())
            if size > ARRAY_BYTES or size > max(SURELY_NO_BOMB, EXPANSION * stored):
                raise Refused(f"its {stored:,} bytes claim to hold {size:,}")
            return {name: _array(file, info) for name, info in wanted.items()}
    except Refused:
        raise
    # numpy's header is a Python literal, whose parser raises what it likes; zipfile: NotImplementedError, zlib.error, …
    except Exception as error:
        raise Refused(f"no readable arrays ({printable(str(error)) or type(error).__name__})") from None


def _array(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> "np.ndarray":
    import numpy as np
    from numpy.lib import format as npy

    # Decompressors of the other kinds take as much memory as a file tells them to.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise Refused(f"{info.filename} is encrypted, or packed in another way than numpy does")
    with file.open(info) as stream:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise Refused(f"{info.filename}: npy version {version}")
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = header(stream)
        if dtype.kind not in "biufSU" or dtype.itemsize == 0:  # objects would need a pickle
            raise Refused(f"{info.filename} holds {dtype}: only numbers and texts are read")
        size = prod(shape) * dtype.itemsize
        found = stream.read(min(size, info.file_size) + 1)
        if min(shape, default=0) < 0 or len(found) != size:
            raise Refused(f"{info.filename} has {len(found):,} bytes for an array of {size:,}")
    return np.frombuffer(found, dtype).reshape(shape, order="F" if fortran else "C").copy()


def read_parquet(path: Path, *, follow: bool = False, texts: bool = True, threads: bool = False) -> "pyarrow.Table":
    """A parquet file that claims no more than memory should hold; raises Refused or OSError.

    A few bytes can stand for 2^31 equal rows, or for as many copies of one long text (looked for if `texts`).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    open_regular(path, ARRAY_BYTES * EXPANSION, follow=follow).close()
    try:
        # OSFile: of a path arrow looks for its file system first, which costs as much again.
        with pa.OSFile(str(path)) as source, pq.ParquetFile(source) as file:
            _refuse_large(file, path, texts)
            return file.read(use_threads=threads)
    except Refused:
        raise
    except Exception as error:  # a damaged file is an ArrowException, OSError, MemoryError, ValueError, …
        raise Refused(f"no parquet file ({' '.join(str(error).split())})") from None


def _refuse_large(file: "pq.ParquetFile", path: Path, texts: bool) -> None:
    rows, columns = file.metadata.num_rows, file.metadata.num_columns
    groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
    claimed = [group.num_rows for group in groups]
    if min([rows, *claimed]) < 0 or max(rows, sum(claimed)) * max(columns, 1) > TABLE_CELLS:
        raise Refused(f"{rows:,} rows of {columns} columns, more than {TABLE_CELLS:,} cells")
    named = [at for at in range(columns) if file.schema.column(at).physical_type == "BYTE_ARRAY"]
    stored = sum(group.column(at).total_uncompressed_size for group in groups for at in named)
    # Every row could be all that is stored; only where that is too much is it counted what the rows are.
    if texts and rows * stored > TEXT_BYTES and (size := _text_bytes(path, named)) > TEXT_BYTES:
        raise Refused(f"its texts write out to {size:,} bytes, more than {TEXT_BYTES:,}")


def _text_bytes(path: Path, columns: Sequence[int]) -> int:
    """Bytes of the texts in these columns with every row written out (texts inside lists do not count)."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    size = 0
    with pq.ParquetFile(path) as file:
        names = [file.schema.column(at).path for at in columns]
    with pq.ParquetFile(path, read_dictionary=names) as file:  # a text that is repeated stands in it once
        for batch in file.iter_batches(columns=names):
            for column in batch.columns:
                if pa.types.is_dictionary(column.type):
                    lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
                    size += pc.sum(lengths).as_py() or 0
            if size > TEXT_BYTES:
                break
    return size
