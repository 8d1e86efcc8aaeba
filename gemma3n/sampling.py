"""How the next token is chosen, and when a row ends. No torch: settings are checked by it too."""

from collections.abc import Sequence
from dataclasses import dataclass

from gemma3n.errors import SettingsError


@dataclass
class Sampling:
    """The choice of tokens, the same for all rows of a batch.

    Raises:
        SettingsError: a value out of its range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0  # 0 takes the most likely token
    top_k: int = 0  # of the so many most likely tokens; 0 for all
    top_p: float = 1.0  # of the fewest tokens that together have this probability
    stop: Sequence[str] = ()  # texts that end a row; they are not part of it
    stop_ids: Sequence[int] | None = None  # None: the tokenizer's ends of turn and sequence

    def __post_init__(self) -> None:
        for name, is_fine, accepted in (
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more"),
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k >= 0, "0 (for all) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0, and 1 at most"),
            (
                "stop",
                not isinstance(self.stop, str) and "" not in self.stop,
                "a list of texts, none of them empty",
            ),
        ):
            if not is_fine:
                raise SettingsError(
                    f"{name}={getattr(self, name)!r}; accepted is {accepted}. Change it."
                )
