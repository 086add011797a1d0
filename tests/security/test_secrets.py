"""Keys of the user, of W&B, the hub and the proxy, stay out of everything that a run writes or says."""

# ruff: noqa: E501 (a hostile input stands on one line)
import bz2
import gzip
import lzma
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scaling.config import build
from scaling.identity import run_id
from scaling.status_file import read_status
from scaling.store import RunStore
from scaling.store_errors import reason
from scaling.training.wandb_view import run_arguments

ROOT = Path(__file__).parents[2]
KEY = "5ec2e7c0ffee" + "0" * 28  # as W&B's are: 40 characters
SENTINELS = {
    "WANDB_API_KEY": KEY,
    "HF_TOKEN": "hf_SENTINELsentinelSENTINELsentinel01",
    "HUGGING_FACE_HUB_TOKEN": "hf_SENTINELsentinelSENTINELsentinel02",
    "AWS_SECRET_ACCESS_KEY": "SENTINEL-aws-0123456789",
    "MY_PASSWORD": "SENTINEL-password-0123456789",
    "https_proxy": "http://proxyuser:SENTINEL-proxy-pass@127.0.0.1:9",
    "WANDB_BASE_URL": "http://wandbuser:SENTINEL-wandb-pass@127.0.0.1:9",
    "HF_ENDPOINT": "http://hfuser:SENTINEL-hf-pass@127.0.0.1:9",
}
SECRETS = [KEY, KEY[:20], "hf_SENTINEL", "SENTINEL-aws", "SENTINEL-password", "SENTINEL-proxy", "SENTINEL-wandb",
           "SENTINEL-hf", "SENTINEL-netrc"]  # fmt: skip
TINY = [
    "--model.width=2", "--train.images=64", "--train.batch_size=32", "--train.warmup_images=0", "--data.n_unique=8",
    "--data.holdout=8", "--evaluate.at=1", "--evaluate.samples=8", "--evaluate.sampler_steps=2", "--evaluate.draws=2",
    "--evaluate.basin_images=2", "--evaluate.measures=[loss, neighbors]",
]  # fmt: skip
SWEEP = """
method: grid
command: ["${env}", "${interpreter}", "-m", "scaling.train", "${args}"]
parameters:
  seed: {values: [0]}
  data.source: {values: [digits, "folder:missing-folder"]}
"""


def environment(home: Path) -> dict[str, str]:
    """The user's own with all sentinels, a netrc and a home that no other test sees."""
    home.mkdir(exist_ok=True)
    (home / ".netrc").write_text("machine api.wandb.ai login user password SENTINEL-netrc-0123456789\n")
    (home / ".netrc").chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("proxy")}
    own = {"HOME": str(home), "NETRC": str(home / ".netrc"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
           "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(home / "cache")}  # fmt: skip
    return kept | own | SENTINELS


def contents(folder: Path):
    """(name, bytes) of every file below, and of what is inside archives, compressed streams and parquet."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, content = str(path.relative_to(folder)), path.read_bytes()
        yield name, content
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as file:
                yield from ((f"{name}/{member}", file.read(member)) for member in file.namelist())
        if path.suffix == ".parquet":
            yield f"{name} rows", repr(pq.read_table(path).to_pydict()).encode()
            yield f"{name} schema", repr(pq.read_schema(path).metadata).encode()
        for unpack in (gzip.decompress, bz2.decompress, lzma.decompress, zlib.decompress):
            try:
                yield f"{name} unpacked", unpack(content)
            except Exception:  # not of this kind
                continue


def leaks(folder: Path) -> list[tuple[str, str]]:
    return [(name, secret) for name, content in contents(folder) for secret in SECRETS if secret.encode() in content]


def command(home: Path, *words: str, timeout: float = 240) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, cwd=home.parent, env=environment(home), timeout=timeout
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(folder, everything printed) of a sweep with one good and one failing cell, W&B offline, its tables and report."""
    folder = tmp_path_factory.mktemp("secrets") / "work"
    folder.mkdir()
    home = folder.parent / "work" / "home"
    (folder / "sweep.yaml").write_text(SWEEP)
    said = []
    wandb = ["--runtime.logger=wandb", "--runtime.wandb_mode=offline"]
    for words in (
        ["scaling.sweep", "sweep.yaml", "--workers=1", "--runtime.out=runs", *TINY, *wandb],
        ["scaling.status", "--out", "runs"],
        ["scaling.collect", "runs", "--out", "tables", "--csv"],
        ["analysis.report", "tables", "--out", "report", "--bootstrap", "2"],
    ):
        done = command(home, *words)
        said.append(done.stdout + done.stderr)
    return folder, "\n".join(said)


@pytest.mark.slow
def test_no_secret_reaches_a_file_or_the_screen(study):
    folder, said = study
    written = {name for name, _ in contents(folder) if not name.startswith("home")}
    assert any(name.endswith("evals.jsonl") for name in written) and any(".workers" in name for name in written)
    assert any(name.endswith("report.html") for name in written) and any("wandb" in name for name in written)
    assert any(name.endswith("evals.parquet rows") for name in written)
    assert [leak for leak in leaks(folder) if not leak[0].startswith("home/.netrc")] == []
    assert not [secret for secret in SECRETS if secret in said]
    assert "missing-folder" in said  # the cell that failed says why


def test_the_search_finds_what_is_there(tmp_path):
    """In the open, in an archive, in a compressed stream and in a table."""
    import numpy as np
    import pyarrow as pa

    (tmp_path / "plain").write_text(f"x {KEY} y")
    np.savez_compressed(tmp_path / "a.npz", x=np.frombuffer(KEY.encode(), np.uint8))
    (tmp_path / "b.gz").write_bytes(gzip.compress(KEY.encode()))
    pq.write_table(pa.table({"x": [KEY]}), tmp_path / "c.parquet")
    assert {name.split()[0].split("/")[0] for name, _ in leaks(tmp_path)} == {"plain", "a.npz", "b.gz", "c.parquet"}


def test_what_wandb_is_told_holds_nothing_of_runtime_or_environment(monkeypatch):
    for name, value in SENTINELS.items():
        monkeypatch.setenv(name, value)
    told = repr(run_arguments(build({"runtime": {"out": "/home/someone/private"}}), images_total=64))
    assert "private" not in told and not [secret for secret in SECRETS if secret in told]


@pytest.mark.slow
@pytest.mark.parametrize("key", [KEY, "tooshort-SENTINEL", "x" * 40 + "\n"])
def test_a_key_that_wandb_refuses_is_not_repeated(tmp_path, key):
    """wandb's own errors quote what they were given; our line, on the screen and in the log, must not."""
    home = tmp_path / "home"
    code = (
        "from scaling.config import build\nfrom scaling.training.wandb_view import open_view\n"
        "view = open_view(build({'runtime': {'out': 'runs', 'logger': 'wandb', 'wandb_mode': 'online'}}), images_total=64)\n"
        "view.close()\n"
    )
    given = environment(home) | {"WANDB_API_KEY": key, "WANDB_BASE_URL": "http://u:SENTINEL-wandb-pass@127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=given, timeout=120
    )
    said = done.stdout + done.stderr
    assert key.strip() not in said and "SENTINEL" not in said, said
    found = [
        (n, c)
        for n, c in contents(tmp_path)
        if not n.startswith("home/") and (key.strip().encode() in c or b"SENTINEL" in c)
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach http://user:SENTINEL-pass@host:80/api: refused",
        "Bearer hf_SENTINELsentinelSENTINELsentinel01 refused",
        f"API key {KEY} is invalid",
        "the value SENTINEL-of-the-environment is wrong",
        f"wandb: api_key='{KEY}'",
        "https://x/?token=SENTINELtoken0123456789abcdef&y=1",
    ],
)
def test_a_reason_that_quotes_a_key_hides_it(text, monkeypatch):
    monkeypatch.setenv("OWN_API_KEY", "SENTINEL-of-the-environment")
    said = reason(RuntimeError(text))
    assert "SENTINEL" not in said and KEY not in said and said.startswith("RuntimeError: ")


def test_a_reason_without_a_key_stays_as_it_is():
    text = "data.source=hf:owner/name@main: run 0123456789ab, sha 0123456789abcdef, http://host:80/a/b is missing"
    assert reason(RuntimeError(text)) == f"RuntimeError: {text}"


def test_a_failed_run_keeps_no_key_of_what_failed_it(tmp_path, monkeypatch):
    """The reason is in status.json, in the error of the store and on the status page."""
    for name, value in SENTINELS.items():
        monkeypatch.setenv(name, value)
    config = build({"runtime": {"out": str(tmp_path / "runs")}})
    quoted = " ".join(SENTINELS.values())
    with pytest.raises(RuntimeError), RunStore.open(config):
        raise RuntimeError(f"refused: {quoted}")
    assert read_status(tmp_path / "runs" / run_id(config))["reason"].startswith("RuntimeError: refused: [hidden]")
    assert leaks(tmp_path) == []
