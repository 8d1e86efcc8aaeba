import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import ray

from gemma3n.errors import SettingsError
from pipelines import ray_address
from pipelines.cli import main
from pipelines.ray_address import check_address, connect

HTTP2 = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # an empty frame of settings
LATE = "The current node timed out during startup. This could be because"


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], int]]:
    """Begins to answer whoever comes with some bytes; at which port."""
    servers = []

    def start(answer: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answering() -> None:
            with suppress(OSError):  # the test is over
                while True:
                    with server.accept()[0] as client:
                        client.sendall(answer)
                        client.recv(1024)

        Thread(target=answering, daemon=True).start()
        port: int = server.getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def listening(serve: Callable[[bytes], int]) -> int:
    """A port that somebody listens at who speaks as Ray does."""
    return serve(HTTP2)


@pytest.fixture
def free() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture(autouse=True)
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ray notes the cluster of this machine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray/ray_current_cluster"


def test_somebody_who_listens_is_left_to_ray(listening: int, noted: Path) -> None:
    check_address(f"127.0.0.1:{listening}")
    check_address(f"ray://127.0.0.1:{listening}")
    check_address("auto")  # nobody noted any: Ray looks for itself
    noted.write_text(f"127.0.0.1:{listening}")
    check_address("auto")


def test_nobody_who_listens_is_refused(
    free: int, noted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted.write_text(f"127.0.0.1:{free}")
    for address in (f"127.0.0.1:{free}", f"ray://127.0.0.1:{free}", "auto"):
        message = rf"^executor.address={address}: nobody answers at 127.0.0.1:{free} \(.*\)\. Give"
        with pytest.raises(SettingsError, match=message):
            check_address(address)
    monkeypatch.setenv("RAY_ADDRESS", f"localhost:{free}")
    with pytest.raises(SettingsError, match=f"auto: nobody answers at localhost:{free}"):
        check_address("auto")


@pytest.mark.parametrize("address", ["there", ":6379", "there:port", "there:99999999"])
def test_what_is_no_address_is_refused(address: str) -> None:
    message = re.escape(f"executor.address={address}: '{address}' is no address. It takes host:")
    with pytest.raises(SettingsError, match=message):
        check_address(address)


def test_a_cluster_here_needs_no_address() -> None:
    with pytest.raises(SettingsError, match=r"executor\.address=local: leave it out to start"):
        check_address("local")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_somebody_else_who_answers_is_refused(
    serve: Callable[[bytes], int], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    port = serve(answer)
    message = rf"address=127.0.0.1:{port}: who answers at 127.0.0.1:{port} is not Ray\. Give"
    with pytest.raises(SettingsError, match=message):
        check_address(f"127.0.0.1:{port}")
    monkeypatch.setenv("RAY_USE_TLS", "1")
    check_address(f"127.0.0.1:{port}")  # without a certificate there is no asking


def test_somebody_who_says_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_address, "_WAIT_S", 0.05)
    said = pytest.raises(SettingsError, match=r"nobody answers at .* \(timed out\)\. Give")
    with socket.create_server(("127.0.0.1", 0)) as server, said:  # it takes calls, no more
        check_address(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("error", [ConnectionError, ValueError, RuntimeError])
def test_a_cluster_that_cannot_be_joined_is_named(
    monkeypatch: pytest.MonkeyPatch, listening: int, error: type[Exception]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error("No such cluster.\nAnd a long story.")

    monkeypatch.setattr(ray, "init", refuse)
    address = f"127.0.0.1:{listening}"
    with pytest.raises(SettingsError) as caught:
        connect(address, logging_level=logging.ERROR)
    assert str(caught.value) == (
        f"executor.address={address}: No such cluster. Give the address of a Ray cluster that runs "
        "the same versions, or leave it out to start one here."
    )


def test_a_cluster_that_does_not_come_up_ends_the_command_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], noted: Path, tmp_path: Path
) -> None:
    def wait_in_vain(*_: Any, **__: Any) -> None:
        raise Exception(f"{LATE} some of the raylet failed to startup.")  # as Ray raises it

    monkeypatch.setattr(ray, "init", wait_in_vain)
    source, out = tmp_path / "rows.jsonl", tmp_path / "out"
    source.write_text('{"prompt": "a"}\n')
    words = ["generate", str(source), "-o", str(out), "executor=ray"]
    words += ["path=[read,fuse,decode,write]", "source.media=[]", "device=cpu"]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"gemma3n: no Ray cluster came up on this machine: {LATE}")
    assert said.endswith("Try again then, or run in one process: executor=in_process.")
    assert str(noted.parent / "session_latest/logs") in said
