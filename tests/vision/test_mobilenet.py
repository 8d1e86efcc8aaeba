import copy
import hashlib
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.config import VisionConfig
from gemma3n.errors import InputError
from gemma3n.vision.mobilenet import MobileNet

Arrays = Callable[[str], dict[str, Tensor]]
CHANNEL_STRIDE = 4  # of the features that the golden copy keeps
TABLE: list[list[str | dict[str, Any]]] = [
    ["er_k3_s2_e3_c24", "er_k5_s1_e1.5_c24", "er_k3_s1_e2_c40"],
    ["uir_a3_k5_s2_e5_c48", "uir_a5_k0_s1_e2_c48", "uir_a0_k3_s1_e2_c48"],
    ["uir_a5_k0_s2_e3_c56", "mqa_k3_h3_v2_s1_d5_c56", "uir_a0_k0_s1_e4_c56"],
    [
        "uir_a0_k3_s2_e2_c72",
        {
            "block_type": "mqa",
            "dw_kernel_size": 5,
            "num_heads": 7,
            "key_dim": 6,
            "value_dim": 11,
            "stride": 1,
            "out_chs": 80,
        },
    ],
]


def image(arrays: dict[str, Tensor], size: int) -> Tensor:
    return arrays[f"image_u8_{size}"][None].float() / 255


@pytest.mark.parametrize("size", [256, 512, 768])
def test_features_are_those_of_the_reference(tower: MobileNet, golden: Arrays, size: int) -> None:
    arrays = golden("vision_tower")
    features = tower(image(arrays, size))
    assert features.shape == (1, 2048, 16, 16)
    expected = arrays[f"features_{size}"]
    torch.testing.assert_close(features[:, ::CHANNEL_STRIDE], expected, atol=2e-4, rtol=0)


def test_stem_and_stages_are_those_of_the_reference(tower: MobileNet, golden: Arrays) -> None:
    arrays = golden("vision_tower")
    x = tower.conv_stem(image(arrays, 256).permute(0, 2, 3, 1))
    maps = {"stem_256": x}
    for index, stage in enumerate(tower.blocks):
        maps[f"stage{index}_256"] = x = stage(x)
    for name, x in maps.items():
        thinned = x[:, ::4, ::4] if x.shape[1] > 32 else x
        expected = arrays[name].permute(0, 2, 3, 1)
        torch.testing.assert_close(thinned, expected, atol=2e-4, rtol=0, msg=name)


@pytest.mark.parametrize("size", [256, 768])
def test_bfloat16_stays_close_to_float32(tower: MobileNet, golden: Arrays, size: int) -> None:
    arrays = golden("vision_tower")
    features = copy.deepcopy(tower).bfloat16()(image(arrays, size))
    assert features.dtype == torch.bfloat16
    kept = features[:, ::CHANNEL_STRIDE].float()
    assert F.cosine_similarity(kept, arrays[f"features_{size}"]).min() > 0.99


def test_images_of_a_batch_do_not_touch_each_other(tower: MobileNet) -> None:
    pixels = torch.rand(3, 3, 64, 64)
    alone = torch.cat([tower(one[None]) for one in pixels])
    torch.testing.assert_close(tower(pixels), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 64, 64, 3)])
def test_pixels_of_another_shape_are_refused(tower: MobileNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"have shape .*; the vision tower reads .* Stack RGB"):
        tower(torch.rand(shape))


def test_the_default_tower_has_the_published_tensors() -> None:
    with torch.device("meta"):
        tower = MobileNet(VisionConfig())
    shapes = {name: list(tensor.shape) for name, tensor in tower.state_dict().items()}
    assert len(shapes) == 548
    assert sum(tensor.numel() for tensor in tower.parameters()) == 294_126_912
    published: dict[str, list[int]] = {
        "conv_stem.conv.weight": [64, 3, 3, 3],
        "conv_stem.conv.bias": [64],
        "conv_stem.bn.weight": [64],
        "blocks.0.0.conv_exp.weight": [256, 64, 3, 3],
        "blocks.0.0.conv_pwl.weight": [128, 256, 1, 1],
        "blocks.0.2.conv_exp.weight": [512, 128, 3, 3],
        "blocks.0.2.bn2.weight": [128],
        "blocks.1.0.dw_start.conv.weight": [128, 1, 3, 3],
        "blocks.1.0.dw_mid.conv.weight": [768, 1, 5, 5],
        "blocks.1.4.dw_start.conv.weight": [256, 1, 3, 3],
        "blocks.1.4.pw_exp.conv.weight": [1024, 256, 1, 1],
        "blocks.2.0.pw_proj.conv.weight": [640, 1536, 1, 1],
        "blocks.2.7.pw_exp.conv.weight": [2560, 640, 1, 1],
        "blocks.2.8.pw_exp.conv.weight": [640, 640, 1, 1],
        "blocks.2.9.attn.query.proj.weight": [768, 640, 1, 1],
        "blocks.2.35.attn.key.down_conv.weight": [640, 1, 3, 3],
        "blocks.2.35.attn.key.norm.weight": [640],
        "blocks.2.35.attn.value.proj.weight": [64, 640, 1, 1],
        "blocks.2.35.attn.output.proj.weight": [640, 768, 1, 1],
        "blocks.2.36.pw_proj.conv.weight": [640, 1280, 1, 1],
        "blocks.3.0.dw_mid.conv.weight": [3840, 1, 5, 5],
        "blocks.3.37.attn.query.proj.weight": [1536, 1280, 1, 1],
        "blocks.3.37.attn.key.proj.weight": [96, 1280, 1, 1],
        "blocks.3.38.layer_scale.gamma": [1280],
        "msfa.ffn.pw_exp.conv.weight": [3840, 1920, 1, 1],
        "msfa.ffn.pw_proj.conv.weight": [2048, 3840, 1, 1],
        "msfa.norm.weight": [2048],
    }
    assert {name: shapes[name] for name in published} == published


def other_tower() -> MobileNet:
    """Every dimension another, and what no released table has: see `TABLE`."""
    torch.manual_seed(0)
    config = VisionConfig(hidden_size=52, model_args={"block_args": TABLE, "stem_size": 16})
    tower = MobileNet(config)
    for name, parameter in tower.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.3)
        if "gamma" in name:
            nn.init.normal_(parameter, mean=0.3, std=0.1)
    return tower


# 17 -> 9, 5, 3, 2, 1 pixels: odd maps everywhere. 257 has a fine map of 17, and 128 one of 8.
@settings(max_examples=6)
@given(high=st.sampled_from([17, 128, 257]), wide=st.sampled_from([31, 128]))
def test_another_tower_on_any_size_equals_plain_convs(high: int, wide: int) -> None:
    tower = other_tower().requires_grad_(False)
    pixels = torch.rand(2, 3, high, wide)
    plain = Plain(tower.state_dict())
    torch.testing.assert_close(tower(pixels), plain.tower(pixels), atol=1e-4, rtol=1e-4)


def test_training_reaches_every_weight() -> None:
    tower = other_tower()
    tower(torch.rand(1, 3, 64, 64)).square().sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


class Plain:
    """The towers of `TABLE` again, as the fact sheet says it: maps in torch's order, one op a line.

    What a block does is read off the names of its weights; nothing is shared with the product.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def tower(self, pixels: Tensor) -> Tensor:
        x = self.act(self.conv_norm("conv_stem", pixels, stride=2))
        maps = []
        for stage, entries in enumerate(TABLE):
            for index, entry in enumerate(entries):
                x = self.block(f"blocks.{stage}.{index}", entry, x, 1 if index else 2)
            maps.append(x)
        size = maps[-2].shape[2:]
        x = torch.cat([maps[-2], F.interpolate(maps[-1], size, mode="nearest")], 1)
        x = self.act(self.conv_norm("msfa.ffn.pw_exp", x))
        x = self.conv_norm("msfa.ffn.pw_proj", x)
        return self.norm("msfa.norm", F.interpolate(x, (16, 16), mode="bilinear"))

    def block(self, at: str, entry: str | dict[str, Any], x: Tensor, stride: int) -> Tensor:
        if f"{at}.conv_exp.weight" in self.weights:
            y = self.act(self.norm(f"{at}.bn1", self.conv(f"{at}.conv_exp", x, stride)))
            y = self.norm(f"{at}.bn2", self.conv(f"{at}.conv_pwl", y))
        elif f"{at}.attn.query.proj.weight" in self.weights:
            dim, kv_stride = (5, 2) if isinstance(entry, str) else (entry["key_dim"], 1)
            y = self.attention(f"{at}.attn", self.norm(f"{at}.norm", x), dim, kv_stride)
            y = y * self.weights[f"{at}.layer_scale.gamma"][:, None, None]
        else:
            mid = f"{at}.dw_mid.conv.weight" in self.weights
            y = x
            if f"{at}.dw_start.conv.weight" in self.weights:
                y = self.conv_norm(f"{at}.dw_start", y, 1 if mid else stride)
            y = self.act(self.conv_norm(f"{at}.pw_exp", y))
            if mid:
                y = self.act(self.conv_norm(f"{at}.dw_mid", y, stride))
            y = self.conv_norm(f"{at}.pw_proj", y)
            y = y * self.weights[f"{at}.layer_scale.gamma"][:, None, None]
        return x + y if x.shape == y.shape and stride == 1 else y

    def attention(self, at: str, x: Tensor, dim: int, kv_stride: int) -> Tensor:
        query = self.conv(f"{at}.query.proj", x).flatten(2).unflatten(1, (-1, dim))
        maps = {"key": x, "value": x}
        if kv_stride > 1:
            for name in maps:
                y = self.conv(f"{at}.{name}.down_conv", x, kv_stride)
                maps[name] = self.norm(f"{at}.{name}.norm", y)
        keys, values = (self.conv(f"{at}.{name}.proj", y).flatten(2) for name, y in maps.items())
        heads = []
        for head in query.unbind(1):  # [n, dim, positions]
            scores = head.transpose(1, 2) @ keys / dim**0.5
            heads.append(values @ scores.softmax(-1).transpose(1, 2))
        return self.conv(f"{at}.output.proj", torch.cat(heads, 1).unflatten(2, x.shape[2:]))

    def conv_norm(self, at: str, x: Tensor, stride: int = 1) -> Tensor:
        return self.norm(f"{at}.bn", self.conv(f"{at}.conv", x, stride))

    def conv(self, at: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, padding = self.weights[f"{at}.weight"], []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // stride) - 1) * stride + weight.shape[-1] - size, 0)
            padding += [total // 2, total - total // 2]
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(
            F.pad(x, padding), weight, self.weights.get(f"{at}.bias"), stride, groups=groups
        )

    def norm(self, at: str, x: Tensor) -> Tensor:
        rms = (x.square().mean(1, keepdim=True) + 1e-6).sqrt()
        return x / rms * self.weights[f"{at}.weight"][:, None, None]

    def act(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")


def drawn(name: str, shape: torch.Size) -> Tensor:
    """A weight of the full-size tower by the recipe of `golden/README.md`, in bfloat16."""
    entropy = [0, zlib.crc32(f"model.vision_tower.timm_model.{name}".encode())]
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
    z = generator.standard_normal(tuple(shape), dtype=np.float32)
    if name.endswith("layer_scale.gamma"):
        z = 0.3 + 0.1 * z
    elif name == "conv_stem.conv.bias":
        z = 0.1 * z
    elif z.ndim == 1:
        z = 1 + 0.15 * z
    else:
        z = z * math.prod(shape[1:]) ** -0.5  # multiplied, not divided: the last bit counts
    return torch.from_numpy(z).bfloat16()


@pytest.mark.slow
def test_the_full_size_tower_gives_the_features_of_the_reference(golden: Arrays) -> None:
    manifest = json.loads((Path(__file__).parents[1] / "golden" / "manifest.json").read_text())
    probes = manifest["files"]["vision_300m.safetensors"]["weight_probe"]
    with torch.device("meta"):
        tower = MobileNet(VisionConfig())
    weights = {name: drawn(name, tensor.shape) for name, tensor in tower.state_dict().items()}
    for name, probe in probes.items():
        raw = weights[name].view(torch.int16).numpy().tobytes()
        assert hashlib.sha256(raw).hexdigest() == probe["sha256_bf16"], name
    tower.load_state_dict({name: w.float() for name, w in weights.items()}, assign=True)
    tower.requires_grad_(False)
    arrays = golden("vision_300m")
    for size in (256, 768):
        features = tower(image(arrays, size))[:, ::CHANNEL_STRIDE]
        torch.testing.assert_close(features, arrays[f"features_{size}"], atol=5e-4, rtol=0)
