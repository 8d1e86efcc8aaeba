"""What each job takes, but for training."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from gemma3n.choices import Device, Pack, Precision
from pipelines.settings.executor import ExecutorSettings
from pipelines.settings.model import ModelSettings, NestedSettings, Part, PleSettings
from stages.decode import DecodeSettings
from stages.encode import EncodeSettings
from stages.fuse import FuseSettings
from stages.mel import MelSettings
from stages.resize import ResizeSettings
from stages.setting import fixed, setting
from stages.source import SourceSettings
from stages.write import SinkSettings


@dataclass
class SourceJob:
    """What every job has that sends a source along a path."""

    output: str | None = setting(
        None, "folder for results, where a run that was ended goes on; by default one in outputs/"
    )
    fresh: bool = setting(False, "begin anew, and delete what runs left in the folder")
    retry_failed: bool = setting(True, "rows that failed are tried again when a run goes on")
    precision: Precision = setting(
        Precision.auto,
        "auto: bfloat16 where the machine is fast at it, else float32; int8, int4: the text "
        "decoder's weights are rounded, for speed and memory",
    )
    pack: Pack = setting(
        Pack["auto"],
        "true: copies of the decoder's weights in the layout that a CPU multiplies fastest with; "
        "false: left in their files, small and shared by processes; auto: true where it helps",
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
    pack: Pack = setting(Pack["auto"], "whether weights are packed copies; auto counts as false")
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


@dataclass
class QuantizeJob:
    """A checkpoint with int8 or int4 weights, made of another."""

    model: ModelSettings = field(default_factory=ModelSettings)
    precision: Precision = setting(
        MISSING, "int8: one scale a row; int4: one for each 32 weights of a row, the head int8"
    )
    output: str = setting(MISSING, "folder to write; must not exist, or be empty")


class Measured(Enum):
    """What a bench measures."""

    decode = "decode"
    linear = "linear"
    read = "read"
    resize = "resize"


@dataclass
class BenchJob:
    """Speed and memory on this machine."""

    what: Measured = setting(
        Measured.decode,
        "decode: a checkpoint's load and text; linear: products with weights of every format; "
        "read: wav files to mel; resize: pictures to pixels",
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    nested: NestedSettings = field(default_factory=NestedSettings)
    precision: Precision = setting(Precision.auto, "number format of the weights when loaded")
    pack: Pack = setting(Pack["auto"], "whether they are packed copies; auto: where it helps")
    ple: PleSettings = field(default_factory=PleSettings)
    prompt_tokens: int = setting(16, "random tokens of the prompt")
    new_tokens: int = setting(64, "tokens to generate")
    rows: list[int] = setting([1, 8, 32, 256], "of linear: rows multiplied at once")
    megabytes: int = setting(
        600, "of linear: weights of each format, more than the processor's cache holds"
    )
    files: int = setting(64, "clips of read, pictures of resize")
    repeat: int = setting(3, "runs; of decode each in a process of its own")
    json: bool = setting(False, "print JSON instead of a table")
