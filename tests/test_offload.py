"""Embeddings off the device: the same outputs bit for bit, and shared weights are not broken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gemma3n
from gemma3n.errors import SettingsError
from gemma3n.offload import OffloadedEmbedding

VOCAB, DIM = 37, 6
IDS = torch.tensor([[3, 36, 0, 3], [7, 7, 1, 3]])


class Scaled(nn.Embedding):
    """As in Gemma: what it gives is scaled."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 3.0


class Small(nn.Module):
    """Token and type embeddings, a layer, a head."""

    def __init__(self, kind: type[nn.Embedding] = nn.Embedding) -> None:
        super().__init__()
        self.tokens, self.kinds = kind(VOCAB, DIM, padding_idx=0), nn.Embedding(2, DIM)
        self.layer = nn.TransformerEncoderLayer(DIM, 2, 7, dropout=0.0, batch_first=True)
        self.head = nn.Linear(DIM, VOCAB, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layer(self.tokens(ids) + self.kinds(ids % 2)))


@pytest.mark.parametrize("kind", [nn.Embedding, Scaled])
@pytest.mark.parametrize("is_file", [False, True])
@pytest.mark.parametrize("rows", [0, 2, 9])
def test_outputs_are_the_same_bit_for_bit(
    tmp_path: Path, kind: type[nn.Embedding], is_file: bool, rows: int
) -> None:
    model = Small(kind).eval().bfloat16()
    expected, weights = model(IDS), {k: v.clone() for k, v in model.state_dict().items()}
    folder = tmp_path / "kept" if is_file else None
    done = gemma3n.offload_embeddings(model, ["tokens", "kinds"], rows, folder)
    for _ in range(2):
        assert torch.equal(model(IDS), expected)
    assert done.moved == {"tokens": VOCAB * DIM * 2, "kinds": 2 * DIM * 2}
    assert done.freed == (sum(done.moved.values()) if is_file else 0)  # the device is the host
    assert done.cache == 2 * rows * DIM * 2
    assert done.tables["tokens"].rows == 2 * IDS.numel()
    assert model.tokens.weight.shape == (0, DIM)
    assert isinstance(model.tokens, kind)
    state = model.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in weights.items())


def test_an_embedding_with_two_names_moves_under_both() -> None:
    model = Small().eval()
    model.again = model.tokens
    expected = model(IDS)
    gemma3n.offload_embeddings(model, ["tokens"])
    assert model.again is model.tokens
    assert torch.equal(model(IDS), expected)


def test_a_cache_keeps_rows_from_call_to_call() -> None:
    model = Small().eval()
    done = gemma3n.offload_embeddings(model, ["tokens"], 9)
    model(IDS)
    model(IDS)
    assert (done.tables["tokens"].rows, done.tables["tokens"].moved) == (16, 5)


def test_a_shared_weight_is_refused_or_untied() -> None:
    model = Small().eval()
    model.head.weight = model.tokens.weight
    expected = model(IDS)
    with pytest.raises(SettingsError, match=r"'tokens' shares its weight with head.weight, which"):
        gemma3n.offload_embeddings(model, ["tokens"])
    assert torch.equal(model(IDS), expected)
    done = gemma3n.offload_embeddings(model, ["tokens"], untie=True)
    assert torch.equal(model(IDS), expected)
    assert (done.freed, done.moved) == (0, {"tokens": VOCAB * DIM * 4})


@pytest.mark.parametrize(
    ("change", "names", "why"),
    [
        (
            lambda m: None,
            ["head"],
            "'head' is a Linear; embeddings of this model are tokens",
        ),
        (lambda m: None, ["absent"], "'absent' is no module of that name; embeddings"),
        (lambda m: None, "tokens", r"names='tokens'; give a list of embeddings, as"),
        (lambda m: setattr(m.tokens, "max_norm", 1.0), ["tokens"], "'tokens' has max_norm=1, so"),
        (lambda m: m.tokens.to(torch.float8_e5m2), ["tokens"], "'tokens' is in float8_e5m2; acc"),
        (
            lambda m: gemma3n.offload_embeddings(m, ["tokens"]),
            ["kinds", "tokens"],
            "'tokens' is offloaded already. Leave it out.",
        ),
    ],
)
def test_what_cannot_be_offloaded_is_refused_before_anything_is(
    change: Callable[[Any], object], names: list[str], why: str
) -> None:
    model = Small()
    change(model)
    with pytest.raises(SettingsError, match=why):
        gemma3n.offload_embeddings(model, names)
    assert not isinstance(model.kinds, OffloadedEmbedding)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model = Small()
    with pytest.raises(
        SettingsError, match=r"tokens\.safetensors', which is to hold the embedding"
    ):
        gemma3n.offload_embeddings(model, ["tokens"], folder=tmp_path / "file")
    assert not isinstance(model.tokens, OffloadedEmbedding)


@pytest.mark.parametrize("token", [-1, VOCAB])
def test_an_id_of_another_vocabulary_is_refused(token: int) -> None:
    model = Small()
    gemma3n.offload_embeddings(model, ["tokens"])
    with pytest.raises(IndexError, match="but the embedding has rows 0 to 36"):
        model.tokens(torch.tensor([3, token]))


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_llama_says_the_same(tmp_path: Path, is_tied: bool) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=is_tied,
        pad_token_id=0,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    expected = model(IDS).logits
    said = model.generate(IDS, max_new_tokens=5, do_sample=False)
    if is_tied:
        with pytest.raises(SettingsError, match=r"shares its weight with lm_head\.weight"):
            gemma3n.offload_embeddings(model, ["model.embed_tokens"])
    done = gemma3n.offload_embeddings(
        model, ["model.embed_tokens"], cache_rows=5, folder=tmp_path, untie=is_tied
    )
    assert torch.equal(model(IDS).logits, expected)
    assert torch.equal(model.generate(IDS, max_new_tokens=5, do_sample=False), said)
    assert done.freed == (0 if is_tied else VOCAB * 8 * 4)
