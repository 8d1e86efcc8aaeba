import re
from pathlib import Path
from typing import Any

import pytest

from gemma3n.errors import SettingsError
from pipelines.pools import posts
from pipelines.settings import ExecutorSettings, PathJob, PoolSettings, PoolsSettings
from stages.mel import Mel, MelSettings
from stages.model import Load
from stages.row import Stage

PATH = ["read", "mel", "resize", "encode", "fuse", "decode", "write"]


def cut(path: list[str], **pools: PoolSettings) -> list[tuple[str, tuple[str, ...]]]:
    job = PathJob(job="test", path=path)
    job.executor.pools = PoolsSettings(**pools)
    return [(post.pool, post.stages) for post in posts(job, Load(folder="x"), Path("out"))]


def test_the_path_is_cut_into_reading_encoders_decoder_and_writing() -> None:
    assert cut(PATH) == [
        ("read", ("read", "mel", "resize")),
        ("encode", ("encode",)),
        ("decode", ("fuse", "decode")),
        ("write", ("write",)),
    ]


def test_a_pool_without_stages_on_the_path_is_not_there() -> None:
    assert cut(["read", "fuse", "decode", "write"]) == [
        ("read", ("read",)),
        ("decode", ("fuse", "decode")),
        ("write", ("write",)),
    ]


def test_a_stage_of_ones_own_goes_to_the_pool_before_it_or_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.pools.stage_class", lambda name: Mel)
    path = ["read", "mel", "louder", "encode", "fuse", "decode", "check", "write"]
    assert cut(path)[0] == ("read", ("read", "mel", "louder"))
    assert cut(path)[2] == ("decode", ("fuse", "decode", "check"))
    named = cut(path, write=PoolSettings(["check", "write"]))
    assert named[2:] == [("decode", ("fuse", "decode")), ("write", ("check", "write"))]


def test_a_stage_may_move_to_a_neighbour() -> None:
    moved = cut(PATH, read=PoolSettings(["read"]), encode=PoolSettings(["mel", "resize", "encode"]))
    assert moved[:2] == [("read", ("read",)), ("encode", ("mel", "resize", "encode"))]


def test_a_stage_that_there_is_not_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"'encodr'; known are .*Did you mean 'encode'"):
        cut(PATH, encode=PoolSettings(["encodr"]))


def test_columns_that_cannot_cross_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Louder(Stage):
        settings_type = MelSettings
        adds = ("loudness",)

    monkeypatch.setattr("pipelines.pools.stage_class", lambda name: Louder)
    with pytest.raises(
        SettingsError, match=r"stage Louder adds 'loudness' and does not say its ty"
    ):
        cut(["read"])
    Louder.types = {"loudness": object}
    with pytest.raises(
        SettingsError, match=r"stage Louder, column 'loudness': values of type .*can"
    ):
        cut(["read"])
    Louder.types = {"loudness": float}
    assert cut(["read"]) == [("read", ("read",))]


def test_stages_of_a_pool_are_neighbours_and_named_once() -> None:
    with pytest.raises(SettingsError, match=r"pools.read has stages that are no neighbours on the"):
        cut(
            PATH,
            read=PoolSettings(["read", "mel", "resize", "fuse"]),
            decode=PoolSettings(["decode"]),
        )
    with pytest.raises(
        SettingsError, match=r"has stage 'mel' in read and in encode\. Name it once"
    ):
        cut(PATH, encode=PoolSettings(["mel", "encode"]))


@pytest.mark.parametrize(
    ("most", "items", "rows"),
    [(1, 1, 20), (2, 1000, 20), (2, 39, 15), (2, 10, 5), (2, 0, 5), (3, 30, 10)],
)
def test_who_decodes_takes_several_batches_unless_others_would_get_none(
    most: int, items: int, rows: int
) -> None:
    job = PathJob(job="test", path=PATH)
    decode = PoolSettings(["fuse", "decode"], batch=5, batches=4, max=most)
    job.executor.pools = PoolsSettings(decode=decode)
    made = {post.pool: post for post in posts(job, Load(folder="x"), Path("out"))}
    assert made["decode"].rows_a_call(items) == rows
    assert made["encode"].rows_a_call(items) == 8


def test_who_reads_items_takes_a_batch_of_them_though_it_decodes_too() -> None:
    job = PathJob(job="test", path=PATH)
    none, all_stages = PoolSettings([]), PoolSettings(PATH, batch=3, batches=4)
    job.executor.pools = PoolsSettings(all_stages, none, none, write=none)
    (post,) = posts(job, Load(folder="x"), Path("out"))
    assert post.rows_a_call(1000) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_cpus": -1}, "executor.pools.encode.num_cpus=-1; at least 0"),
        ({"num_gpus": -0.5}, "executor.pools.encode.num_gpus=-0.5; at least 0"),
        ({"min": 0}, "executor.pools.encode.min=0; at least 1"),
        ({"batch": 0}, "executor.pools.encode.batch=0; at least 1. Raise it"),
        ({"batches": 0}, "executor.pools.encode.batches=0; at least 1. Raise it"),
        ({"resources": {"disk": -1}}, "executor.pools.encode.resources has disk: -1; at least 0"),
        ({"min": 3, "max": 2}, "pools.encode.max=2, but executor.pools.encode.min=3. Raise max"),
    ],
)
def test_numbers_that_no_pool_can_have_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        PoolsSettings(encode=PoolSettings(["encode"], **wrong))


@pytest.mark.parametrize(
    ("name", "least"), [("items_a_task", 1), ("max_row_attempts", 2), ("row_timeout_s", 1)]
)
def test_numbers_that_no_executor_can_have_are_refused(name: str, least: int) -> None:
    with pytest.raises(SettingsError, match=f"executor.{name}=0; at least {least}. Raise it"):
        ExecutorSettings(**{name: 0})  # type: ignore[arg-type]
