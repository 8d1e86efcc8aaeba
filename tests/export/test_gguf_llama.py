"""What `to=gguf` writes, run by llama.cpp: `make test-peers`.

llama.cpp divides by one less in the standard deviation of sparse layers, and reads GELU from a
table in float16. Random weights magnify both, so ours is made to do the same for the comparison.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import gemma3n
from gemma3n.checkpoint import Checkpoint
from gemma3n.matformer import FULL_SIZE
from gemma3n.named import checkpoint_folder
from gemma3n.text import feedforward
from pipelines.random_checkpoint import write_random_checkpoint
from pipelines.settings import Weights

llama_cpp: Any = pytest.importorskip("llama_cpp")
pytest.importorskip("gguf")

PERIOD = ["sliding_attention"] * 4 + ["full_attention"]
SHAPE = {
    "num_hidden_layers": 22,
    "num_kv_shared_layers": 2,
    "layer_types": [*PERIOD * 4, "sliding_attention", "full_attention"],
    "vocab_size": 672,
    "vocab_size_per_layer_input": 640,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "head_dim": 32,
    "sliding_window": 16,
}
IDS = [2, *torch.randint(10, 600, (40,), generator=torch.Generator().manual_seed(1)).tolist()]


@pytest.fixture
def _as_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = F.gelu

    def top(gate: Tensor, cutoff: float) -> Tensor:
        std, mean = torch.std_mean(gate, dim=-1, keepdim=True, correction=1)
        return F.relu(gate - (mean + std * cutoff))

    def gelu(x: Tensor, approximate: str) -> Tensor:
        y = exact(x.half().float(), approximate=approximate).half().float()
        return torch.where(x <= -10, 0.0, torch.where(x >= 10, x, y))

    monkeypatch.setattr(feedforward, "shifted_top", top)
    monkeypatch.setattr(F, "gelu", gelu)


def written(folder: Path, output: Path, weights: Weights) -> Any:
    """The export, loaded; its KV cache in float32 (type 0), as ours is, and not in float16."""
    from pipelines.export.gguf import write_gguf

    output.mkdir()
    write_gguf(Checkpoint(folder), FULL_SIZE, output, weights)
    (file,) = output.iterdir()
    return llama_cpp.Llama(
        str(file),
        n_ctx=256,
        n_threads=1,
        logits_all=True,
        verbose=False,
        type_k=0,
        type_v=0,
        flash_attn=False,
    )


def scores(model: Any) -> npt.NDArray[np.float32]:
    model.reset()
    model.eval(IDS)
    return np.array(model.scores[: len(IDS)])


def greedy(model: Any, count: int) -> list[int]:
    model.reset()
    model.eval(IDS)
    found: list[int] = []
    for _ in range(count):
        found.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        model.eval(found[-1:])
    return found


def cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """The worst of all positions."""
    return float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random") / "checkpoint"
    write_random_checkpoint(folder, SHAPE | SMALL)
    shutil.copy(checkpoint_folder("nano") / "tokenizer.model", folder)
    return folder


@pytest.mark.usefixtures("_as_llama_cpp")
def test_llama_cpp_gives_the_same_logits_and_greedy_tokens(folder: Path, tmp_path: Path) -> None:
    ours = gemma3n.load(folder, precision="float32", device="cpu")
    logits = ours.logits(torch.tensor([IDS]))[0].numpy()
    (continued,) = ours.generate_ids([IDS], max_new_tokens=24, stop_ids=[])
    theirs = written(folder, tmp_path / "float32", Weights.float32)
    found = scores(theirs)
    assert np.abs(found - logits).max() < 5e-3
    assert cosine(found, logits) > 0.9999
    assert (found.argmax(-1) == logits.argmax(-1)).all()
    assert greedy(theirs, 24) == continued
    # Here it rounds activations, too: to bfloat16, and to 8 bits a block.
    for weights, least in ((Weights.bfloat16, 0.95), (Weights.q8_0, 0.8)):
        assert cosine(scores(written(folder, tmp_path / weights.value, weights)), logits) > least


def test_llama_cpp_makes_the_same_tokens_of_text(folder: Path, tmp_path: Path) -> None:
    ours = gemma3n.load(folder, precision="float32", device="cpu").tokenizer
    theirs = written(folder, tmp_path / "gguf", Weights.q8_0)
    for text in (
        "the quick brown fox jumps over the lazy dog.",
        " two  spaces\n\nand lines\n\n\n",
        "Hé, 日本 ☃",
        "<start_of_turn>user <td>x</td> <end_of_turn>",
    ):
        assert theirs.tokenize(text.encode(), add_bos=False, special=False) == ours.encode(text)
    assert theirs.tokenize(b"<end_of_turn>", add_bos=False, special=True) == ours.stop_ids[-1:]
    assert (theirs.token_bos(), theirs.token_eos()) == (2, 1)
