"""How much is run at once, so that it stays in a processor's cache; no torch: plans count by it."""

PASS_TOKENS = 512  # of prompts, all rows together
_LEAST = 16  # of these of a row
# An expanded map of the vision tower is worked on in pieces of at most this: larger temporaries
# are handed back to the system and faulted in again at every operation, which costs more than the
# operation.
PIECE_BYTES = 12 * 2**20


def chunk_tokens(rows: int) -> int:
    """How many tokens of each prompt are run at once."""
    return max(PASS_TOKENS // rows, _LEAST)
