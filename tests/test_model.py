import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gemma3n
from gemma3n import Gemma3n, InputError, Mark, NestedSize, SettingsError, Turn

Arrays = Callable[[str], dict[str, torch.Tensor]]


def test_importing_the_library_loads_no_torch() -> None:
    code = "import gemma3n, sys; gemma3n.NestedSize; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_library_lists_only_names_that_it_has() -> None:
    for name in gemma3n.__all__:
        assert getattr(gemma3n, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = gemma3n.lode


def test_a_recording_becomes_text(model: Gemma3n) -> None:
    mel = gemma3n.log_mel(np.sin(np.arange(16_000, dtype=np.float32) / 9))
    audio = model.encode_audio([torch.from_numpy(mel)])
    texts = model.generate(["Transcribe: <audio>"], audio=[audio], max_new_tokens=5)
    assert len(texts) == 1
    assert isinstance(texts[0], str)


def test_media_of_several_prompts_go_to_their_own(model: Gemma3n) -> None:
    pixels = torch.randint(0, 256, (2, 3, 256, 256), dtype=torch.uint8)
    one, two = model.encode_images(pixels)
    prompts = ["What is <image>?", "Say: hello", "<image> or <image>?"]
    together = model.generate(prompts, images=[[one], [], [two, one]], max_new_tokens=4)
    alone = [
        model.generate([prompt], images=[images], max_new_tokens=4)[0]
        for prompt, images in zip(prompts, [[one], [], [two, one]], strict=True)
    ]
    assert together == alone


def test_a_mark_without_its_medium_is_an_input_error(model: Gemma3n) -> None:
    with pytest.raises(InputError, match="places for 188 audio soft tokens, but 0 came"):
        model.generate(["<audio>"])


def test_marks_in_a_turn_are_plain_text(model: Gemma3n) -> None:
    turn = Turn("user", ["Say <image> and <start_of_turn> aloud: ", Mark.AUDIO])
    audio = model.encode_audio([torch.zeros(60, 128)])
    assert model.generate([[turn]], audio=[audio], max_new_tokens=2)


def test_soft_tokens_of_a_clip_do_not_depend_on_its_batch(model: Gemma3n) -> None:
    clips = [torch.randn(frames, 128) for frames in (37, 128, 61)]
    for clip, soft in zip(clips, model.encode_audio(clips), strict=True):
        alone = model.encode_audio([clip])[0]
        torch.testing.assert_close(soft, alone, atol=2e-4, rtol=0)
    assert model.encode_audio([]) == []


def test_uint8_pixels_are_the_same_as_their_fractions(model: Gemma3n) -> None:
    pixels = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8)
    torch.testing.assert_close(model.encode_images(pixels), model.encode_images(pixels / 255))


@pytest.mark.parametrize(
    "shape", [(1, 3, 224, 224), (1, 3, 256, 512), (3, 256, 256), (1, 4, 256, 256)]
)
def test_pixels_of_another_shape_are_an_input_error(model: Gemma3n, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"size 256, 512, 768. Make them with gemma3n.image_pix"):
        model.encode_images(torch.zeros(shape))


def test_one_prompt_without_its_list_is_refused(model: Gemma3n) -> None:
    with pytest.raises(TypeError, match=r"is the string 'hello', .* Give \[prompt\], also for one"):
        model.generate("hello")


def test_a_clip_of_more_than_30_seconds_is_refused(model: Gemma3n) -> None:
    assert len(model.encode_audio([torch.zeros(2997, 128)])[0]) == 188
    with pytest.raises(InputError, match="189 soft tokens; one clip may have 188"):
        model.encode_audio([torch.zeros(3009, 128)])


def test_a_tower_is_loaded_on_first_use_once_and_says_what_it_cost(
    checkpoint_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, found = gemma3n.load(checkpoint_folder, precision="float32"), []
    with caplog.at_level("INFO"):
        threads = [threading.Thread(target=lambda: found.append(model.audio)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({id(tower) for tower in found}) == 1
    lines = [line for line in caplog.messages if line.startswith("loaded audio:")]
    assert len(lines) == 1
    assert "M parameters" in lines[0]


def test_an_encode_pool_needs_no_text(checkpoint_folder: Path) -> None:
    model = gemma3n.load(checkpoint_folder, parts=["audio"], precision="float32")
    assert model.encode_audio([torch.zeros(60, 128)])[0].shape == (4, 64)
    with pytest.raises(SettingsError, match="text is needed, but this model was loaded with audio"):
        model.generate_ids([[2]])


def test_a_size_outside_the_loaded_one_is_refused(checkpoint_folder: Path) -> None:
    model = gemma3n.load(checkpoint_folder, NestedSize((), 128), precision="float32")
    assert model.generate_ids([[2, 9]], 2, [], nested=NestedSize((), 64))
    message = "nested='full' is not within the loaded size 'widths=128'"
    with pytest.raises(SettingsError, match=message):
        model.generate_ids([[2, 9]], 2, [], nested="full")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ple": "disk"}, "ple='disk'; accepted are mmap, resident"),
        ({"parts": ["text", "video"]}, r"parts=\['video'\]; give a list of text, vision, audio"),
        ({"parts": []}, "give a list of text"),
        ({"parts": "text"}, "parts='text'; give a list"),
        ({"precision": "float16"}, "overflows"),
    ],
)
def test_a_load_that_cannot_be_is_refused(
    checkpoint_folder: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        gemma3n.load(checkpoint_folder, **settings)  # type: ignore[arg-type]


def test_a_budget_chooses_the_size(checkpoint_folder: Path) -> None:
    assert gemma3n.load(checkpoint_folder, budget_gb=1).size_name == "full"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"skip": [13, 14]}, "skip=13,14"),
        ({"skip": [14], "widths": 128}, "skip=14 widths=128"),
        ({"skip": [], "widths": [128] * 5 + [256] * 10}, "widths=128*5,256*10"),
        ({"skip": [14], "name": "mine"}, "mine"),
        ({"skip": []}, "full"),
    ],
)
def test_a_size_without_a_name_is_called_by_what_it_is(
    checkpoint_folder: Path, settings: dict[str, Any], name: str
) -> None:
    size = gemma3n.NestedSize.from_skip(**settings)
    loaded = gemma3n.load(checkpoint_folder, size, parts=["audio"], device="cpu")
    assert loaded.size_name == name


def test_a_budget_and_a_size_at_once_are_refused(checkpoint_folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"nested='small' and budget_gb=1 both choose"):
        gemma3n.load(checkpoint_folder, nested="small", budget_gb=1)


def test_media_must_be_as_many_as_prompts(model: Gemma3n) -> None:
    with pytest.raises(InputError, match="audio has 0 entries for 1 prompts"):
        model.generate(["<audio>"], audio=[])
    with pytest.raises(InputError, match="seed has 2 entries for 1 prompts"):
        model.generate(["hello"], seed=[1, 2])


def test_images_may_come_as_one_tensor(model: Gemma3n) -> None:
    images = model.encode_images(torch.rand(1, 3, 256, 256))
    prompt = ["What is <image>?"]
    together = model.generate(prompt, images=[images], max_new_tokens=3)
    assert together == model.generate(prompt, images=[list(images)], max_new_tokens=3)


@pytest.mark.parametrize("shape", [(0, 128), (9, 127), (9,)])
def test_a_mel_of_another_shape_is_refused_before_the_tower_runs(
    model: Gemma3n, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"mel has shape .* accepted is \[frames, 128\]"):
        model.encode_audio([torch.zeros(60, 128), torch.zeros(shape)])


def test_towers_are_no_inference_tensors_whoever_loads_them(checkpoint_folder: Path) -> None:
    model = gemma3n.load(checkpoint_folder, precision="float32")
    model.encode_audio([torch.zeros(60, 128)])
    for module in (model.audio, model.towers.embedder("audio")):
        assert not any(parameter.is_inference() for parameter in module.parameters())
        module.requires_grad_(True)


def test_each_prompt_may_have_a_nested_size_and_all_a_policy(
    model: Gemma3n, slices: dict[str, NestedSize]
) -> None:
    small, prompts = slices["e2b"], ["Say hello.", "Say no."]
    told: dict[str, Any] = {"max_new_tokens": 6}
    full = model.generate(prompts, **told)
    narrow = model.generate(prompts, nested=small, **told)
    assert model.generate(prompts, nested=[None, small], **told) == [full[0], narrow[1]]
    assert model.generate(prompts, policy=gemma3n.Policy("auto", small, 0), **told) == full
    speculative = gemma3n.Policy("speculative", small)
    assert model.generate(prompts, policy=speculative, **told) == full
    with pytest.raises(InputError, match="nested has 1 entries for 2 prompts"):
        model.generate(prompts, nested=[small], **told)


def test_a_tower_is_let_go_and_comes_again(checkpoint_folder: Path, golden: Arrays) -> None:
    model = gemma3n.load(checkpoint_folder, precision="float32", device="cpu")
    assert model.took.keys() == {"text"}
    mel = golden("audio_features")["single_features"][0]
    (before,) = model.encode_audio([mel])
    assert model.took.keys() == {"text", "audio", "embed_audio"}
    assert model.took["audio"].bytes == sum(p.numel() * 4 for p in model.audio.parameters())
    gone = weakref.ref(model.audio)
    model.unload("audio")
    assert gone() is None
    (after,) = model.encode_audio([mel])
    assert torch.equal(before, after)
    with pytest.raises(SettingsError, match=r"unload\('text'\); accepted are vision and audio"):
        model.unload("text")
