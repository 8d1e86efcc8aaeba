"""An adapter's folder in the layout of peft -> what it adds to a checkpoint's maps; and back.

Tensors are named `base_model.model.<released name of the map>.lora_A.weight`, [rank, inputs], and
`....lora_B.weight`, [outputs, rank].
"""

import re
from collections import defaultdict
from pathlib import Path

from torch import Tensor

from gemma3n.adapter_config import CONFIG, WEIGHTS, AdapterConfig, read_config
from gemma3n.checkpoint import Checkpoint, our_name
from gemma3n.errors import SettingsError
from gemma3n.lora import Adapter, LowRank
from gemma3n.rounded import is_map, shape_of
from gemma3n.save import Output, write_file, write_json
from gemma3n.whole_folder import replacing_folder

_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])(?:\.default)?\.weight")
_TEXT = "text."


def read_adapter(folder: str | Path, checkpoint: Checkpoint) -> Adapter:
    """Read an adapter for a checkpoint.

    Args:
        folder: of the adapter.
        checkpoint: that it was trained on, or one of the same shapes.

    Raises:
        SettingsError: no such folder, not LoRA alone, or made for another model.
    """
    config = read_config(folder)
    pairs = _pairs(Path(folder, WEIGHTS), checkpoint, config.rank)
    low = {
        name.removeprefix(_TEXT): LowRank(down, up, config.scale)
        for name, (down, up) in pairs.items()
    }
    return Adapter(low).requires_grad_(False).eval()


def save_adapter(
    folder: Path, adapter: Adapter, config: AdapterConfig, checkpoint: Checkpoint
) -> None:
    """Write an adapter, in the place of an earlier one.

    Args:
        folder: to write; it is whole or as it was.
        adapter: what was trained.
        config: what it was made with.
        checkpoint: that it was trained on.
    """
    outputs: list[Output] = []
    targets = []
    for name, low in adapter.named():
        targets.append(checkpoint.released(f"{_TEXT}{name}.weight").removesuffix(".weight"))
        for letter, tensor in (("A", low.down), ("B", low.up)):
            released = f"base_model.model.{targets[-1]}.lora_{letter}.weight"
            held = tensor.detach().float().cpu()
            outputs.append(Output(released, "F32", tuple(held.shape), iter([held])))
    with replacing_folder(folder) as partial:
        write_json(partial / CONFIG, config.content(str(checkpoint.name), targets))
        write_file(partial / WEIGHTS, outputs)


def _pairs(path: Path, checkpoint: Checkpoint, rank: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Both tensors of every map, by our name of it, checked against the checkpoint's shapes."""
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in _tensors(path).items():
        match = _NAME.fullmatch(name)
        ours = our_name(match[1]) if match else None
        if match is None or ours is None or not is_map(f"{ours}.weight"):
            raise SettingsError(
                f"'{path}' holds '{name}', which is no map of the text decoder; accepted "
                "are adapters of the decoder alone. Leave the towers out of peft's target_modules, "
                "or merge the adapter with the tool that made it."
            )
        found[ours][match[2]] = tensor
    pairs = {}
    for ours, both in found.items():
        entry = checkpoint.entries.get(f"{ours}.weight")
        down, up = both.get("A"), both.get("B")
        if down is None or up is None or not down.ndim == up.ndim == 2:
            raise SettingsError(f"'{path}' has half of what it adds to '{ours}'. Save it again.")
        came, wanted = (up.shape[0], down.shape[1]), None if entry is None else shape_of(entry)
        if came != wanted:
            raise SettingsError(
                f"'{path}' adds {list(came)} to '{ours}', which in '{checkpoint.folder}' "
                f"{'is not there' if wanted is None else f'is {list(wanted)}'}. It was made for "
                f"another model: {CONFIG} beside it names that in base_model_name_or_path."
            )
        if not down.shape[0] == up.shape[1] == rank:
            raise SettingsError(
                f"'{path}' has rank {down.shape[0]} and {up.shape[1]} at '{ours}', but {CONFIG} "
                f"beside it says r={rank}. Both must be of one adapter: save it again."
            )
        pairs[ours] = (down.float(), up.float())
    return pairs


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise SettingsError(
            f"'{path}' is not a whole safetensors file: {error}. Copy it again."
        ) from error
