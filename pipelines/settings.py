"""How to run: one dataclass per job and per group. These are the truth; YAML holds what differs.

No torch, no Ray, no Hydra here: help, config errors and the path check read only this file and
the settings of the stages.
"""

from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from omegaconf import MISSING

from gemma3n.choices import FLOAT16, NO_FLOAT16, Device, Precision
from gemma3n.errors import SettingsError
from gemma3n.named import NANO, checkpoint_folder, pinned
from stages.decode import DecodeSettings
from stages.encode import EncodeSettings
from stages.fuse import FuseSettings
from stages.mel import MelSettings
from stages.resize import ResizeSettings
from stages.setting import fixed, setting
from stages.source import SourceSettings
from stages.write import SinkSettings

# What people ask for and cannot have, with the reason.
REFUSED = {f"precision={name}": NO_FLOAT16 for name in FLOAT16}


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


class ExecutorKind(Enum):
    """Who runs the path."""

    in_process = "in_process"
    ray = "ray"


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


@dataclass
class PleSettings:
    """Per-layer embeddings (PLE)."""

    placement: PlePlacement = setting(
        PlePlacement.mmap,
        "mmap: on SSD, the page cache decides; resident: in host memory; store: in Ray actors that "
        "all decoders ask",
    )
    shards: int = setting(1, "actors of ple=store, each with its part of the vocabulary")

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise SettingsError(f"ple.shards={self.shards}; at least 1. Raise it.")


@dataclass
class PoolSettings:
    """Processes that run the same stages; what each of them takes is in Ray's own words."""

    stages: list[str] = setting([], "neighbours on the path that share a process")
    num_cpus: float = setting(1.0, "cores of each; its model uses so many threads, at least 1")
    num_gpus: float = setting(0.0, "GPUs of each; a share where several use one")
    memory: float = setting(0.0, "bytes that each is given room for; 0 leaves it open")
    resources: dict[str, float] = setting({}, "of your own names: {encoder: 1}")
    labels: dict[str, str] = setting({}, "that its node must have: {ray.io/market-type: spot}")
    min: int = setting(1, "processes at the least")
    max: int = setting(1, "processes at the most; more come while rows wait")
    batch: int = setting(8, "rows a stage gets at once")

    def __post_init__(self) -> None:
        for name, least in (("num_cpus", 0), ("num_gpus", 0), ("memory", 0), ("min", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name}={getattr(self, name)} of a pool; at least {least}.")
        if self.batch < 1:
            raise SettingsError(f"batch={self.batch} of a pool; at least 1. Raise it.")
        if self.max < self.min:
            raise SettingsError(f"max={self.max} of a pool, but min={self.min}. Raise max.")


@dataclass
class PoolsSettings:
    """The pools of `executor=ray`. A stage that none names goes to that of the stage before it."""

    read: PoolSettings = field(
        default_factory=lambda: PoolSettings(["read", "mel", "resize"], num_cpus=0.25, max=2)
    )
    encode: PoolSettings = field(default_factory=lambda: PoolSettings(["encode"], num_cpus=0.5))
    decode: PoolSettings = field(default_factory=lambda: PoolSettings(["fuse", "decode"]))
    write: PoolSettings = field(
        default_factory=lambda: PoolSettings(["write"], num_cpus=0.1, batch=64)
    )
    ple: PoolSettings = field(default_factory=lambda: PoolSettings(num_cpus=0.1))  # of ple=store


@dataclass
class ExecutorSettings:
    """Who runs the path, and how much at once. None of it changes a result."""

    kind: ExecutorKind = setting(
        ExecutorKind.in_process,
        "in_process: one process, one device; ray: pools of processes, here or on a cluster",
    )
    batch: int = setting(8, "rows a stage gets at once; a pool of ray has its own")
    readers: int = setting(2, "threads that read files ahead of the model")
    address: str | None = setting(None, "of a running Ray cluster; by default one starts here")
    items_a_task: int = setting(16, "items that ray hands out at once")
    max_row_attempts: int = setting(
        3, "times that a row may be begun whose process dies of it; then it has failed"
    )
    row_timeout_s: float = setting(
        600.0, "seconds for a batch, in a process of its own; then for each row of it"
    )
    pools: PoolsSettings = field(default_factory=PoolsSettings)

    def __post_init__(self) -> None:
        for name, least in (
            ("batch", 1),
            ("readers", 1),
            ("items_a_task", 1),
            ("max_row_attempts", 2),
            ("row_timeout_s", 1),
        ):
            if (value := getattr(self, name)) < least:
                raise SettingsError(f"executor.{name}={value}; at least {least}. Raise it.")


@dataclass
class SourceJob:
    """What every job has that sends a source along a path."""

    output: str | None = setting(
        None, "folder for results, where a run that was ended goes on; by default one in outputs/"
    )
    fresh: bool = setting(False, "begin anew, and delete what runs left in the folder")
    retry_failed: bool = setting(True, "rows that failed are tried again when a run goes on")
    precision: Precision = setting(
        Precision.auto, "auto: bfloat16 where the machine is fast at it, else float32"
    )
    device: Device = setting(
        Device.auto, "auto: cuda, then mps, then cpu, the first that this machine has"
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    ple: PleSettings = field(default_factory=PleSettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    source: SourceSettings = field(default_factory=SourceSettings)
    mel: MelSettings = field(default_factory=MelSettings)
    resize: ResizeSettings = field(default_factory=ResizeSettings)
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    fuse: FuseSettings = field(default_factory=FuseSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)


@dataclass
class PathJob(SourceJob):
    """A job that is one pass along the path: transcribe, translate, caption, generate."""

    # Set by the YAML that is the job, and by nobody else; its run folders are named after it.
    job: str = fixed(MISSING)
    path: list[str] = setting(MISSING, "stages in order")
    nested: NestedSettings = field(default_factory=NestedSettings)
    sink: SinkSettings = field(default_factory=SinkSettings)


class Task(Enum):
    """What is scored: a job over a source."""

    transcribe = "transcribe"
    caption = "caption"
    generate = "generate"


@dataclass
class EvaluateJob(SourceJob):
    """A job on labelled rows, once a nested size, and its scores."""

    task: Task = setting(Task.transcribe, "the job whose path and prompt are used")
    sizes: list[str] = setting(["full", "small"], "nested sizes to compare, the first with each")
    worst: int = setting(5, "rows of each set to list, the worst first")
    json: bool = setting(False, "print JSON instead of a table")


@dataclass
class PlanJob:
    """What a load would cost, from the files' headers alone."""

    model: ModelSettings = field(default_factory=ModelSettings)
    sizes: list[str] = setting(["full", "small"], "nested sizes to compare, by name")
    parts: list[Part] = setting([Part.text, Part.vision, Part.audio], "parts to count")
    precision: Precision = setting(
        Precision.auto, "number format of weights and KV cache; auto counts as bfloat16"
    )
    ple: PleSettings = field(default_factory=PleSettings)
    context: int | None = setting(
        None, "tokens a row may reach, prompt and answer; by default 4096, or all there are"
    )
    batch: int = setting(8, "rows decoded at once")
    json: bool = setting(False, "print JSON instead of a table")


@dataclass
class SliceJob:
    """A nested size out of a larger checkpoint, as a checkpoint of its own."""

    model: ModelSettings = field(default_factory=ModelSettings)
    nested: NestedSettings = field(default_factory=NestedSettings)
    output: str = setting(MISSING, "folder to write; must not exist, or be empty")


class Measured(Enum):
    """What a bench measures."""

    decode = "decode"
    read = "read"
    resize = "resize"


@dataclass
class BenchJob:
    """Speed and memory on this machine."""

    what: Measured = setting(
        Measured.decode,
        "decode: a checkpoint's load and text; read: wav files to mel; resize: pictures to pixels",
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    nested: NestedSettings = field(default_factory=NestedSettings)
    precision: Precision = setting(Precision.auto, "number format of the weights when loaded")
    ple: PleSettings = field(default_factory=PleSettings)
    prompt_tokens: int = setting(16, "random tokens of the prompt")
    new_tokens: int = setting(64, "tokens to generate")
    files: int = setting(64, "clips of read, pictures of resize")
    repeat: int = setting(3, "runs; of decode each in a process of its own")
    json: bool = setting(False, "print JSON instead of a table")


def _check_share(name: str, value: float, up_to: float) -> None:
    if not 0 <= value <= up_to:
        raise SettingsError(f"{name}={value}; it is a share, 0 to {up_to}. Correct it.")


class Trains(Enum):
    """Which weights change."""

    all = "all"
    projection = "projection"
    towers = "towers"
    text = "text"


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
    accumulate: int = setting(1, "such batches before the weights change")

    def __post_init__(self) -> None:
        _check_share("batch.wrong", self.wrong, up_to=1.0)


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
    trains: Trains = setting(Trains.all, "all; projection: embedders; towers: with embedders; text")
    frozen: list[Part] = setting([], "of these parts, what stays as it is: text, vision, audio")
    steps: int = setting(1000, "steps in all, of this run and those it resumes")
    minutes: float | None = setting(None, "stop after so many minutes, to resume later")
    seed: int = setting(0, "of weights, order and augmentation")
    processes: int = setting(1, "processes that share the work of a step, one thread each if > 1")
    precision: Precision = setting(Precision.auto, "of the audio tower; weights stay float32")
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


# The names by which a job's YAML asks for one of these, as the first of its `defaults`.
SCHEMAS: dict[str, type] = {
    "train_job": TrainJob,
    "path_job": PathJob,
    "evaluate_job": EvaluateJob,
    "plan_job": PlanJob,
    "slice_job": SliceJob,
    "bench_job": BenchJob,
}

SAVED = (PathJob, EvaluateJob, TrainJob)  # those whose runs keep a config.yaml
