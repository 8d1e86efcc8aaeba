"""Blocks of sound -> segments that the audio tower takes, cut where nobody speaks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stages.audio import RATE
from stages.pauses import FRAME, Run, loudness, smoothed, speech_runs
from stages.row import F32

_PER_S = RATE // FRAME  # frames a second
_LONG = _PER_S  # a pause of 1 s always ends a segment
_SHORT = _PER_S // 5  # one of 0.2 s may; a shorter one may be within a word
_MARGIN = _PER_S // 5  # of a long pause, 0.2 s are kept on both sides
_BEFORE = 30 * _PER_S  # loudness that is remembered of what has gone


@dataclass(frozen=True)
class Limits:
    """How segments may be."""

    longest_s: float = 30.0  # seconds
    overlap_s: float = 2.0  # seconds on both sides of a cut where there is no pause


@dataclass(frozen=True)
class Segment:
    """A part of a clip; where there was no pause, it overlaps the next."""

    start_s: float  # from the first sample
    end_s: float
    waveform: F32  # [samples], 16 kHz
    speech: bool  # False for the one segment of a clip in which nobody speaks


def segments(blocks: Iterable[F32], limits: Limits) -> Iterator[Segment]:
    """Cut a clip into segments, as it is read.

    A clip that fits whole is one segment, untouched. Of a longer one, silence is left out, each
    pause of 1 s or more ends a segment, and other segments end in the longest pause near their
    end; where there is none, at the quietest spot, and the next one begins before it.

    Args:
        blocks: [samples] each, 16 kHz, mono, one after the other.
        limits: of the segments.

    Yields:
        At least one segment. The one of a clip without speech is its first seconds and ends with
        it.
    """
    longest = round(limits.longest_s * _PER_S)
    overlap = min(round(limits.overlap_s * _PER_S), longest // 8)
    window = _Window(iter(blocks), longest + _LONG + _MARGIN)
    if window.ended and len(window.samples) <= limits.longest_s * RATE:
        # In less than a few frames, nobody can tell.
        speech = len(window.levels) <= _MARGIN or bool(window.speech())
        yield Segment(0.0, len(window.samples) / RATE, window.samples, speech)
        return
    beginning, found = window.segment(longest), False
    while len(window.samples):
        spoken = window.speech()
        if not spoken or spoken[-1].end <= window.told:
            # What is at the end may be the beginning of a word.
            window.leave(len(window.levels) - (0 if window.ended else _MARGIN))
        elif spoken[0].start > _LONG:
            window.leave(spoken[0].start - _MARGIN)
        else:
            cut = _cut(window, spoken, longest, overlap)
            yield window.segment(cut.end)
            found = True
            window.leave(cut.begin, told=cut.end)
    if not found:
        yield replace(beginning, end_s=window.start / RATE, speech=False)


class _Cut(NamedTuple):
    """Frames of a window: where a segment ends, and where what comes after it begins."""

    end: int
    begin: int


class _Window:
    """What was read and is not yet in a segment: its samples and their loudness."""

    def __init__(self, blocks: Iterator[F32], size: int) -> None:
        self.samples: F32 = np.zeros(0, np.float32)
        self.levels: F32 = np.zeros(0, np.float32)  # [frames] of `samples`, but for a rest
        self.start = 0  # sample of the clip that `samples` begins with
        self.told = 0  # frames at the beginning that the last segment has too
        self._rest: F32 = np.zeros(0, np.float32)  # of a block
        self.ended = False  # nothing comes after `samples`
        self._blocks, self._size = blocks, size
        self._before: F32 = np.zeros(0, np.float32)
        self._fill()

    def speech(self) -> list[Run]:
        """Frames in which somebody speaks."""
        return speech_runs(self.levels, self._before)

    def segment(self, end: int) -> Segment:
        """What is up to a frame, the rest of a frame too where the clip ends."""
        samples = self.samples[: self._samples(end)].copy()
        return Segment(self.start / RATE, (self.start + len(samples)) / RATE, samples, speech=True)

    def leave(self, frames: int, told: int = 0) -> None:
        """Go on from a frame, of which a segment has told those before `told`."""
        gone = self._samples(frames)
        self.samples, self.start = self.samples[gone:], self.start + gone
        self._before = np.concatenate([self._before, self.levels[:frames]])[-_BEFORE:]
        self.levels, self.told = self.levels[frames:], max(0, max(told, self.told) - frames)
        self._fill()

    def _samples(self, frames: int) -> int:
        return len(self.samples) if self.ended and frames >= len(self.levels) else frames * FRAME

    def _fill(self) -> None:
        parts, missing = [self.samples], self._size * FRAME - len(self.samples)
        while missing > 0 and not self.ended:
            block = self._rest if len(self._rest) else next(self._blocks, None)
            if block is None:
                self.ended = True
            else:
                parts.append(block[:missing])
                self._rest = block[missing:]
                missing -= len(parts[-1])
        if len(parts) > 1:
            self.samples = np.concatenate(parts)
            new = loudness(self.samples[len(self.levels) * FRAME :])
            self.levels = np.concatenate([self.levels, new])


def _cut(window: _Window, spoken: list[Run], longest: int, overlap: int) -> _Cut:
    """Where the next segment ends.

    Args:
        window: begins with the segment.
        spoken: where somebody speaks in it, at least once.
        longest: frames that the segment may have.
        overlap: frames on both sides of a cut that is no pause.
    """
    frames = len(window.levels)
    pauses = [Run(one.end, other.start) for one, other in pairwise(spoken)]
    pauses.append(Run(spoken[-1].end, frames))
    # Not at the very end: what is said may end within the first frame of a pause.
    pauses = [pause for pause in pauses if window.told < pause.start < longest]
    for pause in pauses:
        if pause.end - pause.start >= _LONG:
            return _Cut(min(pause.start + _MARGIN, longest), pause.end - _MARGIN)
    if window.ended and len(window.samples) <= longest * FRAME:
        return _Cut(frames, frames)
    pauses = [pause for pause in pauses if pause.end - pause.start >= _SHORT]
    if pauses:
        late = [pause for pause in pauses if pause.start >= longest // 2] or pauses
        best = max(late, key=lambda pause: (pause.end - pause.start, pause.start))
        middle = min((best.start + best.end) // 2, longest)
        return _Cut(middle, middle)
    first = longest // 2
    quietest = first + int(smoothed(window.levels[first : longest - overlap]).argmin())
    return _Cut(quietest + overlap, quietest - overlap)
