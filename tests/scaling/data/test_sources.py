"""Sources against files the tests write, against scikit-learn, and against the ways in which a source can be broken."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from scaling.data import cache, columns, sources
from scaling.data.sources import DEBIAN_FASHION, SourceError, image_id, load_images, to_unit

RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (6, 8, 8), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "diffusion-memorization-scaling"


def refusal(source: str, size: int = 8) -> str:
    with pytest.raises(SourceError) as error:
        load_images(source, size)
    message = str(error.value)
    assert message.startswith(f"data.source={source}: ") and "\n" not in message
    return message


def write_idx(path: Path, values: np.ndarray, kind: int = 8) -> Path:
    header = bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()) if path.suffix == ".gz" else header + values.tobytes())
    return path


def write_folder(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    for name, values in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / name)
    return folder


def write_parquet(path: Path, features: datasets.Features | None = None, **table: object) -> Path:
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(table, features=features).to_parquet(path)
    return path


# --- what every source promises ---


def test_digits_are_scikit_learns_at_255_grey_levels():
    """Mean -0.389 and standard deviation 0.752: measures.md section 0; no exact duplicates: ecosystem.md section 6."""
    from sklearn.datasets import load_digits

    found = load_images("digits", 8)
    np.testing.assert_array_equal(np.rint(found.pixels[:, 0] * (16 / 255)), load_digits().images)
    np.testing.assert_array_equal(found.labels, load_digits().target)
    assert (found.pixels.shape, found.n_classes, found.n_removed) == ((1797, 1, 8, 8), 10, 0)
    assert (round(found.mean, 3), round(found.std, 3)) == (-0.389, 0.752)
    unit = to_unit(found.pixels)
    assert unit.dtype == np.float32 and unit.min() == -1 and unit.max() == 1
    assert found.mean == pytest.approx(unit.mean(dtype=np.float64), abs=1e-7)
    assert found.std == pytest.approx(unit.std(dtype=np.float64), abs=1e-7)


def test_exact_duplicates_leave_and_the_first_stays(tmp_path):
    names = {f"{i % 2}/{i}.png": GREY[at] for i, at in enumerate([0, 1, 0, 2, 1, 0])}  # order 0 2 4, 1 3 5
    found = load_images(f"folder:{write_folder(tmp_path / 'f', names)}", 8)
    assert found.n_removed == 3 and found.labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(found.pixels[:, 0], GREY[:3])


def test_the_content_hash_is_that_of_shape_and_pixels(tmp_path):
    source = f"folder:{write_folder(tmp_path / 'f', {'a.png': GREY[0], 'b.png': GREY[1]})}"
    expected = hashlib.sha256(b"2,1,8,8" + GREY[:2].tobytes()).hexdigest()
    assert load_images(source, 8).data_sha256 == expected
    assert image_id(GREY[:1]) == hashlib.sha256(GREY[:1].tobytes()).hexdigest()[:16]


def test_colour_and_grey_follow_channels(tmp_path):
    source = f"folder:{write_folder(tmp_path / 'f', {'a.png': COLOUR[0], 'b.png': GREY[0]})}"
    both = load_images(source, 8)
    np.testing.assert_array_equal(both.pixels[0], COLOUR[0].transpose(2, 0, 1))
    np.testing.assert_array_equal(both.pixels[1], np.broadcast_to(GREY[0], (3, 8, 8)))
    grey = load_images(source, 8, channels=1).pixels
    luma = COLOUR[0] @ [0.299, 0.587, 0.114]  # ITU-R 601-2, PIL's "L"
    assert grey.shape == (2, 1, 8, 8) and np.abs(grey[0, 0] - luma).max() <= 1
    only_grey = f"folder:{write_folder(tmp_path / 'g', {'b.png': GREY[0]})}"
    assert load_images(only_grey, 8).pixels.shape[1] == 1 and load_images(only_grey, 8, channels=3).pixels.shape[1] == 3


def test_a_whole_factor_takes_block_means_and_every_resizing_is_antialiased(tmp_path):
    checker = np.indices((16, 16)).sum(0) % 2 * 255
    source = f"folder:{write_folder(tmp_path / 'f', {'a.png': checker.astype(np.uint8)})}"
    for size in (8, 4, 5, 7):  # without antialiasing a checkerboard becomes black, white or stripes
        assert np.abs(load_images(source, size).pixels - 127.5).max() < 40
    block = f"folder:{write_folder(tmp_path / 'b', {'a.png': GREY[0]})}"
    means = GREY[0].reshape(4, 2, 4, 2).mean((1, 3))
    assert np.abs(load_images(block, 4).pixels[0, 0] - means).max() <= 1  # PIL rounds once a direction
    assert load_images(block, 16).pixels.shape == (1, 1, 16, 16)


def test_a_picture_that_is_not_square_loses_its_ends(tmp_path):
    wide = np.concatenate([GREY[1][:, :3], GREY[0], GREY[2][:, :3]], axis=1)
    names = {"a.png": wide, "b.png": np.ascontiguousarray(wide.T)}
    found = load_images(f"folder:{write_folder(tmp_path / 'f', names)}", 8).pixels
    np.testing.assert_array_equal(found[:, 0], np.stack([GREY[0], GREY[0].T]))


def test_16_bits_become_8(tmp_path):
    folder = write_folder(tmp_path / "f", {"a.png": GREY[0].astype(np.uint16) * 257})
    np.testing.assert_array_equal(load_images(f"folder:{folder}", 8).pixels[0, 0], GREY[0])


# --- folder ---


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["b/1.png", "a/2.png", "a/1.png"], [0, 0, 1]),
        (["train/cat/1.png", "train/dog/1.png", "test/dog/2.png"], [1, 0, 1]),  # test before train
        (["train/1.png", "test/2.png", "validation/3.png"], [-1, -1, -1]),
        (["a/1.png", "2.png", "b/3.png"], [-1, -1, -1]),
        (["a/1.png", "a/2.png", "a/3.png"], [-1, -1, -1]),
    ],
)
def test_folder_labels_are_those_of_imagefolder(tmp_path, names, labels):
    folder = write_folder(tmp_path / "f", dict(zip(names, GREY, strict=False)))
    found = load_images(f"folder:{folder}", 8)
    assert found.labels.tolist() == labels and found.n_classes == max(labels) + 1
    order = sorted(range(3), key=lambda i: Path(names[i]))
    np.testing.assert_array_equal(found.pixels[:, 0], GREY[order])


def test_folder_refuses_what_is_no_image_by_name(tmp_path):
    folder = write_folder(tmp_path / "f", {"a/1.png": GREY[0], "b/2.png": GREY[1]})
    (folder / ".hidden").write_text("ignored")
    load_images(f"folder:{folder}", 8)
    for name, content in (("b/notes.txt", b"read me"), ("b/fake.png", b"GIF?"), ("b/empty.jpg", b"")):
        (folder / name).write_bytes(content)
        assert f"{name} is no image" in refusal(f"folder:{folder}")
        (folder / name).unlink()
    whole = (folder / "b/2.png").read_bytes()
    (folder / "b/2.png").write_bytes(whole[:-30])
    assert "b/2.png cannot be decoded" in refusal(f"folder:{folder}")
    (folder / "b/2.png").unlink()
    os.mkfifo(folder / "b/pipe")
    assert "b/pipe is no regular file" in refusal(f"folder:{folder}")


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "f", {"a.png": GREY[0]})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "a.png cannot be decoded (DecompressionBombError" in refusal(f"folder:{folder}")


@pytest.mark.parametrize("kind", ["folder", "idx", "parquet"])
def test_missing_empty_and_wrong_kind_of_path_are_said(tmp_path, kind):
    assert "does not exist; check the path" in refusal(f"{kind}:{tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    wrong, empty = ("empty", "file") if kind == "parquet" else ("file", "empty")
    assert "; give a " in refusal(f"{kind}:{tmp_path / wrong}")
    expected = {"folder": "holds no files", "idx": "holds no IDX images", "parquet": "truncated or no parquet file"}
    assert expected[kind] in refusal(f"{kind}:{tmp_path / empty}")


def test_unknown_sources_name_what_is_allowed():
    assert "did you mean fashion_mnist?" in refusal("fashion-mnist")
    assert "did you mean folder:DIR?" in refusal("foldr:x")
    for source in ("", "nothing", "hf:", "folder:", "digits:8"):
        assert "allowed are digits, fashion_mnist, cifar10, hf:REPO[@REVISION]" in refusal(source)


# --- IDX ---


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_gives_train_before_t10k(tmp_path, end):
    for part, at in (("t10k", slice(4, 6)), ("train", slice(0, 4))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{end}", GREY[at])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{end}", np.arange(6, dtype=np.uint8)[at])
    found = load_images(f"idx:{tmp_path}", 8)
    np.testing.assert_array_equal(found.pixels[:, 0], GREY)
    assert found.labels.tolist() == list(range(6)) and found.n_classes == 6


def test_idx_without_labels_has_none(tmp_path):
    write_idx(tmp_path / "train-images.idx3-ubyte", GREY)
    found = load_images(f"idx:{tmp_path}", 8)
    assert found.labels.tolist() == [-1] * 6 and found.n_classes == 0


@pytest.mark.parametrize("end", ["", ".gz"])
def test_broken_idx_files_are_refused(tmp_path, end):
    path, source = tmp_path / f"train-images-idx3-ubyte{end}", f"idx:{tmp_path}"
    whole = write_idx(path, GREY).read_bytes()
    for cut in (len(whole) - 9, 12, 2, 0):
        path.write_bytes(whole[:cut])
        assert path.name in refusal(source)
    write_idx(path, GREY.astype(np.float32), kind=0x0D)
    assert "IDX type 0x0d with 3 dimensions" in refusal(source)
    write_idx(path, GREY[0])
    assert "with 2 dimensions" in refusal(source)
    plain = gzip.decompress(whole) if end else whole
    for content, reason in (
        (plain + b"x", "there are more"),
        (plain[:-1], "there are only 383"),
        (plain[:4] + b"\xff" * 12, "its header claims"),
        (plain[:12] + b"\0" * 4, "= 0 bytes"),
        (b"<html>", "no IDX file"),
    ):
        path.write_bytes(gzip.compress(content) if end else content)
        assert reason in refusal(source)
    write_idx(path, GREY)
    write_idx(tmp_path / f"train-labels-idx1-ubyte{end}", np.zeros(5, np.uint8))
    assert "5 labels for 6 images" in refusal(source)


@pytest.mark.skipif(not DEBIAN_FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_is_70_000_images_of_10_classes():
    found = load_images("fashion_mnist", 28)
    assert len(found.pixels) + found.n_removed == 70_000 and found.n_classes == 10
    assert np.bincount(found.labels).min() > 6_900


# --- parquet and the hub ---


def encoded_features(**more) -> datasets.Features:
    return datasets.Features({"image": datasets.Image(), **more})


def test_parquet_of_encoded_images_and_class_labels(tmp_path):
    features = encoded_features(label=datasets.ClassLabel(names=["x", "y", "z"]))
    pictures = [Image.fromarray(values) for values in COLOUR]
    path = write_parquet(tmp_path / "t.parquet", features, image=pictures, label=[0, 1, 1, 0, 1, 0])
    found = load_images(f"parquet:{path}", 8)
    np.testing.assert_array_equal(found.pixels, COLOUR.transpose(0, 3, 1, 2))
    assert found.labels.tolist() == [0, 1, 1, 0, 1, 0] and found.n_classes == 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (GREY.astype(np.int64), GREY[:, None]),
    ],
)
def test_parquet_of_nested_numbers_and_words_as_labels(tmp_path, values, expected):
    path = write_parquet(tmp_path / "t.parquet", pixels=values, label=["b", "a", "b", "c", "a", "a"])
    found = load_images(f"parquet:{path}", 8)
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.labels.tolist() == [1, 0, 1, 2, 0, 0] and found.n_classes == 3


def test_parquet_of_array2d_without_labels(tmp_path):
    features = datasets.Features({"image": datasets.Array2D((8, 8), "uint8")})
    found = load_images(f"parquet:{write_parquet(tmp_path / 't.parquet', features, image=GREY)}", 8)
    np.testing.assert_array_equal(found.pixels[:, 0], GREY)
    assert found.labels.tolist() == [-1] * 6 and found.n_classes == 0


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"text": ["a", "b"]}, "of its columns text none holds images"),
        ({"left": GREY[:2], "right": GREY[2:4]}, "several could hold images (left, right)"),
        ({"image": GREY[:2] * 2.0}, "2-dimensional double"),
        ({"image": GREY[:2].astype(np.int64) + 300}, "store 0 to 255"),
        ({"image": GREY[:2].astype(np.int64) - 300}, "store 0 to 255"),
        ({"image": [[[1, 2], [3, 4]], [[1, 2], [3]]]}, "differ in size or are missing"),
        ({"image": [[[1, 2], [3, 4]], None]}, "differ in size or are missing"),
        ({"image": [[[[1, 2]] * 2] * 2]}, "neither 1 nor 3 channels"),
        ({"image": GREY[:2], "label": [0.5, 1.5]}, "column label holds double"),
    ],
)
def test_tables_without_images_are_refused(tmp_path, table, reason):
    assert reason in refusal(f"parquet:{write_parquet(tmp_path / 't.parquet', **table)}")


def test_broken_rows_and_truncated_parquet_are_refused(tmp_path):
    bad = [{"bytes": b"no image", "path": None}, {"bytes": None, "path": "/etc/passwd"}]
    for cell, reason in zip(bad, ("row 1 is no image", "row 1 holds no image bytes"), strict=True):
        path = write_parquet(tmp_path / "t.parquet", encoded_features(), image=[Image.fromarray(GREY[0]), None])
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        cells = [table["image"][0].as_py(), cell]
        pq.write_table(table.set_column(0, table.schema.field(0), pa.array(cells, table.schema.field(0).type)), path)
        assert reason in refusal(f"parquet:{path}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "truncated or no parquet file" in refusal(f"parquet:{path}")


def test_all_splits_of_a_hub_dataset_follow_one_another(monkeypatch):
    asked = []

    def load_dataset(repository, revision):
        asked.append((repository, revision))
        features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
        rows = [{"img": [Image.fromarray(v) for v in COLOUR[at]], "label": [0, 1, 0]} for at in (slice(3), slice(3, 6))]
        parts = [datasets.Dataset.from_dict(row, features=features) for row in rows]
        return datasets.DatasetDict(train=parts[0], test=parts[1])

    monkeypatch.setattr(columns, "load_dataset", load_dataset)
    found = load_images("hf:someone/pictures@abc123", 8)
    np.testing.assert_array_equal(found.pixels, COLOUR.transpose(0, 3, 1, 2))
    assert found.labels.tolist() == [0, 1, 0] * 2 and found.n_classes == 2
    load_images("cifar10", 8)
    assert asked == [("someone/pictures", "abc123"), ("uoft-cs/cifar10", None)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("Couldn't reach it\non the Hub"), "hub cannot be reached"),
        (TimeoutError("read timed out"), "hub cannot be reached"),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'x/y' doesn't exist"), "no such dataset"),
        (ValueError("Config name is missing."), "one configuration"),
    ],
)
def test_what_the_hub_answers_is_one_line_with_a_remedy(monkeypatch, error, reason):
    def load_dataset(*_, **__):
        raise error

    monkeypatch.setattr(columns, "load_dataset", load_dataset)
    message = refusal("hf:x/y")
    assert reason in message
    assert reason != "hub cannot be reached" or "digits, folder:DIR, parquet:FILE, idx:DIR" in message


def test_fashion_mnist_without_debian_and_hub_names_the_package(monkeypatch, tmp_path):
    def load_dataset(*_, **__):
        raise ConnectionError("offline")

    monkeypatch.setattr(columns, "load_dataset", load_dataset)
    monkeypatch.setattr(sources, "DEBIAN_FASHION", tmp_path)
    assert "install Debian's package dataset-fashion-mnist, or go online once" in refusal("fashion_mnist", 28)


def test_offline_the_real_library_ends_in_the_same_line(tmp_path):
    code = "from scaling.data.sources import load_images\nload_images('cifar10', 32)"
    home = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **home}, timeout=60
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "SourceError: data.source=cifar10: the Hugging Face hub cannot be reached (ConnectionError" in last
    assert "HF_HUB_OFFLINE=1" in last


# --- the cache ---


def test_what_was_read_once_needs_no_reader_again(monkeypatch):
    first = load_images("digits", 8)
    monkeypatch.setattr(sources, "_digits", lambda: pytest.fail("read again"))
    second = load_images("digits", 8)
    for name in ("pixels", "labels"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
    for name in ("n_classes", "data_sha256", "n_removed", "mean", "std"):
        assert getattr(second, name) == getattr(first, name)


def test_cached_digits_import_neither_scikit_learn_nor_torch(own_cache):
    load_images("digits", 8)
    heavy = "{'sklearn', 'datasets', 'pyarrow', 'torch', 'pandas'}"
    load = "import sys; from scaling.data.sources import load_images; load_images('digits', 8)"
    code = f"{load}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_changed_file_is_read_again(tmp_path):
    folder = write_folder(tmp_path / "f", {"a.png": GREY[0]})
    before = load_images(f"folder:{folder}", 8)
    write_folder(folder, {"a.png": GREY[1]})
    os.utime(folder / "a.png", ns=(1, 1))
    assert load_images(f"folder:{folder}", 8).data_sha256 != before.data_sha256


def test_sources_of_equal_pixels_keep_their_own_labels(tmp_path):
    one = write_folder(tmp_path / "one", {"a/1.png": GREY[0], "b/2.png": GREY[1]})
    two = write_folder(tmp_path / "two", {"1.png": GREY[0], "2.png": GREY[1]})
    for _ in range(2):
        assert load_images(f"folder:{one}", 8).labels.tolist() == [0, 1]
        assert load_images(f"folder:{two}", 8).labels.tolist() == [-1, -1]
    assert load_images(f"folder:{one}", 8).data_sha256 == load_images(f"folder:{two}", 8).data_sha256


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "pickle", "remove"])
def test_a_damaged_cache_is_made_again(own_cache, damage):
    first = load_images("digits", 8)
    (content,) = own_cache.glob(f"{first.data_sha256}.npz")
    (request,) = own_cache.glob("request-*.npz")
    for path in (content, request):
        whole = path.read_bytes()
        if damage == "truncate":
            path.write_bytes(whole[:-100])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "flip" and path == content:
            wrong = first.pixels.copy()
            wrong[0, 0, 4, 4] ^= 1
            np.savez(path, pixels=wrong)
        elif damage == "pickle":
            np.savez(path, pixels=np.array([print], object), data_sha256=np.array([print], object))
        elif damage == "remove":
            path.unlink()
        found = load_images("digits", 8)
        np.testing.assert_array_equal(found.pixels, first.pixels)
        assert cache.load(request.stem) is not None, "made again"


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(load_images("digits", 8).pixels) == 1797


def test_nothing_is_written_beside_a_source(tmp_path):
    folder = write_folder(tmp_path / "f", {"a.png": GREY[0]})
    write_idx(folder / "train-images-idx3-ubyte", GREY)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    load_images(f"idx:{folder}", 4)
    after = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if "cache" not in path.parts)
    assert [row for row in after if row[0] != tmp_path] == before
