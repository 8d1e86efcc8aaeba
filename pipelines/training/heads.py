"""What the heads of the auxiliary losses make of rows never seen: the towers' part, no decoder."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gemma3n.trainable import Trainable
from pipelines.scores import exact_match, word_error_rate
from pipelines.training.batch import Batch, Collator
from pipelines.training.examples import Example, Kind
from pipelines.training.objective import Encoded, Objective, encode, said

_ROWS = 32  # encoded at once
_CHOICES = 50  # texts among which a clip or an image must find its own


@torch.no_grad()
def heads_scores(
    model: Trainable, objective: Objective, groups: dict[str, list[Example]], collate: Collator
) -> dict[str, float]:
    """Score the heads whose losses have weight.

    Args:
        model: whose towers are used.
        objective: with the heads.
        groups: labelled examples, by set.
        collate: without augmentation.

    Returns:
        "<set>, ctc, wer" of the letters alone, "<set>, classifier, exact", and
        "<set>, recall@1 of <n>": how many find their text among n different ones. 0..1.
    """
    objective.eval()
    scores: dict[str, float] = {}
    weights = objective.weights
    for name, examples in groups.items():
        right = [example.answer for example in examples]
        kind = examples[0].kind
        if kind is Kind.audio and weights.ctc:
            spelt = [
                text
                for _, one in _encoded(model, examples, collate)
                if one.frames is not None and one.frame_lengths is not None
                for text in objective.ctc.spell(one.frames, one.frame_lengths)
            ]
            scores[f"{name}, ctc, wer"] = word_error_rate(right, spelt)
        plain = [example for example in examples if not example.asks]
        if kind is Kind.image and weights.classify and plain and objective.classify.places:
            named = [
                text
                for _, encoded in _encoded(model, plain, collate)
                for text in objective.classify.name(torch.stack(encoded.images))
            ]
            captions = [example.answer for example in plain]
            scores[f"{name}, classifier, exact"] = exact_match(captions, named)
        if kind is not Kind.text and weights.contrastive:
            some = list({example.answer: example for example in examples}.values())[:_CHOICES]
            recall = _recall(model, objective, some, collate)
            scores[f"{name}, recall@1 of {len(some)}"] = recall
    objective.train()
    return scores


def _encoded(
    model: Trainable, examples: Sequence[Example], collate: Collator
) -> Iterator[tuple[Batch, Encoded]]:
    for start in range(0, len(examples), _ROWS):
        batch = collate(examples[start : start + _ROWS], "")
        batch = batch.to(model.device)
        yield batch, encode(model, batch)


def _recall(
    model: Trainable, objective: Objective, examples: Sequence[Example], collate: Collator
) -> float:
    soft: list[Tensor] = []
    texts: list[Tensor] = []
    for batch, encoded in _encoded(model, examples, collate):
        soft += encoded.images or encoded.audio
        texts += said(model, batch)
    found = objective.contrastive.scores(soft, texts).argmax(1)
    right = torch.arange(len(soft), device=found.device)
    return float((found == right).float().mean())
