"""Files -> waveforms and images: a long recording one row a segment, or a row's media together."""

from collections.abc import Iterator
from dataclasses import replace

from gemma3n.config import Config
from gemma3n.errors import InputError
from gemma3n.named import checkpoint_folder
from stages.audio import RATE, sound_blocks
from stages.media import Media
from stages.model import Load
from stages.room import Room, seconds_a_clip
from stages.row import Columns, Row, Stage
from stages.segment import Limits, Segment, segments
from stages.source import SourceSettings
from stages.together import Together

READ_AS = {Media.audio: "waveforms", Media.image: "images"}  # column of each kind of file
NO_SPEECH = "no speech found"  # note of an item that has no text for that


class Read(Stage):
    """Opens the files of each row, whatever their formats. Any thread may call it."""

    settings_type = SourceSettings
    adds = (
        "item",
        "segment",
        "last",
        "place",
        "audio_paths",
        "image_paths",
        "prompt",
        "task",
        "language",
        "nested",
        "turns",
        "reference",
        "extra",
        "offset_s",
        "stated_s",
        "stamp",
        "start_s",
        "end_s",
        "audio_s",
        "clip_paths",
        "audio_parts",
        "image_parts",
    )
    expands = True

    @classmethod
    def columns(cls, settings: SourceSettings) -> Columns:
        return Columns(adds=(*cls.adds, *(READ_AS[kind] for kind in settings.media)))

    def __init__(self, settings: SourceSettings, load: Load) -> None:
        config = Config.from_folder(checkpoint_folder(load.folder))
        self.settings = settings
        self.room = Room.of(config)
        longest_s = min(settings.max_segment_s, seconds_a_clip(config))
        self.limits = Limits(longest_s, settings.overlap_s)

    def expand(self, row: Row) -> Iterator[Row]:
        if self.settings.split and len(row["audio_paths"]) == 1 and not row["image_paths"]:
            yield from self._split(row)
        else:
            together = Together(self.settings, self.room, lambda path: self._segments(row, path))
            yield together.read(row)

    def _split(self, row: Row) -> Iterator[Row]:
        """A row a segment, each as soon as it is known whether it is the last."""
        held: Row | None = None
        try:
            for number, segment in enumerate(self._segments(row, row["audio_paths"][0])):
                if held is not None:
                    yield held
                held = self._segment_row(row, number, segment)
        except InputError:
            if held is not None:  # what is good before the broken place
                yield held
            raise
        if held is not None:
            yield held | Row(last=True)

    def _segment_row(self, row: Row, number: int, segment: Segment) -> Row:
        made = row | Row(
            segment=number,
            last=False,
            start_s=segment.start_s,
            end_s=segment.end_s,
            audio_s=len(segment.waveform) / RATE,
            clip_paths=row["audio_paths"],
            audio_parts=["a"],
            image_parts=[],
        )
        if not segment.speech:
            return made | Row(text="", new_tokens=0, logprob=None, size="", note=NO_SPEECH)
        made["waveforms"] = [segment.waveform]
        if Media.image in self.settings.media:
            made["images"] = []
        return made

    def _segments(self, row: Row, path: str) -> Iterator[Segment]:
        # Of several clips, none is said to be a part.
        is_alone = row["audio_paths"] == [path]
        offset_s, stated_s = (row["offset_s"], row["stated_s"]) if is_alone else (None, None)
        blocks = sound_blocks(path, offset_s or 0.0, stated_s, self.settings.max_hours)
        for segment in segments(blocks, self.limits):
            begin = offset_s or 0.0
            yield replace(segment, start_s=segment.start_s + begin, end_s=segment.end_s + begin)
