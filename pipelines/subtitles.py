"""Cues -> subtitle files, as text."""

import html
import re
from collections.abc import Sequence

from pipelines.cues import Cue

# No character: it stands for a backslash where pysubs2 would see the beginning of a tag.
_BACKSLASH = "\ufdd0"
# SubRip has no way to write what its readers take for a tag (`<i>`, `{\an8}`) or for times (`-->`).
# Parted by a character that nobody sees (a word joiner), it is shown as it is.
_TAG_LIKE = re.compile(r"<(?=\s*/?\s*[A-Za-z])|\{(?=\\)|--(?=>)")
_UNSEEN = "\u2060"


def subtitles(cues: Sequence[Cue], kind: str) -> str:
    """Write cues as SubRip or WebVTT.

    Args:
        cues: in order; none is a file that says so, without any.
        kind: `srt` or `vtt`.
    """
    from pysubs2 import SSAEvent, SSAFile

    file = SSAFile()
    for cue in cues:
        text = "\n".join(cue.lines)
        if kind == "vtt":
            text = html.escape(text, quote=False)
        else:
            text = _TAG_LIKE.sub(rf"\g<0>{_UNSEEN}", text)
        text = text.replace(_BACKSLASH, "").replace("\\", _BACKSLASH)
        file.append(SSAEvent(cue.start_ms, cue.end_ms, text))
    # The "tags" to keep are what is written in braces: here all is text.
    return file.to_string(kind, keep_ssa_tags=True).replace(_BACKSLASH, "\\")
