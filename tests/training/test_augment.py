import random

import numpy as np
import pytest
from PIL import Image

from gemma3n.audio.mel import MelConfig, log_mel
from pipelines.training.augment import augment_clip, augment_image, mask_mel, warp_mel
from stages.row import F32

CLIP: F32 = np.asarray(np.sin(np.arange(16_000) / 7) / 2, dtype=np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_a_clip_stays_a_clip_of_about_its_length(seed: int) -> None:
    changed = augment_clip(CLIP, seed)
    assert changed.dtype == np.float32
    assert 0.9 * len(CLIP) <= len(changed) <= 1.12 * len(CLIP)
    assert np.isfinite(changed).all()
    assert np.array_equal(changed, augment_clip(CLIP, seed))


def test_augmentation_leaves_the_global_generators_alone() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    augment_clip(CLIP, 3)
    assert (random.random(), np.random.rand()) == expected


def test_masking_silences_some_frames_and_bins_and_changes_no_others() -> None:
    mel = np.random.default_rng(0).standard_normal((300, 128)).astype(np.float32)
    masked = mask_mel(mel, 4)
    changed = masked != mel
    assert 0 < changed.mean() < 0.6
    assert (masked[changed] < -11).all()


def test_another_vocal_tract_moves_a_tone_by_at_most_fifteen_in_a_hundred() -> None:
    config, hertz = MelConfig(), 700 * np.expm1(np.arange(200, 2840, 10) / 1127)
    tones = [np.sin(2 * np.pi * f * np.arange(2048) / 16_000).astype(np.float32) for f in hertz]
    mels = np.stack([log_mel(tone, config)[4] for tone in tones])
    plain = log_mel(tones[130], config)
    moved = []
    for seed in range(30):
        heard = warp_mel(plain, seed, config)
        assert np.array_equal(heard, warp_mel(plain, seed, config))
        moved.append(hertz[np.abs(mels - heard[4]).mean(1).argmin()] / hertz[130])
    assert 1 / 1.17 < min(moved) < 0.95
    assert 1.05 < max(moved) < 1.2


def test_an_image_keeps_its_size() -> None:
    image = Image.effect_noise((30, 40), 50).convert("RGB")
    changed = augment_image(image, 1)
    assert (changed.size, changed.mode) == (image.size, "RGB")
    assert changed != image
    assert changed == augment_image(image, 1)
