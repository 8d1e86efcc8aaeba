"""A Ray cluster for this process: a running one at an address, or one that starts here.

A running one is looked for first, since Ray takes minutes to give up a wrong address.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gemma3n.errors import SettingsError
from pipelines.ray_usage import send_nothing

_WAIT_S = 5.0
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113, 3.4
_LOGS = "session_latest/logs"
_SETTING = "executor.address"
_SETTINGS = 4  # kind of the frame that answers it, in its fourth byte


def connect(address: str | None, setting: str = _SETTING, **how: Any) -> None:
    """Join a running cluster, or start one here, until `ray.shutdown`.

    Args:
        address: of the cluster; None starts one.
        setting: whose value it is, for messages.
        how: more for `ray.init`.

    Raises:
        SettingsError: there is none, or it did not come up.
    """
    send_nothing()
    import ray

    if address is not None:
        check_address(address, setting)
    try:
        ray.init(address or "local", **how)
    except Exception as error:  # of a node that is late Ray raises just that
        raise _refused(address, error, setting) from error


def check_address(address: str, setting: str = _SETTING) -> None:
    """Look whether somebody answers there as Ray would.

    Args:
        address: `host:port`, `ray://host:port`, or `auto`, which is the cluster of this machine.
        setting: whose value it is, for messages.

    Raises:
        SettingsError: no address, nobody there, or somebody else.
    """
    if address == "local":
        raise SettingsError(f"{setting}={address}: leave it out to start a cluster here.")
    found = _noted() if address == "auto" else address
    if found is None:
        return  # Ray looks through the processes of this machine, and is quick to say what it finds
    try:
        parts = urlsplit(found if "://" in found else f"//{found}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise SettingsError(
            f"{setting}={address}: '{found}' is no address. It takes host:port, ray://host:port, "
            "or auto for the cluster of this machine."
        )
    try:
        with socket.create_connection((host, port), _WAIT_S) as there:
            speaks = _speaks_http2(there)
    except OSError as error:
        raise SettingsError(
            f"{setting}={address}: nobody answers at {host}:{port} ({error}). Give the address of "
            "a running Ray cluster, or leave it out to start one here."
        ) from error
    if not speaks:
        raise SettingsError(
            f"{setting}={address}: who answers at {host}:{port} is not Ray. Give the address of "
            "its head node, with port 6379 unless it was given another, or leave it out to start "
            "one here."
        )


def _speaks_http2(there: socket.socket) -> bool:
    """Whether the other end answers as every server of Ray does, or cannot be asked.

    Raises:
        OSError: it says nothing.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return True  # it wants certificates before it says anything
    there.sendall(_HELLO)
    answer = there.recv(4, socket.MSG_WAITALL)
    return len(answer) == 4 and answer[3] == _SETTINGS


def _refused(address: str | None, error: Exception, setting: str) -> SettingsError:
    """What Ray says of a cluster that it cannot join or start, in a line of ours."""
    said = (str(error).splitlines() or [type(error).__name__])[0].removesuffix(".")
    if address is None:
        return SettingsError(
            f"no Ray cluster came up on this machine: {said}. It may lack memory or room on the "
            f"disk, or have too much other work; Ray's logs are in '{_folder() / _LOGS}'. Try "
            "again then, or run in one process: executor=in_process."
        )
    return SettingsError(
        f"{setting}={address}: {said}. Give the address of a Ray cluster that runs the same "
        "versions, or leave it out to start one here."
    )


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """Ray, as a guest of a running cluster for as long as the block.

    Raises:
        SettingsError: there is none.
    """
    connect(address, logging_level=logging.CRITICAL, log_to_driver=False)
    import ray

    try:
        yield ray
    finally:
        ray.shutdown()


def _noted() -> str | None:
    """Where Ray was told or noted that the cluster of this machine is; None if nowhere."""
    if address := os.environ.get("RAY_ADDRESS"):
        return None if address == "auto" else address
    try:
        return (_folder() / "ray_current_cluster").read_text().strip() or None
    except OSError:
        return None


def _folder() -> Path:
    """Where Ray keeps what it notes on this machine."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"
