"""A cut, as Lhotse writes it to its manifests -> the same in our words. Needs no library."""

from pathlib import Path
from typing import Any

from gemma3n.errors import InputError

_CUTS = ("MonoCut", "MultiCut", "MixedCut", "PaddingCut")


def is_cut(said: dict[str, Any]) -> bool:
    """Whether an entry of a manifest is a cut."""
    return said.get("type") in _CUTS


def from_cut(cut: dict[str, Any]) -> dict[str, Any]:
    """What a cut says of its clip: `id audio offset duration text language`, and its `custom`.

    Raises:
        InputError: it is more than one part of one file as it is.
    """
    if cut["type"] != "MonoCut":
        raise InputError(
            f"is a {cut['type']}; accepted are MonoCut, one part of one file. "
            "Save the cuts as audio first (cuts.save_audios), or leave it out."
        )
    try:
        recording, supervisions = cut["recording"], cut.get("supervisions") or []
        sources = [one for one in recording["sources"] if cut["channel"] in one["channels"]]
        (source,) = sources or recording["sources"]
        clip = {"id": cut["id"], "offset": cut["start"], "duration": cut["duration"]}
        kind, name, channels = source["type"], source["source"], source["channels"]
        said = [(one.get("text"), one.get("language")) for one in supervisions]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"is a MonoCut without all of its recording ({type(error).__name__}: {error}). "
            "Write the cuts anew with cuts.to_file."
        ) from error
    changes = recording.get("transforms") or []
    if kind != "file" or len(channels) != 1 or changes:
        what = f"changed by {changes}" if changes else f"of type {kind!r} with channels {channels}"
        raise InputError(
            f"is a cut of a recording {what}; accepted are files of one channel, as they are. "
            "Save the cuts as audio first (cuts.save_audios)."
        )
    if Path(name).exists():  # Lhotse names files as seen from where it ran
        name = str(Path(name).absolute())
    texts = [text for text, _ in said if text]
    languages = {language for _, language in said if language}
    return {
        **clip,
        "audio": name,
        "text": " ".join(texts) or None,
        "language": languages.pop() if len(languages) == 1 else None,
        "speaker": supervisions[0].get("speaker") if len(supervisions) == 1 else None,
        **(cut.get("custom") or {}),
    }
