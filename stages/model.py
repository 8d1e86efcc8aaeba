"""The model that the stages of one process share."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma3n.config import read_object
from gemma3n.matformer import FULL_SIZE, NestedSize
from gemma3n.placement import Ple

if TYPE_CHECKING:
    from gemma3n.model import Gemma3n


@dataclass(frozen=True)
class Load:
    """How to load the model: equal loads in one process share one model."""

    folder: str  # or a name: each machine that loads it finds or fetches it by itself
    nested: NestedSize = FULL_SIZE
    budget_gb: float | None = None  # the largest named size within it, instead of `nested`
    parts: tuple[str, ...] = ("text", "vision", "audio")
    precision: str = "auto"
    pack: bool | None = None
    compile: bool = False
    device: str = "auto"
    ple: Ple = field(default_factory=Ple)
    adapter: str | None = None  # folder
    towers: str = "auto"


@lru_cache(maxsize=1)  # a sweep runs many jobs in one process: the last model leaves
def shared_model(load: Load) -> "Gemma3n":
    """The process's one model for `load`, loaded on first use."""
    return _loaded(load)


@lru_cache(maxsize=1)
def shared_draft(load: Load) -> "Gemma3n":
    """The one that drafts for it, where that is another load."""
    return _loaded(load)


def _loaded(load: Load) -> "Gemma3n":
    import gemma3n

    return gemma3n.load(
        load.folder,
        nested=load.nested,
        budget_gb=load.budget_gb,
        parts=list(load.parts),
        precision=load.precision,
        pack=load.pack,
        compile=load.compile,
        device=load.device,
        ple=load.ple,
        adapter=load.adapter,
        towers=load.towers,
    )


def preprocessor_config(folder: Path) -> dict[str, Any]:
    """How the checkpoint says that its media are prepared; empty if it does not.

    Raises:
        SettingsError: its `preprocessor_config.json` is not JSON, or no object.
    """
    path = folder / "preprocessor_config.json"
    return read_object(path) if path.is_file() else {}
