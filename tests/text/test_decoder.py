from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gemma3n import Gemma3n, NestedSize
from gemma3n.text.altup import open_streams
from gemma3n.text.attention import attention_masks, whole_sequence
from gemma3n.text.cache import KVCache

TOLERANCE = 5e-4
Arrays = Callable[[str], dict[str, Tensor]]


def close(actual: Tensor, expected: Tensor, atol: float = TOLERANCE) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def test_prefill_logits_equal_the_reference(model: Gemma3n, golden: Arrays) -> None:
    reference = golden("text_prefill")
    close(model.logits(reference["input_ids"]), reference["logits"])
    close(model.logits(reference["hard_input_ids"]), reference["hard_logits"])


def test_left_padded_rows_equal_the_reference(model: Gemma3n, golden: Arrays) -> None:
    reference = golden("text_leftpad")
    mask = reference["attention_mask"].bool()
    logits = model.logits(reference["input_ids"], mask)
    close(logits[mask], reference["logits"][mask])


def test_every_step_of_the_first_layer_equals_the_reference(model: Gemma3n, golden: Arrays) -> None:
    reference, decoder = golden("text_trace"), model.text
    ids = reference["input_ids"]
    embeddings, layers = decoder.embed(ids), range(decoder.config.num_hidden_layers)
    close(embeddings, reference["inputs_embeds"])
    inputs = decoder.per_layer_inputs(ids, embeddings, layers)
    close(inputs, reference["per_layer_inputs"])
    streams = open_streams(embeddings, decoder.altup_projections)
    close(streams, reference["altup_streams_in"])

    positions = torch.arange(ids.shape[1])[None]
    masks = attention_masks(positions, whole_sequence(positions), decoder.config.sliding_window)
    ropes, kind = decoder._ropes(positions, torch.float32), decoder.config.layer_types[0]
    layer = decoder.layer(0)
    entered = layer.enter(streams, ropes[kind])
    close(entered.normed, reference["layer00.input_layernorm"])
    close(layer.laurel(entered.normed), reference["layer00.laurel"])
    assert entered.own is not None
    attended = layer.self_attn(entered.query, masks[kind], entered.own)
    close(layer.self_attn.o_proj(attended), reference["layer00.self_attn"])
    close(layer.leave(entered, attended, inputs[:, :, 0]), reference["layer00.out"])


def test_streams_after_every_layer_equal_the_reference(
    model: Gemma3n, golden: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, streams = golden("text_trace"), []
    for number in range(model.config.text.num_hidden_layers):
        layer = model.text.layer(number)
        leave = layer.leave

        def recorded(*args: Tensor, leave: Callable[..., Tensor] = leave) -> Tensor:
            streams.append(leave(*args))
            return streams[-1]

        monkeypatch.setattr(layer, "leave", recorded)
    logits = model.logits(reference["input_ids"])
    for number, found in enumerate(streams):
        close(found, reference[f"layer{number:02d}.out"])
    close(logits, reference["logits"])


@pytest.mark.parametrize("name", ["e2b", "mix", "irregular"])
def test_nested_sizes_equal_the_reference_at_run_time_without_a_copy(
    model: Gemma3n, golden: Arrays, slices: dict[str, NestedSize], name: str
) -> None:
    reference = golden("slices")
    close(model.logits(reference["input_ids"], nested=slices[name]), reference[f"{name}.logits"])


def run(model: Gemma3n, ids: Tensor, cuts: list[int]) -> Tensor:
    """Logits of the last token, the prompt given in pieces that end at `cuts`."""
    cache = KVCache(model.config.text, len(ids), torch.float32, torch.device("cpu"))
    embeddings, positions = model.embed(ids), torch.arange(ids.shape[1]).expand(ids.shape)
    hidden = embeddings
    for start, stop in zip([0, *cuts[:-1]], cuts, strict=True):
        piece = slice(start, stop)
        last = 1 if stop == ids.shape[1] else 0
        part = cache.part(range(len(ids)), start, stop)
        hidden = model.text(
            ids[:, piece], embeddings[:, piece], positions[:, piece], part, last=last
        )
    return model.text.logits(hidden)


@pytest.mark.parametrize("cuts", [[41], [1, 41], [7, 20, 41], [16, 17, 40, 41], list(range(1, 42))])
def test_cutting_a_prompt_and_skipping_sharing_layers_changes_nothing(
    model: Gemma3n, golden: Arrays, cuts: list[int]
) -> None:
    ids = golden("text_prefill")["input_ids"]
    close(run(model, ids, cuts), model.logits(ids)[:, -1:])


def test_padding_on_either_side_changes_no_row(model: Gemma3n, golden: Arrays) -> None:
    ids = golden("text_prefill")["input_ids"]
    pads, alone = torch.zeros(1, 6, dtype=torch.int64), model.logits(ids)
    real = torch.ones(1, 47, dtype=torch.bool)
    left, right = real.clone(), real.clone()
    left[:, :6], right[:, 41:] = False, False
    close(model.logits(torch.cat([pads, ids], 1), left)[:, 6:], alone)
    close(model.logits(torch.cat([ids, pads], 1), right)[:, :41], alone)


def test_bfloat16_agrees_with_the_reference_in_direction_and_choice(
    bfloat16_model: Gemma3n, golden: Arrays
) -> None:
    reference = golden("text_bf16")
    logits = bfloat16_model.logits(reference["input_ids"])
    assert logits.dtype == torch.bfloat16
    for expected in (reference["logits"].float(), golden("text_prefill")["logits"]):
        assert torch.cosine_similarity(logits.float(), expected, -1).min() >= 0.995
    agreed = logits.argmax(-1) == reference["logits"].argmax(-1)
    assert agreed.float().mean() >= 0.85


def test_logits_are_capped_alike_with_and_without_gradients(model: Gemma3n) -> None:
    decoder = model.text
    drawn = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 2, decoder.config.hidden_size, generator=drawn) * 40
    exact = decoder.logits(hidden)
    with torch.no_grad():
        found = decoder.logits(hidden)
    cap = decoder.config.final_logit_softcapping
    assert cap is not None
    assert cap * 0.9 < float(exact.max()) <= cap
    close(found, exact.detach(), atol=1e-5)
