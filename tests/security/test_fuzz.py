"""Every reader of what comes from outside, given real inputs that were damaged: a value, or its own one-line error.

Never another exception, never a hang. Examples are drawn the same way each time; `make test-slow` draws many more.
"""

# ruff: noqa: E501 (a hostile input stands on one line)
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analysis.columns import TableError, read_table
from analysis.table import load as load_tables
from scaling.checkpoints import Checkpoints, load_weights, save_weights
from scaling.config import ConfigError, build
from scaling.config import given as flags_given
from scaling.identity import cell_id, run_id
from scaling.limits import Refused, parse_yaml
from scaling.lock import owner
from scaling.schema import GALLERY, IDENTITY, RECORDS, SCHEMA_VERSION, SchemaError, arrays, records, rows
from scaling.status_file import read_status
from scaling.store import RunStore
from scaling.store_errors import StoreError
from scaling.sweep.grid import expand
from scaling.sweep.plan import state_of

ROOT = Path(__file__).parents[2]
FAST, LONG = 25, 1_500
# What a damaged text often holds: the words of YAML, JSON, numbers beyond any type, marks that move a cursor.
WORDS = [
    b"\0", b"\n", b"\r\n", b"\x1b[2J", b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 30, b"9" * 5000, b"-1", b"null",
    b"true", b"{}", b"[]", b"{", b"]", b'"', b"'", b": ", b"- ", b"&a ", b"*a", b"<<: *a", b"!!python/object:os.system ",
    b"!!int ''", b"!!bool x", b"!!timestamp x", b"? ", b"| ", b"%YAML 9", b"---\n", b"\xff", b"\xed\xa0\x80", b"\\ud800",
    "‮".encode(), b"=None", b"${args}", b"../", b"[" * 300, b"{a: " * 300, b"1e-999999999", b"1/0", b"--config=/dev/zero",
]  # fmt: skip


@st.composite
def damages(draw) -> Callable[[bytes], bytes]:
    """A few flips, cuts, insertions, repetitions and exchanges, at places that are a share of the whole length."""
    places = st.floats(0, 1, exclude_max=True)
    steps = draw(st.lists(st.tuples(st.sampled_from(["flip", "cut", "insert", "repeat", "swap", "word"]), places, places,
                                    st.integers(0, 255), st.sampled_from(WORDS)), min_size=1, max_size=4))  # fmt: skip

    def damage(content: bytes) -> bytes:
        for kind, first, second, byte, word in steps:
            a, b = sorted((int(first * (len(content) + 1)), int(second * (len(content) + 1))))
            c = min(b, a + 64)
            if kind == "flip" and content:
                at = min(a, len(content) - 1)
                content = content[:at] + bytes([byte]) + content[at + 1 :]
            elif kind == "cut":
                content = content[:a] if byte < 64 else content[:a] + content[c:]
            elif kind == "insert":
                content = content[:a] + bytes([byte]) * (1 + byte % 9) + content[a:]
            elif kind == "repeat":
                content = content[:b] + content[a:c] + content[b:]
            elif kind == "swap":
                content = content[:a] + content[c:b] + content[a:c] + content[b:]
            else:
                content = content[:a] + word + content[c if byte < 128 else a :]
        return content

    return damage


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 70), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=20),
    st.sampled_from(["digits", "uniform", "1/10", "unet", "\x1b[2J", "a\nb", "../..", "\0", "$x$", "<script>"]),
)  # fmt: skip
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8)  # fmt: skip


@st.composite
def exchanged(draw, tree: object) -> object:
    """The tree with some of its values (or whole branches) exchanged for others, or with keys removed or added."""
    if draw(st.integers(0, 9)) == 0:
        return draw(TREES)
    if isinstance(tree, dict):
        made = {name: draw(exchanged(value)) for name, value in tree.items() if draw(st.integers(0, 29))}
        return made if draw(st.integers(0, 19)) else {**made, draw(st.text(max_size=8)): draw(TREES)}
    if isinstance(tree, list):
        return [draw(exchanged(value)) for value in tree]
    return tree


def fuzz(*strategies: st.SearchStrategy) -> Callable:
    """The test as a quick one that always draws the same, and as a slow one that draws new examples."""
    shared = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}

    def decorate(test: Callable) -> Callable:
        @pytest.mark.parametrize("examples", [FAST, pytest.param(LONG, marks=pytest.mark.slow)])
        def fuzzed(examples: int, tmp_path: Path) -> None:
            phases = (Phase.explicit, Phase.generate) if examples == FAST else tuple(Phase)
            chosen = settings(max_examples=examples, derandomize=examples == FAST, phases=phases, **shared)
            chosen(given(st.tuples(*strategies))(lambda drawn: test(tmp_path, *drawn)))()

        fuzzed.__doc__, fuzzed.__name__ = test.__doc__, test.__name__
        return fuzzed

    return decorate


def told(*errors: type[Exception]) -> "Told":
    return Told(errors)


class Told:
    """A block that may end in one of these errors, whose message is one printable line."""

    def __init__(self, errors: tuple[type[Exception], ...]) -> None:
        self.errors = errors

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> bool:
        if kind is None:
            return False
        assert issubclass(kind, self.errors), f"{kind.__name__}: {error}"
        assert str(error).strip() and "\n" not in str(error) and "\x1b" not in str(error), repr(str(error))
        return True


# -- what is damaged: made once by the code itself ---------------------------------------------------------------------


def run(out: Path) -> Path:
    """A finished run with records, arrays and images."""
    with RunStore.open(build({"runtime": {"out": str(out)}})) as store:
        store.set_status("running", images_total=64)
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (2, 4, 1, 8, 8), dtype=np.uint8)
        strips = dict(zip(GALLERY, (pixels[0], pixels[1], rng.random(4, np.float32), np.arange(4)), strict=True))
        store.write_arrays("samples", **strips, image_ids=np.array(["a" * 16] * 4), image_pixels=pixels[0])
        for at in (0, 64):
            identity = {column.name: None for column in IDENTITY} | {
                "run_id": store.run_id, "cell_id": cell_id(store.config), "seed": 0, "images_seen": at, "params": 2743,
                "n_generated": 10, "n_unique": 256, "n_train": 256,
            }  # fmt: skip
            evals = {**identity, "schema_version": SCHEMA_VERSION, "science_version": 1, "n_memorized": at // 64,
                     "holdout_loss": 0.5, "config": json.dumps({"seed": 0, "train": {"images": 64}})}  # fmt: skip
            strata = [{"copies": r, "n_hits": 1, "n_images": 3} for r in (1, 2)]
            store.append({"evals": evals, "strata": strata, "noise_levels": [{"kind": "loss", "sigma": 0.5}]})
        store.write_images([{"image_id": f"{i:016x}", "n_hits": i, "role": "train"} for i in range(3)], identity)
        store.set_status("done", images_seen=64, wall_seconds=1.0)
    return store.folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("real"))


CONFIG = (ROOT / "configs" / "digits.yaml").read_bytes()
SWEEP = (ROOT / "sweeps" / "quickstart.yaml").read_bytes()
STATUS = {
    "state": "failed", "reason": "why", "updated": 1.5, "images_seen": 64, "images_total": 128, "wall_seconds": 2.5,
    "n_memorized": 1, "n_generated": 4, "host": "h", "pid": 7, "code_version": "abc", "science_version": 1,
    "run_id": "0" * 12, "train_id": "1" * 12, "data_sha256": "2" * 64,
}  # fmt: skip
TREE = build({}).model_dump(mode="json")


# -- configuration and sweeps ------------------------------------------------------------------------------------------


@fuzz(damages())
def test_a_damaged_yaml_configuration(folder, damage):
    path = folder / "config.yaml"
    path.write_bytes(damage(CONFIG))
    with told(ConfigError):
        run_id(build(flags_given([f"--config={path}"])))


@fuzz(exchanged(TREE))
def test_a_configuration_of_other_values(folder, tree):
    """As yaml it is read back, or refused; what is accepted has an identity."""
    with told(ConfigError):
        run_id(build(tree if isinstance(tree, dict) else {"data": tree}))
    path = folder / "config.yaml"
    path.write_text(json.dumps(tree))
    with told(ConfigError):
        run_id(build(flags_given([f"--config={path}"])))


@fuzz(st.lists(st.tuples(st.sampled_from(["seed", "data.source", "data", "train.lr", "evaluate.at", "config",
               "data.duplication.fraction", "data.duplication.levels", "evaluate.measures", "model.family", "x.y", ""]),
               st.one_of(st.text(max_size=30), st.sampled_from([word.decode("latin1") for word in WORDS]),
                         TREES.map(str))), max_size=3))  # fmt: skip
def test_flags_of_any_value(folder, pairs):
    flags = [f"--{key}={value}" for key, value in pairs]
    with told(ConfigError):
        run_id(build(flags_given(flags)))


@fuzz(damages())
def test_a_damaged_sweep_file(folder, damage):
    path = folder / "sweep.yaml"
    path.write_bytes(damage(SWEEP))
    with told(ConfigError):
        expand(path)


@fuzz(exchanged(yaml.safe_load(SWEEP)))
def test_a_sweep_of_other_values(folder, tree):
    path = folder / "sweep.yaml"
    path.write_text(json.dumps(tree))
    with told(ConfigError):
        expand(path)


@fuzz(st.binary(max_size=200) | st.text(max_size=200))
def test_any_yaml(folder, content):
    with told(Refused):
        parse_yaml(content)


# -- a run folder ------------------------------------------------------------------------------------------------------


def damaged_copy(real: Path, folder: Path, name: str, content: bytes) -> Path:
    """<folder>/runs/<run_id> with all files of the real run, one of them with other content."""
    made = folder / "runs" / real.name
    if not made.exists():
        made.mkdir(parents=True)
        for path in real.iterdir():
            if path.is_file():
                (made / path.name).write_bytes(path.read_bytes())
    (made / name).write_bytes(content)
    return made


REAL: list[Path] = []


@pytest.fixture(autouse=True)
def _real(real):
    REAL[:] = [real]


@fuzz(damages())
def test_damaged_records(folder, damage):
    content = damage((REAL[0] / RECORDS).read_bytes())
    made = damaged_copy(REAL[0], folder, RECORDS, content)
    with told(SchemaError):
        list(records(made / RECORDS))
    with told(SchemaError):
        rows(made)
    with told(TableError, SchemaError):
        load_tables(folder / "runs")


@fuzz(st.data())
def test_records_of_other_values(folder, data):
    first, *others = (REAL[0] / RECORDS).read_bytes().splitlines(keepends=True)
    content = b"".join([json.dumps(data.draw(exchanged(json.loads(first)))).encode() + b"\n", *others])
    made = damaged_copy(REAL[0], folder, RECORDS, content)
    with told(SchemaError):
        rows(made)
    with told(TableError, SchemaError):
        load_tables(folder / "runs")


@fuzz(damages() | exchanged(STATUS))
def test_a_damaged_or_other_status(folder, made):
    content = made(json.dumps(STATUS).encode()) if callable(made) else json.dumps(made).encode()
    (folder / "status.json").write_bytes(content)
    with told(StoreError):
        status = read_status(folder)
        assert "\x1b" not in str(status.get("reason"))
    assert state_of(folder)[0] in ("done", "running", "pending", "interrupted", "stale", "failed")


@fuzz(damages())
def test_a_damaged_lock(folder, damage):
    content = {"host": "h", "machine": "m", "pid": 7, "started": 5}
    (folder / "lock.json").write_bytes(damage(json.dumps(content).encode()))
    owner(folder)


@fuzz(damages())
def test_damaged_arrays(folder, damage):
    (folder / "samples.npz").write_bytes(damage((REAL[0] / "samples.npz").read_bytes()))
    with told(SchemaError):
        arrays(folder / "samples.npz")


@fuzz(damages(), st.booleans())
def test_a_damaged_array_in_a_sound_archive(folder, damage, whole):
    """The zip file's checksums are right, so what numpy's header claims is what is read."""
    import zipfile

    member = io.BytesIO()
    np.save(member, np.arange(12, dtype=np.float32).reshape(3, 4))
    head, body = member.getvalue()[:128], member.getvalue()[128:]
    content = damage(head + body) if whole else damage(head) + body
    with zipfile.ZipFile(folder / "samples.npz", "w") as file:
        file.writestr("gallery_ratio.npy", content)
    with told(SchemaError):
        arrays(folder / "samples.npz")


# -- weights and checkpoints -------------------------------------------------------------------------------------------

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int64)}


@fuzz(damages())
def test_damaged_weights(folder, damage):
    save_weights(folder / "w.safetensors", TENSORS, {"sums": [1.0, 2.0]})
    (folder / "w.safetensors").write_bytes(damage((folder / "w.safetensors").read_bytes()))
    with told(StoreError):
        _, meta = load_weights(folder / "w.safetensors")
        assert isinstance(meta, dict)


@fuzz(damages(), st.sampled_from(["1.json", "1.safetensors"]), st.booleans())
def test_a_damaged_checkpoint(folder, damage, name, rehash):
    """None or what was saved; with a hash made to fit (an intruder's), whatever safetensors accepts."""
    import hashlib

    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.clear()
    checkpoints.save(TENSORS, {"step": 3})
    path = folder / "checkpoints" / name
    path.write_bytes(damage(path.read_bytes()))
    if rehash and name.endswith(".safetensors"):
        sheet = {"bytes": 0, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "meta": {"step": 3}}
        (folder / "checkpoints" / "1.json").write_text(json.dumps(sheet))
    found = checkpoints.load()
    assert found is None or isinstance(found[1], dict)


# -- tables ------------------------------------------------------------------------------------------------------------

FRAME = pandas.DataFrame({"run_id": ["a", "b", "c"], "images_seen": [0, 64, 128], "params": [2743.0, 5959.0, None],
                          "n_memorized": [0, 1, 2], "n_generated": [10, 10, 10], "copies": [1, 2, 3]})  # fmt: skip


@fuzz(damages(), st.sampled_from([".csv", ".parquet", ".tsv"]))
def test_a_damaged_table(folder, damage, suffix):
    for old in folder.glob("evals.*"):
        old.unlink()
    buffer = io.BytesIO()
    if suffix == ".parquet":
        FRAME.to_parquet(buffer)
    else:
        FRAME.to_csv(buffer, index=False, sep="," if suffix == ".csv" else "\t")
    (folder / f"evals{suffix}").write_bytes(damage(buffer.getvalue()))
    with told(TableError):
        read_table(folder / f"evals{suffix}")
    with told(TableError, SchemaError):
        load_tables(folder)


@fuzz(st.data(), st.sampled_from([".csv", ".parquet"]))
def test_a_table_of_other_values(folder, data, suffix):
    columns = {name: [data.draw(exchanged(value)) for value in FRAME[name]] for name in FRAME}
    for old in folder.glob("evals.*"):
        old.unlink()
    try:
        frame = pandas.DataFrame(columns)
        frame.to_parquet(folder / "evals.parquet") if suffix == ".parquet" else frame.to_csv(folder / "evals.csv")
    except Exception:  # not every column can be written
        return
    with told(TableError, SchemaError):
        load_tables(folder)


def test_examples_reach_both_ends(tmp_path):
    """The damage is neither always harmless nor always fatal: of the damaged configurations some are read."""
    outcomes = []

    @settings(max_examples=FAST, derandomize=True, deadline=None, database=None)
    @given(damages())
    def draw(damage: Callable[[bytes], bytes]) -> None:
        path = tmp_path / f"{len(outcomes)}-{os.getpid()}.yaml"
        path.write_bytes(damage(CONFIG))
        try:
            build(flags_given([f"--config={path}"]))
            outcomes.append(True)
        except ConfigError:
            outcomes.append(False)

    draw()
    assert 3 <= sum(outcomes) <= len(outcomes) - 3
