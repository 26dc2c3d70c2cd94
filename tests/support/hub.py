"""A stand-in for the Hub's API: repositories of models in memory, behind a small HTTP server on loopback.

It speaks what huggingface_hub asks for: who a token is of, repositories made, listed, read (with ETags and ranges) and
committed to (small files in the commit, large ones by Git LFS before), gated ones, and files that are cut off.
"""

import hashlib
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest

LARGE = (".safetensors", ".pt", ".npz")
Answer = tuple[int, Any, dict[str, str]]
"""Status, body (bytes as they are, all else as JSON), headers."""


@dataclass
class Repository:
    """The files of one repository, on its only branch."""

    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    readers: set[str] = field(default_factory=set)
    """Tokens that its licence was accepted with."""
    messages: list[str] = field(default_factory=list)
    """Of the commits."""

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()


@dataclass
class Hub:
    """All repositories, and what came in."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What `whoami` says of each token."""
    cut_off: set[str] = field(default_factory=set)
    """Files that end before their length says."""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    large: dict[str, bytes] = field(default_factory=dict)
    """Uploaded by Git LFS, by SHA-256."""

    def add_token(self, token: str, name: str, *, orgs: tuple[str, ...] = (), role: str = "write") -> None:
        """A token of an account."""
        access = {"accessToken": {"displayName": token, "role": role}}
        self.tokens[token] = {"type": "user", "name": name, "orgs": [{"name": org} for org in orgs], "auth": access}

    def answer(self, method: str, path: str, token: str, body: bytes) -> Answer:
        """The answer to a request."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match method, parts:
            case "GET", ["api", "whoami-v2"]:
                return self._who(token)
            case "POST", ["api", "validate-yaml"]:
                return 200, {"errors": [], "warnings": []}, {}
            case "POST", ["api", "repos", "create"]:
                return self._create(token, json.loads(body))
            case "PUT", ["large", oid]:
                assert hashlib.sha256(body).hexdigest() == oid
                self.large[oid] = body
                return 200, {}, {}
            case _, ["api", "models", owner, name, *rest]:
                return self._of_repository(f"{owner}/{name}", rest, token, body)
            case "POST", [owner, name, "info", "lfs", "objects", "batch"]:
                return self._batch(json.loads(body))
            case _, [owner, name, "resolve", _, *file]:
                return self._file(f"{owner}/{name}", "/".join(file), token)
        return 404, {"error": f"{method} {path}"}, {}

    def _who(self, token: str) -> Answer:
        if token in self.tokens:
            return 200, self.tokens[token], {}
        return 401, {"error": "Invalid credentials in Authorization header"}, {}

    def _create(self, token: str, asked: dict[str, Any]) -> Answer:
        if token not in self.tokens:
            return 401, {"error": "Invalid credentials"}, {}
        owner = asked["organization"] or self.tokens[token]["name"]
        if owner not in {self.tokens[token]["name"], *(org["name"] for org in self.tokens[token]["orgs"])}:
            said = "You don't have the rights to create a model under this namespace"
            return 403, {"error": said}, {"X-Error-Message": said}
        identity = f"{owner}/{asked['name']}"
        url = {"url": f"{self.url}/{identity}", "id": identity, "name": identity}
        if identity in self.repositories:
            return 409, {"error": "You already created this model repo", **url}, {}
        self.repositories[identity] = Repository(private=asked.get("visibility") == "private")
        return 200, url, {}

    def _refusal(self, identity: str, token: str, *, contents: bool) -> Answer | None:
        """As the Hub refuses: what is not there and what is private look the same."""
        repository = self.repositories.get(identity)
        if repository is None or (repository.private and token not in self.tokens):
            status = 404 if token in self.tokens else 401
            return status, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        if contents and repository.gated and token not in repository.readers:
            status = 403 if token in self.tokens else 401
            return status, {"error": "Access is restricted"}, {"X-Error-Code": "GatedRepo"}
        return None

    def _of_repository(self, identity: str, rest: list[str], token: str, body: bytes) -> Answer:
        kind = rest[0] if rest else "revision"
        if refused := self._refusal(identity, token, contents=kind == "auth-check"):
            return refused
        repository = self.repositories[identity]
        if len(rest) > 1 and rest[1] not in ("main", repository.sha):
            return 404, {"error": f"Invalid rev id: {rest[1]}"}, {"X-Error-Code": "RevisionNotFound"}
        match kind:
            case "revision":
                return 200, self._described(identity), {}
            case "tree":
                files = repository.files.items()
                return 200, [{"type": "file", "path": n, "size": len(f), "oid": _oid(f)} for n, f in files], {}
            case "auth-check":
                return 200, {}, {}
            case "preupload":
                names = [one["path"] for one in json.loads(body)["files"]]
                modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
                files = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
                return 200, {"files": files}, {}
            case "commit":
                return self._commit(identity, token, [json.loads(line) for line in body.splitlines()])
        return 404, {"error": kind}, {}

    def _described(self, identity: str) -> dict[str, Any]:
        repository = self.repositories[identity]
        files = [{"rfilename": name, "size": len(content)} for name, content in repository.files.items()]
        return {
            "_id": "1", "id": identity, "modelId": identity, "sha": repository.sha, "siblings": files, "tags": [],
            "gated": "manual" if repository.gated else False, "private": repository.private, "downloads": 0,
        }  # fmt: skip

    def _commit(self, identity: str, token: str, lines: list[dict[str, Any]]) -> Answer:
        if token not in self.tokens:
            return 401, {"error": "Invalid credentials"}, {}
        repository = self.repositories[identity]
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    repository.messages.append(value["summary"])
                case "file":
                    repository.files[value["path"]] = b64decode(value["content"])
                case "lfsFile":
                    repository.files[value["path"]] = self.large[value["oid"]]
        url = f"{self.url}/{identity}/commit/{repository.sha}"
        return 200, {"success": True, "commitOid": repository.sha, "commitUrl": url}, {}

    def _batch(self, asked: dict[str, Any]) -> Answer:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/large/{one['oid']}"}}} for one in asked["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}, {}

    def _file(self, identity: str, name: str, token: str) -> Answer:
        if refused := self._refusal(identity, token, contents=True):
            return refused
        repository = self.repositories[identity]
        if name not in repository.files:
            return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}
        content = repository.files[name]
        return 200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": repository.sha}


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        body = self._body()
        self.hub.asked.append(f"{self.command} {path}")
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        status, said, headers = self.hub.answer(self.command, path, token, body)
        raw = said if isinstance(said, bytes) else json.dumps(said).encode()
        start = int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if isinstance(said, bytes) and start:
            status, raw = 206, raw[start:]
        self.send_response(status)
        for name, value in {"content-length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        cut_off = path.split("/")[-1] in self.hub.cut_off
        if cut_off:
            self.send_header("connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw[: len(raw) // 2] if cut_off else raw)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def log_message(self, *args: object) -> None:
        """Silence."""


@contextmanager
def local_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub, where huggingface_hub finds it as if HF_ENDPOINT had named it; without a token."""
    hub = Hub()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    http.daemon_threads = True
    hub.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own, which is not spoken here
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    # A download that is cut off is tried again at once, not after a second.
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    try:
        yield hub
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
