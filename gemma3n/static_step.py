"""One more token of every slot, in shapes that stay: what a CUDA graph can hold.

A step of decoding is some thousand small kernels, which a GPU is done with sooner than Python has
launched them. A graph launches them all at once, and wants the same shapes and addresses each time.
So a static step has all slots in it, free ones as padding, and looks at a reach of the cache that
grows by blocks: a mask hides what is not there. PLE rows come from the host and stay outside.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gemma3n.text.cache import EMPTY, KVCache
from gemma3n.text.decoder import Running

if TYPE_CHECKING:
    from gemma3n.model import Gemma3n

_REACH = 256  # tokens by which the reach grows; each has a graph of its own

Step = Callable[..., Tensor]


class StaticStep:
    """Steps of all slots of a cache.

    Args:
        model: with its text part loaded.
        cache: of all slots.
        size: nested size to run at.
    """

    def __init__(self, model: "Gemma3n", cache: KVCache, size: Running) -> None:
        self.model, self.cache, self.size = model, cache, size
        self._steps: dict[tuple[int, int], Step] = {}

    def __call__(self, token_ids: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """Add a token to each row in use.

        Args:
            token_ids: one a row.
            lengths: tokens that the cache holds of each.

        Returns:
            Logits float32 [rows, vocab].
        """
        free = self.cache.rows - len(token_ids)
        ids = [[token] for token in (*token_ids, *[0] * free)]
        places = [[place] for place in (*lengths, *[EMPTY] * free)]
        inputs = (
            torch.tensor(ids, device=self.model.device),
            self.model.embed_tokens(ids),
            torch.tensor(places, device=self.model.device),
        )
        layers = (*self.size.own, *self.size.shared)
        rows = self.model.text.ple_rows(inputs[0], layers).to(inputs[1])
        reach = -(-(max(lengths) + 1) // _REACH) * _REACH
        return self._step(reach, *inputs, rows)[: len(token_ids)]

    def run(
        self, reach: int, ids: Tensor, embeddings: Tensor, places: Tensor, rows: Tensor
    ) -> Tensor:
        """The step itself, without anything that depends on numbers in tensors.

        Args:
            reach: tokens of the cache that are looked at.
            ids: int64 [slots, 1]
            embeddings: [slots, 1, hidden], fused.
            places: int64 [slots, 1], -1 in free slots.
            rows: [slots, layers, ple], of the size's layers.

        Returns:
            Logits float32 [slots, vocab].
        """
        text = self.model.text
        seen = self.cache.part(range(self.cache.rows), reach, reach)
        hidden = text(ids, embeddings, places, seen, self.size, last=1, rows=rows)
        return text.logits(hidden[:, 0]).float()

    def _step(self, reach: int, *inputs: Tensor) -> Tensor:
        if self.model.device.type != "cuda":
            return self.run(reach, *inputs)
        # A cache that has grown lies elsewhere.
        key = (reach, self.cache.address(reach))
        if key not in self._steps:
            self._steps = {old: step for old, step in self._steps.items() if old[1] == key[1]}
            self._steps[key] = _captured(lambda *given: self.run(reach, *given), inputs)
        return self._steps[key](*inputs)


def _captured(run: Step, inputs: Sequence[Tensor]) -> Step:
    """A CUDA graph of a function of tensors of fixed shapes."""
    own = [one.clone() for one in inputs]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run(*own)  # what is made at the first call only is made now
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run(*own)

    def replay(*given: Tensor) -> Tensor:
        for held, one in zip(own, given, strict=True):
            held.copy_(one)
        graph.replay()
        return found.clone()  # the next step writes there

    return replay
