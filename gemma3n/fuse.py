"""Features -> soft tokens; token ids + soft tokens -> fused embeddings."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from gemma3n.config import AudioConfig, Config, VisionConfig
from gemma3n.errors import InputError
from gemma3n.layers import RMSNorm, rounded


class Embedder(nn.Module):
    """Brings one medium to the text width: features by projection, its special ids by a table.

    Args:
        config: of the medium's tower.
        hidden: text width.
    """

    def __init__(self, config: VisionConfig | AudioConfig, hidden: int) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.first_id, self.ids = config.vocab_offset, config.vocab_size
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.hard_embedding_norm = RMSNorm(width, eps)
        self.soft_embedding_norm = RMSNorm(width, eps)
        self.embedding_projection = nn.Linear(width, hidden, bias=False)
        self.embedding_post_projection_norm = RMSNorm(hidden, eps, gain=False)

    def soft(self, features: Tensor) -> Tensor:
        """Features [..., width] -> soft tokens [..., hidden]."""
        return self._project(self.soft_embedding_norm(features))

    def hard(self, token_ids: Tensor) -> Tensor:
        """Ids of this medium's vocabulary [...] -> embeddings [..., hidden]."""
        return self._project(self.hard_embedding_norm(self.embedding(token_ids - self.first_id)))

    def owns(self, token_ids: Tensor) -> Tensor:
        """Which of the ids belong to this medium, bool of the same shape."""
        return (token_ids >= self.first_id) & (token_ids < self.first_id + self.ids)

    def _project(self, x: Tensor) -> Tensor:
        return self.embedding_post_projection_norm(self.embedding_projection(x))


def image_sequence(features: Tensor) -> Tensor:
    """Image features [n, channels, rows, columns] -> [n, tokens, channels], scaled.

    Tokens run along rows first.
    """
    scale = rounded(math.sqrt(features.shape[1]), features.dtype)
    return features.flatten(2).transpose(1, 2) * scale


def padded_clip(soft: Tensor, embedder: Embedder, tokens: int) -> Tensor:
    """One clip's soft tokens [n, hidden] filled up to `tokens`, as the published model expects.

    Raises:
        InputError: the clip has more soft tokens than a prompt holds places for.
    """
    soft = soft.to(embedder.embedding_projection.weight)  # it may come from another process
    missing = tokens - len(soft)
    if missing < 0:
        raise InputError(
            f"a clip has {len(soft)} soft tokens; one may have {tokens}, 160 ms each. Split it."
        )
    last = torch.tensor([embedder.first_id + embedder.ids - 1], device=soft.device)
    return torch.cat([soft, embedder.hard(last).to(soft.dtype).expand(missing, -1)])


def fill(
    embeddings: Tensor, token_ids: Tensor, placeholder: int, soft: Sequence[Tensor], what: str
) -> Tensor:
    """Put soft tokens in place of their placeholders, in order.

    Args:
        embeddings: [..., hidden]
        token_ids: int64 [...], the same leading shape.
        placeholder: id to replace.
        soft: each [tokens, hidden]; together exactly as many tokens as placeholders.
        what: "image" or "audio", for the message.

    Raises:
        InputError: the counts differ.
    """
    places = token_ids == placeholder
    wanted, given = int(places.sum()), sum(len(tokens) for tokens in soft)
    if wanted != given:
        raise InputError(
            f"the prompt has places for {wanted} {what} soft tokens, but {given} came with it. "
            f"Give one {what} for each mark in the prompt."
        )
    width = embeddings.shape[-1]
    if strange := [list(tokens.shape) for tokens in soft if tokens.shape[1:] != (width,)]:
        raise InputError(
            f"{what} soft tokens have shape {strange[0]}; accepted is [tokens, {width}]. "
            "Make them with the model that reads them."
        )
    if not soft:
        return embeddings
    values = torch.cat([tokens.to(embeddings.device, embeddings.dtype) for tokens in soft])
    return embeddings.masked_scatter(places.unsqueeze(-1), values)


def with_hard_rows(embeddings: Tensor, token_ids: Tensor, embedders: Iterable[Embedder]) -> Tensor:
    """Embeddings [batch, seq, hidden] in which media ids have the rows of their own tables."""
    for embedder in embedders:
        own = embedder.owns(token_ids)
        if bool(own.any()):
            embeddings = embeddings.clone()
            embeddings[own] = embedder.hard(token_ids[own]).to(embeddings.dtype)
    return embeddings


def with_soft_tokens(
    embeddings: Tensor,
    token_ids: Tensor,
    config: Config,
    embed_audio: Embedder | None,
    images: Sequence[Tensor],
    audio: Sequence[Tensor],
) -> Tensor:
    """Embeddings [batch, seq, hidden] with soft tokens in all their places.

    Args:
        embeddings: media ids have their hard rows.
        token_ids: int64 [batch, seq]
        config: of the checkpoint.
        embed_audio: fills up short clips; None for a checkpoint without audio.
        images: each [256, hidden], in the order of their places over the whole batch.
        audio: each [tokens, hidden], unpadded, likewise.

    Raises:
        InputError: media and places do not match, or a clip is too long.
    """
    if embed_audio is not None:
        places = config.audio_soft_tokens_per_image
        audio = [padded_clip(clip, embed_audio, places) for clip in audio]
    embeddings = fill(embeddings, token_ids, config.image_token_id, images, "image")
    return fill(embeddings, token_ids, config.audio_token_id, audio, "audio")
