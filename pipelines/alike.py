"""Checkpoints -> how alike their logits are to those of the one that they were made from.

`python -m pipelines.alike nano nano-int4/ nano-gptq/ --rows dev.jsonl` compares over the answers of
labelled rows, in a table: cosine, how often the same token is the likeliest, and how unlikely the
right one is. Clips and pictures come from the towers of the first: only the text decoders differ.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

import gemma3n
from gemma3n.choices import Precision
from gemma3n.errors import SettingsError
from gemma3n.generate import Prompt
from gemma3n.matformer import named_sizes
from gemma3n.model import Gemma3n
from pipelines.calibration import shown_rows
from pipelines.console import console
from pipelines.exit_code import DONE, WRONG_USE


@dataclass(frozen=True)
class Alike:
    """What two decoders have in common over all tokens of answers."""

    cosine: float  # of logits, mean over tokens
    agree: float  # share of tokens where the likeliest is the same
    nats: float  # cross-entropy of a token of the labelled answers, of the original
    other_nats: float  # of the other
    tokens: int


def main(words: Sequence[str] | None = None) -> int:
    """Compare, and print a line a checkpoint and nested size.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.alike", description=__doc__)
    parser.add_argument("original", help="folder of a checkpoint, or its name; taken in float32")
    parser.add_argument("others", nargs="+", help="made of it, or its own name again")
    parser.add_argument("--rows", nargs="+", required=True, help="manifests (jsonl with `text`)")
    parser.add_argument("--count", type=int, default=128, help="rows of them, spread evenly")
    parser.add_argument(
        "--precision",
        choices=[one.value for one in Precision],
        default="auto",
        help="number format of those that are not rounded; int8, int4: rounded to nearest",
    )
    asked = parser.parse_args(words)
    columns = "cosine", "same token likeliest, %", "nats a right token", "of the original", "tokens"
    table = Table("checkpoint", "size", *columns)
    try:
        original, rows = shown_rows(asked.original, asked.rows, asked.count)
        for name in asked.others:
            other = gemma3n.load(name, parts=["text"], precision=asked.precision, device="cpu")
            for size in ("full", "small"):
                if size in named_sizes(original.config):
                    found = alike(original, other, rows, size)
                    likeness = f"{found.cosine:.5f}", f"{100 * found.agree:.1f}"
                    nats = f"{found.other_nats:.4f}", f"{found.nats:.4f}"
                    table.add_row(name, size, *likeness, *nats, f"{found.tokens}")
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_USE
    console().print(table)
    return DONE


def alike(original: Gemma3n, other: Gemma3n, rows: Sequence[Prompt], size: str) -> Alike:
    """Compare two decoders over the answers of rows.

    Args:
        original: in float32.
        other: of the same shape, in any precision.
        rows: questions and answers, from `shown_rows`.
        size: nested size, by name.
    """
    cosines, same, nats, other_nats = [], [], [], []
    for row in rows:
        says = original.tokenizer.said(row.token_ids)[1:]
        exact, near = (_answers(model, row, says, size) for model in (original, other))
        right = torch.tensor(row.token_ids[1:])[says]
        cosines.append(F.cosine_similarity(exact, near, dim=-1))
        same.append((exact.argmax(-1) == near.argmax(-1)).float())
        nats.append(F.cross_entropy(exact, right, reduction="none"))
        other_nats.append(F.cross_entropy(near, right, reduction="none"))
    tokens = sum(len(values) for values in same)
    return Alike(_mean(cosines), _mean(same), _mean(nats), _mean(other_nats), tokens)


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.cat(list(values)).mean())


def _answers(model: Gemma3n, row: Prompt, says: list[bool], size: str) -> Tensor:
    """Logits from which the tokens of the answer come, float32 [tokens, vocab]."""
    assert row.embeddings is not None  # they are fused
    ids = torch.tensor([row.token_ids])
    embeddings = row.embeddings[None].to(model.dtype)
    positions = torch.arange(ids.shape[1])[None]
    with torch.inference_mode():
        hidden = model.text(ids, embeddings, positions, size=model.running(size))
        return model.text.logits(hidden[:, :-1][:, says])[0].float()


if __name__ == "__main__":
    sys.exit(main())
