from typing import Any

import numpy as np
import torch

from stages.encode import Encode, EncodeSettings
from stages.model import Load
from stages.row import Row


def mel(frames: int) -> Any:
    return np.full((frames, 2), frames, np.float32)


def pixels(value: int, size: int = 4) -> Any:
    return np.full((3, size, size), value, np.uint8)


def test_each_tower_runs_once_a_batch_and_rows_get_their_own(fake_model: Any, load: Load) -> None:
    rows = Encode(EncodeSettings(), load)(
        [
            Row(item="a", mels=[mel(3), mel(5)], pixels=[]),
            Row(item="b", mels=[], pixels=[pixels(1), pixels(2)]),
            Row(item="c", mels=[mel(7)], pixels=[pixels(4)]),
        ]
    )
    assert fake_model.calls == [("audio", 3), ("images", torch.Size([3, 3, 4, 4]))]
    assert [[len(t) for t in row["audio_tokens"]] for row in rows] == [[3, 5], [], [7]]
    images = [[float(t[0, 0]) for t in row["image_tokens"]] for row in rows]
    assert images == [[], [16.0, 32.0], [64.0]]
    assert all(not {"mels", "pixels"} & set(row) for row in rows)


def test_pictures_of_several_sizes_are_encoded_size_by_size_and_stay_in_order(
    fake_model: Any, load: Load
) -> None:
    pictures = [[pixels(1), pixels(1, size=2)], [pixels(2, size=2)], [pixels(3)]]
    rows = Encode(EncodeSettings(), load)([Row(pixels=own) for own in pictures])
    assert [[float(t[0, 0]) for t in row["image_tokens"]] for row in rows] == [[16, 4], [8], [48]]
    sizes = [torch.Size([2, 3, size, size]) for size in (4, 2)]
    assert fake_model.calls == [("images", size) for size in sizes]


def test_a_tower_without_work_does_not_run(fake_model: Any, load: Load) -> None:
    (row,) = Encode(EncodeSettings(), load)([Row(item="a")])
    assert fake_model.calls == []
    assert (row["audio_tokens"], row["image_tokens"]) == ([], [])
