import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma3n.errors import SettingsError
from pipelines.ray_address import check_address


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


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
