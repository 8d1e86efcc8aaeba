"""A run's folder -> the rows that a table of the sweep shows of it, one a nested size.

A row has `size` (null where the job has one), `items`, `failed` (rows of those), `seconds` and
`items_per_s` of all the times that the run was at work, `audio_per_s` (seconds heard a second),
`tokens_per_s`, `peak_rss_bytes`, `ple_hit_rate` (0..1, of the last time that it was at work), and
where it was evaluated `scores`: metric -> value, low, high,
and `shown`: the metrics that count for its task, the first most.
"""

import json
from pathlib import Path
from typing import Any

from pipelines.assemble import FAILURES
from pipelines.run import SUMMARY
from pipelines.score_files import SCORES
from pipelines.scored import ALL
from pipelines.sweep.index import Entry

_COUNTED = ("items", "seconds", "audio_seconds", "images", "new_tokens")


def summaries(folder: Path) -> dict[str, Path]:
    """The summaries of a run folder by nested size; of a job with one size, by nothing."""
    if (own := folder / SUMMARY).is_file():
        return {"": own}
    return {path.parent.name: path for path in sorted(folder.glob(f"*/{SUMMARY}"))}


def versions(folder: Path) -> dict[str, int]:
    """Which summaries there are, to know later which are new."""
    return {size: path.stat().st_mtime_ns for size, path in summaries(folder).items()}


def count_new(entry: Entry, folder: Path) -> None:
    """Add to what a run has done what the summaries tell that are not counted yet.

    A run that was ended without a word has none; what it finished is told as done before.
    """
    for size, version in versions(folder).items():
        if entry.counted.get(size) == version:
            continue
        entry.counted[size] = version
        summary, counts = _read(summaries(folder)[size]), entry.done.setdefault(size, {})
        for name in _COUNTED:
            counts[name] = counts.get(name, 0) + summary.get(name, 0)
        # Of pools, that of the largest of their processes.
        told = (summary, *summary.get("pools", {}).values())
        peak = max(one.get("peak_rss_bytes", 0) for one in told)
        counts["peak_rss_bytes"] = max(counts.get("peak_rss_bytes", 0), peak)


def results(folder: Path, done: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """The rows of a run."""
    scores = _read(folder / SCORES) if (folder / SCORES).is_file() else {}
    return [
        {
            "size": size or None,
            **_result(path, done.get(size, {})),
            "scores": (found := _scores(scores, size)),
            "shown": [metric for metric in scores.get("shown", found) if metric in found],
        }
        for size, path in _in_order(summaries(folder), scores)
    ]


def _result(path: Path, did: dict[str, float]) -> dict[str, Any]:
    summary = _read(path)
    seconds = did.get("seconds", 0.0)

    def a_second(name: str) -> float | None:
        return did[name] / seconds if did.get(name) and seconds else None

    return {
        "items": summary.get("earlier", 0) + summary.get("items", 0),
        "failed": _lines(path.with_name(FAILURES)),
        "seconds": seconds,
        "items_per_s": a_second("items"),
        "audio_per_s": a_second("audio_seconds"),
        "tokens_per_s": a_second("new_tokens"),
        "peak_rss_bytes": did.get("peak_rss_bytes", 0),
        "ple_hit_rate": summary.get("ple", {}).get("hit_rate"),
    }


def _in_order(found: dict[str, Path], scores: dict[str, Any]) -> list[tuple[str, Path]]:
    """In the order of the sizes that were asked for, where that is known."""
    asked = list(scores.get("runs", {}))
    return sorted(found.items(), key=lambda one: (*map(asked.index, {one[0]} & {*asked}),))


def _scores(scores: dict[str, Any], size: str) -> dict[str, Any]:
    """Over all rows."""
    sets = scores.get("sets", {})
    of_all = sets.get(ALL) or (next(iter(sets.values())) if len(sets) == 1 else {})
    found: dict[str, Any] = of_all.get(size, {}).get("scores", {})
    return found


def _lines(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
