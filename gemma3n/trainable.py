"""A checkpoint's parts as one module whose weights can be trained; saved in the released layout."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.audio.conformer import Conformer
from gemma3n.checkpoint import PLE_TABLE, PREFIXES, Checkpoint
from gemma3n.choices import Precision
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.fake_rounding import round_in_training, rounded_rows
from gemma3n.fuse import Embedder, image_sequence, with_hard_rows, with_soft_tokens
from gemma3n.initial import initialise
from gemma3n.placement import PLE_BITS
from gemma3n.rounded import refuse_rounded
from gemma3n.save import Output, write_json, write_shards
from gemma3n.text.altup import AltUp
from gemma3n.text.decoder import Decoder
from gemma3n.text.packing import Packing
from gemma3n.text.ple import Traffic
from gemma3n.vision.mobilenet import MobileNet
from gemma3n.whole_folder import replacing_folder

_TABLE = "text.table.weight"  # the name of the PLE table here
_RELEASED = {ours: theirs for theirs, ours in reversed(PREFIXES.items())}


class TrainableTable(nn.Module):
    """The PLE table as a parameter, beside the decoder that is being trained with it."""

    waits = False
    packing: Packing | None = None  # rows act as if they were packed so

    def __init__(self, vocab: int, layers: int, ple: int) -> None:
        super().__init__()
        self.traffic = Traffic()  # not counted
        self.ple = ple
        self.weight = nn.Parameter(torch.zeros(vocab, layers * ple))

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """See `gemma3n.text.ple.PleTable.rows`."""
        rows = F.embedding(token_ids.to(self.weight.device), self.weight)
        rows = rows.view(len(token_ids), -1, self.ple)[:, list(layers)]
        return rows if self.packing is None else rounded_rows(rows, self.packing)

    def ahead(self, token_ids: Tensor, layers: Sequence[int]) -> None:
        """See `gemma3n.text.ple.PleTable.ahead`: rows are here."""


class Trainable(nn.Module):
    """All parts of one config, in float32.

    Args:
        config: of the checkpoint, old or new.
        seed: of the first weights.
    """

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__()
        self.config, text = config, config.text
        ple = text.hidden_size_per_layer_input
        self.text = Decoder(text)
        self.text.table = TrainableTable(
            text.vocab_size_per_layer_input, text.num_hidden_layers, ple
        )
        self.vision = self.embed_vision = self.audio = self.embed_audio = None
        if config.vision is not None:
            self.vision = MobileNet(config.vision)
            self.embed_vision = Embedder(config.vision, text.hidden_size)
        if config.audio is not None:
            self.audio = Conformer(config.audio)
            self.embed_audio = Embedder(config.audio, text.hidden_size)
        initialise(self, seed)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return cast(Tensor, self.text.norm.weight).device

    def place(self, device: torch.device) -> None:
        """Move to a device all that computes there.

        The PLE table, if it does not train, stays in host memory: it is the largest tensor, and
        only the rows that are asked for have to travel.
        """
        table = cast(TrainableTable, self.text.table)
        towers = [part for part in self.children() if part is not self.text]
        for part in (*towers, *self.text.children()):
            if part is not table or table.weight.requires_grad:
                part.to(device)

    def soft_audio(self, mels: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Clips -> soft tokens, and the frames that they are picked from.

        Args:
            mels: [batch, frames, bins]
            lengths: int64 [batch], frames of each clip.

        Returns:
            Soft tokens, one [tokens, hidden] a clip; conformer frames [batch, frames / 4, width],
            40 ms each; how many of them each clip has, int64 [batch].

        Raises:
            SettingsError: the config has no audio tower.
        """
        if self.audio is None or self.embed_audio is None:
            raise SettingsError(_without("audio"))
        real = torch.arange(mels.shape[1], device=mels.device) < lengths[:, None]
        frames, mask = self.audio.frames(mels, real, lengths)
        every = self.audio.config.conf_reduction_factor
        clips = [
            self.embed_audio.soft(clip[keep])
            for clip, keep in zip(frames[:, ::every], mask[:, ::every], strict=True)
        ]
        return clips, frames, mask.sum(1)

    def soft_images(self, pixels: Tensor) -> Tensor:
        """Pixels [n, 3, size, size] in 0..1 -> soft tokens [n, 256, hidden].

        Raises:
            SettingsError: the config has no vision tower.
        """
        if self.vision is None or self.embed_vision is None:
            raise SettingsError(_without("vision"))
        return self.embed_vision.soft(image_sequence(self.vision(pixels)))

    def fused(
        self, token_ids: Tensor, images: Sequence[Tensor] = (), audio: Sequence[Tensor] = ()
    ) -> Tensor:
        """Token ids [batch, seq] and soft tokens in order -> fused embeddings."""
        media = [e for e in (self.embed_vision, self.embed_audio) if e is not None]
        embeddings = with_hard_rows(self.text.embed(token_ids), token_ids, media)
        return with_soft_tokens(embeddings, token_ids, self.config, self.embed_audio, images, audio)

    @torch.no_grad()
    def load(self, checkpoint: Checkpoint) -> None:
        """Take over all weights of a checkpoint of the same config.

        Raises:
            SettingsError: they are rounded.
        """
        refuse_rounded(checkpoint.config, "trained")
        state = {
            name: checkpoint.tensor(PLE_TABLE if name == _TABLE else name)
            for name in self.state_dict()
        }
        self.load_state_dict(state)

    def recompute(self) -> None:
        """From now on let backward compute again what is within layers and blocks."""
        for part in (self.text, self.vision, self.audio):
            if part is not None:
                part.recompute = True

    def act_rounded(self, weights: Precision | None, ple_bits: int) -> None:
        """Compute from now on as with rounded weights (QAT); what trains stays exact.

        Args:
            weights: int8 or int4, of the decoder's linear maps; None leaves them.
            ple_bits: of PLE rows: 16 leaves them, 8 and 4 are packed.
        """
        if weights is not None:
            round_in_training(self.text, self.config, weights)
        if ple_bits < PLE_BITS[0]:
            table = cast(TrainableTable, self.text.table)
            table.packing = Packing(table.ple, ple_bits)

    @torch.no_grad()
    def clip_mixing(self) -> None:
        """Keep AltUp's coefficients, if they train, within `altup_coef_clip`, as published."""
        most = self.config.text.altup_coef_clip
        for part in self.modules():
            if most is None or not isinstance(part, AltUp):
                continue
            if part.prediction_coefs.weight.requires_grad:
                part.prediction_coefs.weight.clamp_(-most, most)
                part.correction_coefs.weight.clamp_(-most, most)

    def save(self, folder: Path, companions: Path, dtype: torch.dtype = torch.bfloat16) -> None:
        """Write a checkpoint of the released layout, replacing an earlier one there.

        Args:
            folder: is made if need be.
            companions: folder whose config.json, tokenizer.model and the like go with it.
            dtype: of the written weights, bfloat16 or float32.
        """
        with replacing_folder(folder) as partial:
            write_json(partial / "config.json", self.config.raw)
            for name in ("tokenizer.model", "preprocessor_config.json"):
                if (companions / name).is_file():
                    shutil.copyfile(companions / name, partial / name)
            write_shards(partial, list(self._outputs(dtype)))

    def _outputs(self, dtype: torch.dtype) -> Iterator[Output]:
        spelling = {torch.bfloat16: "BF16", torch.float32: "F32"}[dtype]
        for name, tensor in self.state_dict().items():
            ours = PLE_TABLE if name == _TABLE else name
            part, rest = ours.split(".", 1)
            written = tensor.detach().to("cpu", dtype)
            yield Output(
                _RELEASED[part + "."] + rest, spelling, tuple(written.shape), iter([written])
            )


def _without(part: str) -> str:
    return (
        f"rows with {part} came, but config.json has no {part}_config. "
        "Leave them out, or start from a config that has it."
    )
