"""A stand-in for the Hugging Face Hub, in memory: the part of its HTTP interface that huggingface_hub needs to create a
repository, upload to it in one commit (inline or by LFS), and download from it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

GOOD_TOKEN, READ_TOKEN = "hf_may_write", "hf_may_read"
LICENSES = ("apache-2.0", "cc-by-nc-4.0", "other")


@dataclass
class Repository:
    """Commits of one repository: sha -> files; the last one is `main`."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[sha] = files
        return sha


@dataclass
class HubServer:
    """The state of the server, and the requests it received."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    """LFS objects by sha256."""
    lfs: bool = False
    """Weights go by LFS, as on the Hub."""
    cut: int | None = None
    """Bytes of a file after which the connection breaks; None: never."""
    requests: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = api or file
        repository = self.hub.repositories.get(found[1]) if found else None
        if found is None or repository is None or (repository.private and not self.token()):
            self.refuse(404, "RepoNotFound", "Repository not found")
        elif repository.gated:
            self.refuse(403, "GatedRepo", "Access to this model is restricted")
        elif (sha := self.sha(repository, found[3] if api else found[2])) is None:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
        elif api:
            self.describe(api, repository, sha)
        else:
            self.send(repository.commits[sha], sha, found[3])

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def sha(self, repository: Repository, revision: str | None) -> str | None:
        revision = revision or "main"
        return repository.head if revision == "main" else revision if revision in repository.commits else None

    def describe(self, api: re.Match[str], repository: Repository, sha: str) -> None:
        files = repository.commits[sha]
        if api[2] == "tree":
            self.answer(200, [{"type": "file", "path": name, "size": len(content), "oid": _git_hash(content)}
                              for name, content in files.items()])  # fmt: skip
        else:
            self.answer(200, {"id": api[1], "modelId": api[1], "sha": sha, "private": repository.private, "tags": [],
                              "siblings": [{"rfilename": name} for name in files]})  # fmt: skip

    def send(self, files: dict[str, bytes], sha: str, name: str) -> None:
        if name not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        content, start = files[name], re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(start[1]) if start else 0
        headers = {"ETag": f'"{_git_hash(content)}"', "X-Repo-Commit": sha, "Content-Length": str(len(content) - begin)}
        if start:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        rest = content[begin:]
        if self.command == "GET" and self.hub.cut is not None and len(rest) > self.hub.cut:
            rest, self.close_connection = rest[: self.hub.cut], True
        self.answer(206 if start else 200, rest, **headers)

    def do_PUT(self) -> None:
        content = self.body()
        self.hub.large[hashlib.sha256(content).hexdigest()] = content
        self.answer(200)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def do_POST(self) -> None:
        path, content = unquote(urlsplit(self.path).path), self.body()
        self.hub.requests.append(f"POST {path}")
        if self.token() == READ_TOKEN:
            self.refuse(403, "Forbidden", "You don't have the rights to create a model under this namespace")
        elif self.token() != GOOD_TOKEN:
            self.refuse(401, "Unauthorized", "Invalid username or password.")
        elif path == "/api/validate-yaml":
            self.validate(json.loads(content)["content"])
        elif path == "/api/repos/create":
            self.create(json.loads(content))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            self.preupload(json.loads(content))
        elif path.endswith("/info/lfs/objects/batch"):
            self.batch(json.loads(content))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self.commit(found[1], [json.loads(line) for line in content.splitlines()])
        else:
            self.refuse(404, "NotFound", path)

    def validate(self, readme: str) -> None:
        license = re.search(r"^license: (.*)$", readme, re.MULTILINE)
        if license is None or license[1] not in LICENSES:
            message = f'"license" must be one of [{", ".join(LICENSES)}]'
            self.answer(400, {"errors": [{"message": message}], "warnings": []})
        else:
            self.answer(200, {"errors": [], "warnings": []})

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        url = f"{self.hub.url}/{name}"
        if name in self.hub.repositories:
            self.answer(409, {"error": "You already created this model repo", "url": url})
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repositories[name] = Repository(private)
        self.hub.repositories[name].commit({})
        self.answer(200, {"url": url, "name": name})

    def preupload(self, asked: dict[str, Any]) -> None:
        modes = [{"path": file["path"], "shouldIgnore": False,
                  "uploadMode": "lfs" if self.hub.lfs and file["path"].endswith(".safetensors") else "regular"}
                 for file in asked["files"]]  # fmt: skip
        self.answer(200, {"files": modes})

    def batch(self, asked: dict[str, Any]) -> None:
        self.answer(200, {"transfer": "basic", "objects": [
            {**each, "authenticated": True, "actions": {"upload": {"href": f"{self.hub.url}/upload/{each['oid']}"}}}
            for each in asked["objects"]]})  # fmt: skip

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        repository = self.hub.repositories[name]
        files = dict(repository.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(files)
        self.answer(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A server on a free port of this machine."""
    hub = HubServer()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
