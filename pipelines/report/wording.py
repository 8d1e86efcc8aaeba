"""Numbers -> what people read, always with a unit; texts of any origin -> what a page can show."""

import math

from gemma3n.readable import bytes_text

NONE = "\u2013"  # an en dash, where there is no number
# Joiners and marks that letters and emoji of living scripts are made with; other signs that cannot
# be seen are shown as what they are, so that none turns the line around.
_JOINERS = "\u200c\u200d\n"


def plain(text: str) -> str:
    """Text in which what cannot be seen, or is no text at all, is spelt out as in Python."""
    return "".join(c if c.isprintable() or c in _JOINERS else repr(c)[1:-1] for c in text)


def cut(text: str, most: int) -> str:
    """The first so many characters, and how many there are more."""
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]} [\u2026 {number(more)} characters more]"


def number(value: float | None) -> str:
    """A count: 12,345."""
    return NONE if value is None else f"{value:,.0f}"


def figures(value: float | None, unit: str = "") -> str:
    """Three figures: 0.123, 1.23, 12.3, 1,235."""
    if value is None or not math.isfinite(value):
        return NONE
    size = abs(value)
    if not size:
        return f"0 {unit}".strip()
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.995 else 3
    return f"{value:,.{digits}f} {unit}".strip()


def signed(value: float) -> str:
    """Two decimals, with a minus as wide as a plus: \u22120.12."""
    return f"{value:.2f}".replace("-", "\u2212")


def percent(share: float | None, sign: str = "") -> str:
    """A share of one: 12.3 %."""
    return NONE if share is None else f"{100 * share:{sign}.1f} %"


def points(value: float | None) -> str:
    """A difference of shares, in points of percent, with its sign."""
    return NONE if value is None else f"{100 * value:+.1f}".replace("-", "\u2212")


def interval(low: float | None, high: float | None) -> str:
    """A 95 % interval of shares, in percent; nothing where there is none."""
    text = "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"
    return text.replace("-", "\u2212")


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 0.42 s, 16.9 s, 3 min 12 s, 2 h 5 min."""
    if seconds is None:
        return NONE
    if seconds < 90:
        return figures(seconds, "s")
    minutes, left = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes} min {left} s" if left else f"{minutes} min"
    hours, left = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {left} min" if left else f"{hours:,} h"


def size(value: float | None) -> str:
    """Bytes as MB or GB."""
    return NONE if value is None else bytes_text(round(value))


def clock(seconds: float | None) -> str:
    """A place in a recording: 0:04.2, 1:02:03.0."""
    if seconds is None:
        return ""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 10:04.1f}"
    return f"{hours}:{minutes:02}:{tail}" if hours else f"{minutes}:{tail}"
