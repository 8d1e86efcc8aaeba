"""Numbers as people read them, for messages."""


def bytes_text(size: int) -> str:
    """So many bytes as GB, or as MB where they are few.

    >>> bytes_text(3_456_000_000), bytes_text(12_300_000)
    ('3.46 GB', '12.30 MB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
