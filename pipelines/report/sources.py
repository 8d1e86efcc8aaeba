"""Items of a run -> where their files are, as its source lists them now."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from gemma3n.errors import SettingsError
from stages.media import Media
from stages.remote import is_url
from stages.row import Row
from stages.source import STDIN, SourceSettings, list_items

_KNOWN = {field.name for field in fields(SourceSettings)}


def source_rows(settings: Mapping[str, Any], items: Collection[str]) -> dict[str, Row | str]:
    """The rows of some items, or why there is none; nothing is read over a network.

    Args:
        settings: of the run, as its config has them.
        items: to look for.
    """
    found: dict[str, Row | str] = {}
    wanted, why = set(items), "The source has it no more."
    try:
        source = _settings(settings.get("source"))
        remote = [path for path in source.path if is_url(path)]
        if remote:
            why = "Its source is a URL, which a report does not fetch."
        elif STDIN in source.path:
            why = "Its source was a list on stdin, which is gone."
        else:
            for row in list_items(source):
                if row["item"] in wanted:
                    found[row["item"]] = row
                    if len(found) == len(wanted):
                        break
    except (SettingsError, OSError, TypeError, ValueError, KeyError):
        why = "The source is not where it was."
    return {item: found.get(item, why) for item in items}


def _settings(raw: Any) -> SourceSettings:
    known = {name: value for name, value in dict(raw).items() if name in _KNOWN}
    known["media"] = [Media[name] for name in known.get("media", [])]
    return SourceSettings(**known)
