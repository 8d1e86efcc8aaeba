from contextlib import ExitStack

import pytest
import torch
from torch import Tensor

from gemma3n import Gemma3n
from gemma3n.config import FULL
from gemma3n.losses.guide import Watched, guide_loss, wanted_keys, watching


def test_tokens_look_where_the_next_one_is_said() -> None:
    clip = 99
    ids = torch.tensor(
        [[2, clip, clip, clip, clip, 7, 11, 12, 106, 0], [2, 7, 11, 12, 106] + [0] * 5]
    )
    spelt = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 3, 3, 0], [0, 0, 1, 2, 2] + [0] * 5])
    # "a bc": the first letter begins at 80 ms, the others at 560 and 600 ms.
    rows = [(0, slice(0, 10)), (1, slice(0, 5))]
    wanted = wanted_keys(ids, clip, spelt, rows, [[2, 14, 15], []], every=4)
    looks = {
        at: keys.nonzero().flatten().tolist() for at, keys in enumerate(wanted[0]) if keys.any()
    }
    assert looks == {5: [1, 2], 6: [3, 4]}  # one soft token around counts as right
    assert not wanted[1].any()  # no clip


def test_the_loss_falls_as_attention_comes_to_the_right_place() -> None:
    wanted = torch.tensor([[[True, True, False], [False, False, False]]])
    there, elsewhere = (
        torch.tensor([[[weights, [0.2, 0.2, 0.6]]]]).log()
        for weights in ([0.3, 0.6, 0.1], [0.1, 0.1, 0.8])
    )
    torch.testing.assert_close(guide_loss(Watched(2, [there]), wanted), -torch.tensor(0.9).log())
    both = guide_loss(Watched(2, [there, elsewhere]), wanted)
    torch.testing.assert_close(both, -torch.tensor([0.9, 0.2]).log().mean())
    assert guide_loss(Watched(2, [there]), torch.zeros_like(wanted)) == 0


@pytest.mark.parametrize("queries", [2, 5])
def test_what_is_watched_is_what_the_layers_attend_to(model: Gemma3n, queries: int) -> None:
    """The watched weights times the values are the output of the guided heads."""
    decoder, ids = model.text, torch.tensor([[2, 9, 8, 77, 5], [2, 300, 41, 0, 0]])
    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, -1, -1]])
    parts = [
        decoder.layer(n).self_attn
        for n, kind in enumerate(decoder.config.layer_types)
        if kind == FULL
    ]
    values: list[Tensor] = []
    outputs: list[Tensor] = []
    with ExitStack() as hooks, watching(decoder, queries) as watched, torch.no_grad():
        for part in parts:
            kept = part.register_forward_pre_hook(lambda _, given: values.append(given[2][1]))
            hooks.enter_context(kept)
            kept = part.o_proj.register_forward_pre_hook(lambda _, given: outputs.append(given[0]))
            hooks.enter_context(kept)
        decoder(ids, decoder.embed(ids), positions, last=queries)
    assert len(watched.attention) == len(parts) > 1
    for log, value, output in zip(watched.attention, values, outputs, strict=True):
        heads = log.shape[1]
        each = output[:, -queries:].unflatten(-1, (2 * heads, -1))[:, :, :heads].transpose(1, 2)
        value = value.transpose(1, 2).repeat_interleave(2 * heads // value.shape[2], 1)[:, :heads]
        torch.testing.assert_close(log.exp() @ value, each)
