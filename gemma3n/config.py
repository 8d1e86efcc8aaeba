"""What the model is: `config.json` of a released checkpoint -> a dataclass per part.

Field names are those of the released files and defaults are E4B's, so a checkpoint only has to
state what differs. Both spellings of released files are read: the older one (`rope_theta`,
`rope_local_base_freq`) and that of transformers 5 (`rope_parameters`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from inspect import formatannotation
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from gemma3n.errors import SettingsError

SLIDING = "sliding_attention"
FULL = "full_attention"
_PERIOD = 5  # every fifth layer sees the whole context
_SPARSE_PREFIX = 10  # layers with activation sparsity, where the file does not say
_SPARSITY = 0.95
_OTHER_MODEL = "This is another model's config: use that of a Gemma 3n checkpoint."


@dataclass
class TextConfig:
    """The text decoder. Lists hold one entry per layer; empty ones follow the family's rule."""

    vocab_size: int = 262_400
    vocab_size_per_layer_input: int = 262_144  # rows of the PLE table; ids past it use row 0
    hidden_size: int = 2048
    hidden_size_per_layer_input: int = 256
    num_hidden_layers: int = 35
    intermediate_size: list[int] = field(default_factory=list)  # FFN width
    num_attention_heads: int = 8
    num_key_value_heads: int = 2
    head_dim: int = 256
    num_kv_shared_layers: int = 15  # the last layers, which attend with an earlier layer's K/V
    layer_types: list[str] = field(default_factory=list)
    sliding_window: int = 512  # positions a local layer may see, its own included
    rope_theta: float = 1_000_000.0  # full layers
    rope_local_base_freq: float = 10_000.0  # sliding layers
    max_position_embeddings: int = 32_768
    activation_sparsity_pattern: list[float] = field(default_factory=list)
    altup_num_inputs: int = 4
    altup_active_idx: int = 0
    altup_coef_clip: float | None = 120.0  # training only
    altup_correct_scale: bool = True
    laurel_rank: int = 64
    rms_norm_eps: float = 1e-6
    final_logit_softcapping: float | None = 30.0
    pad_token_id: int = 0
    eos_token_id: int = 1
    bos_token_id: int = 2

    def __post_init__(self) -> None:
        layers = self.num_hidden_layers
        if layers < 1:
            raise SettingsError(
                f"num_hidden_layers={layers}; a decoder needs at least 1 layer. Raise it."
            )
        self.intermediate_size = self.intermediate_size or [16_384] * layers
        self.layer_types = self.layer_types or [
            SLIDING if (i + 1) % _PERIOD else FULL for i in range(layers)
        ]
        sparse = _SPARSE_PREFIX if layers > _SPARSE_PREFIX else 0
        self.activation_sparsity_pattern = self.activation_sparsity_pattern or [
            _SPARSITY if i < sparse else 0.0 for i in range(layers)
        ]
        for name in ("intermediate_size", "layer_types", "activation_sparsity_pattern"):
            if len(getattr(self, name)) != layers:
                raise SettingsError(
                    f"{name} has {len(getattr(self, name))} entries for {layers} layers. "
                    "Give one per layer, or leave it out."
                )
        if unknown := set(self.layer_types) - {SLIDING, FULL}:
            raise SettingsError(
                f"layer_types holds {sorted(unknown)}; a layer is '{SLIDING}' or '{FULL}'. "
                "Correct it, or leave it out."
            )
        if not 0 <= self.num_kv_shared_layers < layers:
            raise SettingsError(
                f"num_kv_shared_layers={self.num_kv_shared_layers}, but of {layers} layers "
                f"0 to {layers - 1} may share. Lower it."
            )
        own = self.layer_types[: self.first_shared_layer]
        if lacking := set(self.layer_types[self.first_shared_layer :]) - set(own):
            raise SettingsError(
                f"the KV-sharing layers are of types {sorted(lacking)}, which no earlier layer "
                "has. Lower num_kv_shared_layers, or change layer_types."
            )

    @property
    def first_shared_layer(self) -> int:
        """First layer without K/V of its own; equals the number of layers if none shares."""
        return self.num_hidden_layers - self.num_kv_shared_layers

    def kv_source(self, layer: int) -> int:
        """The layer whose K/V `layer` attends with: its own, or the last unshared of its type."""
        if layer < self.first_shared_layer:
            return layer
        own = self.layer_types[: self.first_shared_layer]
        return len(own) - 1 - own[::-1].index(self.layer_types[layer])


@dataclass
class VisionConfig:
    """The vision tower (MobileNet-V5) and its embedder."""

    hidden_size: int = 2048  # channels of the image features
    vocab_size: int = 128  # hard rows of the embedder
    vocab_offset: int = 262_144
    rms_norm_eps: float = 1e-6
    architecture: str = "mobilenetv5_300m_enc"
    # timm's overrides; `block_args` replaces the block table of the 300M tower.
    model_args: dict[str, Any] | None = None


@dataclass
class AudioConfig:
    """The audio tower (USM conformer) and its embedder."""

    hidden_size: int = 1536
    input_feat_size: int = 128  # mel bins
    vocab_size: int = 128  # hard rows of the embedder
    vocab_offset: int = 262_272
    rms_norm_eps: float = 1e-6
    gradient_clipping: float = 1e10  # activations are clamped to this, inference included
    conf_num_hidden_layers: int = 12
    conf_num_attention_heads: int = 8
    conf_attention_chunk_size: int = 12
    conf_attention_context_left: int = 13  # the query's own frame included
    conf_attention_context_right: int = 0
    conf_attention_logit_cap: float = 50.0
    conf_conv_kernel_size: int = 5
    conf_reduction_factor: int = 4  # one soft token per so many conformer frames
    conf_residual_weight: float = 0.5
    sscp_conv_channel_size: list[int] = field(default_factory=lambda: [128, 32])
    sscp_conv_kernel_size: list[list[int]] = field(default_factory=lambda: [[3, 3], [3, 3]])
    sscp_conv_stride_size: list[list[int]] = field(default_factory=lambda: [[2, 2], [2, 2]])
    sscp_conv_group_norm_eps: float = 1e-3


@dataclass
class Config:
    """A whole checkpoint: its parts and the ids that mark media in a token sequence."""

    text: TextConfig = field(default_factory=TextConfig)
    vision: VisionConfig | None = field(default_factory=VisionConfig)
    audio: AudioConfig | None = field(default_factory=AudioConfig)
    boi_token_id: int = 255_999  # begin of image
    eoi_token_id: int = 262_144
    image_token_id: int = 262_145  # placeholder of one image soft token
    boa_token_id: int = 256_000  # begin of audio
    eoa_token_id: int = 262_272
    audio_token_id: int = 262_273
    vision_soft_tokens_per_image: int = 256
    audio_soft_tokens_per_image: int = 188  # the released spelling; it means "per clip"
    raw: dict[str, Any] = field(default_factory=dict, repr=False)  # the file as it was read

    @property
    def only_language(self) -> str | None:
        """The one that the checkpoint knows, if it says so by the extra key `languages`.

        It is a list of codes; released checkpoints, which know many, have none.
        """
        match self.raw.get("languages"):
            case [str(language)]:
                return language
        return None

    @classmethod
    def from_folder(cls, folder: Path) -> "Config":
        """Read `config.json` of a checkpoint folder.

        Raises:
            SettingsError: no such folder or file, not JSON, or not a Gemma 3n config.
        """
        path = folder / "config.json"
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise SettingsError(
                f"model folder '{folder}' {what}. Give the folder of a Gemma 3n "
                "checkpoint, the one with config.json in it."
            )
        if not path.is_file():
            raise SettingsError(
                f"'{folder}' has no config.json, so it is not a checkpoint folder. "
                "Give the folder that holds config.json and *.safetensors."
            )
        raw = read_object(path)
        try:
            return cls.from_dict(raw)
        except SettingsError as error:
            raise SettingsError(f"'{path}': {error}") from None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Config":
        """Build from a released config, whole (`gemma3n`) or text-only (`gemma3n_text`).

        Raises:
            SettingsError: another model's config, or a value this code does not implement.
        """
        kind = raw.get("model_type")
        if kind not in ("gemma3n", "gemma3n_text"):
            raise SettingsError(
                f"model_type is {kind!r}; accepted are 'gemma3n' and 'gemma3n_text'. "
                + _OTHER_MODEL
            )
        if kind == "gemma3n_text":
            return cls(text=_text(raw), vision=None, audio=None, raw=dict(raw))
        vision, audio = _section(raw, "vision_config"), _section(raw, "audio_config")
        return cls(
            text=_text(_section(raw, "text_config") or {}),
            vision=None if vision is None else VisionConfig(**_checked(VisionConfig, vision)),
            audio=None if audio is None else AudioConfig(**_checked(AudioConfig, audio)),
            raw=dict(raw),
            **_ids(raw),
        )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint that holds an object.

    Raises:
        SettingsError: it is not JSON, or holds something else.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"'{path}' is not JSON: {error}. Download it again.") from error
    if not isinstance(raw, dict):
        raise SettingsError(
            f"'{path}' holds a {type(raw).__name__}; accepted is an object. Download it again."
        )
    return raw


def _known(part: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `raw` that `part` has a field for; a null means the default."""
    names = {f.name for f in fields(part)}
    return {key: value for key, value in raw.items() if key in names and value is not None}


def _checked(part: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that `part` has a field for, each of that field's type."""
    known = _known(part, raw)
    for entry in fields(part):
        if entry.name in known and not _fits(known[entry.name], entry.type):
            raise SettingsError(
                f"{entry.name}={known[entry.name]!r}; it must be of type "
                f"{formatannotation(entry.type)}. Correct it, or download the file again."
            )
    return known


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(one, *get_args(kind)) for one in value)
    if isinstance(value, bool):  # to Python it is a whole number
        return kind is bool
    return isinstance(value, int | float if kind is float else get_origin(kind) or kind)


def _section(raw: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    value = raw.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise SettingsError(
            f"{key}={value!r}; it must be an object. Correct it, or download the file again."
        )
    return value


def _ids(raw: Mapping[str, Any]) -> dict[str, Any]:
    parts = {"text", "vision", "audio", "raw"}
    return _checked(Config, {key: value for key, value in raw.items() if key not in parts})


def _text(raw: Mapping[str, Any]) -> TextConfig:
    known = _known(TextConfig, raw)
    layers = known.get("num_hidden_layers", TextConfig.num_hidden_layers)
    for name in ("intermediate_size", "activation_sparsity_pattern"):
        if isinstance(known.get(name), int | float) and isinstance(layers, int):
            known[name] = [known[name]] * layers
    match known.get("eos_token_id"):
        case [first, *_]:
            known["eos_token_id"] = first
    known = _checked(TextConfig, known | _rope(raw))
    if "final_logit_softcapping" in raw:
        known["final_logit_softcapping"] = raw["final_logit_softcapping"]
    activation = raw.get("hidden_activation") or "gelu_pytorch_tanh"
    if activation != "gelu_pytorch_tanh":
        raise SettingsError(
            f"hidden_activation={activation!r}; only 'gelu_pytorch_tanh' exists. {_OTHER_MODEL}"
        )
    if raw.get("attention_bias"):
        raise SettingsError(
            f"attention_bias={raw['attention_bias']!r}; accepted is false, Gemma 3n has no such "
            f"biases. {_OTHER_MODEL}"
        )
    return TextConfig(**known)


def _rope(raw: Mapping[str, Any]) -> dict[str, Any]:
    """RoPE base frequencies from the newer spelling; the older one uses our own field names."""
    parameters = _section(raw, "rope_parameters") or {}
    scaling = _section(raw, "rope_scaling") or {}
    for entry in (scaling, *parameters.values()):
        if isinstance(entry, Mapping) and entry.get("rope_type", "default") != "default":
            raise SettingsError(
                f"rope_type={entry['rope_type']!r}; accepted is 'default', unscaled. {_OTHER_MODEL}"
            )
    names = {FULL: "rope_theta", SLIDING: "rope_local_base_freq"}
    return {
        names[kind]: entry["rope_theta"]
        for kind, entry in parameters.items()
        if kind in names and isinstance(entry, Mapping) and "rope_theta" in entry
    }
