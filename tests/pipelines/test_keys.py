"""A settings class is described by its dotted keys."""

from dataclasses import dataclass, field
from enum import Enum

from pipelines.keys import Key, keys_of, nearest, short_names, typed
from stages.setting import setting


class Colour(Enum):
    red = 1
    blue = 2


@dataclass
class Inner:
    size: int | None = setting(None, "how large")


@dataclass
class Outer:
    colours: list[Colour] = setting([Colour.red], "which")
    inner: Inner = field(default_factory=Inner)


@dataclass
class Whole:
    outer: Outer = field(default_factory=Outer)
    name: str = setting("a", "what it is called")


def test_keys_of_groups_inside_groups_are_dotted() -> None:
    assert keys_of(Whole) == {
        "outer.colours": Key("outer.colours", Colour, many=True, optional=False, doc="which"),
        "outer.inner.size": Key(
            "outer.inner.size", int, many=False, optional=True, doc="how large"
        ),
        "name": Key("name", str, many=False, optional=False, doc="what it is called"),
    }


def test_a_key_says_what_it_accepts() -> None:
    keys = keys_of(Whole)
    assert keys["outer.colours"].accepts == "a list [a,b,...], each one of red, blue"
    assert keys["outer.inner.size"].accepts == "a whole number, or null"
    assert keys["name"].accepts == "a text"


def test_the_nearest_name_is_alike_as_a_whole_or_in_its_last_part() -> None:
    names = ["decode.top_k", "decode.top_p", "source.path", "model.path"]
    assert nearest("decode.topk", names) == "decode.top_k"
    assert nearest("top_p", names) == "decode.top_p"
    assert nearest("model.pat", names) == "model.path"
    assert nearest("zebra", names) is None
    assert nearest("zebra", []) is None


def test_a_short_name_is_of_a_key_that_is_there_and_no_key_itself() -> None:
    assert short_names(["model.path", "fuse.task"]) == {"model": "model.path", "task": "fuse.task"}
    assert short_names(["task", "fuse.task"]) == {}


def test_values_are_written_as_they_are_typed() -> None:
    assert typed(None) == "null"
    assert typed(True) == "true"
    assert typed(0.5) == "0.5"
    assert typed(Colour.red) == "red"
    assert typed(["a/b", "c d", "null", "1e3"]) == '[a/b,"c d","null","1e3"]'
    assert typed('say "hi"\\') == r'"say \"hi\"\\"'
