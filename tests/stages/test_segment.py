from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.audio import RATE
from stages.row import F32
from stages.segment import Limits, Segment, segments

LIMITS = Limits(longest_s=6.0, overlap_s=0.5)
# Seconds of speech and of the pause after it.
PATTERN = st.lists(st.tuples(st.floats(0.2, 9.0), st.floats(0.0, 4.0)), min_size=1, max_size=8)


def spoken(seconds: float, rng: np.random.Generator) -> F32:
    """What is as loud as speech, with the dips that speech has within words."""
    samples = rng.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
    samples[RATE // 3 :: RATE // 3] = 0
    for dip in range(RATE // 2, len(samples) - RATE // 2, RATE // 2):
        samples[dip : dip + RATE // 20] *= 0.05
    return samples


def pause(seconds: float, rng: np.random.Generator) -> F32:
    return rng.normal(0, 1e-3, round(seconds * RATE)).astype(np.float32)


def clip_of(pattern: list[tuple[float, float]], lead: float) -> tuple[F32, list[tuple[int, int]]]:
    """A clip, and the samples from and to which somebody speaks."""
    rng = np.random.default_rng(0)
    parts, spans, at = [pause(lead, rng)], [], round(lead * RATE)
    for speech_s, pause_s in pattern:
        parts += [spoken(speech_s, rng), pause(pause_s, rng)]
        spans.append((at, at + len(parts[-2])))
        at += len(parts[-2]) + len(parts[-1])
    return np.concatenate(parts), spans


def cut(clip: F32, block: int = RATE) -> list[Segment]:
    return list(segments(np.array_split(clip, len(clip) // block + 1), LIMITS))


@settings(max_examples=60, deadline=None)
# Speech that ends with the longest segment, in the midst of a frame; and before the clip does.
@example(pattern=[(1.0, 0.125), (1.875, 0.0), (6.46875, 0.0625), (4.0, 1.0)], lead=0.0, block=500)
@example(
    pattern=[(1, 0), (1, 0), (1.25, 0), (1.8828125, 0), (5.4375, 0), (9, 1.5), (8.75, 1)],
    lead=1.5,
    block=500,
)
@given(PATTERN, st.floats(0, 8), st.integers(500, 100_000))
def test_speech_is_all_in_segments_which_are_in_order_and_what_they_say(
    pattern: list[tuple[float, float]], lead: float, block: int
) -> None:
    clip, spans = clip_of(pattern, lead)
    made = cut(clip, block)
    covered = np.zeros(len(clip), bool)
    for segment in made:
        start, end = round(segment.start_s * RATE), round(segment.end_s * RATE)
        np.testing.assert_array_equal(segment.waveform, clip[start:end])
        assert 0 < end - start <= LIMITS.longest_s * RATE
        covered[start:end] = True
    for start, end in spans:
        assert covered[start:end].all()
    for one, other in pairwise(made):
        assert one.start_s < other.start_s
        assert one.end_s < other.end_s
        assert other.start_s >= one.end_s - 2 * LIMITS.overlap_s - 1e-9
    assert all(segment.speech for segment in made)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 4.0), st.floats(0.4, 3.0)), min_size=3, max_size=8))
def test_where_there_are_pauses_nothing_is_cut_in_speech_or_told_twice(
    pattern: list[tuple[float, float]],
) -> None:
    clip, spans = clip_of(pattern, 0.0)
    made = cut(clip)
    for one, other in pairwise(made):
        assert one.end_s <= other.start_s
    for segment in made[1:]:
        assert not any(start + 320 < segment.start_s * RATE < end - 320 for start, end in spans)
    for segment in made[:-1]:
        assert not any(start + 320 < segment.end_s * RATE < end - 320 for start, end in spans)


def test_long_pauses_part_segments_and_are_left_out() -> None:
    clip, spans = clip_of([(2.0, 1.2), (2.0, 30.0), (2.0, 5.0)], lead=10.0)
    made = cut(clip)
    assert len(made) == len(spans)
    for segment, (start, end) in zip(made, spans, strict=True):
        assert start / RATE - segment.start_s == pytest.approx(0.2, abs=0.06)
        assert segment.end_s - end / RATE == pytest.approx(0.2, abs=0.06)


def test_where_there_is_no_pause_segments_overlap_on_both_sides_of_the_cut() -> None:
    clip, _ = clip_of([(20.0, 0.0)], lead=0.0)
    made = cut(clip)
    assert len(made) > 3
    for one, other in pairwise(made):
        assert one.end_s - other.start_s == pytest.approx(2 * LIMITS.overlap_s)
    assert made[-1].end_s == 20.0


def test_a_clip_that_fits_is_one_segment_and_a_sample_more_is_not() -> None:
    clip, _ = clip_of([(1.0, 3.0), (2.0, 0.0)], lead=0.0)
    (made,) = cut(clip)
    np.testing.assert_array_equal(made.waveform, clip)
    assert (made.start_s, made.end_s) == (0.0, 6.0)
    assert len(cut(np.append(clip, np.float32(0)))) == 2


@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3])
@pytest.mark.parametrize("seconds", [1, 5, 100])
def test_in_silence_nobody_speaks(noise: float, seconds: int) -> None:
    clip = np.random.default_rng(0).normal(0, noise, seconds * RATE).astype(np.float32)
    clip += np.float32(0.1)  # a microphone's own
    (made,) = cut(clip)
    assert not made.speech
    assert (made.start_s, made.end_s) == (0.0, seconds)
    assert 0 < len(made.waveform) <= LIMITS.longest_s * RATE


def test_a_click_is_no_speech_and_a_word_is() -> None:
    clip = pause(30.0, np.random.default_rng(0))
    clip[10 * RATE : 10 * RATE + 100] = 0.5
    assert not cut(clip)[0].speech
    clip[20 * RATE : 20 * RATE + RATE // 4] += spoken(0.25, np.random.default_rng(1))
    (made,) = cut(clip)
    assert made.speech
    assert made.start_s < 20.0 < 20.25 < made.end_s
