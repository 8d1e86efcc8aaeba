import pytest
import torch

from gemma3n import SettingsError
from gemma3n.choices import Precision
from gemma3n.device import Formats, resolve_device, resolve_formats, resolve_precision
from gemma3n.routes import packed

CPU = torch.device("cpu")


def test_float16_is_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError, match=r"precision=float16: .*overflow.*bfloat16"):
        resolve_precision("float16", CPU)


def test_an_unknown_precision_or_device_lists_what_there_is() -> None:
    with pytest.raises(SettingsError, match="precision='int3'; accepted are auto, float32"):
        resolve_precision("int3", CPU)
    with pytest.raises(SettingsError, match="device='tpu'; accepted are auto, cpu, cuda, mps"):
        resolve_device("tpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"device='cuda:1', but this machine has .*cpu"):
        resolve_device("cuda:1")


def test_auto_takes_the_first_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"


@pytest.mark.parametrize("native", [True, False])
def test_auto_precision_is_bfloat16_only_where_the_processor_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    expected = torch.bfloat16 if native else torch.float32
    assert resolve_precision("auto", CPU) == expected


def test_without_torchs_private_probe_auto_precision_is_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert resolve_precision("auto", CPU) == torch.float32


def test_what_is_rounded_is_computed_in_float32_between_products_on_a_cpu() -> None:
    formats = resolve_formats("int8", CPU)
    assert formats.weights is Precision.int8
    assert formats.text == torch.float32
    assert resolve_formats("float32", CPU) == Formats(
        Precision.float32, torch.float32, torch.float32
    )


def test_float32_is_packed_only_when_asked_for_and_nothing_else_than_a_cpus_weights() -> None:
    can = packed.is_available(torch.float32)
    assert not resolve_formats("float32", CPU).pack
    assert not can or resolve_formats("float32", CPU, pack=True).pack
    assert not resolve_formats("bfloat16", CPU, pack=False).pack
    with pytest.raises(SettingsError, match="pack=true, but bfloat16 cannot be packed on meta"):
        resolve_formats("bfloat16", torch.device("meta"), pack=True)


def test_a_rounded_checkpoint_has_one_precision() -> None:
    assert resolve_formats("auto", CPU, own=Precision.int4).weights is Precision.int4
    with pytest.raises(SettingsError, match="precision=float32, but this checkpoint's weights are"):
        resolve_formats("float32", CPU, own=Precision.int4)


def test_rounded_weights_are_not_trained() -> None:
    with pytest.raises(SettingsError, match="precision=int8 is for finished weights"):
        resolve_precision("int8", CPU)
