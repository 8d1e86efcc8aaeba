"""How nested sizes are used: one alone, a small one first, or a small one that drafts."""

from dataclasses import dataclass

from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize

SINGLE, AUTO, SPECULATIVE = POLICIES = ("single", "auto", "speculative")


@dataclass(frozen=True)
class Policy:
    """Which nested size answers. No torch: settings are checked by it too.

    Raises:
        SettingsError: a value out of its range.
    """

    kind: str = SINGLE
    small: str | NestedSize = "small"  # answers first, or drafts
    threshold: float = -0.5  # auto: mean log-probability of a small answer that is given up below
    draft_tokens: int = 4  # speculative: the longest draft

    def __post_init__(self) -> None:
        for name, is_fine, accepted in (
            ("kind", self.kind in POLICIES, ", ".join(POLICIES)),
            ("threshold", self.threshold <= 0, "0 or less: the log of a probability"),
            ("draft_tokens", 1 <= self.draft_tokens <= 64, "1 to 64"),
        ):
            if not is_fine:
                raise SettingsError(
                    f"{name}={getattr(self, name)!r}; accepted is {accepted}. Change it."
                )


def is_unsure(logprob: float | None, threshold: float | None) -> bool:
    """Whether `auto` has an answer given again by the larger size.

    Args:
        logprob: mean natural-log probability of its tokens; None of no tokens, which leave nothing
            to doubt.
        threshold: below which it is; None doubts nothing.
    """
    return logprob is not None and threshold is not None and logprob < threshold
