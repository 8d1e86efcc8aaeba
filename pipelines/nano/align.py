"""A clip and its transcript -> when each word and each phone is said. PocketSphinx, its own model.

Two passes of the same decoder: the first finds the words, the second the phones within them.
"""

from dataclasses import dataclass

import numpy as np
from pocketsphinx import Decoder

from pipelines.nano.clips import RATE, Pcm

_HOP = 0.01  # s, a frame of the aligner
# Words of the prompts and the small world that the model's dictionary lacks.
_MORE_WORDS = {
    "indentified": "IH N D EH N T AH F AY D",
    "lowercase": "L OW ER K EY S",
    "prepend": "P R IY P EH N D",
    "prepending": "P R IY P EH N D IH NG",
    "rerecord": "R IY R IH K AO R D",
    "spelt": "S P EH L T",
    "touchtone": "T AH CH T OW N",
    "undelete": "AH N D IH L IY T",
    "undeleted": "AH N D IH L IY T IH D",
    "unmute": "AH N M Y UW T",
    "uppercase": "AH P ER K EY S",
}
_BEAM = 1e-200
_LABEL = 0.04  # s, a frame of the conformer's output


@dataclass(frozen=True)
class Span:
    name: str  # a word, or a phone of ARPAbet; SIL is silence
    start: float  # s
    end: float  # s


@dataclass(frozen=True)
class Alignment:
    words: list[Span]  # silences left out
    phones: list[Span]  # silences in place

    def labels(self, samples: int) -> str:
        """The phones as runs of 40 ms frames: "SIL:3 TH:2 R:1 IY:4".

        A frame is called after the phone at its middle. Phones shorter than a frame may be lost.

        Args:
            samples: of the clip, at 16 kHz; `ceil(samples / 640)` frames come back in all.
        """
        frames = -(-samples // round(_LABEL * RATE))
        ends = np.array([span.end for span in self.phones])
        middles = (np.arange(frames) + 0.5) * _LABEL
        at = np.searchsorted(ends, middles, side="right")
        names = [self.phones[place].name if place < len(ends) else "SIL" for place in at]
        runs: list[tuple[str, int]] = []
        for name in names:
            if runs and runs[-1][0] == name:
                runs[-1] = (name, runs[-1][1] + 1)
            else:
                runs.append((name, 1))
        return " ".join(f"{name}:{length}" for name, length in runs)


class Aligner:
    """Holds the acoustic model; one to a process."""

    def __init__(self) -> None:
        # The text is known to be right, so nothing may be pruned that leads to its end; and the
        # lattice's best path would cut the last word off (cmusphinx/pocketsphinx#354).
        self.decoder = Decoder(
            samprate=RATE,
            lm=None,
            loglevel="FATAL",
            bestpath=False,
            beam=_BEAM,
            wbeam=_BEAM,
            pbeam=_BEAM,
        )
        for word, phones in _MORE_WORDS.items():
            self.decoder.add_word(word, phones, True)

    def __call__(self, pcm: Pcm, text: str) -> Alignment | None:
        """Align one clip.

        Args:
            pcm: [samples], 16 kHz.
            text: what is said in it, lower case.

        Returns:
            None where a word is not in the dictionary or the sound does not fit the text.
        """
        words = text.split()
        if any(self.decoder.lookup_word(word) is None for word in words):
            return None
        try:
            self.decoder.set_align_text(text)
            self._hear(pcm)
            if self.decoder.hyp() is None:
                return None
            self.decoder.set_alignment()
            self._hear(pcm)
        except RuntimeError:  # how PocketSphinx says that no path reaches the end
            return None
        alignment = self.decoder.get_alignment()
        if alignment is None:
            return None
        spans = [_span(word) for word in alignment.words()]
        said = [span for span in spans if not span.name.startswith(("<", "["))]
        if [span.name.split("(")[0] for span in said] != words:
            return None
        phones = [_span(phone) for phone in alignment.phones()]
        return Alignment(said, phones)

    def _hear(self, pcm: Pcm) -> None:
        self.decoder.start_utt()
        self.decoder.process_raw(pcm.tobytes(), full_utt=True)
        self.decoder.end_utt()


def _span(entry: object) -> Span:
    name = entry.name.removeprefix("+").removesuffix("+")  # type: ignore[attr-defined]
    start, length = entry.start, entry.duration  # type: ignore[attr-defined]
    return Span("SIL" if name in ("SPN", "NSN") else name, start * _HOP, (start + length) * _HOP)
