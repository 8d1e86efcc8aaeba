from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gemma3n import Gemma3n, InputError
from gemma3n.config import AudioConfig
from gemma3n.fuse import Embedder, fill, image_sequence, padded_clip

Arrays = Callable[[str], dict[str, Tensor]]


def close(actual: Tensor, expected: Tensor, atol: float = 2e-4) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("medium", ["vision", "audio"])
def test_soft_and_hard_embeddings_equal_the_reference(
    model: Gemma3n, golden: Arrays, medium: str
) -> None:
    reference, embedder = golden("embedders"), model.towers.embedder(medium)
    close(embedder.soft(reference[f"{medium}_soft_in"]), reference[f"{medium}_soft_out"])
    close(embedder.hard(reference[f"{medium}_hard_ids"]), reference[f"{medium}_hard_out"])


def test_soft_tokens_of_images_and_clips_equal_the_reference(
    model: Gemma3n, golden: Arrays
) -> None:
    reference, clips = golden("embedders"), golden("audio_features")
    close(model.encode_images(reference["image_u8"][None]), reference["image_features"])
    features, real = model.audio_features(clips["batch_features"], clips["batch_mask"])
    assert torch.equal(real, ~reference["audio_mask"])
    soft, expected = model.towers.embedder("audio").soft(features), reference["audio_features"]
    close(soft[real], expected[real])


def test_a_sequence_of_image_audio_and_text_equals_the_reference(
    model: Gemma3n, golden: Arrays
) -> None:
    reference, clips = golden("multimodal"), golden("audio_features")
    audio = model.encode_audio(list(clips["single_features"]))
    images = model.encode_images(reference["image_u8"][None])
    logits = model.logits(reference["input_ids"], images=images, audio=audio)
    close(logits, reference["logits"], 2e-3)


def test_two_images_fill_their_places_in_order(model: Gemma3n, golden: Arrays) -> None:
    reference = golden("multimodal")
    images = model.encode_images(reference["two_image_u8"])
    logits = model.logits(reference["two_image_input_ids"], images=images)[:, -8:]
    close(logits, reference["two_image_last_logits"], 2e-3)


def test_clips_of_different_length_equal_the_reference(model: Gemma3n, golden: Arrays) -> None:
    reference, clips = golden("multimodal"), golden("audio_features")
    features, real = model.audio_features(clips["batch_features"], clips["batch_mask"])
    embedder = model.towers.embedder("audio")
    audio = [embedder.soft(clip[keep]) for clip, keep in zip(features, real, strict=True)]
    logits = model.logits(reference["audio_batch_input_ids"], audio=audio)
    close(logits, reference["audio_batch_logits"], 2e-3)


def test_image_tokens_run_along_rows_first() -> None:
    features = torch.arange(12.0).view(1, 2, 2, 3)  # channels 2, rows 2, columns 3
    tokens = image_sequence(features) / 2**0.5
    torch.testing.assert_close(tokens[0, :, 0], torch.arange(6.0))


def test_a_short_clip_is_filled_up_with_the_last_row_of_its_table() -> None:
    embedder = Embedder(AudioConfig(hidden_size=3, vocab_size=4, vocab_offset=10), hidden=5)
    padded = padded_clip(torch.zeros(2, 5), embedder, 4)
    assert torch.equal(padded[2], embedder.hard(torch.tensor(13)))
    assert torch.equal(padded[2], padded[3])
    with pytest.raises(InputError, match="5 soft tokens; one may have 4"):
        padded_clip(torch.zeros(5, 5), embedder, 4)


def test_soft_tokens_need_exactly_their_places() -> None:
    ids, embeddings = torch.tensor([[7, 9, 9]]), torch.zeros(1, 3, 2)
    filled = fill(embeddings, ids, 9, [torch.ones(1, 2), torch.full((1, 2), 2.0)], "image")
    assert filled[0, :, 0].tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="places for 2 image soft tokens, but 1 came"):
        fill(embeddings, ids, 9, [torch.ones(1, 2)], "image")
    with pytest.raises(InputError, match=r"shape \[2, 4\]; accepted is \[tokens, 2\]"):
        fill(embeddings, ids, 9, [torch.ones(2, 4)], "image")
