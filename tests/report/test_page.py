import json
import re
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gemma3n.errors import SettingsError
from pipelines.report import wording as say
from pipelines.report.embed import Embedded, Embedder
from pipelines.report.page import environment, page
from pipelines.report.quality import Quality
from pipelines.report.run import Run
from pipelines.report.survey import Failure, Shown, Survey
from pipelines.settings import EmbedSettings, ReportJob

Make = Callable[..., Any]

SAMPLES: dict[str, list[float]] = {
    "seconds": [0, 1, 2, 4],
    "read.rows": [0, 3, 3, 3],
    "read.seconds": [0, 0.5, 0.5, 0.5],
    "decode.rows": [0, 0, 1, 3],
    "decode.seconds": [0, 0, 1, 3],
    "memory.anonymous": [1e8, 2e8, 2e8, 2e8],
    "memory.mapped": [1e8, 1e8, 3e8, 3e8],
}
_WORDS = ("title", "aria-label", "alt")  # attributes that hold what strangers wrote


class Skeleton(HTMLParser):
    """A page without its texts: tags, attributes, and those values that are ours."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kept = tuple((name, "" if name in _WORDS else value) for name, value in attrs)
        self.tags.append((tag, kept))
        self.texts += [value or "" for name, value in attrs if name in _WORDS]

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", ()))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


class Wordless(NamedTuple):
    """Runs, and the page about them."""

    runs: list[Run]
    page: Skeleton


@pytest.fixture
def wordless(make_run: Make, result: Make, read: Make) -> Wordless:
    """Two runs in all of whose places the word `wordless` stands."""
    item = {"what": "wordless", "tier": "device", "parameters": 1, "bytes": 1000}
    timeline = {
        "began": "wordless",
        "samples": SAMPLES,
        "where": dict.fromkeys(("processor", "gpu", "cores", "system", "torch"), "wordless"),
        "plan": {"size": "wordless", "items": [item, item | {"tier": "disk"}]},
    }
    folders = []
    for n in (1, 2):
        rows = [
            result(
                f"{name}wordless",
                "wordless",
                reference="wordless",
                note="wordless",
                extra=json.dumps({"set": f"{name}wordless"}),
            )
            for name in "ab"
        ]
        error = {"stage": "wordless", "message": "wordless"}
        folder = make_run(
            [*rows, result("cwordless", None, error=error)],
            f"run{n}",
            settings={"nested": {"name": f"{n}wordless"}, "model": {"path": f"{n}wordless"}},
            summary={"total": "wordless", "rows_ready": "wordless"},
            timeline=timeline,
        )
        prints = {"nested": {"name": "wordless"}, "precision": "wordless"}
        (folder / "fingerprint.json").write_text(json.dumps(prints))
        folders.append(folder)
    runs: list[Run] = read(*folders)
    for run in runs:
        run.notices.append("wordless")
        clip = Embedded("audio", "data:,", "wordless")
        picture = Embedded("image", "data:,", "wordless", 2, 3)
        run.embedded = {id(row): [clip, picture, "wordless"] for row in run.survey.random}
    job = ReportJob(title="wordless", embed=EmbedSettings(max_mb=1))
    job.source.path = ["nowhere"]
    return Wordless(runs, Skeleton(page(runs, job, Embedder(job.embed))))


def written(value: Any, text: str) -> Any:
    """The same with `text` in the place of each `wordless`."""
    if isinstance(value, str):
        return value.replace("wordless", text)
    if isinstance(value, dict):
        return {written(key, text): written(one, text) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(written(one, text) for one in value)
    if isinstance(value, Run | Survey | Quality | Shown | Failure | Embedded):
        made = copy(value)
        for field in fields(made):
            object.__setattr__(made, field.name, written(getattr(made, field.name), text))
        if isinstance(made, Run) and isinstance(value, Run):
            # Media go by the identity of their rows.
            rows = zip(value.survey.random, made.survey.random, strict=True)
            made.embedded = {id(new): made.embedded[id(old)] for old, new in rows}
        return made
    return value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(), min_size=1, max_size=30))
@example(text="<script>alert(1)</script><img src=x onerror=alert(1)>")
@example(text="\" onload=alert(1) x='</style></title></svg>--><!--]]>{{7*7}}{%raw%}")
@example(text="&lt;b&gt;&#39;&quot;;}body{display:none}url(javascript:1)")
@example(text="\ud800\udfff\x00\x1b[31m\u202e\u2066\u0600")
def test_no_text_of_a_stranger_becomes_a_part_of_the_page(wordless: Wordless, text: str) -> None:
    text = "_".join(f"w{text}w".split())  # of several words some would be marked
    job = ReportJob(title=text, embed=EmbedSettings(max_mb=1))
    job.source.path = ["nowhere"]
    drawn = page([written(run, text) for run in wordless.runs], job, Embedder(job.embed))
    drawn.encode()
    found = Skeleton(drawn)
    assert found.tags == wordless.page.tags
    words = "".join(wordless.page.texts).count("wordless")
    assert words > 60
    # All but values of settings, which stand as they would be typed, and long ones, which are cut.
    assert "".join(found.texts).count(say.plain(text)) > 0.7 * words


def test_nothing_on_the_page_leads_out_of_it_or_runs(
    make_run: Make, result: Make, drawn: Make
) -> None:
    page = drawn(make_run([result("a")], timeline={"samples": SAMPLES}))
    tags = Skeleton(page).tags
    names = {tag for tag, _ in tags}
    assert not names & {"script", "link", "iframe", "object", "form", "base"}
    for tag, attributes in tags:
        for name, value in attributes:
            assert not name.startswith("on"), tag
            if name in ("src", "href"):
                assert (value or "").startswith(("data:", "#run-")), tag
    policy = next(
        dict(attrs) for tag, attrs in tags if ("http-equiv", "Content-Security-Policy") in attrs
    )
    assert (policy["content"] or "").startswith(
        "default-src 'none'; img-src data:; media-src data:;"
    )
    css = page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in css
    assert "@import" not in css


def test_a_run_that_has_not_ended_is_told_of_up_to_its_last_sample(
    make_run: Make, result: Make, drawn: Make
) -> None:
    timeline = {"samples": SAMPLES | {"items": [0, 1, 2, 2], "new_tokens": [0, 2, 4, 8]}}
    page = drawn(make_run([result("a"), result("b")], timeline=timeline, has_ended=False))
    assert "Not finished" in page
    assert "This run has not come to its end: 2 items are committed." in page
    assert ">2.00</dd>" in page  # tokens a second: 8 in 4 s


def test_runs_of_different_jobs_are_compared_with_their_own(
    make_run: Make, result: Make, drawn: Make
) -> None:
    runs = [
        make_run([result("a")], f"{job}{n}", job, settings={"seed": n})
        for job in ("transcribe", "caption")
        for n in (1, 2)
    ]
    page = drawn(*runs)
    assert re.findall("<h2>Comparison of <bdi>(.*?)</bdi></h2>", page) == ["transcribe", "caption"]
    assert "<h2>Comparison" not in drawn(runs[0], runs[2])


def test_a_sweep_has_its_front_drawn_and_marked(make_run: Make, result: Make, drawn: Make) -> None:
    def one(name: str, said: str, tokens: int, ended: bool = True) -> Path:
        summary = {"new_tokens": tokens, "peak_rss_bytes": 10**9}
        rows = [result("a", said, reference="one two three four")]
        run: Path = make_run(
            rows, name, settings={"nested": name}, summary=summary, has_ended=ended
        )
        return run

    good, fast = one("good", "one two three four", 40), one("fast", "one two three", 80)
    beaten = one("beaten", "one two", 60)
    unfinished = one("unfinished", "one two three four", 4000, ended=False)
    page = drawn(good, fast, beaten, unfinished)
    rows = re.findall(
        r'<tr( class="on-front")?><th scope="row" class="num"><a href="#run-(\d)"', page
    )
    assert [number for is_on, number in rows if is_on] == ["1", "2"]
    assert len(rows) == 4
    assert "not finished" in page
    assert len(re.findall('class="mark front"', page)) == 3  # two of speed, one of memory
    assert "<strong>20.0</strong>" in page  # 80 tokens in 4 s, the most


def test_runs_of_a_sweep_that_failed_are_named(
    make_run: Make, result: Make, drawn: Make, tmp_path: Path
) -> None:
    runs = [
        {"name": "a", "code": 0},
        {"name": "b", "code": 2, "error": "no such <size>"},
        {"name": "c", "code": None},
        {"name": "d", "code": 3},
    ]
    folder = make_run([result("a")])
    (folder / "sweep.json").write_text(json.dumps({"runs": runs}))
    page = drawn(folder)
    part = page.partition("Runs of the sweep that did not finish")[2].partition("</section>")[0]
    assert re.findall("<bdi>(.*?)</bdi>", part) == [
        "b",
        "no such &lt;size&gt;",
        "c",
        "not done yet",
    ]
    (folder / "sweep.json").write_text("[1]")
    assert "did not finish" not in drawn(folder)


def test_a_thousand_rows_make_a_page_below_five_megabytes(
    make_run: Make, result: Make, drawn: Make
) -> None:
    words = "the quick brown fox jumps over a lazy dog and says nothing at all "
    rows = [
        result(f"folder/of/recordings/{n}.wav", f"{words * 4}{n}", reference=f"{words * 3} {n} x")
        for n in range(1000)
    ]
    page = drawn(make_run(rows), worst=500, random=500)
    assert page.count('<article class="row">') == 1000
    # Clips and pictures have 2.5 MB beside it.
    assert len(page.encode()) < 2.5e6


def test_without_jinja2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    environment.cache_clear()
    with pytest.raises(SettingsError, match=r"not installed. Install gemma3n-pipelines\[report\]."):
        environment()


def test_memory_is_told_by_tier_beside_the_plan(make_run: Make, result: Make, drawn: Make) -> None:
    items = [
        {"what": "text layers", "tier": "device", "parameters": 1, "bytes": 3 * 10**9},
        {"what": "KV cache", "tier": "device", "parameters": 0, "bytes": 10**9},
        {"what": "PLE table", "tier": "disk", "parameters": 1, "bytes": 5 * 10**9},
    ]
    parts = {"text": {"bytes": 28 * 10**8, "seconds": 1.0}}
    summary = {"peak_rss_bytes": 4 * 10**9, "parts": parts}

    def bars(name: str, samples: dict[str, list[float]]) -> dict[str, str]:
        timeline = {"samples": samples, "plan": {"items": items}}
        page = drawn(make_run([result("a")], name, summary=summary, timeline=timeline))
        return dict(re.findall('bar-name">(.*?) <span class="num">(.*?)</span>', page))

    assert bars("cpu", SAMPLES) == {
        "Memory, planned": "4.00 GB",
        "Weights, loaded": "2.80 GB",
        "Memory, peak": "4.00 GB",
        "Left on disk, planned": "5.00 GB",
    }
    assert bars("gpu", SAMPLES | {"memory.device_peak": [0, 1e9, 35e8, 35e8]}) == {
        "GPU, planned": "4.00 GB",
        "GPU, peak": "3.50 GB",
        "Weights, loaded": "2.80 GB",
        "Memory, peak": "4.00 GB",
        "Left on disk, planned": "5.00 GB",
    }


def test_how_sizes_shared_the_work_and_what_the_cache_had_is_told(
    make_run: Make, result: Make, drawn: Make
) -> None:
    summary = {
        "sizes": {"small": 30, "full": 10},
        "counts": {"decode": {"drafted": 200, "accepted": 150}},
        "ple": {"rows": 100, "moved": 9, "hit_rate": 0.91},
        "joules": {"cpu 0": 4000.0, "dram 0": 200.0},
    }
    page = drawn(make_run([result("a")], summary=summary))
    tiles = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert tiles["Answered by small"] == "75.0 %"
    assert tiles["Drafts"] == "75.0 %"
    assert tiles["PLE cache hits"] == "91.0 %"
    assert tiles["Energy"] == "4.20 kJ"
