import pytest

from gemma3n import SettingsError
from pipelines.settings import BatchSettings, LoraSettings


@pytest.mark.parametrize(
    ("settings", "wrong", "why"),
    [
        (BatchSettings, {"split": 1.5}, "batch.split=1.5; it is a share, 0 to 1.0. Correct it."),
        (BatchSettings, {"image_side": 16}, "batch.image_side=16; 32 pixels or more are needed."),
        (LoraSettings, {"rank": 0}, "lora.rank=0; at least 1. Raise it."),
        (LoraSettings, {"dropout": 1.0}, "lora.dropout=1.0; it is a share, 0 to 0.99. Correct it."),
    ],
)
def test_what_cannot_be_is_refused(
    settings: type[BatchSettings | LoraSettings], wrong: dict[str, float], why: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(**wrong)  # type: ignore[arg-type]
    assert why in str(refused.value)
