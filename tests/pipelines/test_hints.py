"""Hints are one line, say something that can be done, and only where the numbers say so."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma3n.choices import Precision
from pipelines import compose
from pipelines.hints import hint_of, hint_of_scores
from pipelines.progress import Summary
from pipelines.settings import ExecutorKind, PathJob
from pipelines.step import StageTimes
from stages.resize import Resolution

MEMORY = 16 * 10**9
JOB: PathJob = compose.to_settings("caption", compose.compose("caption", ["source.path=[a.png]"]))
KEYS = compose.keys_of_config(compose.compose("caption"))
STAGES = ("load", "encode", "fuse", "decode", "write")

shares = st.floats(0, 1)


@st.composite
def summaries(draw: Any) -> Summary:
    seconds = draw(st.floats(0.1, 1e5))
    items = draw(st.integers(0, 1000))
    return Summary(
        items=items,
        rows=items,
        images=draw(st.integers(0, 3)) * items,
        seconds=seconds,
        stage_seconds=StageTimes([(name, draw(shares) * seconds) for name in STAGES]),
        waited_seconds=draw(shares) * seconds,
        peak_rss_bytes=draw(st.integers(10**8, 2 * 10**10)),
    )


jobs = st.builds(
    lambda batch, readers, sides, size, kind, precision: replace(
        JOB,
        precision=precision,
        executor=replace(JOB.executor, batch=batch, readers=readers, kind=kind),
        resize=replace(JOB.resize, resolution=Resolution[sides]),
        nested=replace(JOB.nested, name=size),
    ),
    st.integers(1, 64),
    st.integers(1, 8),
    st.sampled_from(["auto", "256", "512", "768"]),
    st.sampled_from(["full", "small"]),
    st.sampled_from([ExecutorKind.in_process] * 4 + [ExecutorKind.ray]),
    st.sampled_from(Precision),
)


def asked_for(hint: str) -> list[str]:
    """Settings that a hint names."""
    return re.findall(r"\b([a-z_.]+=[\w.]+)", hint)


def at_work(**numbers: Any) -> Summary:
    """A run of 100 s that nothing limits."""
    stages = numbers.pop("stages", {})
    shared = {"items": 100, "rows": 100, "seconds": 100.0, "peak_rss_bytes": 10**9}
    return Summary(**shared | numbers, stage_seconds=StageTimes(stages.items()))


@settings(max_examples=150)
@given(job=jobs, summary=summaries(), cores=st.integers(1, 16))
def test_a_hint_is_a_line_that_names_a_setting_with_another_value(
    job: PathJob, summary: Summary, cores: int
) -> None:
    hint = hint_of(job, summary, cores, MEMORY)
    if hint is None:
        return
    assert "\n" not in hint
    assert summary.seconds >= 10
    assert summary.items >= 8
    assert job.executor.kind is ExecutorKind.in_process
    words = asked_for(hint)
    assert words or hint.startswith("more files a command")
    now = {
        "executor.batch": str(job.executor.batch),
        "executor.readers": str(job.executor.readers),
        "resize.resolution": job.resize.resolution.name,
        "nested.name": job.nested.name,
        "precision": job.precision.name,
        "compile": str(job.compile).lower(),
    }
    overrides, _ = compose.overrides_of("caption", KEYS, words)  # each is a setting of the job
    for override in overrides:
        name, _, value = override.partition("=")
        assert now[name] != value


@settings(max_examples=60)
@given(job=jobs, summary=summaries(), cores=st.integers(1, 16), times=st.sampled_from([2, 8, 32]))
def test_a_hint_is_about_shares_and_not_about_how_long_a_run_was(
    job: PathJob, summary: Summary, cores: int, times: int
) -> None:
    longer = replace(
        summary,
        seconds=summary.seconds * times,
        waited_seconds=summary.waited_seconds * times,
        stage_seconds=StageTimes((n, s * times) for n, s in summary.stage_seconds.items()),
    )
    job = replace(job, compile=True)  # which alone is a matter of minutes
    if summary.seconds >= 10:
        assert hint_of(job, longer, cores, MEMORY) == hint_of(job, summary, cores, MEMORY)


@pytest.mark.parametrize(
    ("summary", "hint"),
    [
        (at_work(), None),
        (at_work(seconds=9.0, stages={"decode": 9.0}), None),
        (at_work(items=7, stages={"decode": 90.0}), None),
        (at_work(stages={"decode": 49.0}, waited_seconds=24.0), None),
        (at_work(peak_rss_bytes=15 * 10**9), "executor.batch=4, for memory was tight: 15.00 GB of"),
        (at_work(stages={"load": 60.0}), "more files a command, for loading the model took 60%"),
        (at_work(waited_seconds=40.0), "executor.readers=4, for the model waited 40% of the time"),
        (at_work(stages={"decode": 70.0}), "executor.batch=16, for decoding took 70% of the time"),
        (at_work(stages={"decode": 70.0}, rows=20), "nested=small, for decoding took 70%"),
        (
            at_work(stages={"decode": 70.0}, peak_rss_bytes=9 * 10**9),
            "precision=int8, for decoding",
        ),
    ],
)
def test_what_limits_a_run_is_what_the_hint_is_about(summary: Summary, hint: str | None) -> None:
    found = hint_of(JOB, summary, 4, MEMORY)
    assert (found or "").startswith(hint or "")
    assert (found is None) == (hint is None)


def test_weights_that_are_rounded_are_told_to_be_fewer() -> None:
    summary = at_work(stages={"decode": 70.0}, peak_rss_bytes=9 * 10**9)
    for precision in (Precision.int8, Precision.int4):
        hint = hint_of(replace(JOB, precision=precision), summary, 4, MEMORY)
        assert (hint or "").startswith("nested=small, for decoding took 70% of the time")


def test_compiling_is_for_long_runs() -> None:
    for seconds, hint in ((299.0, "nested=small,"), (300.0, "compile=true, for decoding took 70%")):
        summary = at_work(seconds=seconds, stages={"decode": 0.7 * seconds}, rows=20)
        assert (hint_of(JOB, summary, 4, MEMORY) or "").startswith(hint)
        compiled = hint_of(replace(JOB, compile=True), summary, 4, MEMORY)
        assert (compiled or "").startswith("nested=small,")


def test_rows_at_once_are_no_more_than_gains_anything() -> None:
    summary = at_work(stages={"decode": 70.0}, rows=1000)
    for batch, hint in ((16, "executor.batch=32,"), (17, "nested=small,")):
        job = replace(JOB, executor=replace(JOB.executor, batch=batch))
        assert (hint_of(job, summary, 4, MEMORY) or "").startswith(hint)


def test_readers_are_no_more_than_cores() -> None:
    waits = at_work(waited_seconds=40.0)
    assert "executor.readers=3," in (hint_of(JOB, waits, 3, MEMORY) or "")
    assert hint_of(JOB, waits, 2, MEMORY) is None


def test_large_pictures_are_told_of_only_where_they_were_asked_for() -> None:
    summary = at_work(stages={"encode": 70.0}, images=100)
    large = replace(JOB, resize=replace(JOB.resize, resolution=Resolution["768"]))
    assert (
        "resize.resolution=256, for encoding took 70% of the time, and a picture of 768 pixels a "
        in (hint_of(large, summary, 4, MEMORY) or "")
    )
    assert hint_of(JOB, summary, 4, MEMORY) is None
    assert hint_of(large, replace(summary, images=0), 4, MEMORY) is None


def scored(rows: int, low: float, high: float, seconds: float = 60.0) -> dict[str, Any]:
    change = {"value": (low + high) / 2, "low": low, "high": high}
    one = {"rows": rows, "difference": {"wer": change, "exact": change}}
    return {
        "over": "full",
        "lower_is_better": ["wer"],
        "sets": {"a": {"full": {"rows": rows}, "small": one}},
        "runs": {"full": {"seconds": 100.0}, "small": {"seconds": seconds}},
    }


@pytest.mark.parametrize(
    ("found", "fewer", "is_told"),
    [
        (scored(200, -0.01, 0.019), True, True),
        (scored(200, -0.01, 0.021), True, False),
        (scored(200, -0.019, 0.01), False, True),
        (scored(200, -0.021, 0.01), False, False),
        (scored(99, -0.01, 0.01), True, False),
        (scored(200, -0.01, 0.01, seconds=101.0), True, False),
    ],
)
def test_a_smaller_size_did_as_well_only_if_that_is_sure(
    found: dict[str, Any], fewer: bool, is_told: bool
) -> None:
    hint = hint_of_scores(found, "wer" if fewer else "exact")
    assert (hint is not None) == is_told
    if hint:
        assert hint.startswith("nested=small did as well as full here")
        assert "in 60% of the time" in hint
