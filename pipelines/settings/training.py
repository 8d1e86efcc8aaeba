"""What `train` takes."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from gemma3n.choices import ROUNDED, Device, Precision
from gemma3n.errors import SettingsError
from gemma3n.placement import PLE_BITS
from pipelines.settings.model import Part
from stages.setting import setting

_SMALLEST_SIDE = 32  # pixels of an image; the vision tower halves it five times


def _check_share(name: str, value: float, up_to: float) -> None:
    if not 0 <= value <= up_to:
        raise SettingsError(f"{name}={value}; it is a share, 0 to {up_to}. Correct it.")


class Trains(Enum):
    """Which weights change."""

    all = "all"
    projection = "projection"
    towers = "towers"
    text = "text"
    lora = "lora"


@dataclass
class LossSettings:
    """Weights of the losses that a step sums; one with weight 0 is not computed."""

    answer: float = setting(1.0, "cross-entropy of the answers, joint over nested sizes")
    ctc: float = setting(0.0, "spelling of the clip by the audio tower's own frames")
    phones: float = setting(
        0.0, "phone of each frame, from the frame and from its soft token, for aligned clips"
    )
    classify: float = setting(0.0, "which of the frequent answers an image has")
    contrastive: float = setting(0.0, "soft tokens against the texts of the batch (InfoNCE)")
    guide: float = setting(
        0.0, "half of the heads look where CTC hears what is said next; a decoder listens sooner"
    )


@dataclass
class JointSettings:
    """Nested sizes of a step."""

    full: float = setting(0.6, "weight of all that the checkpoint holds")
    small: float = setting(0.4, "weight of the size called small, or of the one in its place")
    random: float = setting(
        0.0, "share of the batches that take a random Mix'n'Match size between, not small"
    )

    def __post_init__(self) -> None:
        _check_share("joint.random", self.random, up_to=1.0)


@dataclass
class BatchSettings:
    """What one step shows, in each process."""

    audio_seconds: float = setting(100.0, "seconds of clips, padding counted; 0 for none")
    join_seconds: float = setting(
        0.0, "join clips at random, up to so many seconds; 0 for none: fewer, fuller prompts"
    )
    images: int = setting(16, "images; 0 for none")
    texts: int = setting(16, "rows of text only; 0 for none")
    wrong: float = setting(
        0.0, "share of an answer's tokens that the decoder is shown wrong, so that it looks again"
    )
    split: float = setting(
        0.0, "share of an answer's tokens that are said as two smaller ones, and those again"
    )
    image_side: int | None = setting(
        None, "pixels a side of images in training, fewer are faster; null for the checkpoint's"
    )
    pack: bool = setting(
        False,
        "short rows share sequences no longer than the longest row, unseen by each other: less of "
        "a batch is padding",
    )
    accumulate: int = setting(1, "such batches before the weights change")

    def __post_init__(self) -> None:
        _check_share("batch.wrong", self.wrong, up_to=1.0)
        _check_share("batch.split", self.split, up_to=1.0)
        if self.image_side is not None and self.image_side < _SMALLEST_SIDE:
            raise SettingsError(
                f"batch.image_side={self.image_side}; {_SMALLEST_SIDE} pixels or more are needed. "
                "Give more, or null for the checkpoint's own."
            )


@dataclass
class LoraSettings:
    """The thin matrices that trains=lora trains beside the text decoder's linear maps."""

    rank: int = setting(8, "rows of the one and columns of the other")
    alpha: float = setting(16.0, "their product is added times alpha / rank")
    dropout: float = setting(0.0, "share of a map's inputs that they do not see in training")
    targets: list[str] = setting(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "maps that get them, by the last word of their name",
    )

    def __post_init__(self) -> None:
        _check_share("lora.dropout", self.dropout, up_to=0.99)
        if self.rank < 1:
            raise SettingsError(f"lora.rank={self.rank}; at least 1. Raise it.")


@dataclass
class QatSettings:
    """Quantisation-aware training: the decoder computes as it will with rounded weights."""

    weights: Precision | None = setting(
        None, "int8 or int4, what `gemma3n quantize` or precision= will make of the result"
    )
    ple_bits: int = setting(16, "of per-layer embeddings: 16, 8 or 4, as ple.bits will")

    def __post_init__(self) -> None:
        if self.weights is not None and self.weights not in ROUNDED:
            raise SettingsError(
                f"qat.weights={self.weights.value} rounds nothing; accepted are int8 and int4. "
                "Give one of them, or null."
            )
        if self.ple_bits not in PLE_BITS:
            raise SettingsError(
                f"qat.ple_bits={self.ple_bits}; accepted are {', '.join(map(str, PLE_BITS))}. "
                "Choose one of them."
            )


@dataclass
class RateSettings:
    """How fast weights change."""

    peak: float = setting(1e-3, "highest learning rate")
    final: float = setting(0.05, "share of it that is left at the end (cosine)")
    warmup: int = setting(200, "steps until the highest")
    weight_decay: float = setting(0.01, "of matrices, as in AdamW")
    clip: float = setting(1.0, "largest norm of all gradients together")
    average: float = setting(
        0.0, "save a running mean of the weights, of which a step keeps so much, as 0.999; 0: none"
    )

    def __post_init__(self) -> None:
        _check_share("rate.average", self.average, up_to=0.99999)


class WorkerKind(Enum):
    """What shares a step."""

    processes = "processes"
    ray = "ray"


@dataclass
class WorkersSettings:
    """Who shares a step, where there are several."""

    kind: WorkerKind = setting(
        WorkerKind.processes,
        "processes: of this machine; ray: workers of Ray Train, here or on nodes that all have "
        "the checkpoint, the manifests and the output in the same places",
    )
    address: str | None = setting(None, "of a running Ray cluster; by default one starts here")
    num_cpus: int = setting(1, "of ray: cores of each, and threads that it computes in")

    def __post_init__(self) -> None:
        if self.num_cpus < 1:
            raise SettingsError(f"workers.num_cpus={self.num_cpus}; at least 1. Raise it.")


@dataclass
class TrainJob:
    """Joint training of nested sizes."""

    init: str = setting(
        MISSING,
        "checkpoint folder, without weights in it they are drawn anew; or a name as model.path",
    )
    train: list[str] = setting(MISSING, "manifests to learn from (jsonl with `text`)")
    dev: list[str] = setting([], "manifests to validate on")
    output: str = setting(
        MISSING, "folder of checkpoint, state and logs; an unfinished run resumes"
    )
    trains: Trains = setting(
        Trains.all,
        "all; projection: embedders; towers: with embedders; text; lora: an adapter of text, and "
        "no weight of the checkpoint",
    )
    frozen: list[Part] = setting([], "of these parts, what stays as it is: text, vision, audio")
    steps: int = setting(1000, "steps in all, of this run and those it resumes")
    minutes: float | None = setting(None, "stop after so many minutes, to resume later")
    seed: int = setting(0, "of weights, order and augmentation")
    processes: int = setting(
        1, "processes that share the work of a step; each has a GPU of its own, or one thread"
    )
    device: Device = setting(Device.auto, "cpu or cuda; auto: cuda, where this machine has it")
    precision: Precision = setting(
        Precision.auto, "of the audio tower, on a GPU of all parts; weights stay float32"
    )
    gradient_checkpointing: bool = setting(
        False,
        "keep no activations within layers, but compute them again for their gradients: a fraction "
        "of the memory, for about a third more time",
    )
    audio_prompt: str = setting("", "asked of clips without a prompt of their own")
    image_prompt: str = setting("", "asked of images without a prompt of their own")
    augment: bool = setting(True, "vary clips and images")
    save_minutes: float = setting(5.0, "between two saves of the state")
    validate_steps: int = setting(1000, "between two validations; 0 for none but the last")
    validate_first: bool = setting(False, "also before the first step")
    validate_rows: int = setting(100, "rows of each set, at most")
    loss: LossSettings = field(default_factory=LossSettings)
    joint: JointSettings = field(default_factory=JointSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    rate: RateSettings = field(default_factory=RateSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    qat: QatSettings = field(default_factory=QatSettings)
    workers: WorkersSettings = field(default_factory=WorkersSettings)
