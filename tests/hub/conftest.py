"""A stand-in of the Hugging Face hub on this machine, and a cache of its own for each test.

It answers as the hub does to what huggingface_hub asks of it: what a repository holds, and its
files, the large ones through a redirect to another host. A token counts as an account.
"""

import hashlib
import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
from safetensors.torch import load_file, save_file

COMMIT = "1" * 40


@dataclass
class Repo:
    """One repository: its files at each commit, and who may read them."""

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    gated: bool = False
    accepted: set[str] = field(default_factory=set)  # tokens

    def commit(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.branches.get(revision)


@dataclass
class Hub:
    """What the stand-in holds, what it was asked, and how it misbehaves."""

    url: str = ""
    cache: str = ""  # of this process
    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # "GET /a/b/resolve/main/config.json"
    agents: set[str] = field(default_factory=set)
    seen_by_cdn: list[str] = field(default_factory=list)  # Authorization headers
    ranges: list[str] = field(default_factory=list)
    cuts: Counter[str] = field(default_factory=Counter)  # file -> answers that break off midway
    status: int = 0  # with which everything is answered, if any
    page: bytes = b""  # instead of every answer, as a network's login page is

    def add(self, name: str, folder: Path, **more: Any) -> Repo:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.repos[name] = Repo({COMMIT: files}, **more)
        return self.repos[name]

    def downloads(self) -> list[str]:
        """Names of the files whose content was asked for, in order."""
        return [
            line.rsplit("/", 1)[1] for line in self.asked if re.match("GET .*/(resolve|cdn)/", line)
        ]


class Handler(BaseHTTPRequestHandler):
    hub: Hub  # of the test that runs

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {path}")
        hub.agents.add(self.headers["User-Agent"])
        if hub.status:
            return self.refuse(hub.status)
        if hub.page:
            return self.answer(hub.page, {"Content-Type": "text/html"})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self.tell(match[1], match[2] or "main")
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+)/([^/]+)", path):
            return self.give(*match.groups())
        if match := re.fullmatch(r"/([^/]+/[^/]+)/cdn/(.+)/([^/]+)", path):
            hub.seen_by_cdn.append(self.headers.get("Authorization", ""))
            return self.answer(hub.repos[match[1]].commits[match[2]][match[3]], {}, match[3])
        return self.refuse(404)

    def find(self, name: str, revision: str) -> tuple[Repo, str] | None:
        repo = self.hub.repos.get(name)
        commit = None if repo is None else repo.commit(revision)
        if repo is None or commit is None:
            self.refuse(404, "RepoNotFound" if repo is None else "RevisionNotFound")
            return None
        return repo, commit

    def tell(self, name: str, revision: str) -> None:
        if found := self.find(name, revision):
            repo, commit = found
            files = repo.commits[commit].items()
            siblings = [{"rfilename": file, "size": len(content)} for file, content in files]
            info = {"id": name, "sha": commit, "siblings": siblings, "gated": repo.gated}
            self.answer(json.dumps(info).encode(), {"Content-Type": "application/json"})

    def give(self, name: str, revision: str, file: str) -> None:
        if not (found := self.find(name, revision)):
            return None
        repo, commit = found
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo.gated and token not in repo.accepted:
            return self.refuse(403 if token else 401, "GatedRepo")
        content = repo.commits[commit].get(file)
        headers = {"X-Repo-Commit": commit}
        if content is None:
            return self.refuse(404, "EntryNotFound", headers)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if file.endswith(".safetensors"):
            self.send_response(302)
            port = urlsplit(self.hub.url).port
            headers["Location"] = f"http://localhost:{port}/{name}/cdn/{commit}/{file}"
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
            headers["Content-Length"] = "0"
            return self.finish_with(headers)
        return self.answer(content, {**headers, "ETag": etag}, file)

    def answer(self, content: bytes, headers: dict[str, str], file: str = "") -> None:
        if wanted := self.headers.get("Range"):
            self.hub.ranges.append(f"{file} {wanted}")
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted).groups()  # type: ignore[union-attr]
            end = min(int(last or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
            content = content[int(first) : end + 1]
        self.send_response(206 if wanted else 200)
        self.finish_with({**headers, "Content-Length": str(len(content)), "Accept-Ranges": "bytes"})
        if self.command == "GET":
            if self.hub.cuts[file]:
                self.hub.cuts[file] -= 1
                content = content[: len(content) // 2]
            self.wfile.write(content)

    def refuse(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.finish_with({"X-Error-Code": code, "Content-Length": "0", **(headers or {})})

    def finish_with(self, headers: dict[str, str]) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture(scope="session")
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def hub(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    """An empty hub that this process asks, logged in as nobody, with an empty cache."""
    pytest.importorskip(
        "huggingface_hub", reason="huggingface_hub is not installed (the extra `hub`)"
    )
    import huggingface_hub
    from huggingface_hub import constants

    Handler.hub = Hub(f"http://127.0.0.1:{server.server_port}", str(tmp_path / "cache"))
    ask(monkeypatch, Handler.hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", Handler.hub.cache)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr("time.sleep", lambda _: None)  # between two tries
    huggingface_hub.close_session()
    yield Handler.hub
    huggingface_hub.close_session()


def ask(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Make this process ask a hub, as HF_ENDPOINT does where it is set before the start."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def unplug(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Takes the network away: nobody listens any more."""
    return lambda: ask(monkeypatch, "http://127.0.0.1:9")


@pytest.fixture(scope="session")
def sharded(checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with a shard for each tower and one for the rest, beside other files."""
    folder = tmp_path_factory.mktemp("sharded")
    for file in ("config.json", "preprocessor_config.json", "tokenizer.model"):
        shutil.copy(checkpoint_folder / file, folder)
    shards: dict[str, dict[str, torch.Tensor]] = {"text": {}, "vision": {}, "audio": {}}
    for name, tensor in load_file(checkpoint_folder / "model.safetensors").items():
        part = next((p for p in ("vision", "audio") if f"{p}_tower" in name), "text")
        shards[part][name] = tensor
    where: dict[str, str] = {}
    for part, tensors in shards.items():
        save_file(tensors, folder / f"model-{part}.safetensors")
        where |= dict.fromkeys(tensors, f"model-{part}.safetensors")
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for other in ("pytorch_model.bin", "model.gguf", "README.md", "tokenizer.json", "run.py"):
        (folder / other).write_text(f"{other} of somebody")
    return folder
