"""What a run computes -> bytes of memory that it takes for a while, from the config alone.

Counted are the large tensors that are there at once, where that is most: masks, norms and scales
are small beside them. Towers and decoder take turns, so the largest of the three counts; the fused
embeddings of the prompts are there with each of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import ceil

from gemma3n.config import AudioConfig, Config, TextConfig, VisionConfig
from gemma3n.matformer import NestedSize
from gemma3n.pieces import PIECE_BYTES, chunk_tokens
from gemma3n.vision.block_table import Block, round_width, stem_and_blocks

FRAMES_A_SOFT_TOKEN = 16  # of mel, 10 ms each


@dataclass(frozen=True)
class Media:
    """What the towers read at once: of each row one picture, and one clip."""

    side: int = 768  # of a picture, pixels
    frames: int | None = None  # of a clip, 10 ms each; None is the longest that there may be


def run_bytes(
    config: Config,
    size: NestedSize,
    parts: Collection[str],
    context: int,
    rows: int,
    media: Media,
    text_width: int,
    tower_width: int,
) -> int:
    """All of a run, at its most.

    Args:
        config: of the checkpoint.
        size: nested size.
        parts: that run, of text, vision and audio.
        context: tokens a row may reach.
        rows: at once, in the towers too.
        media: of each row.
        text_width: bytes of the decoder's activations.
        tower_width: bytes of the towers'.

    Raises:
        SettingsError: the config describes no vision tower that there is.
    """
    most = prompts = 0
    if "text" in parts:
        most = decoder_bytes(config.text, size, context, rows, text_width)
        prompts = prompt_bytes(config.text, context, rows, text_width)
    if "vision" in parts and config.vision is not None:
        most = max(most, vision_bytes(config.vision, media.side, rows, tower_width))
    if "audio" in parts and config.audio is not None:
        longest = FRAMES_A_SOFT_TOKEN * config.audio_soft_tokens_per_image
        frames = longest if media.frames is None else min(media.frames, longest)
        most = max(most, audio_bytes(config.audio, frames, rows, tower_width))
    return most + prompts


def decoder_bytes(text: TextConfig, size: NestedSize, context: int, rows: int, width: int) -> int:
    """A pass over the tokens of prompts, or the logits after it, whichever is more.

    Args:
        text: config of the decoder.
        size: nested size.
        context: tokens a row may reach.
        rows: at once.
        width: bytes of an activation.
    """
    tokens = rows * min(chunk_tokens(rows), context)
    widths, hidden = size.ffn_widths(text), text.hidden_size
    streams = text.altup_num_inputs * hidden
    inputs = len(widths) * text.hidden_size_per_layer_input
    # In the FFN: streams as they were and as predicted; its input, residual, and what attention and
    # LAuReL gave; gate, up, what is left of the gate, and the product.
    inside = 2 * streams + 4 * hidden + 4 * max(widths.values())
    # After it: the two, corrected, with the per-layer input, and joined.
    after = 5 * streams
    # Per-layer inputs are there for all layers; while they are made, those of the tokens, of their
    # context, and the sum.
    a_pass = tokens * max(max(inside, after) + inputs, 3 * inputs) * width
    logits = rows * text.vocab_size * (width + 4)  # and the same in float32
    return max(a_pass, logits)


def prompt_bytes(text: TextConfig, context: int, rows: int, width: int) -> int:
    """Fused embeddings of prompts, each its own and all of them side by side."""
    return 2 * rows * context * text.hidden_size * width


def vision_bytes(vision: VisionConfig, side: int, pictures: int, width: int) -> int:
    """The block of the vision tower that takes most.

    Args:
        vision: config of the tower.
        side: of a picture, pixels.
        pictures: encoded at once.
        width: bytes of an activation.
    """
    channels, stages = stem_and_blocks(vision)
    side = ceil(side / 2)
    most = 3 * pictures * side**2 * channels  # the first map, divided by its length and scaled
    piece = PIECE_BYTES // width
    for block in (block for stage in stages for block in stage):
        before, side = pictures * side**2, ceil(side / block.stride)
        after = pictures * side**2
        inside = _inside(block, channels, before, after, piece)
        most = max(most, before * channels + after * block.channels + inside)
        channels = block.channels
    return most * width


def audio_bytes(audio: AudioConfig, frames: int, clips: int, width: int) -> int:
    """The first convolution of the audio tower, whose result is normalised in float32.

    Args:
        audio: config of the tower.
        frames: of each clip, 10 ms each.
        clips: encoded at once.
        width: bytes of an activation.
    """
    (_, kernel), (over_time, over_bins) = (
        audio.sscp_conv_kernel_size[0],
        audio.sscp_conv_stride_size[0],
    )
    bins = (audio.input_feat_size + 2 - kernel) // over_bins + 1
    values = ceil(frames / over_time) * bins * audio.sscp_conv_channel_size[0]
    # Two copies in float32, the mean taken away from one, beside the map itself.
    return clips * values * (2 * 4 + (width if width < 4 else 0))


def _inside(block: Block, channels: int, before: int, after: int, piece: int) -> int:
    """Values of a block's largest maps, those that go in and come out aside.

    Args:
        block: of the table.
        channels: that go in.
        before: pixels that go in.
        after: pixels that come out.
        piece: values of an expanded map that are worked on at once.
    """
    expanded = round_width(channels * block.expansion)
    match block.kind:
        case "er":
            return after * expanded + 2 * min(after * expanded, piece)  # and normed
        case "uir" if block.kernel:
            whole, start = before * expanded, before * channels if block.start_kernel else 0
            # All pieces; and what one takes to be normed, or the map that they are joined to.
            return start + whole + (2 * whole if whole <= piece else max(whole, 2 * piece))
        case "uir":
            return before * channels + 3 * min(before * expanded, piece)
        case _:
            return 2 * before * block.heads * max(block.key_dim, block.value_dim)
