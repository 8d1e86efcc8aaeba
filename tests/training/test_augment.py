import random

import numpy as np
import pytest

from pipelines.training.augment import augment_clip, augment_image, mask_mel
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


def test_an_image_keeps_its_size() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    changed = augment_image(image, 1)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, image)
