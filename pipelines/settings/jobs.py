"""What each job takes, but for training."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from gemma3n.choices import Device, Pack, Precision
from gemma3n.errors import SettingsError
from pipelines.settings.executor import ExecutorSettings
from pipelines.settings.model import (
    ModelSettings,
    NestedSettings,
    Part,
    PleSettings,
    PolicySettings,
)
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
    compile: bool = setting(
        False,
        "fuse the decoder's small operations with torch.compile: faster after a minute at first "
        "use, for long jobs; it takes a C++ compiler",
    )
    device: Device = setting(
        Device.auto, "auto: cuda, then mps, then cpu, the first that this machine has"
    )
    adapter: str | None = setting(
        None, "folder of a LoRA adapter of the text decoder, in peft's layout"
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
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
    degrade: bool = setting(
        False,
        "where nested.budget_gb cannot hold the job: a smaller nested size, then smaller pictures",
    )
    nested: NestedSettings = field(default_factory=NestedSettings)
    sink: SinkSettings = field(default_factory=SinkSettings)


class Task(Enum):
    """What of ours is scored: a job over a source."""

    transcribe = "transcribe"
    translate = "translate"
    caption = "caption"
    generate = "generate"


class Normaliser(Enum):
    """What makes a reference and an answer comparable."""

    basic = "basic"
    english = "english"
    none = "none"


@dataclass
class EvaluateJob(SourceJob):
    """A job on labelled rows, once a nested size, and its scores; or a task of lm-eval."""

    task: str = setting(
        Task.transcribe.value,
        "transcribe, translate, caption, generate: the job whose path and prompt are used; or a "
        "task of lm-eval (mmlu, gsm8k), or the YAML file of one",
    )
    sizes: list[str] = setting(["full", "small"], "nested sizes to compare, the first with each")
    normalise: Normaliser = setting(
        Normaliser.basic,
        "basic: no case, no punctuation; english: as Whisper does, numbers and contractions too; "
        "none: texts as they stand. BLEU and chrF always take them so",
    )
    calibrate: bool = setting(
        False, "choose the threshold of policy=auto: the first size against the second"
    )
    tolerance: float = setting(
        0.01, "of calibrate: how much worse than the first size auto may score, 0.01 is a point"
    )
    seed: int = setting(0, "of calibrate: which half of the rows chooses the threshold")
    compare: list[str] = setting(
        [], "run folders to compare, each with the first, instead of running anything"
    )
    shots: int | None = setting(
        None, "of a task of lm-eval: examples in each prompt; by default what the task says"
    )
    chat: bool = setting(
        False, "of a task of lm-eval: ask in turns of a chat, as instruction-tuned models expect"
    )
    worst: int = setting(5, "rows of each set to list, the worst first")
    # Not every evaluation has rows of its own.
    source: SourceSettings = field(default_factory=lambda: SourceSettings(path=[]))
    json: bool = setting(False, "print JSON instead of a table")

    def __post_init__(self) -> None:
        for name, least in (("worst", 0), ("shots", 0), ("tolerance", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise SettingsError(
                    f"{name}={value}; {least} or more. Leave it out for the default."
                )
        if not self.sizes:
            raise SettingsError("sizes=[]; name at least one nested size.")


# Names as people write them, which no Python name may be.
Machine = Enum(
    "Machine",
    {
        "this": "this",
        "phone-4gb": "phone-4gb",
        "phone-8gb": "phone-8gb",
        "laptop-16gb": "laptop-16gb",
        "h100-80gb": "h100-80gb",
    },
)


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
    policy: PolicySettings = field(default_factory=PolicySettings)
    ple: PleSettings = field(default_factory=PleSettings)
    context: int | None = setting(
        None, "tokens a row may reach, prompt and answer; by default 4096, or all there are"
    )
    batch: int = setting(8, "rows decoded at once, and encoded")
    resize: ResizeSettings = field(default_factory=ResizeSettings)
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    machine: Machine = setting(
        Machine["this"], "what it is to fit: this one, or what a program gets of one like these"
    )
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
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
    calibrate: list[str] = setting(
        [],
        "manifests (jsonl with `text`) whose rows decide how int4 weights are rounded (GPTQ); "
        "none: to nearest",
    )
    rows: int = setting(128, "rows of them, spread evenly")
    output: str = setting(MISSING, "folder to write; must not exist, or be empty")


@dataclass
class MergeJob:
    """A checkpoint with an adapter's additions in its weights."""

    model: ModelSettings = field(default_factory=ModelSettings)
    adapter: str = setting(MISSING, "folder of a LoRA adapter, in peft's layout")
    output: str = setting(MISSING, "folder to write; must not exist, or be empty")


class Peer(Enum):
    """Other projects' engines that a bench compares ours with."""

    transformers = "transformers"
    llama_cpp = "llama_cpp"
    timm = "timm"


class Measured(Enum):
    """What a bench measures."""

    decode = "decode"
    prefill = "prefill"
    encode = "encode"
    pipeline = "pipeline"
    profile = "profile"
    memory = "memory"
    speculative = "speculative"
    ple = "ple"
    store = "store"
    tiers = "tiers"
    linear = "linear"
    read = "read"
    resize = "resize"
    ray = "ray"
    ray_memory = "ray_memory"
    ray_scale = "ray_scale"


@dataclass
class BenchJob:
    """Speed and memory on this machine."""

    what: Measured = setting(
        Measured.decode,
        "decode: a checkpoint's load and text; prefill: prompts alone; encode: its towers; "
        "pipeline: whole jobs, files to answers; profile: where the time of a step goes; "
        "memory: of text, pictures and clips, against plan; speculative: what drafts gain; linear: "
        "products with weights of every format; ple: rows of its per-layer embeddings; "
        "store, tiers: text with these in Ray actors, on a cold disk, against in memory; "
        "read: wav files to mel; resize: pictures to pixels; ray: clips by "
        "executor=ray and in one process; ray_memory: its driver over light rows; "
        "ray_scale: more and more workers that only sleep",
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    nested: NestedSettings = field(default_factory=NestedSettings)
    precision: Precision = setting(Precision.auto, "number format of the weights when loaded")
    pack: Pack = setting(Pack["auto"], "whether they are packed copies; auto: where it helps")
    compile: bool = setting(False, "of decode, prefill, pipeline and profile: with torch.compile")
    ple: PleSettings = field(default_factory=PleSettings)
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    prompt_tokens: int = setting(16, "random tokens of the prompt")
    prompts: list[int] = setting([512], "of prefill: tokens of a prompt, each measured")
    new_tokens: int = setting(64, "tokens to generate")
    policy: PolicySettings = field(default_factory=PolicySettings)
    peers: list[Peer] = setting(
        [], "of decode, prefill and encode: who does the same work in turns with ours"
    )
    tower: Part = setting(Part.audio, "of encode and pipeline: audio or vision")
    peers_env: str = setting(".venv-peers", "their environment, as `make peers` makes it")
    peers_files: str = setting(
        "outputs/bench", "folder that keeps what is written for them: GGUF files of llama_cpp"
    )
    precisions: list[Precision] = setting(
        [Precision.bfloat16], "of ours beside peers, of prefill, encode and memory, each measured"
    )
    sizes: list[str] = setting(
        [], "of memory: nested sizes by name, each measured; by default nested"
    )
    rows: int = setting(
        1,
        "rows of text at once, of pipeline, speculative, ple (that share a row cache) and tiers",
    )
    batches: list[int] = setting(
        [], "rows at once, by default 1, 8 and 32 of decode with peers, and 256 of linear, too"
    )
    megabytes: int = setting(
        600, "of linear: weights of each format, more than the processor's cache holds"
    )
    text: list[str] = setting([], "text files whose tokens ple reads, instead of random ones")
    tokenizer: str | None = setting(
        None, "of that text: a tokenizer.json or a sentencepiece model; by default the checkpoint's"
    )
    memory_gb: float = setting(
        6.0,
        "of tiers: memory (cgroup) of the process whose table is on the disk; 0 for all, and for "
        "no cgroup of what=memory either",
    )
    files: int = setting(
        64, "clips of read, pipeline and ray, pictures of resize, rows of ray_memory"
    )
    workers: list[int] = setting([1, 2, 4, 8, 16, 32, 64], "decoders of ray_scale, a run each")
    soft_tokens: list[int] = setting(
        [188], "of a row of ray_scale, a run each: of a clip of 30 s; 1 leaves the driver alone"
    )
    batch_s: float = setting(0.5, "seconds that a decoder of ray_scale takes for 8 rows")
    seconds: float = setting(30.0, "seconds that a run of ray_scale takes if nothing is lost")
    repeat: int = setting(3, "runs; of decode and tiers each in a process of its own")
    json: bool = setting(False, "print JSON instead of a table")
