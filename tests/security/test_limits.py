"""What `scaling.limits` refuses, each before memory or time is spent on it."""

import io
import os
import resource
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling import limits
from scaling.limits import Refused, parse_json, parse_yaml, printable, read_bytes, read_npz, read_parquet

TWICE = "a: &a [1,1]\n" + "".join(f"b{i}: &b{i} [{'*a' if i == 0 else f'*b{i - 1}'}, *a]\n" for i in range(3))


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [" + ",".join(["lol"] * 10) + "]"]
    lines += [f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (laughs(9), "aliases write out to more than"),
        (laughs(9).replace("[", "{<<: [").replace("]", "]}"), "aliases|mapping"),
        ("[" * 20_000 + "]" * 20_000, "nested too deeply"),
        ("- " * 50_000, "nested too deeply"),
        ("a: " + "{b: " * 5_000 + "1" + "}" * 5_000, "nested too deeply"),
        ("a: &a [*a]", "stands for itself"),
        ("a: 1\nb: 2\na: 3", "key a stands twice"),
        ("a: {x: 1, x: 2}", "key x stands twice"),
        ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: !!bool maybe", "no YAML"),
        ("a: " + "9" * 6_000, "no YAML"),
        ("x" * 300_000, "more than the 200,000"),
        (b"\xff\xfe\x00", "no YAML"),
    ],
)  # fmt: skip
def test_yaml_that_expands_or_executes_is_refused_at_once(text, why):
    began = time.monotonic()
    with pytest.raises(Refused, match=why):
        parse_yaml(text)
    assert time.monotonic() - began < 10


def test_ordinary_yaml_is_read_as_by_pyyaml():
    assert parse_yaml("a: &x [1, 2.5, yes, null, '3']\nb: *x\nc: {d: 2020-01-01}")["b"] == [1, 2.5, True, None, "3"]
    assert parse_yaml("base: &b {x: 1, y: 2}\nmade: {<<: *b, y: 3}")["made"] == {"x": 1, "y": 3}
    assert parse_yaml(TWICE)["b2"][0][0] == [[1, 1], [1, 1]]
    assert parse_yaml("1: a\n'1': b") == {1: "a", "1": "b"} and parse_yaml("") is None


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        r'"\ud800"',
        rb'{"\uDFFF": 1}',
        '{"a": -Infinity}',
        "[" * 100_000,
        "9" * 5_000,
        "{'a': 1}",
        "",
        b"\xff",
    ],
)
def test_json_is_json(text):
    with pytest.raises(Refused):
        parse_json(text)
    assert parse_json('{"a": [1, 2.5, null, "é"]}') == {"a": [1, 2.5, None, "é"]}


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling", "device", "folder", "large"])
def test_only_regular_files_of_bounded_size_are_read(tmp_path, kind):
    path = tmp_path / "file"
    (tmp_path / "other").write_bytes(b"content")
    make = {
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(tmp_path / "other"),
        "dangling": lambda: path.symlink_to(tmp_path / "none"),
        "device": lambda: None,
        "folder": path.mkdir,
        "large": lambda: path.write_bytes(b"x" * 101),
    }
    make[kind]()
    with pytest.raises(Refused, match=r"symbolic link|no regular file|101 bytes, more than the 100"):
        read_bytes(Path("/dev/zero") if kind == "device" else path, 100)
    if kind == "link":
        assert read_bytes(path, 100, follow=True) == b"content"


def test_what_is_printed_moves_no_cursor():
    assert printable("plain ü – 漢 a b") == "plain ü – 漢 a b"
    assert printable("a\x1b[2J\r\nb\x00\x9b‮⁦\u2028\ud800") == r"a\x1b[2J\r\nb\x00\x9b\u202e\u2066\u2028\ud800"
    assert len(printable("x" * 10_000)) < 1_100 and "10,000 characters" in printable("x" * 10_000)


# -- archives ----------------------------------------------------------------------------------------------------------


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def npy(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + body


HEADERS = {
    "huge shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}",
    "overflowing shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4)}",
    "negative shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -4)}",
    "bool shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 'x')}",
    "object": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "object inside": "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}",
    "no width": "{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000000,)}",
    "subarray": "{'descr': ('<f4', (1000000000,)), 'fortran_order': False, 'shape': (1,)}",
    "code": "__import__('os').system('touch pwned')",
    "nested": "(" * 3000 + ")" * 3000,
    "no keys": "{}",
}


@pytest.mark.parametrize("name", HEADERS)
def test_an_array_whose_header_lies_is_refused(tmp_path, name):
    path = archive(tmp_path / "a.npz", x=npy(HEADERS[name], b"\0" * 16))
    with pytest.raises(Refused, match=r"no readable arrays|has .* bytes|holds"):
        read_npz(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """200 MB of zeros in 200 kB: refused by what the directory declares, with not 50 MB more memory in use."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file, file.open("x.npy", "w") as member:
        member.write(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (209715200,)}"))
        for _ in range(200):
            member.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Refused, match="claim to hold"):
        read_npz(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert read_npz(path, ["y"]) == {}  # what is not asked for is not judged


def test_a_member_that_holds_more_than_it_declares_is_refused(tmp_path):
    path = archive(tmp_path / "a.npz", x=npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}", bytes(1_000)))
    with pytest.raises(Refused, match=r"has .* bytes for an array of 4"):
        read_npz(path)
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(tmp_path / "b.npz", "w", method) as file:
            file.writestr("x.npy", npy(HEADERS["no keys"]))
        with pytest.raises(Refused, match="packed in another way"):
            read_npz(tmp_path / "b.npz")


def test_sound_arrays_come_back_to_the_bit(tmp_path):
    arrays = {"a": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "b": np.array(["x", "yy"]), "c": np.array(3),
              "f": np.asfortranarray(np.arange(6).reshape(2, 3)), "e": np.empty((0, 3), np.uint8)}  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_npz(tmp_path / "a.npz")
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype and found[name].flags.writeable


# -- parquet -----------------------------------------------------------------------------------------------------------


def test_a_text_that_stands_for_terabytes_is_refused(tmp_path):
    """One text of 1 MB, 300,000 times, in 50 kB."""
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300_000, np.int32)), ["x" * 1_000_000])
    pq.write_table(pa.table({"run_id": texts}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 10**6
    with pytest.raises(Refused, match="texts write out to"):
        read_parquet(tmp_path / "t.parquet")


def test_rows_beyond_memory_are_refused(tmp_path, monkeypatch):
    column = pa.table({"c": pa.array(np.zeros(1_000_000, np.int8))})
    with pq.ParquetWriter(tmp_path / "t.parquet", column.schema) as writer:
        for _ in range(5):
            writer.write_table(column)
    read_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(limits, "TABLE_CELLS", 4_999_999)
    with pytest.raises(Refused, match=r"5,000,000 rows of 1 columns, more than"):
        read_parquet(tmp_path / "t.parquet")


def test_a_sound_table_comes_back(tmp_path):
    table = pa.table({"a": ["x", None, "x" * 1000], "b": [1, 2, 3], "c": [[1], [], None], "s": [{"q": "u"}] * 3})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_parquet(tmp_path / "t.parquet").equals(table)
    (tmp_path / "link.parquet").symlink_to(tmp_path / "t.parquet")
    with pytest.raises(Refused, match="symbolic link"):
        read_parquet(tmp_path / "link.parquet")
    assert read_parquet(tmp_path / "link.parquet", follow=True).equals(table)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    (tmp_path / "torn.parquet").write_bytes(buffer.getvalue()[:-20])
    with pytest.raises(Refused, match="no parquet file"):
        read_parquet(tmp_path / "torn.parquet")
