import json
import signal
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from gemma3n.errors import SettingsError
from pipelines.bench import limit, linear, memory
from pipelines.bench.decode import KilledError, run_apart
from pipelines.bench.text import read_ids
from pipelines.cgroup import limited
from pipelines.cli import main

SAID = "ten of clubs\nfive of hearts\nten of clubs\n"


def test_a_bench_reports_speed_and_memory_of_a_fresh_process(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", f"model={checkpoint_folder}", "precision=float32", "new_tokens=3", "repeat=2"]
    assert main([*words, "json=true"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert len(runs) == 2
    for run in runs:
        assert min(run["load s"], run["first token s"], run["tokens/s"]) > 0
        assert run["RssFile"] + run["RssAnon"] <= run["VmHWM"] * 1.01
        assert run["over core"] == run["VmHWM"] - run["core"]


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_compiling_is_told_beside_the_speed_and_not_counted_in_it(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"model={checkpoint_folder}", "precision=float32", "new_tokens=4", "compile=true"]
    run = found(capsys, "what=decode", *words)
    assert run["compile s"] > run["first token s"] + 3 / run["tokens/s"] > 0


def test_a_bench_of_linear_maps_has_every_route_at_every_number_of_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "_SHAPE", (64, 64))
    monkeypatch.setattr(limit, "VALUES", 1 << 16)
    assert main(["bench", "what=linear", "batches=[1,3]", "megabytes=1", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["asked"]["batches"] == [1, 3]
    for run in found["runs"]:
        assert run["memory read, GB/s"] > 0
        for route in ("bfloat16", *linear._routes()):
            assert run[f"{route}, 1 rows, GB/s"] > 0
            assert run[f"{route}, 3 rows, µs"] > 0


def test_a_bench_of_no_checkpoint_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "model=absent"]) == 2
    assert "model folder 'absent' does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "figures"),
    [
        ("read", {"times real time"}),
        ("resize", {"pictures/s", "pictures/s, Pillow", "ours to Pillow"}),
    ],
)
def test_a_bench_of_files_reads_all_of_them(
    capsys: pytest.CaptureFixture[str], what: str, figures: set[str]
) -> None:
    assert main(["bench", f"what={what}", "files=3", "repeat=2", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["asked"]["files"] == 3
    assert [set(run) for run in found["runs"]] == [figures] * 2
    assert all(value > 0 for run in found["runs"] for value in run.values())


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("repeat=0", "repeat=0; at least 1."),
        ("files=0", "files=0; at least 1."),
        ("batches=[0]", "batches=[0]; each is at least 1."),
        ("new_tokens=0", "new_tokens=0; at least 1."),
        ("prompt_tokens=0", "prompt_tokens=0; at least 1."),
        ("prompt_tokens=2040", "prompt_tokens and new_tokens: 2104 tokens a row, but this"),
        ("nested.layers=[99]", "nested layers [99]"),
        ("nested.budget_gb=0.0000001", "a run of the bench failed: nested.budget_gb=1e-07, but"),
    ],
)
def test_a_bench_that_cannot_be_is_refused_in_one_line(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str], word: str, why: str
) -> None:
    assert main(["bench", f"model={checkpoint_folder}", word]) == 2
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1


def test_a_bench_measures_the_size_of_layers_and_widths(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"model={checkpoint_folder}", "nested.widths=3", "new_tokens=2", "repeat=1"]
    assert main(["bench", *words, "json=true"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["size"] == "widths=3"


def found(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, float]:
    """The figures of one run."""
    assert main(["bench", *words, "repeat=1", "json=true"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    return run


@pytest.mark.parametrize("words", [["ple=mmap"], ["ple=mmap", "ple.bits=4"], ["ple=resident"]])
def test_a_bench_of_a_table_reads_it_in_every_way_that_it_can_be(
    tmp_path: Path,
    checkpoint_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    monkeypatch.setattr("pipelines.bench.ple._SECONDS", 0.01)
    words = [*words, f"model={checkpoint_folder}", f"ple.folder={tmp_path}"]
    run = found(capsys, "what=ple", *words)
    ways = {name.split(":")[0] for name in run}
    kinds = ["warm", "row cache", *(["cold"] if words[0] == "ple=mmap" else [])]
    assert ways == {f"{kind}, {count} a call" for kind in kinds for count in (1, 32, 512)}
    assert all(run[f"{way}: rows/s"] > 0 for way in ways)
    assert run["warm, 1 a call: rows moved, %"] == 100
    assert run["row cache, 512 a call: rows moved, %"] < 100


def test_a_bench_tells_what_row_caches_have_of_a_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.bench.ple._SECONDS", 0.01)
    (tmp_path / "a.txt").write_text(SAID * 100)
    run = found(capsys, "what=ple", f"text=[{tmp_path / 'a.txt'}]")
    ids = read_ids([str(tmp_path / "a.txt")], Path("gemma3n/nano/tokenizer.model"))
    assert run["tokens"] == len(ids)
    expected = 100 * (1 - len(set(ids.tolist())) / len(ids))
    assert run["hit rate of 1024 rows, %"] == pytest.approx(expected)


def test_a_text_is_read_with_a_tokenizer_of_hugging_face_too(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(["?", *sorted(set(SAID.split()))])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.txt").write_text(SAID)
    ids = read_ids([str(tmp_path / "a.txt")], tmp_path / "tokenizer.json")
    assert ids.tolist() == [words[word] for word in SAID.split()]


@pytest.mark.slow
def test_memory_is_measured_beside_what_was_planned_for_each_kind_of_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "what=memory", "precisions=[float32]", "new_tokens=4", "memory_gb=0"]
    assert main([*words, "json=true"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    tasks = ["text", "text, picture", "text, clip", "text, picture, clip"]
    assert [run["task"] for run in runs] == tasks
    for run in runs:
        assert run["peak"] == pytest.approx(run["peak to planned"] * run["planned"])
        assert run["peak"] >= run["anonymous at the end"] > 0
        assert run["in what was planned"] == "not tried"
        assert run["activations, planned"] > 0
    text, *_, everything = [run["weights and KV cache, planned"] for run in runs]
    assert text < everything
    assert main(words) == 0
    assert "text, picture, clip" in capsys.readouterr().out


def test_memory_of_every_size_in_every_precision_is_one_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def run_apart(_: str, wanted: dict[str, Any]) -> dict[str, Any]:
        asked.append(wanted)
        return {"planned": 5}

    monkeypatch.setattr(memory, "run_apart", run_apart)
    words = ["what=memory", "sizes=[full,small]", "precisions=[bfloat16,int8,int4]"]
    words += ["encode.precision=int8", "memory_gb=0", "json=true"]
    assert main(["bench", *words]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    found = [(run["size"], run["precision"], run["task"]) for run in runs]
    assert len(found) == len(set(found)) == 2 * 3 * 4
    assert [one["precision"] for one in asked] == [precision for _, precision, _ in found]
    assert {one["nested"]["name"] for one in asked} == {"full", "small"}
    assert {one["towers"] for one in asked} == {"int8"}


def test_memory_in_one_precision_is_asked_for_as_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "what=memory", "precision=int8"]) == 2
    assert "Set precisions=[int8]." in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_needs_more_than_was_planned_is_told_to_be_killed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        with limited(1 << 26):
            pass
    except SettingsError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(
        "pipelines.bench.memory._confined", partial(_confined_to, memory._confined, 50e6)
    )
    assert main(["bench", "what=memory", "new_tokens=2", "json=true"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert {run["in what was planned"] for run in runs} == {"killed"}


def _confined_to(confined: Any, most: float, wanted: Any, free: dict[str, Any]) -> str:
    told: str = confined(wanted, free | {"planned": int(most)})
    return told


@pytest.mark.slow
def test_tokens_read_from_a_cold_disk_are_slower_and_told_beside_those_from_memory(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"model={checkpoint_folder}", "rows=2", "new_tokens=4", "memory_gb=0"]
    run = found(capsys, "what=tiers", *words)
    ratio = run["cold disk: tokens/s"] / run["in memory: tokens/s"]
    assert run["cold disk to memory: tokens/s"] == pytest.approx(ratio)
    assert run["cold disk: waited for rows, %"] > 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["what=ple", "text=[absent.txt]"], "text 'absent.txt' cannot be read"),
        (["what=ple", "text=[README.md]", "tokenizer=absent.json"], "tokenizer='absent.json' does"),
        (["what=ple", "text=[README.md]", "tokenizer=README.md"], "cannot be read"),
        (["what=ple", "rows=0"], "rows=0; at least 1."),
        (["what=ple", "ple.bits=3"], "ple.bits=3; accepted are 16"),
    ],
)
def test_a_bench_of_rows_that_cannot_be_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    assert main(["bench", *words]) == 2
    assert why in capsys.readouterr().err


def test_a_run_that_the_system_killed_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = CompletedProcess([], -signal.SIGKILL, stdout="", stderr="a warning of before\n")
    monkeypatch.setattr("pipelines.bench.decode.subprocess.run", lambda *_, **__: killed)
    with pytest.raises(KilledError, match=r"was killed, as for want of memory\. Ask for less\."):
        run_apart("pipelines.bench.decode", {})


def test_a_bench_of_drafts_measures_each_rate_beside_the_size_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "what=speculative", "model=nano", "precision=float32", "repeat=1"]
    words += ["new_tokens=12", "rows=2", "policy.draft_tokens=3", "policy.draft_precision=bfloat16"]
    assert main([*words, "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    (run,) = found["runs"]
    assert len(run) == 1 + len(found["asked"]["rates"])
    assert all(value > 0 for value in run.values())
