"""--push up to the network: a hub on the loopback that keeps what it is sent, and a hub that cannot be reached."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants as hub_constants
import pytest

from scaling.export.__main__ import main

TOKEN = "hf_SENTINELsentinelSENTINELsentinel01"
SHA = "0" * 40


class Hub(ThreadingHTTPServer):
    """One model repository: not there yet, "private", "public"; or "forbidden" to make."""

    def __init__(self, repository: str | None = None):
        super().__init__(("127.0.0.1", 0), Answer)
        self.repository = repository
        self.asked: list[tuple[str, str, bytes]] = []  # method, path, body
        self.tokens: set[str | None] = set()

    def committed(self) -> dict[str, bytes]:
        """Files of all commits."""
        lines = [json.loads(line) for _, path, body in self.asked if "/commit/" in path for line in body.splitlines()]
        return {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, body))
        self.server.tokens.add(self.headers.get("Authorization"))
        reply = {}
        if self.path == "/api/repos/create":
            if self.server.repository == "forbidden":
                return self.reply(403, {"error": f"no write access with {TOKEN}"})
            address = {"url": f"{hub_constants.ENDPOINT}/owner/name", "name": "owner/name", "id": "owner/name"}
            if self.server.repository is not None:
                return self.reply(409, {"error": "You already created this model repo", **address})
            self.server.repository, reply = json.loads(body).get("visibility", "public"), address
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            reply = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        elif "/commit/" in self.path:
            reply = {
                "commitUrl": f"{hub_constants.ENDPOINT}/owner/name/commit/{SHA}",
                "commitOid": SHA,
                "success": True,
            }
        elif self.path.startswith("/api/models/owner/name"):
            if self.server.repository in (None, "forbidden"):
                return self.reply(404, {"error": "Repository not found"})
            private = self.server.repository == "private"
            reply = {"id": "owner/name", "private": private, "sha": SHA, "siblings": [], "tags": []}
        return self.reply(200, reply)

    def reply(self, code: int, reply: dict) -> None:
        content = json.dumps(reply).encode()
        self.send_response(code)
        if code == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch):
    """hub("public") starts one and makes it the hub of this process, with a token in the environment."""
    started = []

    def start(repository: str | None = None) -> Hub:
        made = Hub(repository)
        started.append(made)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        monkeypatch.setattr(hub_constants, "ENDPOINT", f"http://127.0.0.1:{made.server_port}")
        return made

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    yield start
    for made in started:
        made.shutdown()
        made.server_close()


def push(one, *flags: str) -> int:
    return main([str(one.run), "--out", str(one.out), "--push", "owner/name", *flags])


def test_what_is_uploaded_is_the_folder_and_it_is_listed_first(plain, hub, capsys):
    server = hub()
    assert push(plain, "--private") == 0 and server.repository == "private"
    files = {str(path.relative_to(plain.out)): path.read_bytes() for path in plain.out.rglob("*") if path.is_file()}
    assert server.committed() == files
    said = capsys.readouterr()
    for name, content in files.items():
        assert f"  {name}  {len(content):,} bytes\n" in said.out.partition("uploading")[0]
    assert said.out.splitlines()[-1] == f"export: {hub_constants.ENDPOINT}/owner/name/commit/{SHA}"
    assert server.tokens - {None} == {f"Bearer {TOKEN}"}
    assert TOKEN not in said.out + said.err
    assert not [1 for _, path, body in server.asked if TOKEN.encode() in body or TOKEN in path]
    assert not [name for name, content in files.items() if TOKEN.encode() in content]


def test_private_is_never_pushed_to_a_public_repository(plain, hub, capsys):
    server = hub("public")
    assert push(plain, "--private") == 1
    assert "owner/name exists and is public; nothing was uploaded" in capsys.readouterr().err
    assert server.committed() == {} and not [path for _, path, _ in server.asked if "upload" in path]
    assert push(plain) == 0 and server.committed()  # without --private it is the user's wish


def test_a_hub_that_refuses_or_is_out_of_reach_leaves_the_folder_and_says_so(plain, hub, monkeypatch, capsys):
    hub("forbidden")
    assert push(plain) == 1
    said = capsys.readouterr()
    assert said.err.startswith("scaling.export: owner/name: not uploaded (") and said.err.count("\n") == 1
    assert TOKEN not in said.err and f"{plain.out} is made: repeat the command" in said.err
    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    assert push(plain) == 1
    assert "not uploaded (" in capsys.readouterr().err


def test_without_a_token_a_line_says_what_to_do_before_anything_is_made(plain, tmp_path, monkeypatch, capsys):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub_constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    out = tmp_path / "out"
    assert main([str(plain.run), "--out", str(out), "--push", "owner/name"]) == 2
    assert "no token of the hub; run `hf auth login`, or set HF_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main([str(plain.run), "--out", str(out), "--push", "../../owner"]) == 2
    assert "--push ../../owner: no repository" in capsys.readouterr().err and not out.exists()
