import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.report.article import NO_RUN, article_tables
from pipelines.report.numbers import numbers_of
from pipelines.report.run import Run

Make = Callable[..., Any]


def measured(runs: list[Run]) -> dict[str, str]:
    tables = article_tables(runs, [numbers_of(run) for run in runs])
    return {line.name: line.measured for table in tables for line in table.lines}


def sized(folder: Path, size: str) -> Path:
    (folder / "fingerprint.json").write_text(json.dumps({"nested": {"name": size}}))
    return folder


def test_lines_are_filled_from_runs_of_that_size_and_content(
    make_run: Make, result: Make, read: Make
) -> None:
    text = result("a", audio_s=0.0, start_s=None, end_s=None)
    picture = text | {"image_paths": ["a.png"]}
    seconds = {"stage_seconds": {"encode": 2.0, "decode": 4.0}, "peak_rss_bytes": 5 * 10**9}
    of_sound = seconds | {"audio_seconds": 8.0, "joules": {"cpu 0": 30.0, "gpu 0": 10.0}}
    cached = seconds | {"ple": {"hit_rate": 0.9}, "peak_rss_bytes": 2 * 10**9}
    runs = read(
        sized(make_run([text] * 2, "text", summary=cached), "small"),
        sized(make_run([result("a")], "sound", summary=of_sound), "full"),
        sized(
            make_run(
                [picture],
                "pictures",
                job="caption",
                summary=seconds | {"images": 6},
                settings={"resize": {"resolution": 768}},
            ),
            "full",
        ),
        sized(make_run([text], "unfinished", has_ended=False), "full"),
    )
    found = measured(runs)
    assert found["E2B, text"] == "2.00 tokens/s"
    assert found["E4B, text"] == NO_RUN
    assert found["E4B, sound"] == "25.0 segments/s"
    assert found["E4B, pictures of 768 \u00d7 768"] == "3.00 images/s"
    assert found["E2B, pictures of 256 \u00d7 256"] == NO_RUN
    assert found["E2B, text only"] == "2.00 GB"
    assert found["E4B, with pictures or sound"] == "5.00 GB"
    assert found["E2B in 4 GB"] == "fits, 2.00 GB"
    assert found["E4B in 4 GB"] == "does not fit, 5.00 GB"
    assert found["Hit rate"] == "90.0 %"
    assert found["E4B, a minute of sound"] == "300 J"
    assert found["E2B, one text message"] == "not measurable"
    assert found["E2B, a minute of sound"] == NO_RUN


def test_of_several_runs_the_lowest_and_the_highest_are_told(
    make_run: Make, result: Make, read: Make
) -> None:
    def one(name: str, rows: int, tokens: int, gigabytes: int) -> Path:
        summary = {
            "new_tokens": tokens,
            "stage_seconds": {"decode": 1.0},
            "peak_rss_bytes": gigabytes * 10**9,
        }
        text = result("a", audio_s=0.0, start_s=None, end_s=None)
        return sized(make_run([text] * rows, name, summary=summary), "full")

    runs = read(one("a", 1, 30, 2), one("b", 1, 9, 4), one("c", 1, 12, 1), one("empty", 0, 1, 9))
    found = measured(runs)
    assert found["E4B, text"] == "9.00 tokens/s to 30.0 tokens/s"
    assert found["E4B, text only"] == "4.00 GB"
    assert found["E4B in 4 GB"] == "does not fit, 4.00 GB"


def test_the_tables_are_drawn_when_they_are_asked_for(
    make_run: Make, result: Make, drawn: Make
) -> None:
    items = [{"what": "weights", "tier": "device", "parameters": 5_000_000, "bytes": 10**7}]
    nano = {"settings": {"model": {"path": "nano"}}, "timeline": {"plan": {"items": items}}}
    folder = sized(make_run([result("a")], **nano), "full")
    page = drawn(folder, article=True)
    assert "<h2>The article\u2019s tables, measured</h2>" in page
    assert "E2B stands for the nested size small and E4B for full, of nano." in page
    assert "say nothing of E2B and E4B" in page
    assert page.count('<table class="article">') == 5
    assert '<table class="article">' not in drawn(folder)
