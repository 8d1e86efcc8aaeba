"""A checkpoint's text -> GGUF files for llama.cpp, written once and kept."""

import logging
import shutil
from pathlib import Path

from gemma3n.checkpoint import Checkpoint
from gemma3n.errors import SettingsError
from gemma3n.matformer import FULL_SIZE
from pipelines.bench.peers_env import run_peer
from pipelines.settings import Weights

logger = logging.getLogger(__name__)


def gguf_file(folder: Path, kind: str, checkpoint: Checkpoint, python: Path, threads: int) -> Path:
    """The file of a type, made if it is not there.

    Args:
        folder: of this checkpoint's files.
        kind: BF16, or Q8_0 or Q4_0, which llama.cpp itself rounds.
        checkpoint: with text.
        python: the peers' interpreter.
        threads: that round.

    Raises:
        SettingsError: llama.cpp does not run such a decoder or failed, or gguf is not installed.
    """
    path = folder / f"{kind}.gguf"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    logger.info("writing %s for llama.cpp, once", path)
    if kind == "BF16":
        _write(checkpoint, half)
    else:
        source = gguf_file(folder, "BF16", checkpoint, python, threads)
        wanted = {
            "gguf": str(source.resolve()),
            "output": str(half.resolve()),
            "type": kind,
            "threads": threads,
        }
        run_peer(python, "pipelines.bench.peers.llama_cpp_quantize", wanted)
    half.rename(path)
    return path


def _write(checkpoint: Checkpoint, path: Path) -> None:
    try:
        from pipelines.export.gguf import write_gguf
    except ModuleNotFoundError as error:
        raise SettingsError(
            "what llama.cpp reads is written with gguf, which is not installed. "
            "Install gemma3n-pipelines[export]."
        ) from error

    aside = path.with_suffix(".writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    write_gguf(checkpoint, FULL_SIZE, aside, Weights.bfloat16, vocabulary=False).rename(path)
    aside.rmdir()
