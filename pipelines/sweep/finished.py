"""What a run would be made of -> a few digits: the same again, and a finished run is not begun."""

import hashlib
from functools import lru_cache
from pathlib import Path

import yaml

from pipelines import compose
from pipelines.exit_code import DONE, ROWS_FAILED
from pipelines.fingerprint import checkpoint_digest, digest
from pipelines.flat import flat
from pipelines.run import anywhere
from pipelines.settings import SourceJob
from pipelines.sweep.index import Entry
from stages.source import SourceSettings, list_items

_LEFT_OUT = ("output", "fresh", "retry_failed")


class Fingerprints:
    """Fingerprints of runs; what they have in common, the source and the checkpoint, is read once.

    They are wider than those of `fingerprint.py`: what changes nothing but speed is in them too. A
    run that differs in that is begun, and finds by its own fingerprint that nothing is left.
    """

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}
        self._checkpoint = lru_cache(checkpoint_digest)

    def of(self, settings: SourceJob) -> str:
        """That of one run."""
        said = flat(yaml.safe_load(compose.to_yaml(anywhere(settings))))
        said = {name: value for name, value in said.items() if name not in _LEFT_OUT}
        source = digest({n: value for n, value in said.items() if n.startswith("source.")})
        if source not in self._sources:
            self._sources[source] = _listing(settings.source)
        checkpoint = self._checkpoint(settings.model.folder)
        return digest([said, self._sources[source], checkpoint])


def is_finished(entry: Entry, fingerprint: str, folder: Path, settings: SourceJob) -> bool:
    """Whether a run need not be begun: it came to its end, of the same, and is still there."""
    ends = (DONE,) if settings.retry_failed else (DONE, ROWS_FAILED)
    return (
        not settings.fresh
        and entry.code in ends
        and entry.fingerprint == fingerprint
        and (folder / "config.yaml").is_file()
    )


def _listing(source: SourceSettings) -> str:
    sums = hashlib.blake2b(digest_size=8)
    for row in list_items(source):
        sums.update(f"{row['item']}\0{row['stamp']}\0".encode(errors="surrogateescape"))
    return sums.hexdigest()
