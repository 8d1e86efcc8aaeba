"""Fused embeddings -> text."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from gemma3n.errors import InputError, SettingsError
from gemma3n.policy import Policy
from gemma3n.sampling import Sampling
from stages.model import Load, shared_draft, shared_model
from stages.row import Row, Stage
from stages.setting import setting

if TYPE_CHECKING:
    from gemma3n.generate import Completion, Prompt


@dataclass
class DecodeSettings:
    """How the answer is written."""

    max_new_tokens: int = setting(256, "longest answer, in tokens")
    temperature: float = setting(0.0, "0 takes the likeliest token; above 0 samples, 1 as trained")
    top_k: int = setting(0, "samples among so many likeliest tokens; 0 for all")
    top_p: float = setting(1.0, "samples among the likeliest tokens that reach this probability")
    seed: int = setting(0, "of the sampling: same seed, same answers, whatever the batches")
    stop: list[str] = setting([], "texts that end an answer; they are not part of it")
    groups: int = setting(
        1, "groups of rows that take turns; 2 where waiting for ple=store takes longer than a step"
    )

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise SettingsError(f"decode.groups={self.groups}; at least 1. Raise it.")
        try:
            self.sampling()
        except SettingsError as error:
            raise SettingsError(f"decode.{error}") from error

    def sampling(self) -> Sampling:
        """What of it chooses tokens."""
        return Sampling(self.max_new_tokens, self.temperature, self.top_k, self.top_p, self.stop)


class Decode(Stage):
    """Answers prompts; no answer depends on the rows beside it."""

    settings_type = DecodeSettings
    reads = ("token_ids", "embeddings", "nested")
    adds = ("text", "new_tokens", "logprob", "size", "note")
    drops = ("token_ids", "embeddings")
    streams = True

    def __init__(
        self,
        settings: DecodeSettings,
        load: Load,
        policy: Policy | None = None,
        draft: Load | None = None,
    ) -> None:
        """Load what answers, and what drafts for it if that is another load."""
        self.model = shared_model(load)
        self.draft = None if draft is None else shared_draft(draft)
        self.seed, self.sampling = settings.seed, settings.sampling()
        self.groups = settings.groups
        self.policy = policy or Policy()
        self.counted: Counter[str] = Counter()

    def __call__(self, rows: list[Row]) -> list[Row]:
        """See `Stage`."""
        for _, error in self.stream(iter(rows), len(rows)):
            if error is not None:
                raise error
        return rows

    def stream(self, rows: Iterator[Row], batch: int) -> Iterator[tuple[Row, InputError | None]]:
        """See `Stage.stream`; a row that is done makes room for the next."""
        asked: dict[int, Row] = {}
        refused: list[tuple[Row, InputError]] = []
        generation = self.model.generation(
            self.sampling, policy=self.policy, slots=batch, draft=self.draft, groups=self.groups
        )

        def prompts() -> Iterator[tuple[int, "Prompt"]]:
            for key, row in enumerate(rows):
                try:
                    prompt = self._prompt(row)
                    generation.check(prompt)
                except InputError as error:
                    refused.append((row, error))
                    continue
                asked[key] = row
                yield key, prompt

        try:
            for key, answer in generation.stream(prompts()):
                yield self._answered(asked.pop(key), answer), None
                while refused:
                    yield refused.pop()
            yield from refused
        finally:
            self.counted += generation.counts()

    def counts(self) -> dict[str, int]:
        """See `Stage.counts`: tokens that a small size drafted, and of them those accepted."""
        return dict(self.counted)

    def _prompt(self, row: Row) -> "Prompt":
        from gemma3n.generate import Prompt

        return Prompt(
            token_ids=row.pop("token_ids"),
            embeddings=row.pop("embeddings"),
            seed=_row_seed(self.seed, row),
            nested=row["nested"],
        )

    def _answered(self, row: Row, answer: "Completion") -> Row:
        count = len(answer.token_ids)
        doubted = row.pop("doubted", answer.doubted)
        notes = [row.get("note")]
        if answer.finish == "length":
            notes.append(f"cut at {count} tokens")
        if doubted is not None:
            notes.append(f"{self.policy.small} had log-probability {doubted:.2f}")
        row["text"] = answer.text
        row["new_tokens"] = count
        row["logprob"] = answer.logprob
        row["size"] = answer.size
        row["note"] = "; ".join(filter(None, notes)) or None
        return row


def _row_seed(seed: int, row: Row) -> int:
    """The same in every process and batch, which `hash` is not."""
    return crc32(f"{seed}/{row['item']}/{row['segment']}".encode())
