"""Which model, and how it is loaded."""

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from gemma3n.choices import Precision
from gemma3n.errors import SettingsError
from gemma3n.named import NANO, checkpoint_folder, pinned
from gemma3n.placement import Ple, check_rows
from gemma3n.policy import Policy
from stages.setting import setting


class Part(Enum):
    """What a load brings in."""

    text = "text"
    vision = "vision"
    audio = "audio"


class PlePlacement(Enum):
    """Where the per-layer embedding table is."""

    mmap = "mmap"
    resident = "resident"
    store = "store"


@dataclass
class ModelSettings:
    """Which checkpoint."""

    path: str = setting(
        NANO,
        "folder of a Gemma 3n checkpoint (config.json, *.safetensors), or owner/name[@revision] on "
        "the Hugging Face hub; nano comes with this package, to try things with",
    )

    @property
    def folder(self) -> Path:
        """Where its files are; of a checkpoint on the hub, all but the weights are brought."""
        return checkpoint_folder(self.path)

    def pinned(self) -> "ModelSettings":
        """The same checkpoint; one on the hub at the commit that it is now, for a whole job."""
        return replace(self, path=str(pinned(self.path)))


@dataclass
class NestedSettings:
    """Which nested size: a name, or the layers and widths themselves, or a budget."""

    name: str = setting("full", "full, small (= e2b), a Mix'n'Match name, or the checkpoint's own")
    layers: list[int] | None = setting(None, "layers to keep, by the checkpoint's numbers")
    widths: list[int] | None = setting(None, "FFN units: one number for all, or one a kept layer")
    budget_gb: float | None = setting(None, "GB of weights: the largest named size that fits")


class PolicyKind(Enum):
    """How nested sizes are used."""

    single = "single"
    auto = "auto"
    speculative = "speculative"


@dataclass
class PolicySettings:
    """How nested sizes are used: one alone, a small one first, or a small one that drafts."""

    kind: PolicyKind = setting(
        PolicyKind.single,
        "single: nested answers; auto: small answers, and nested again what small was unsure of; "
        "speculative: small drafts, nested checks, the result is that of nested",
    )
    small: str = setting("small", "name of the size that answers first, or drafts")
    threshold: float = setting(
        -0.5, "of auto: mean log-probability of a token, below which nested answers again"
    )
    draft_tokens: int = setting(4, "of speculative: longest draft; it is shorter where that pays")
    draft_precision: Precision | None = setting(
        None,
        "of speculative: number format that small is loaded in by itself; by default it is not",
    )

    def __post_init__(self) -> None:
        try:
            self.policy()
        except SettingsError as error:
            raise SettingsError(f"policy.{error}") from error

    def policy(self) -> Policy:
        """What of it the model is told."""
        return Policy(self.kind.value, self.small, self.threshold, self.draft_tokens)

    def told(self) -> dict[str, object]:
        """What of it changes results, by name; nothing of a size alone."""
        told: dict[str, object] = {"policy": self.kind.value, "policy.small": self.small}
        match self.kind:
            case PolicyKind.single:
                return {}
            case PolicyKind.auto:
                return {**told, "policy.threshold": self.threshold}
            case PolicyKind.speculative:
                told["policy.draft_tokens"] = self.draft_tokens
                if self.draft_precision is not None:
                    told["policy.draft_precision"] = self.draft_precision.value
                return told


@dataclass
class PleSettings:
    """Per-layer embeddings (PLE)."""

    placement: PlePlacement = setting(
        PlePlacement.mmap,
        "mmap: on SSD, the page cache decides; resident: in host memory; store: in Ray actors that "
        "all decoders ask",
    )
    shards: int = setting(1, "actors of ple=store, each with its part of the vocabulary")
    bits: int = setting(
        16, "of a value: 16 as the checkpoint has it; 8 or 4 quantised, half or a quarter the bytes"
    )
    cache_rows: int = setting(
        1024, "rows kept beside the compute where the table is elsewhere (GPU, store); 0 for none"
    )
    folder: str | None = setting(
        None, "where quantised tables are kept, made on first use; by default the user's cache"
    )

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise SettingsError(f"ple.shards={self.shards}; at least 1. Raise it.")
        check_rows(self.bits, self.cache_rows)

    @property
    def load(self) -> Ple:
        """How a load of the model places the table."""
        if self.placement is PlePlacement.store:
            # The processes that decode put the store's table in its place.
            return Ple(cache_rows=self.cache_rows)
        return Ple(self.placement.value, self.bits, self.cache_rows, self.folder)

    def anywhere(self) -> "PleSettings":
        """The same from any working directory."""
        return replace(self, folder=self.folder and str(Path(self.folder).absolute()))
