"""`executor.address` and `workers.address`: a running cluster is looked for, and joined.

Looked for first, since Ray takes minutes to give up a wrong address.
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
_SETTING = "executor.address"


def check_address(address: str, setting: str = _SETTING) -> None:
    """Look whether anything listens there.

    Args:
        address: `host:port`, `ray://host:port`, or `auto`, which is the cluster of this machine.
        setting: whose value it is, for messages.

    Raises:
        SettingsError: no address, or nobody there.
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
        socket.create_connection((host, port), _WAIT_S).close()
    except OSError as error:
        raise SettingsError(
            f"{setting}={address}: nobody answers at {host}:{port} ({error}). Give the address of "
            "a running Ray cluster, or leave it out to start one here."
        ) from error


def refused(address: str | None, error: Exception, setting: str = _SETTING) -> SettingsError:
    """What Ray says of a cluster that it cannot join or start, in a line of ours."""
    return SettingsError(
        f"{setting}={address}: {str(error).splitlines()[0]} Give the address of a Ray cluster that "
        "runs the same versions, or leave it out to start one here."
    )


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """Ray, as a guest of a running cluster for as long as the block.

    Raises:
        SettingsError: there is none.
    """
    send_nothing()
    import ray

    check_address(address)
    try:
        ray.init(address, logging_level=logging.CRITICAL, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise refused(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _noted() -> str | None:
    """Where Ray was told or noted that the cluster of this machine is; None if nowhere."""
    if address := os.environ.get("RAY_ADDRESS"):
        return None if address == "auto" else address
    folder = os.environ.get("RAY_TMPDIR") or "/tmp"
    try:
        return (Path(folder) / "ray" / "ray_current_cluster").read_text().strip() or None
    except OSError:
        return None
