"""How many tokens to draft: what acceptance and time make worth while (arXiv 2211.17192 §3)."""

_FORGET = 0.97  # of what was seen of acceptance, a round
_SMOOTH = 0.8  # of a time that was measured before, beside a new one
_RETRY = 64  # rounds without a draft after which one is tried again


class DraftLength:
    """Chooses the length of each draft; 0 is none, when drafting is slower.

    Args:
        longest: draft, in tokens.
        fixed: always the longest, whatever it costs.
    """

    def __init__(self, longest: int, fixed: bool = False) -> None:
        self.longest, self.fixed = longest, fixed
        self._right, self._tried = 1.0, 1.0  # begins with trust, so that there is something to see
        self._plain: float | None = None  # seconds of a pass without a draft
        self._draft: float | None = None  # seconds of a drafted token
        self._check: dict[int, float] = {}  # seconds of checking a draft of so many tokens
        self._idle = 0  # rounds since the last draft

    @property
    def acceptance(self) -> float:
        """Share of drafted tokens that are right, of late."""
        return self._right / self._tried

    def choose(self) -> int:
        """Tokens to draft in the next round."""
        if self.fixed:
            return self.longest
        if self._draft is None:
            return self.longest
        if self._plain is None:
            return 0
        best = max(range(self.longest + 1), key=self.speed)
        if best == 0 and self._idle >= _RETRY:
            return 1
        return best

    def speed(self, length: int) -> float:
        """Tokens of a row a second that drafts of so many tokens promise."""
        if self._plain is None or self._draft is None:
            raise ValueError(
                "nothing was measured yet; `plain` and `round` tell what took how long."
            )
        if length == 0:
            return 1 / self._plain
        expected = sum(self.acceptance**n for n in range(length + 1))
        return expected / (length * self._draft + self._checking(length))

    def plain(self, seconds: float) -> None:
        """Note a pass without a draft."""
        self._idle += 1
        self._plain = _smooth(self._plain, seconds)

    def round(self, length: int, right: list[int], draft: float, check: float) -> None:
        """Note a round with drafts.

        Args:
            length: tokens drafted for each row.
            right: of each row, how many were accepted.
            draft: seconds that drafting took.
            check: seconds that checking took.
        """
        self._idle = 0
        # A row's first wrong token says nothing of those after it.
        tried = sum(min(accepted + 1, length) for accepted in right) / len(right)
        self._right = self._right * _FORGET + sum(right) / len(right)
        self._tried = self._tried * _FORGET + tried
        self._draft = _smooth(self._draft, draft / length)
        self._check[length] = _smooth(self._check.get(length), check)

    def _checking(self, length: int) -> float:
        """Seconds of checking so many: measured, or along the line from a pass without any."""
        if length in self._check:
            return self._check[length]
        assert self._plain is not None
        near = min(self._check, key=lambda other: abs(other - length))
        slope = max(self._check[near] - self._plain, 0.0) / near
        return self._plain + slope * length


def _smooth(before: float | None, now: float) -> float:
    return now if before is None else _SMOOTH * before + (1 - _SMOOTH) * now
