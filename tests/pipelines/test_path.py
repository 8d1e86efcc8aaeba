import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

import pipelines
from gemma3n.errors import SettingsError
from pipelines.compose import compose, to_settings
from pipelines.path import (
    PLUGINS,
    build_stage,
    check_path,
    check_prompt,
    language_note,
    settings_of,
    stage_class,
    unused_groups,
)
from pipelines.settings import PathJob
from stages.media import Media
from stages.model import Load
from stages.row import Row, Stage

ROOT = Path(pipelines.__path__[0]).parent
AUDIO, IMAGE = [Media.audio], [Media.image]


def job(path: str, media: list[Media]) -> PathJob:
    made = PathJob(job="test", path=path.split())
    made.source.path, made.source.media = ["."], media
    return made


@dataclass
class ShoutSettings:
    marks: int = 3


class Shout(Stage):
    settings_type = ShoutSettings
    reads = ("text",)

    def __init__(self, settings: ShoutSettings, load: Load) -> None:
        self.marks = settings.marks

    def __call__(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            row["text"] += "!" * self.marks
        return rows


@pytest.fixture
def shout(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("shout", "shouting:Shout", PLUGINS)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Shout)
    found = lambda group: EntryPoints([entry] if group == PLUGINS else [])  # noqa: E731
    monkeypatch.setattr("pipelines.path.entry_points", found)


@pytest.mark.parametrize(
    ("path", "media"),
    [
        ("read mel encode fuse decode write", AUDIO),
        ("read resize encode fuse decode write", IMAGE),
        ("read mel resize encode fuse decode write", AUDIO + IMAGE),
        ("read resize mel encode fuse decode write", AUDIO + IMAGE),
        ("read fuse decode write", []),
    ],
)
def test_a_path_on_which_every_stage_gets_what_it_reads_is_fine(
    path: str, media: list[Media]
) -> None:
    check_path(job(path, media))


@pytest.mark.parametrize(
    ("path", "media", "message"),
    [
        (
            "read mell write",
            AUDIO,
            r"path names a stage 'mell'; known are read, mel, .* Did you mean 'mel'\?",
        ),
        ("read xyzzy write", AUDIO, r"known are read, .*, write\. Put one of those there\.$"),
        ("mel read write", AUDIO, r"path is \['mel', 'read', 'write'\]; it begins with 'read'"),
        ("read mel encode fuse decode", AUDIO, r"ends with 'write' and names each stage once"),
        ("read mel mel write", AUDIO, r"names each stage once. Put its stages in that order"),
        ("", AUDIO, r"path is \[\]; it begins with 'read'"),
        (
            "read encode mel fuse decode write",
            AUDIO,
            r"Encode reads \['mels', 'pixels'\], but rows reach it with \['item', .*'waveforms'\]. "
            r"Put the stage that adds it earlier on the path: mel or resize\.$",
        ),
        (
            "read mel encode decode write",
            AUDIO,
            r"Decode reads \['token_ids', 'embeddings'\], .* earlier on the path: fuse\.$",
        ),
        ("read write", [], r"Write reads \['text'\], .* earlier on the path: decode\.$"),
        (
            "read mel resize encode fuse decode write",
            AUDIO,
            r"Resize reads \['images'\], .* source.media says which media are read\.$",
        ),
        (
            "read fuse decode write",
            AUDIO,
            r"'read' adds waveforms, but nothing after it on \[.*\] uses them. "
            r"Put mel after read. source.media says which media are read\.$",
        ),
        (
            "read mel encode fuse decode write",
            AUDIO + IMAGE,
            r"'read' adds images, but nothing .* uses them. Put resize after read",
        ),
        (
            "read mel fuse decode write",
            AUDIO,
            r"'mel' adds mels, but nothing .* uses them. Put encode after mel\.$",
        ),
    ],
)
def test_a_path_with_a_gap_is_refused_and_says_what_closes_it(
    path: str, media: list[Media], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        check_path(job(path, media))


@pytest.mark.usefixtures("shout")
def test_a_stage_of_another_package_is_found_by_its_name() -> None:
    check_path(job("read fuse decode shout write", []))
    assert stage_class("shout") is Shout
    with pytest.raises(SettingsError, match=r"Shout reads \['text'\], .* on the path: decode\.$"):
        check_path(job("read shout fuse decode write", []))
    with pytest.raises(SettingsError, match=r"known are .*, shout. Did you mean 'shout'\?"):
        stage_class("shuot")


@pytest.mark.usefixtures("shout")
def test_a_stage_of_another_package_is_built_with_its_default_settings(tmp_path: Path) -> None:
    stage = build_stage("shout", job("read write", []), Load(folder="nowhere"), tmp_path)
    assert stage([Row(text="hi")]) == [Row(text="hi!!!")]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("read", "source"),
        ("mel", "mel"),
        ("resize", "resize"),
        ("encode", "encode"),
        ("fuse", "fuse"),
        ("decode", "decode"),
        ("write", "sink"),
    ],
)
def test_each_of_our_stages_gets_its_group_of_settings(name: str, group: str) -> None:
    made = job("read write", [])
    assert settings_of(made, stage_class(name)) is getattr(made, group)


@pytest.mark.parametrize("name", ["read", "mel", "resize", "encode", "fuse", "decode", "write"])
def test_each_of_our_stages_can_be_built(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("encode", "fuse", "decode"):
        monkeypatch.setattr(f"stages.{module}.shared_model", lambda load: None)
    load = Load(folder="nano")
    made: Any = build_stage(name, job("read write", AUDIO), load, tmp_path)
    assert type(made) is stage_class(name)


def test_checking_a_path_loads_no_torch_and_no_ray() -> None:
    code = (
        "import sys; from pipelines.path import check_path; from pipelines.settings import PathJob;"
        "check_path(PathJob(job='x', path='read mel resize encode fuse decode write'.split()));"
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'hydra', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def asked(prompt: str, media: list[Media], *paths: Path | str) -> PathJob:
    one = job("read mel resize encode fuse decode write", media)
    one.fuse.prompt, one.source.path = prompt, [str(path) for path in paths]
    return one


@pytest.mark.parametrize(
    ("prompt", "media", "why"),
    [
        ("", [Media.audio, Media.image], r"there is no prompt for \['folder'\]. Set prompt="),
        (" ", [Media.audio], "there is no prompt"),
        ("<audio> <audio>", [Media.audio], "has 2 marks, but a file is a row of its own"),
        ("<audio> <image>", [Media.audio, Media.image], "has 2 marks"),
        ("<image>", [Media.audio], r"has <image>, but the job reads audio \(source.media\)"),
        ("<image>", [], "the job reads no files"),
    ],
)
def test_a_prompt_that_fits_no_row_is_refused(prompt: str, media: list[Media], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        check_prompt(asked(prompt, media, "folder"))


def test_a_prompt_that_may_fit_a_row_is_left_to_the_rows(tmp_path: Path) -> None:
    manifest = tmp_path / "rows.jsonl"
    manifest.touch()
    both = [Media.audio, Media.image]
    check_prompt(asked("What is <audio>?", both, "folder"))
    check_prompt(asked("What?", both, "folder"))
    check_prompt(asked("", both, "folder", manifest))
    check_prompt(asked("<audio> or <audio>", [Media.audio], manifest))


def tasked(*words: str, job: str = "caption", path: str = "folder") -> PathJob:
    """A job of conf/ as a command asks for it."""
    made: PathJob = to_settings(job, compose(job, [f"source.path=[{path}]", *words]))
    return made


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (["fuse.task=orc"], r"task=orc, but this job's are caption, ocr, .* mean task=ocr\?"),
        (["fuse.task=transcribe"], "task=transcribe, but this job's are .* generate has all"),
        (["fuse.to=Thai"], r"to=Thai, but nothing that caption asks has \{to\}"),
        (["fuse.language=Thai"], r"language=Thai, but nothing .* or use the job that has it"),
        (['fuse.prompt="In {language}?"'], r"has \{language\}, and neither the job nor the row"),
    ],
)
def test_a_task_or_a_language_that_means_nothing_is_refused(made: list[str], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        check_prompt(tasked(*made))


def test_a_task_or_a_language_that_the_job_knows_is_fine(tmp_path: Path) -> None:
    for task in ("caption", "ocr", "detection", "default"):
        check_prompt(tasked(f"fuse.task={task}"))
    check_prompt(tasked("fuse.to=Thai", "fuse.language=Zulu", job="translate"))
    check_prompt(tasked("fuse.language=Zulu", job="transcribe"))
    check_prompt(tasked('fuse.prompt="In {to}, please"', "fuse.to=Thai"))
    check_prompt(tasked("fuse.task=transcribe", job="generate"))
    manifest = tmp_path / "rows.jsonl"
    manifest.touch()
    # Its rows may be of the task that has it.
    check_prompt(tasked("fuse.to=Thai", job="transcribe", path=str(manifest)))


def test_who_asks_nano_about_languages_is_told_what_it_knows() -> None:
    note = language_note(tasked(job="translate"))
    assert note is not None
    assert note.startswith("nano knows only English")
    assert language_note(tasked("fuse.language=Thai", job="transcribe")) == note
    assert language_note(tasked(job="transcribe")) is None
    assert language_note(tasked("fuse.language=en", job="transcribe")) is None
    golden = Path(__file__).parents[1] / "golden/checkpoint"
    assert language_note(tasked(f"model.path={golden}", job="translate")) is None


def test_the_jobs_task_reaches_the_pictures(tmp_path: Path) -> None:
    load = Load(folder="nowhere")
    stage: Any = build_stage("resize", tasked("fuse.task=ocr"), load, tmp_path)
    assert stage.task == "ocr"


def test_settings_of_stages_that_are_not_on_the_path_are_unused() -> None:
    assert unused_groups(["read", "mel", "encode", "write"]) == {"resize", "fuse", "decode"}
