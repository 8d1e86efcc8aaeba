"""The loaded parts joined: soft tokens, fused embeddings, logits and text from one object."""

import time
from collections.abc import Callable, Collection, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from gemma3n.audio.conformer import Conformer
from gemma3n.audio.mel import tokens_for
from gemma3n.chat import Mark, Turn, parse_template
from gemma3n.checkpoint import Checkpoint
from gemma3n.device import Formats
from gemma3n.errors import InputError, SettingsError
from gemma3n.fuse import image_sequence, with_hard_rows, with_soft_tokens
from gemma3n.generate import Completion, Generation, Prompt, complete
from gemma3n.matformer import NestedSize, resolve_size
from gemma3n.placement import Ple
from gemma3n.policy import Policy
from gemma3n.sampling import Sampling
from gemma3n.text.cache import EMPTY
from gemma3n.text.decoder import Decoder, Running
from gemma3n.tokenizer import Tokenizer
from gemma3n.towers import Loaded, Towers, left_out
from gemma3n.vision.mobilenet import MobileNet
from gemma3n.vision.pixels import RESOLUTIONS
from gemma3n.weights import Target, load_decoder


class Gemma3n:
    """A loaded checkpoint; made by `gemma3n.load`.

    Attributes:
        config: what the model is.
        size: the nested size that is loaded.
        parts: what may be used of text, vision and audio.
        device: where the weights are.
        dtype: of activations.
        formats: of weights and activations, part by part.
        static: decode in steps of fixed shapes, see `gemma3n.static_step`.
    """

    static = False

    def __init__(
        self,
        checkpoint: Checkpoint,
        size: NestedSize,
        parts: Collection[str],
        device: torch.device,
        formats: Formats,
        ple: Ple,
        rounds_towers: bool = False,
    ) -> None:
        self.checkpoint, self.config = checkpoint, checkpoint.config
        self.size, self.parts = size, tuple(parts)
        self.device, self.dtype, self.formats = device, formats.text, formats
        self.towers = Towers(checkpoint, self.parts, Target(device, formats.towers), rounds_towers)
        self._running: dict[NestedSize, Running] = {}
        self._text: Decoder | None = None
        self._text_took: Loaded | None = None
        if "text" in parts:
            began = time.perf_counter()
            self._text = load_decoder(checkpoint, size, device, formats, ple)
            self._text_took = Loaded.since(began, self._text)

    @property
    def text(self) -> Decoder:
        """The text decoder.

        Raises:
            SettingsError: it was not among the parts asked for.
        """
        if self._text is None:
            raise left_out("text", self.parts)
        return self._text

    @property
    def audio(self) -> Conformer:
        """The audio tower, loaded on first use; see `Towers.audio`."""
        return self.towers.audio()

    @property
    def vision(self) -> MobileNet:
        """The vision tower, loaded on first use; see `Towers.vision`."""
        return self.towers.vision()

    @property
    def took(self) -> dict[str, Loaded]:
        """Seconds and bytes of all that was loaded, by the prefix of its tensors."""
        text = {} if self._text_took is None else {"text": self._text_took}
        return text | self.towers.took

    def unload(self, part: str) -> None:
        """Let go of a tower, whose memory is then free; the next use loads it again.

        Args:
            part: "vision" or "audio".

        Raises:
            SettingsError: another part; text goes with the model itself.
        """
        if part not in ("vision", "audio"):
            raise SettingsError(
                f"unload('{part}'); accepted are vision and audio. Text goes when the model does."
            )
        self.towers.unload(part)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's vocabulary.

        Raises:
            SettingsError: the folder has no tokenizer.model, or one that does not fit.
        """
        return Tokenizer(self.checkpoint.folder, self.config)

    @property
    def size_name(self) -> str:
        """Name of the loaded nested size, or what it skips and how wide it is."""
        return self.size.label

    @torch.inference_mode()
    def audio_features(
        self, mels: Tensor, mask: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The audio tower's own output for a padded batch; see `Conformer.forward`.

        Args:
            mels: [batch, frames, 128], natural log.
            mask: bool [batch, frames], True = real.
            lengths: int64 [batch], frames of each clip, to make clips independent of each other.

        Returns:
            Features [batch, tokens, width] and their mask, True = real.
        """
        mels = mels.to(self.device, self.formats.towers)
        lengths = None if lengths is None else lengths.to(self.device)
        return self.audio(mels, mask.to(self.device), lengths)

    @torch.inference_mode()
    def image_features(self, pixels: Tensor) -> Tensor:
        """The vision tower's own output.

        Args:
            pixels: [n, 3, size, size], float in 0..1 or uint8; size 256, 512 or 768.

        Returns:
            [n, channels, 16, 16]

        Raises:
            InputError: another shape or size.
        """
        sides = [[size, size] for size in RESOLUTIONS]
        if pixels.ndim != 4 or pixels.shape[1] != 3 or list(pixels.shape[2:]) not in sides:
            raise InputError(
                f"pixels have shape {list(pixels.shape)}; accepted is [n, 3, size, size] with size "
                f"{', '.join(map(str, RESOLUTIONS))}. Make them with gemma3n.image_pixels."
            )
        dtype = self.formats.towers
        scaled = pixels.to(self.device).to(dtype)
        if pixels.dtype == torch.uint8:
            scaled = (pixels.to(self.device).float() / 255).to(dtype)
        return self.vision(scaled)

    @torch.inference_mode()
    def encode_audio(self, mels: Sequence[Tensor]) -> list[Tensor]:
        """Clips -> soft tokens, one every 160 ms; a clip's do not depend on the others.

        Args:
            mels: each [frames, 128], natural log, a tensor or a NumPy array; at most 30 s.

        Returns:
            One [tokens, hidden] a clip.

        Raises:
            InputError: a clip that is longer.

        Example:
            >>> mel = gemma3n.log_mel(waveform)
            >>> audio = model.encode_audio([mel])
            >>> model.generate(["Transcribe: <audio>"], audio=[audio], max_new_tokens=200)
        """
        if len(mels) == 0:
            return []
        clips = [torch.as_tensor(mel) for mel in mels]
        for clip in clips:
            self._check_clip(clip)
        lengths = torch.tensor([len(clip) for clip in clips])
        batch = nn.utils.rnn.pad_sequence(clips, batch_first=True)
        mask = torch.arange(batch.shape[1]) < lengths[:, None]
        features, real = self.audio_features(batch, mask, lengths)
        embedder = self.towers.embedder("audio")
        return [embedder.soft(clip[keep]) for clip, keep in zip(features, real, strict=True)]

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Images -> soft tokens.

        Args:
            pixels: [n, 3, size, size], float in 0..1 or uint8; size 256, 512 or 768.

        Returns:
            [n, 256, hidden]

        Raises:
            InputError: another shape or size.

        Example:
            >>> image = model.encode_images(pixels)
            >>> model.generate(["Describe this: <image>"], images=[image])
        """
        return self.towers.embedder("vision").soft(image_sequence(self.image_features(pixels)))

    @torch.inference_mode()
    def embed(self, token_ids: Tensor) -> Tensor:
        """Embeddings [batch, seq, hidden] of int64 [batch, seq]; media ids have their hard rows."""
        token_ids = token_ids.to(self.device)
        media = [m for m in ("vision", "audio") if getattr(self.config, m) is not None]
        embedders = [self.towers.embedder(medium) for medium in media]
        return with_hard_rows(self.text.embed(token_ids), token_ids, embedders)

    def embed_tokens(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Embeddings [rows, seq, hidden] of ids that the host knows: it need not ask what they are.

        Args:
            token_ids: as many of each row.
        """
        ids = torch.tensor(token_ids, device=self.device)
        is_text = max(map(max, token_ids)) < self.config.text.vocab_size_per_layer_input
        return self.text.embed(ids) if is_text else self.embed(ids)

    @torch.inference_mode()
    def fuse(
        self,
        token_ids: Sequence[int],
        audio: Sequence[Tensor] = (),
        images: Sequence[Tensor] | Tensor = (),
    ) -> Tensor:
        """One row's token ids and soft tokens -> fused embeddings.

        Args:
            token_ids: with placeholders, as `Tokenizer.chat_ids` gives them.
            audio: each [tokens, hidden], in the order of their places.
            images: each [256, hidden], likewise.

        Returns:
            [seq, hidden]

        Raises:
            InputError: media and places do not match.
        """
        ids = torch.tensor([list(token_ids)], device=self.device)
        return self._fused(ids, list(images), list(audio))[0]

    @torch.inference_mode()
    def logits(
        self,
        token_ids: Tensor,
        attention: Tensor | None = None,
        images: Sequence[Tensor] | Tensor = (),
        audio: Sequence[Tensor] = (),
        nested: str | NestedSize | None = None,
    ) -> Tensor:
        """Logits of every position of a batch.

        Args:
            token_ids: int64 [batch, seq]
            attention: bool [batch, seq], True = real, padding on either side; None if all are.
            images: [n, 256, hidden], or a list of [256, hidden]; placeholders are filled in order.
            audio: each [tokens, hidden], likewise.
            nested: a size within the loaded one.

        Returns:
            [batch, seq, vocab]; of no meaning at padding.

        Example:
            >>> model.logits(torch.tensor([[2, 9, 8]]))[0, -1].argmax()
        """
        token_ids = token_ids.to(self.device)
        real = torch.ones_like(token_ids, dtype=torch.bool)
        if attention is not None:
            real = attention.to(self.device, torch.bool)
        positions = torch.where(real, real.cumsum(1) - 1, EMPTY)
        embeddings = self._fused(token_ids, list(images), audio)
        hidden = self.text(token_ids, embeddings, positions, size=self.running(nested))
        return self.text.logits(hidden)

    def generate(
        self,
        prompts: Sequence[str | Sequence[Turn]],
        audio: Sequence[Sequence[Tensor]] | None = None,
        images: Sequence[Sequence[Tensor] | Tensor] | None = None,
        chat: bool = True,
        nested: str | NestedSize | Sequence[str | NestedSize | None] | None = None,
        seed: int | Sequence[int] = 0,
        on_token: Callable[[int, int], None] | None = None,
        policy: Policy | None = None,
        **sampling: object,
    ) -> list[str]:
        """Answer prompts.

        Args:
            prompts: each a template, in which `<audio>` and `<image>` mark media, or the turns of
                a conversation. Text of unknown origin belongs in a `Turn`: there it is plain.
            audio: for each prompt its clips' soft tokens, in order.
            images: for each prompt its images' soft tokens, in order.
            chat: make each template the user's turn of a chat; false for base checkpoints.
            nested: a size within the loaded one; one for all rows, or one a row.
            seed: for sampling; one for all rows, or one a row.
            on_token: called with (row, token id) as tokens appear.
            policy: how a smaller size takes part: `Policy("auto")`, `Policy("speculative")`.
            sampling: fields of `Sampling`: max_new_tokens, temperature, top_k, top_p, stop.

        Returns:
            One text a prompt.

        Raises:
            InputError: media and marks do not match, or a prompt does not fit.
            TypeError: one prompt instead of a list of them.

        Example:
            >>> model.generate(["Say hello."], max_new_tokens=8)
        """
        if isinstance(prompts, str):  # it would be answered letter by letter
            raise TypeError(
                f"prompts is the string {prompts!r}, but a list of prompts is answered. "
                "Give [prompt], also for one."
            )
        seeds = [seed] * len(prompts) if isinstance(seed, int) else seed
        clips = [()] * len(prompts) if audio is None else audio
        pictures = [()] * len(prompts) if images is None else images
        own: Sequence[str | NestedSize | None] = [None] * len(prompts)
        whole = nested if isinstance(nested, str | NestedSize) else None
        if nested is not None and not isinstance(nested, str | NestedSize):
            own = nested
        for what, given in (
            ("audio", clips),
            ("images", pictures),
            ("seed", seeds),
            ("nested", own),
        ):
            if len(given) != len(prompts):
                raise InputError(
                    f"{what} has {len(given)} entries for {len(prompts)} prompts. "
                    "Give one a prompt, an empty list where there is none."
                )
        rows = []
        for prompt, heard, seen, one, size in zip(
            prompts, clips, pictures, seeds, own, strict=True
        ):
            ids = self._prompt_ids(prompt, chat)
            rows.append(Prompt(ids, self.fuse(ids, heard, seen), int(one), size))
        asked = Sampling(**sampling)  # type: ignore[arg-type]
        done = self.complete(rows, asked, whole, on_token, policy)
        return [answer.text for answer in done]

    def generate_ids(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int = 256,
        stop_ids: Sequence[int] | None = None,
        nested: str | NestedSize | None = None,
    ) -> list[list[int]]:
        """Continue token ids, greedily.

        Args:
            prompts: each a list of ids.
            max_new_tokens: at most.
            stop_ids: end a row; None for the tokenizer's.
            nested: a size within the loaded one.

        Returns:
            The new ids of each row, without the stop id.

        Example:
            >>> model.generate_ids([[2, 9, 8]], max_new_tokens=20, stop_ids=[])
        """
        sampling = Sampling(max_new_tokens, stop_ids=stop_ids)
        rows = [Prompt(list(ids)) for ids in prompts]
        return [answer.token_ids for answer in self.complete(rows, sampling, nested)]

    @torch.inference_mode()
    def complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        nested: str | NestedSize | None = None,
        on_token: Callable[[int, int], None] | None = None,
        policy: Policy | None = None,
        slots: int | None = None,
    ) -> list[Completion]:
        """Complete prompts in one go and say all about it; see `Generation`.

        Args:
            prompts: the rows; each result depends on its own row only.
            sampling: the same for all rows.
            nested: a size within the loaded one, of prompts that name none of their own.
            on_token: called with (row, token id) as tokens appear.
            policy: how a smaller size takes part.
            slots: rows decoded at once; all of them by default.

        Raises:
            InputError: a prompt that cannot be answered.
        """
        slots = slots or max(len(prompts), 1)
        return complete(self.generation(sampling, nested, policy, slots, on_token), prompts)

    def generation(
        self,
        sampling: Sampling,
        nested: str | NestedSize | None = None,
        policy: Policy | None = None,
        slots: int = 8,
        on_token: Callable[[int, int], None] | None = None,
        draft: "Gemma3n | None" = None,
        groups: int = 1,
    ) -> Generation:
        """Answers prompts as they come, so many at once; see `Generation`."""
        return Generation(
            self, sampling, nested, policy, slots, on_token=on_token, draft=draft, groups=groups
        )

    def nested_size(self, nested: str | NestedSize | None) -> NestedSize:
        """A nested size that runs on the loaded weights; None is the loaded one.

        Raises:
            SettingsError: no such size, or it is not within the loaded one.
        """
        if nested is None:
            return self.size
        size = resolve_size(nested, self.config)
        if not size.within(self.size, self.config.text):
            raise SettingsError(
                f"nested='{size.name or size}' is not within the loaded size "
                f"'{self.size_name}'. Load a larger one."
            )
        return size

    def running(self, nested: str | NestedSize | None) -> Running:
        """The layers and widths that run for a nested size, see `nested_size`."""
        size = self.nested_size(nested)
        if size not in self._running:
            self._running[size] = self.text.running(size.ffn_widths(self.config.text))
        return self._running[size]

    @property
    def stop_ids(self) -> list[int]:
        """Ids that end an answer: the tokenizer's, or the config's where there is no tokenizer."""
        if (self.checkpoint.folder / "tokenizer.model").is_file():
            return self.tokenizer.stop_ids
        return [self.config.text.eos_token_id]

    def decode_text(self, token_ids: list[int]) -> str:
        """Text of ids; empty where there is no tokenizer."""
        if (self.checkpoint.folder / "tokenizer.model").is_file():
            return self.tokenizer.decode(token_ids)
        return ""

    def _fused(
        self, token_ids: Tensor, images: Sequence[Tensor], audio: Sequence[Tensor]
    ) -> Tensor:
        hearing = self.towers.embedder("audio") if self.config.audio is not None else None
        embeddings = self.embed(token_ids)
        return with_soft_tokens(embeddings, token_ids, self.config, hearing, images, audio)

    def _prompt_ids(self, prompt: str | Sequence[Turn], chat: bool) -> list[int]:
        if not isinstance(prompt, str):
            return self.tokenizer.chat_ids(list(prompt))
        content: list[str | Mark] = parse_template(prompt)
        if chat:
            return self.tokenizer.chat_ids([Turn("user", content)])
        return self.tokenizer.prompt_ids(content)

    def _check_clip(self, mel: Tensor) -> None:
        if self.config.audio is None:
            raise left_out("audio", self.parts)
        bins = self.config.audio.input_feat_size
        if mel.ndim != 2 or mel.shape[1] != bins or not len(mel):
            raise InputError(
                f"a clip's mel has shape {list(mel.shape)}; accepted is [frames, {bins}]. "
                "Make it with gemma3n.log_mel, and give a list of clips."
            )
        tokens = tokens_for(len(mel), self.config.audio)
        if tokens > (limit := self.config.audio_soft_tokens_per_image):
            raise InputError(
                f"a clip has {tokens} soft tokens; one clip may have {limit}, 160 ms each. "
                "Split it."
            )
