"""A model in training -> what it says to rows it never saw, at each nested size."""

from collections import defaultdict
from collections.abc import Sequence

from gemma3n.generate import Prompt
from gemma3n.model import Gemma3n
from gemma3n.sampling import Sampling
from pipelines.scores import exact_match, word_error_rate
from pipelines.training.batch import Batch, Collator
from pipelines.training.examples import Example, Kind, spread
from pipelines.training.fused import fused_rows

_ROWS = 32  # decoded at once
_LONGEST = 60  # tokens of an answer


def by_group(examples: Sequence[Example], at_most: int) -> dict[str, list[Example]]:
    """The first examples of each set, spread evenly over it; a set of two kinds is two groups."""
    kinds: dict[str, set[Kind]] = defaultdict(set)
    for example in examples:
        kinds[example.group].add(example.kind)
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        kind = example.kind.value if len(kinds[example.group]) > 1 or not example.group else ""
        groups[", ".join(filter(None, (example.group, kind)))].append(example)
    return {name: list(spread(rows, at_most)) for name, rows in groups.items()}


def validate(
    model: Gemma3n,
    groups: dict[str, list[Example]],
    collate: Collator,
    sizes: Sequence[str],
) -> dict[str, float]:
    """Score a model's answers.

    Args:
        model: as any job would load it.
        groups: labelled examples, by set.
        collate: without augmentation.
        sizes: nested sizes, by name.

    Returns:
        "<set>, <size>, wer" or "..., exact" -> 0..1.
    """
    scores = {}
    for name, examples in groups.items():
        references = [example.answer for example in examples]
        for size in sizes:
            texts = answers(model, examples, collate, size)
            if examples[0].kind is Kind.audio:
                scores[f"{name}, {size}, wer"] = word_error_rate(references, texts)
            scores[f"{name}, {size}, exact"] = exact_match(references, texts)
    return scores


def answers(model: Gemma3n, examples: Sequence[Example], collate: Collator, size: str) -> list[str]:
    """What the model says to each example."""
    texts: list[str] = []
    for start in range(0, len(examples), _ROWS):
        batch = collate(examples[start : start + _ROWS], "")
        done = model.complete(_prompts(model, batch), Sampling(_LONGEST), size)
        texts += [answer.text for answer in done]
    return texts


def _prompts(model: Gemma3n, batch: Batch) -> list[Prompt]:
    """Each row up to the last thing that the model says in it."""
    asked = []
    for row, ids in enumerate(batch.token_ids):
        said = batch.answers[row, : int((batch.positions[row] >= 0).sum())]
        asked.append(ids[: int((~said).nonzero().max()) + 1].tolist())
    return fused_rows(model, batch, asked)
