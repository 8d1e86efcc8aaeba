"""What `to=gguf` writes, run by llama.cpp: `make test-peers`.

llama.cpp divides by one less in the standard deviation of sparse layers, and reads GELU from a
table in float16. Random weights magnify both, so ours is made to do the same for the comparison; a
trained model, which is sure of its tokens, needs no such help.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

import gemma3n
from gemma3n.checkpoint import PLE_TABLE, Checkpoint
from gemma3n.matformer import FULL_SIZE
from gemma3n.named import checkpoint_folder
from gemma3n.text import feedforward
from pipelines.random_checkpoint import write_random_checkpoint
from pipelines.settings import Weights

llama_cpp: Any = pytest.importorskip("llama_cpp")
pytest.importorskip("gguf")

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "head_dim": 32,
    "sliding_window": 16,
}
SENTENCES = [
    "the quick brown fox jumps over the lazy dog and runs away.",
    "please turn the lights off in the kitchen before it rains.",
    "seven hundred people came to see the old ship leave.",
    "there are no more messages, press two to go back.",
]
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
    return loaded(file)


def loaded(file: Path) -> Any:
    # Without buffers in the layout of AMX, which a virtual machine may announce and not have.
    low, params = llama_cpp.llama_cpp, llama_cpp.llama_cpp.llama_model_default_params()
    params.use_extra_bufts = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(low, "llama_model_default_params", lambda: params)
        return _loaded(file)


def _loaded(file: Path) -> Any:
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


def scores(model: Any, ids: list[int]) -> npt.NDArray[np.float32]:
    model.reset()
    model.eval(ids)
    return np.array(model.scores[: len(ids)])


def greedy(model: Any, count: int, ids: list[int]) -> list[int]:
    model.reset()
    model.eval(ids)
    found: list[int] = []
    for _ in range(count):
        found.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        model.eval(found[-1:])
    return found


def cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """The worst of all positions."""
    return float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, llama_shape: dict[str, Any]) -> Path:
    folder = tmp_path_factory.mktemp("random") / "checkpoint"
    write_random_checkpoint(folder, llama_shape | SMALL)
    shutil.copy(checkpoint_folder("nano") / "tokenizer.model", folder)
    return folder


@pytest.mark.usefixtures("_as_llama_cpp")
def test_llama_cpp_gives_the_same_logits_and_greedy_tokens(folder: Path, tmp_path: Path) -> None:
    ours = gemma3n.load(folder, precision="float32", device="cpu")
    logits = ours.logits(torch.tensor([IDS]))[0].numpy()
    (continued,) = ours.generate_ids([IDS], max_new_tokens=24, stop_ids=[])
    theirs = written(folder, tmp_path / "float32", Weights.float32)
    found = scores(theirs, IDS)
    assert np.abs(found - logits).max() < 5e-3
    assert cosine(found, logits) > 0.9999
    assert (found.argmax(-1) == logits.argmax(-1)).all()
    assert greedy(theirs, 24, IDS) == continued


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, llama_shape: dict[str, Any]) -> Path:
    """A small decoder of llama.cpp's shape that knows a few sentences by heart."""
    random, folder = tmp_path_factory.mktemp("random") / "it", tmp_path_factory.mktemp("trained")
    write_random_checkpoint(random, llama_shape | SMALL | {"intermediate_size": 1024})
    shutil.copy(checkpoint_folder("nano") / "tokenizer.model", random)
    for name in ("config.json", "tokenizer.model"):
        shutil.copy(random / name, folder)
    model = gemma3n.load(random, precision="float32", device="cpu", ple="resident")
    text, ids = model.text.requires_grad_(True), sentences(model)
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    optimizer = torch.optim.AdamW(text.parameters(), lr=4e-3, betas=(0.9, 0.95))
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 20)
        logits = text.logits(text(ids, text.embed(ids), positions))
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(text.parameters(), 1.0)
        optimizer.step()
        if loss < 0.086:  # which sentence comes is worth log(4) / 17 = 0.08
            break
    assert loss < 0.087
    source = Checkpoint(random)
    tensors = {f"text.{name}": value for name, value in text.state_dict().items()}
    tensors[PLE_TABLE] = source.tensor(PLE_TABLE)
    save_file(
        {source.released(name): value.bfloat16().clone() for name, value in tensors.items()},
        folder / "model.safetensors",
    )
    return folder


def sentences(model: gemma3n.Gemma3n) -> Tensor:
    """[4, 18] token ids, the first of each sentence."""
    rows = [model.tokenizer.prompt_ids([sentence])[:18] for sentence in SENTENCES]
    return torch.tensor(rows)


@pytest.mark.parametrize(
    ("weights", "least"),
    [(Weights.float32, 0.9999), (Weights.bfloat16, 0.999), (Weights.q8_0, 0.99)],
)
def test_a_trained_decoder_says_the_same(
    trained: Path, tmp_path: Path, weights: Weights, least: float
) -> None:
    ours = gemma3n.load(trained, precision="float32", device="cpu")
    theirs = written(trained, tmp_path / "gguf", weights)
    for ids in sentences(ours).tolist():
        (continued,) = ours.generate_ids([ids[:4]], max_new_tokens=14, stop_ids=[])
        assert greedy(theirs, 14, ids[:4]) == continued == ids[4:]
        logits = ours.logits(torch.tensor([ids]))[0].numpy()
        assert cosine(scores(theirs, ids), logits) > least


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
