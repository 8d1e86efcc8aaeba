"""Text of any origin on a terminal."""


def visible(text: str) -> str:
    """Text in which what would steer a terminal is escaped, as in Python."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
