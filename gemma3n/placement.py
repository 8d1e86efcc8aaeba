"""Where the per-layer embeddings are, and in how many bits. No torch here."""

from dataclasses import dataclass

from gemma3n.errors import SettingsError

PLE_PLACEMENTS = ("mmap", "resident")
PLE_BITS = (16, 8, 4)
GROUP = 64  # quantised values that share a scale: 4.25 bits a value


@dataclass(frozen=True)
class Ple:
    """How a load places the table of per-layer embeddings (PLE).

    Args:
        placement: "mmap" leaves it in its file, "resident" copies it to host memory.
        bits: of a value; 16 is as the checkpoint has it, 8 and 4 are quantised with group scales.
        cache_rows: rows that are kept beside the compute where that is not the host; 0 for none.
        folder: where quantised tables that are read from a file are kept once they are made; by
            default the user's cache.

    Raises:
        SettingsError: no such placement, or bits, or fewer than no rows.
    """

    placement: str = "mmap"
    bits: int = 16
    cache_rows: int = 1024
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.placement not in PLE_PLACEMENTS:
            raise SettingsError(
                f"ple='{self.placement}'; accepted are {', '.join(PLE_PLACEMENTS)}. "
                "Choose one of them."
            )
        check_rows(self.bits, self.cache_rows)


def block_bytes(values: int, bits: int, group: int = GROUP) -> int:
    """Bytes of a layer's quantised columns of one row, as `text/packing.py` lays them out."""
    return -(-values * bits // 8) + 2 * -(-values // group)


def check_rows(bits: int, cache_rows: int) -> None:
    """Refuse what no table can have.

    Raises:
        SettingsError: no such bits, or fewer than no rows.
    """
    if bits not in PLE_BITS:
        raise SettingsError(
            f"ple.bits={bits}; accepted are 16 (as the checkpoint has it), 8 and 4. "
            "Choose one of them."
        )
    if cache_rows < 0:
        raise SettingsError(
            f"ple.cache_rows={cache_rows}; at least 0, which is no cache. Raise it."
        )
