"""Words of a command line, some with several values -> the words of each run of a sweep.

The grammar is Hydra's: `a,b`, `choice(a,b)`, `range(1,5)`, `glob(*)` over the YAML of a group.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from gemma3n.errors import SettingsError
from pipelines.catalogue import group_choices
from pipelines.compose import OVERRIDE, QUOTED
from pipelines.keys import Key, groups_of, short_names

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_FUNCTION = re.compile(r"(choice|range|glob|sort|shuffle|interval|tag|int|float|str|bool)\(.*\)")


@dataclass(frozen=True)
class Values:
    """A setting and what it is to be, once a run."""

    name: str  # as it was typed: `nested`
    words: list[str]  # `nested=full`, `nested=small`

    def text(self, word: str) -> str:
        """The value in one of the words, without quotes around it."""
        text = word.partition("=")[2]
        return text[1:-1] if QUOTED.fullmatch(text) else text


@dataclass(frozen=True)
class Words:
    """A command line, sorted."""

    settings: dict[str, Values] = field(default_factory=dict)  # by the whole name of the setting
    others: list[str] = field(default_factory=list)  # paths, and what no setting is called

    @property
    def axes(self) -> dict[str, Values]:
        """The settings that differ between runs."""
        return {name: one for name, one in self.settings.items() if len(one.words) > 1}

    def runs(self) -> Iterator[tuple[dict[str, str], list[str]]]:
        """Of each run, what is its own by the name as typed, and all of its words."""
        for words in product(*(one.words for one in self.settings.values())):
            own = {
                one.name: one.text(word)
                for one, word in zip(self.settings.values(), words, strict=True)
                if len(one.words) > 1
            }
            yield own, [*self.others, *words]


def sort_words(
    keys: Mapping[str, Key], words: Iterable[str], before: Mapping[str, Values], many: bool
) -> Words:
    """Sort words; of a setting that is given twice the later counts.

    Args:
        keys: the settings of the job.
        words: as they were typed.
        before: settings of an experiment, which words replace.
        many: whether a word may have several values, each for runs of its own. A text keeps its
            commas in quotes, and those that a space follows; a list is one value,
            `[a,b]` or `a,b`, and several are `[a],[b]`.

    Raises:
        SettingsError: `interval()`, of which there is no end, or a `glob()` that finds nothing.
    """
    short, groups = short_names(keys), groups_of(keys)
    found = Words(dict(before))
    for word in words:
        match = OVERRIDE.fullmatch(word)
        name = match[2] if match else ""
        whole = short.get(name, name)
        if match is None or (whole not in keys and name not in groups):
            found.others.append(word)
            continue
        # A list by its short name is one of its values: `nested=full,small` of `sizes=[...]`.
        key = None if name in groups and _is_yaml(name, match[3]) else keys.get(whole)
        is_list = key is not None and key.many and name == whole
        texts = _texts(word, match, key, is_list) if many else [match[3]]
        found.settings.pop(whole, None)
        found.settings[whole] = Values(
            name, [f"{match[1]}{name}={text}" for text in dict.fromkeys(texts)]
        )
    return found


def listed(keys: Mapping[str, Key], name: str, values: Sequence[str]) -> dict[str, Values]:
    """A setting with values that somebody else took apart, by its whole name."""
    whole = short_names(keys).get(name, name)
    return {whole: Values(name, [f"{name}={text}" for text in values])}


def _is_yaml(group: str, text: str) -> bool:
    return text in group_choices(group)


def _texts(word: str, match: re.Match[str], key: Key | None, is_list: bool) -> list[str]:
    """The values of a word, each as one run's word has it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    name, text = match[2], match[3]
    is_function = _FUNCTION.fullmatch(text) is not None
    if is_list and not is_function and not text.startswith("["):
        return [text]
    # "Who, and where?" is a prompt; people who list values leave no room between them.
    if key is not None and key.kind is str and re.search(r",\s", QUOTED.sub("", text)):
        return [text]
    try:
        override = OverridesParser.create().parse_override(f"x={text}")
    except HydraException:  # a text that is none of its values: the run's own check sees to it
        return [text]
    if not override.is_sweep_override():
        return [text]
    if override.is_interval_sweep():
        raise SettingsError(
            f"{word}: an interval has no end of values. List them, {name}=1,2,4 or "
            f"{name}=range(1,5)."
        )
    texts = list(_elements(override, name))
    if not texts:
        known = ", ".join(group_choices(name)) or "none"
        raise SettingsError(
            f"{word} finds nothing; glob() is over the YAML of a group, of {name} there is: "
            f"{known}. Correct the pattern, or list the values."
        )
    return texts


def _elements(override: "Override", name: str) -> Iterator[str]:
    from hydra.core.override_parser.types import Glob

    value = override.value()
    if isinstance(value, Glob):
        yield from value.filter(group_choices(name))
        return
    yield from map(_as_typed, override.sweep_iterator())


def _as_typed(value: Any) -> str:
    """A value as it was typed: Hydra would escape the signs of a text."""
    from hydra.core.override_parser.types import Transformer

    return value if type(value) is str else Transformer.str(value)
