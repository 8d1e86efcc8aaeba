"""Checkpoints by their name on the hub: what comes, what is asked, what is said if it does not."""

import errno
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gemma3n
from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.memory import plan_memory
from gemma3n.named import checkpoint_folder, lasting, pinned

NAME = "google/tiny"
COMMIT, LATER = "1" * 40, "2" * 40
TOKEN = "hf_a_secret_that_nobody_may_see"
SMALL = ["config.json", "preprocessor_config.json", "tokenizer.model"]
Hub = Any  # the stand-in of conftest.py
Unplug = Callable[[], None]


def load(name: str, parts: list[str] | None = None) -> gemma3n.Gemma3n:
    return gemma3n.load(name, parts=parts, precision="float32", device="cpu")


# What comes


def test_a_name_on_the_hub_loads_the_same_model_as_its_folder(
    hub: Hub, checkpoint_folder: Path, model: gemma3n.Gemma3n
) -> None:
    hub.add(NAME, checkpoint_folder)
    loaded = load(NAME)
    ids = torch.tensor([[2, 9, 8]])
    assert torch.equal(loaded.logits(ids), model.logits(ids))
    assert loaded.tokenizer.encode("ten of clubs") == model.tokenizer.encode("ten of clubs")
    assert sorted(hub.downloads()) == sorted([*SMALL, "model.safetensors"])


def test_nothing_is_asked_twice_about_a_commit_that_is_here(
    hub: Hub, checkpoint_folder: Path
) -> None:
    hub.add(NAME, checkpoint_folder)
    load(NAME)
    hub.asked.clear()
    load(f"{NAME}@{COMMIT}")
    assert hub.asked == []
    load(NAME)
    assert hub.asked == [f"HEAD /{NAME}/resolve/main/config.json"]


def test_only_what_a_checkpoint_consists_of_comes(hub: Hub, sharded: Path) -> None:
    hub.add(NAME, sharded)
    load(NAME)
    shards = [f"model-{part}.safetensors" for part in ("audio", "text", "vision")]
    wanted = sorted([*SMALL, *shards, "model.safetensors.index.json"])
    assert sorted(hub.downloads()) == wanted
    assert sorted(path.name for path in checkpoint_folder(NAME).iterdir()) == wanted


@pytest.mark.parametrize(
    ("parts", "shards"),
    [(["text"], ["text"]), (["audio"], ["text", "audio"]), (["text", "audio"], ["text", "audio"])],
)
def test_shards_of_which_a_load_uses_nothing_stay_there(
    hub: Hub, sharded: Path, parts: list[str], shards: list[str], model: gemma3n.Gemma3n
) -> None:
    hub.add(NAME, sharded)
    loaded = load(NAME, parts)
    came = [file for file in hub.downloads() if file.endswith(".safetensors")]
    assert sorted(came) == sorted(f"model-{part}.safetensors" for part in shards)
    if "text" in parts:
        ids = torch.tensor([[2, 9, 8]])
        assert torch.equal(loaded.logits(ids), model.logits(ids))


def test_a_branch_a_tag_and_a_commit_can_be_named(hub: Hub, checkpoint_folder: Path) -> None:
    repo = hub.add(NAME, checkpoint_folder)
    repo.commits[LATER] = dict(repo.commits[COMMIT])
    repo.branches |= {"refs/pr/1": LATER, "v1": COMMIT}
    assert pinned(NAME) == pinned(f"{NAME}@v1") == f"{NAME}@{COMMIT}"
    assert pinned(f"{NAME}@refs/pr/1") == lasting(f"{NAME}@{LATER}") == f"{NAME}@{LATER}"
    repo.branches["main"] = LATER
    assert pinned(NAME) == f"{NAME}@{LATER}"
    assert checkpoint_folder_name(f"{NAME}@v1") == COMMIT


def checkpoint_folder_name(name: str) -> str:
    return checkpoint_folder(name).name


def test_the_plan_of_a_checkpoint_leaves_its_weights_on_the_hub(
    hub: Hub, sharded: Path, checkpoint_folder: Path
) -> None:
    hub.add(NAME, sharded)
    for parts in (["text"], ["text", "vision", "audio"]):
        there, here = plan_memory(NAME, parts=parts), plan_memory(checkpoint_folder, parts=parts)
        assert there.items == here.items
    weights = (Path(hub.cache) / "models--google--tiny").rglob("*.safetensors")
    assert list(weights) == []


def test_a_slice_takes_along_what_other_tools_need(hub: Hub, sharded: Path, tmp_path: Path) -> None:
    hub.add(NAME, sharded)
    gemma3n.slice_checkpoint(NAME, gemma3n.NestedSize((), 128), tmp_path / "out")
    assert (tmp_path / "out/tokenizer.json").read_text() == "tokenizer.json of somebody"
    assert "model.gguf" not in hub.downloads()
    assert load(str(tmp_path / "out")).config.text.intermediate_size[0] == 128


def test_a_slice_that_cannot_be_written_downloads_nothing(
    hub: Hub, sharded: Path, tmp_path: Path
) -> None:
    hub.add(NAME, sharded)
    with pytest.raises(SettingsError, match="not an empty folder"):
        gemma3n.slice_checkpoint(NAME, "full", Path(__file__).parent)
    assert hub.asked == []
    with pytest.raises(SettingsError, match="nested='smal'"):
        gemma3n.slice_checkpoint(NAME, "smal", tmp_path / "out")
    assert not any(file.endswith(".safetensors") for file in hub.downloads())


# Without a network, and after a download that broke off


@pytest.mark.parametrize("why", ["unplugged", "offline", "down"])
def test_a_whole_cache_is_enough_where_the_hub_is_out_of_reach(
    hub: Hub,
    checkpoint_folder: Path,
    unplug: Unplug,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    why: str,
) -> None:
    bare = Path(shutil.copytree(checkpoint_folder, tmp_path / "bare"))
    (bare / "preprocessor_config.json").unlink()  # a file that is known not to be there
    hub.add(NAME, bare)
    load(NAME)
    hub.asked.clear()
    match why:
        case "unplugged":
            unplug()
        case "offline":
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        case "down":
            hub.status = 503
    load(f"{NAME}@{COMMIT}")
    assert hub.asked == []
    assert load(NAME).checkpoint.folder.name == COMMIT
    assert len(hub.asked) == (why == "down")


def test_a_cache_that_another_tool_filled_is_enough_without_a_network(
    hub: Hub, checkpoint_folder: Path, unplug: Unplug
) -> None:
    from huggingface_hub import hf_hub_download

    repo = hub.add(NAME, checkpoint_folder)
    del repo.commits[COMMIT]["preprocessor_config.json"]
    for file in ("config.json", "model.safetensors", "tokenizer.model"):
        hf_hub_download(NAME, file)
    unplug()
    hub.asked.clear()
    load(NAME)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    hub: Hub, checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.add(NAME, checkpoint_folder)
    hub.cuts["model.safetensors"] = 1
    load(NAME)
    half = (checkpoint_folder / "model.safetensors").stat().st_size // 2
    assert hub.ranges == [f"model.safetensors bytes={half // 1000 * 1000}-"]


def test_after_a_download_that_broke_off_only_what_is_missing_comes(
    hub: Hub, sharded: Path
) -> None:
    hub.add(NAME, sharded)
    hub.cuts["model-text.safetensors"] = 100
    with pytest.raises(SettingsError, match=r"'google/tiny' broke off: .*the same command goes on"):
        load(NAME)
    hub.cuts.clear()
    before = len(hub.downloads())
    load(NAME)
    assert hub.downloads()[before:] == ["model-text.safetensors", "model-vision.safetensors"]


# What is refused


def test_a_name_that_nobody_has_may_be_a_path_with_a_mistake(hub: Hub) -> None:
    with pytest.raises(
        SettingsError, match=r"'model/e2b' is no folder here, and the .* hub has no such repository"
    ):
        load("model/e2b")


def test_a_revision_that_does_not_exist_is_named(hub: Hub, checkpoint_folder: Path) -> None:
    hub.add(NAME, checkpoint_folder)
    with pytest.raises(SettingsError, match=r"'google/tiny' has no revision 'v9'.*leave '@v9' out"):
        load(f"{NAME}@v9")


def test_a_name_that_the_hub_does_not_allow_is_refused(hub: Hub) -> None:
    with pytest.raises(SettingsError, match=r"'a--b/c' is no folder here, and no name.*owner/name"):
        load("a--b/c")
    assert hub.asked == []


def test_a_gated_repository_tells_a_stranger_how_to_get_in(
    hub: Hub, checkpoint_folder: Path
) -> None:
    hub.add(NAME, checkpoint_folder, gated=True)
    where = f"{hub.url}/{NAME}"
    with pytest.raises(
        SettingsError, match=rf"is gated: .*not logged in. Accept them at {where}, .*hf auth login"
    ):
        load(NAME)


def test_a_gated_repository_tells_a_member_to_accept_the_terms(
    hub: Hub,
    checkpoint_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    repo = hub.add(NAME, checkpoint_folder, gated=True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(
        SettingsError, match=rf"your token has not been let in. Accept them at {hub.url}/{NAME} "
    ) as refused:
        load(NAME)
    repo.accepted.add(TOKEN)
    load(NAME)
    assert set(hub.seen_by_cdn) == {""}  # the token stays between us and the hub
    said = [str(refused.value), caplog.text, *capfd.readouterr()]
    assert not any(TOKEN in text for text in said)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"hub does not accept your token for 'google/tiny'. Log in again"),
        (403, r"hub answers with HTTP status 403. Try again"),
        (500, r"hub answers with HTTP status 500. Try again"),
    ],
)
def test_a_hub_that_does_not_answer_is_quoted(hub: Hub, status: int, message: str) -> None:
    hub.status = status
    with pytest.raises(SettingsError, match=message):
        load(NAME)


def test_a_page_instead_of_the_hub_is_told_apart(hub: Hub) -> None:
    hub.page = b"<html>Welcome to our hotel</html>"
    with pytest.raises(
        SettingsError, match=r"does not answer as the Hugging Face hub.*HF_ENDPOINT"
    ):
        load(NAME)


@pytest.mark.parametrize("offline", [False, True])
def test_what_is_not_in_the_cache_cannot_be_had_without_a_network(
    hub: Hub, unplug: Unplug, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    unplug()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    why = (
        "may not be asked .HF_HUB_OFFLINE is set" if offline else "cannot be reached .ConnectError"
    )
    with pytest.raises(
        SettingsError, match=rf"'google/tiny' is no folder here and not.*in the cache '.*hub {why}"
    ):
        load(NAME)


def test_half_a_checkpoint_in_the_cache_is_not_enough_without_a_network(
    hub: Hub, sharded: Path, unplug: Unplug
) -> None:
    hub.add(NAME, sharded)
    load(NAME, ["text"])
    unplug()
    load(NAME, ["text"])
    with pytest.raises(SettingsError, match=r"or not wholly, in the cache"):
        load(NAME, ["text", "vision"])


def test_a_disk_that_is_too_small_is_seen_before_the_download(
    hub: Hub, checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, checkpoint_folder)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(
        SettingsError, match=r"needs 4.72 MB more in '.*cache', .* 1.00 MB free. .*HF_HOME"
    ):
        load(NAME)
    assert "model.safetensors" not in hub.downloads()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            r"the disk of '.*cache' is full.*HF_HOME",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/c/x"),
            r"'/c/x' cannot be written: Per",
        ),
        (
            RuntimeError("Data error: https://cdn/x?signature=y failed"),
            r"RuntimeError: .*\(address\) ",
        ),
    ],
)
def test_a_file_that_cannot_be_kept_is_explained(
    hub: Hub,
    checkpoint_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    hub.add(NAME, checkpoint_folder)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(SettingsError, match=message):
        load(NAME)


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_repository_that_is_no_checkpoint_is_refused(
    hub: Hub, checkpoint_folder: Path, lost: str
) -> None:
    repo = hub.add(NAME, checkpoint_folder)
    del repo.commits[COMMIT][lost]
    for name in (NAME, f"{NAME}@{COMMIT}"):
        hub.asked.clear()
        with pytest.raises(SettingsError, match=rf"'google/tiny' on .* hub has no {lost}. A check"):
            load(name)
    assert hub.asked == []  # it is known from the cache


def test_another_model_is_refused_before_its_weights_come(
    hub: Hub, checkpoint_folder: Path
) -> None:
    repo = hub.add(NAME, checkpoint_folder)
    repo.commits[COMMIT]["config.json"] = b'{"model_type": "llama"}'
    with pytest.raises(
        SettingsError, match=r"models--google--tiny.*model_type is 'llama'; accepted"
    ):
        load(NAME)
    assert "model.safetensors" not in hub.downloads()


@pytest.mark.parametrize("file", ["../../secrets.safetensors", "pytorch_model.bin", "/etc/passwd"])
def test_an_index_that_names_other_files_than_shards_is_refused(
    hub: Hub, sharded: Path, file: str
) -> None:
    repo = hub.add(NAME, sharded)
    files = repo.commits[COMMIT]
    index = files["model.safetensors.index.json"]
    files["model.safetensors.index.json"] = index.replace(b"model-audio.safetensors", file.encode())
    with pytest.raises(SettingsError, match=rf"names the file '{file}'; shards are"):
        load(NAME, ["text"])


def test_a_header_on_the_hub_that_is_none_is_refused(hub: Hub, checkpoint_folder: Path) -> None:
    repo = hub.add(NAME, checkpoint_folder)
    repo.commits[COMMIT]["model.safetensors"] = b"no safetensors at all"
    with pytest.raises(SettingsError, match=r"'model.safetensors' of .* is not a safetensors file"):
        plan_memory(NAME)


def test_nothing_is_told_about_this_machine(hub: Hub, checkpoint_folder: Path) -> None:
    hub.add(NAME, checkpoint_folder)
    load(NAME)
    plan_memory(NAME)
    assert all("torch" not in agent for agent in hub.agents)
    about = (f"/api/models/{NAME}", f"/{NAME}/")
    assert all(line.split(" ", 1)[1].startswith(about) for line in hub.asked)


def test_a_missing_shard_is_missed_only_by_who_needs_it(sharded: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sharded, tmp_path / "copy"))
    (folder / "model-vision.safetensors").unlink()
    assert set(Config.from_folder(folder).raw)
    assert Checkpoint(folder, ["text", "audio"]).part("vision") == {}
    with pytest.raises(SettingsError, match=r"lacks model-vision\.safetensors, which its index"):
        Checkpoint(folder)
