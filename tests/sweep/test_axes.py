"""Words with several values become exactly the runs that they name, whatever is in a value."""

from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma3n.errors import SettingsError
from pipelines import compose
from pipelines.sweep.axes import sort_words

KEYS = compose.keys_of_config(compose.compose("caption"))
EVALUATE = compose.keys_of_config(compose.compose("evaluate"))


def runs(*words: str, keys: Any = KEYS, many: bool = True) -> list[dict[str, str]]:
    """What is each run's own."""
    return [own for own, _ in sort_words(keys, words, {}, many).runs()]


def values(word: str, keys: Any = KEYS) -> list[str]:
    """The words that one with several values stands for."""
    (found,) = sort_words(keys, [word], {}, many=True).settings.values()
    return found.words


@settings(max_examples=20)
@given(
    sizes=st.lists(st.sampled_from(["full", "small", "mix2"]), min_size=1, max_size=3, unique=True),
    tops=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True),
)
def test_runs_are_every_combination_each_once(sizes: list[str], tops: list[int]) -> None:
    words = [f"nested={','.join(sizes)}", f"decode.top_k={','.join(map(str, tops))}", "a.png"]
    found = [some for _, some in sort_words(KEYS, words, {}, many=True).runs()]
    expected = [
        ["a.png", f"nested={size}", f"decode.top_k={top}"] for size, top in product(sizes, tops)
    ]
    assert found == expected


TEXTS = st.text(st.sampled_from("ab ,;:[](){}<>?!='*"), min_size=1, max_size=12)


@given(texts=st.lists(TEXTS, min_size=2, max_size=3, unique=True))
@example(texts=["Who, and where?", "a,b"])
@example(texts=["choice(a,b)", "range(1,3)"])
def test_what_is_in_quotes_is_not_taken_apart(texts: list[str]) -> None:
    word = "prompt=" + ",".join(f'"{text}"' for text in texts)
    assert values(word) == [f'prompt="{text}"' for text in texts]


def test_what_was_in_quotes_arrives_as_it_was_typed() -> None:
    (word, _) = values("""prompt="Who, and where? [a,'b']",c""")
    overrides, _ = compose.overrides_of("caption", KEYS, [word, "source.path=a.png"])
    job = compose.to_settings("caption", compose.compose("caption", overrides))
    assert job.fuse.prompt == "Who, and where? [a,'b']"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("decode.top_k=range(1,4)", ["1", "2", "3"]),
        ("decode.top_k=range(0,10,5)", ["0", "5"]),
        ("decode.temperature=choice(0.5,1)", ["0.5", "1"]),
        ("nested=choice(full,small)", ["full", "small"]),
        ("nested=full,full,small", ["full", "small"]),
        ("decode.top_k=sort(3,1,2)", ["1", "2", "3"]),
        ("executor=in_process,ray", ["in_process", "ray"]),
        ("executor=glob(ray_*)", ["ray_escalate", "ray_gpus", "ray_nodes", "ray_spot"]),
        ("executor=glob(*,exclude=ray_*)", ["ray"]),
        ("nested.layers=[0,1],[0,1,2]", ["[0,1]", "[0,1,2]"]),
        ("decode={top_k: 1},{top_k: 2}", ["{top_k:1}", "{top_k:2}"]),
        # A text with a comma and a blank is a text, and a list is one value.
        ("prompt=Who is it, and where?", ["Who is it, and where?"]),
        ("prompt=What <image> is it?", ["What <image> is it?"]),
        ("sink.formats=txt,jsonl", ["txt,jsonl"]),
        ("sink.formats=[txt],[jsonl,csv]", ["[txt]", "[jsonl,csv]"]),
        ("source.path=a.png,b.png", ["a.png,b.png"]),
        ("source.path=choice([a.png],[b.png])", ["[a.png]", "[b.png]"]),
    ],
)
def test_the_grammar_is_that_of_hydra(word: str, expected: list[str]) -> None:
    name = word.partition("=")[0]
    assert values(word) == [f"{name}={text}" for text in expected]


def test_sizes_of_an_evaluation_sweep_by_their_short_name() -> None:
    assert values("nested=full,small", EVALUATE) == ["nested=full", "nested=small"]
    assert values("sizes=full,small", EVALUATE) == ["sizes=full,small"]
    for word, sizes in (("nested=small", "[small]"), ("sizes=full,small", "[full,small]")):
        overrides, _ = compose.overrides_of("evaluate", EVALUATE, [word])
        assert overrides == [f"sizes={sizes}"]


def test_without_many_nothing_is_taken_apart() -> None:
    assert runs("nested=full,small", many=False) == [{}]


def test_of_a_setting_that_is_given_twice_the_later_counts() -> None:
    found = sort_words(KEYS, ["nested=full,small", "nested.name=mix2"], {}, many=True)
    assert [words for _, words in found.runs()] == [["nested.name=mix2"]]
    before = sort_words(KEYS, ["nested=full,small", "decode.top_k=1"], {}, many=True).settings
    found = sort_words(KEYS, ["nested=mix2,full"], before, many=True)
    assert [own for own, _ in found.runs()] == [{"nested": "mix2"}, {"nested": "full"}]


def test_what_is_no_setting_is_left_to_the_check_of_a_run() -> None:
    found = sort_words(KEYS, ["precison=a,b", "x=1,2.png"], {}, many=True)
    assert (found.settings, found.others) == ({}, ["precison=a,b", "x=1,2.png"])


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("decode.temperature=interval(0,1)", "List them, decode.temperature=1,2,4 or"),
        (
            "executor=glob(nope*)",
            "of executor there is: ray, ray_escalate, ray_gpus, ray_nodes, ray_spot.",
        ),
        ("nested=glob(*)", "of nested there is: none."),
    ],
)
def test_values_without_an_end_or_a_beginning_are_refused(word: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        values(word)
    assert str(caught.value).startswith(word)
    assert why in str(caught.value)
