"""Fused embeddings -> text."""

from dataclasses import dataclass
from zlib import crc32

from gemma3n.errors import SettingsError
from gemma3n.sampling import Sampling
from stages.model import Load, shared_model
from stages.row import Row, Stage
from stages.setting import setting


@dataclass
class DecodeSettings:
    """How the answer is written."""

    max_new_tokens: int = setting(256, "longest answer, in tokens")
    temperature: float = setting(0.0, "0 takes the likeliest token; above 0 samples, 1 as trained")
    top_k: int = setting(0, "samples among so many likeliest tokens; 0 for all")
    top_p: float = setting(1.0, "samples among the likeliest tokens that reach this probability")
    seed: int = setting(0, "of the sampling: same seed, same answers, whatever the batches")
    stop: list[str] = setting([], "texts that end an answer; they are not part of it")

    def __post_init__(self) -> None:
        try:
            self.sampling()
        except SettingsError as error:
            raise SettingsError(f"decode.{error}") from error

    def sampling(self) -> Sampling:
        """What of it chooses tokens."""
        return Sampling(self.max_new_tokens, self.temperature, self.top_k, self.top_p, self.stop)


class Decode(Stage):
    """Answers a batch of prompts; no answer depends on the other rows of its batch."""

    settings_type = DecodeSettings
    reads = ("token_ids", "embeddings")
    adds = ("text", "new_tokens", "logprob", "size", "note")
    drops = ("token_ids", "embeddings")

    def __init__(self, settings: DecodeSettings, load: Load) -> None:
        self.model = shared_model(load)
        self.seed = settings.seed
        self.sampling = settings.sampling()

    def __call__(self, rows: list[Row]) -> list[Row]:
        from gemma3n.generate import Prompt

        prompts = [
            Prompt(
                token_ids=row.pop("token_ids"),
                embeddings=row.pop("embeddings"),
                seed=_row_seed(self.seed, row),
            )
            for row in rows
        ]
        answers = self.model.complete(prompts, self.sampling)
        for row, answer in zip(rows, answers, strict=True):
            count = len(answer.token_ids)
            row["text"] = answer.text
            row["new_tokens"] = count
            row["logprob"] = sum(answer.logprobs) / count if count else None
            row["size"] = self.model.size_name
            notes = [row.get("note"), f"cut at {count} tokens" if answer.finish == "length" else ""]
            row["note"] = "; ".join(filter(None, notes)) or None
        return rows


def _row_seed(seed: int, row: Row) -> int:
    """The same in every process and batch, which `hash` is not."""
    return crc32(f"{seed}/{row['item']}/{row['segment']}".encode())
