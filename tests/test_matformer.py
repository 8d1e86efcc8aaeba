import pytest

from gemma3n import NestedSize, SettingsError
from gemma3n.config import Config, TextConfig
from gemma3n.matformer import named_sizes, resolve_size

E4B = Config()


def test_e2b_is_e4b_without_layers_20_to_24_and_with_half_the_ffn() -> None:
    size = resolve_size("e2b", E4B)
    assert size == NestedSize.from_skip([20, 21, 22, 23, 24], 8192)
    sliced = size.sliced(E4B.text)
    assert sliced.num_hidden_layers == 30
    assert sliced.intermediate_size == [8192] * 30
    assert sliced.num_kv_shared_layers == 10
    # A whole period was dropped, so the roles of the others are those of a 30-layer model.
    assert sliced.layer_types == TextConfig(num_hidden_layers=30).layer_types


@pytest.mark.parametrize(
    ("name", "billions"),  # effective parameters of the published table
    [
        ("full", 3.980),
        ("small", 1.905),
        ("e1.96b-layer", 1.956),
        ("e2.54b-layer", 2.521),
        ("e2.69b-layer", 2.672),
        ("e2.98b-layer", 2.974),
        ("e3.18b-layer", 3.175),
        ("e3.39b-layer", 3.377),
        ("e3.59b-layer", 3.578),
        ("e3.79b-layer", 3.779),
        ("e2.49b-block", 2.471),
        ("e2.73b-block", 2.722),
        ("e2.98b-block", 2.974),
        ("e3.24b-block", 3.226),
        ("e3.49b-block", 3.477),
        ("e3.79b-block", 3.729),
    ],
)
def test_published_sizes_have_their_published_parameters(name: str, billions: float) -> None:
    assert named_sizes(E4B)[name].name == name
    assert effective(resolve_size(name, E4B)) == pytest.approx(billions, abs=6e-4)


def effective(size: NestedSize) -> float:
    """Billions of weights outside both embedding tables, unused K/V included, as published."""
    text, hidden, ple = E4B.text, 2048, 256
    layers = len(size.layers(text))
    ffn = 3 * hidden * sum(size.ffn_widths(text).values())
    attention = hidden * (2 * 2048 + 2 * 512) + 2 * 256
    altup = hidden * (4 + 1 + 1) + 16 + 64
    per_layer = 2 * hidden * ple + hidden + 2 * hidden * 64 + hidden + 4 * hidden
    outside = hidden * layers * ple + ple + 6 * hidden * hidden + hidden
    return (ffn + layers * (attention + altup + per_layer) + outside) / 1e9


def test_names_of_the_checkpoint_itself_come_first() -> None:
    raw = {"nested_sizes": {"tiny": {"skip": [20], "widths": 100}}}
    config = Config(raw=raw)
    assert resolve_size("tiny", config) == NestedSize((20,), 100)
    assert "e2b" not in named_sizes(config)


def test_small_is_full_where_nothing_is_nested(caplog: pytest.LogCaptureFixture) -> None:
    config = Config(text=TextConfig(num_hidden_layers=30, num_kv_shared_layers=10))
    with caplog.at_level("INFO"):
        assert resolve_size("small", config) == resolve_size("full", config)
    assert "names no nested sizes" in caplog.text


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'small'"):
        resolve_size("smal", E4B)


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(SettingsError, match=r"knows full, .*\. Layers and widths may also"):
        resolve_size("xyzzy", E4B)


def test_layers_and_widths_may_be_given_one_by_one() -> None:
    text = TextConfig(num_hidden_layers=4, num_kv_shared_layers=0, intermediate_size=[7, 7, 7, 7])
    size = NestedSize.from_layers([0, 2], [3, 5], text)
    assert size.layers(text) == (0, 2)
    assert size.ffn_widths(text) == {0: 3, 2: 5}
    assert NestedSize.from_layers(None, 2, text).ffn_widths(text) == {0: 2, 1: 2, 2: 2, 3: 2}
    with pytest.raises(SettingsError, match=r"nested layers \[9\].*layers 0 to 3"):
        NestedSize.from_layers([9], None, text)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (NestedSize((35,)), r"drops layers \[35\].*layers 0 to 34"),
        (NestedSize(tuple(range(35))), "keep at least one"),
        (NestedSize((), (1, 2)), "2 widths for 35 kept layers"),
        (NestedSize((), 0), "width=0 for layer 0, which holds 1 to 16384"),
        (NestedSize((), 16_385), "width=16385"),
        (NestedSize((18,)), r"drops layers \[18\], whose K/V"),
    ],
)
def test_what_the_model_does_not_contain_is_refused(size: NestedSize, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        size.check(E4B.text)


def test_a_kv_source_may_go_when_nobody_is_left_to_share_it() -> None:
    size = NestedSize.from_skip([18, *range(20, 24), *range(25, 29), *range(30, 34)])
    size.check(E4B.text)
    assert size.sliced(E4B.text).num_kv_shared_layers == 3


def test_a_size_is_within_another_if_no_layer_is_missing_or_wider() -> None:
    small, full = resolve_size("small", E4B), resolve_size("full", E4B)
    assert small.within(full, E4B.text)
    assert not full.within(small, E4B.text)
    assert not NestedSize((20, 21, 22, 23, 24), 8193).within(small, E4B.text)


def test_lists_make_the_same_size_as_tuples() -> None:
    assert NestedSize([9, 8], [1, 2]) == NestedSize((8, 9), (1, 2))  # type: ignore[arg-type]
    assert hash(NestedSize([9, 8])) == hash(NestedSize((8, 9)))  # type: ignore[arg-type]


def test_what_is_no_size_is_refused() -> None:
    with pytest.raises(SettingsError, match="nested=5; give the name of a size"):
        resolve_size(5, E4B)  # type: ignore[arg-type]
