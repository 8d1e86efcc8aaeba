"""What is predicted beside what torch says that it takes, at the largest."""

from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import gemma3n
from gemma3n.activations import (
    Media,
    audio_bytes,
    run_bytes,
    vision_bytes,
)
from gemma3n.generate import Prompt
from gemma3n.memory import kv_cache_bytes
from gemma3n.sampling import Sampling


@pytest.fixture(scope="module")
def nano() -> gemma3n.Gemma3n:
    """In float32, which takes no copies for products."""
    return gemma3n.load("nano", precision="float32", device="cpu", pack=False)


def most_bytes(work: Callable[[], object]) -> int:
    """Bytes that are taken and not given back, where that is most."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        work()
    held = most = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]" and event.device_type().name == "CPU":
            held += event.nbytes()
            most = max(most, held)
    return most


def within(predicted: int, measured: int) -> bool:
    return 0.75 * measured < predicted < 1.25 * measured


@pytest.mark.parametrize(("side", "pictures"), [(256, 1), (256, 3), (512, 1)])
def test_a_vision_tower_takes_about_what_is_predicted(
    nano: gemma3n.Gemma3n, side: int, pictures: int
) -> None:
    assert nano.config.vision is not None
    pixels = torch.rand(pictures, 3, side, side)
    _ = nano.vision
    found = most_bytes(lambda: nano.image_features(pixels))
    predicted = vision_bytes(nano.config.vision, side, pictures, 4)
    assert within(predicted, found), f"{predicted=} {found=}"


@pytest.mark.parametrize(("frames", "clips"), [(300, 1), (1280, 1), (640, 3)])
def test_an_audio_tower_takes_about_what_is_predicted(
    nano: gemma3n.Gemma3n, frames: int, clips: int
) -> None:
    assert nano.config.audio is not None
    mels = [torch.randn(frames, 128) for _ in range(clips)]
    _ = nano.audio
    found = most_bytes(lambda: nano.encode_audio(mels))
    predicted = audio_bytes(nano.config.audio, frames, clips, 4)
    assert within(predicted, found), f"{predicted=} {found=}"


@pytest.mark.parametrize(("tokens", "rows"), [(500, 1), (64, 8)])
def test_a_pass_over_prompts_takes_about_what_is_predicted(
    nano: gemma3n.Gemma3n, tokens: int, rows: int
) -> None:
    text = nano.config.text
    prompts = [Prompt(torch.randint(4, 600, (tokens,)).tolist()) for _ in range(rows)]
    found = most_bytes(lambda: nano.complete(prompts, Sampling(1, stop_ids=[])))
    predicted = run_bytes(nano.config, nano.size, ["text"], tokens, rows, Media(), 4, 4)
    # A ring of keys and values is whole from the start, a block of them nearly.
    held = max(tokens, text.sliding_window)
    predicted += kv_cache_bytes(text, nano.size, held, rows, 4)
    assert within(predicted, found), f"{predicted=} {found=}"
