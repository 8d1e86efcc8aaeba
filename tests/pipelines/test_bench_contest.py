import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemma3n.checkpoint import Checkpoint
from gemma3n.errors import SettingsError
from pipelines.bench import limit
from pipelines.bench.contest import Contender, Contest, hold
from pipelines.bench.gguf_files import gguf_file
from pipelines.bench.peers_env import peers_python
from pipelines.cli import main

CONTENDER = """
import json, sys
import numpy as np
wanted = json.loads(sys.argv[1])
np.save(wanted["output"], np.array(wanted["gives"], dtype=np.float32))
print(json.dumps({"1 rows, tokens/s": wanted["speed"], "peak": 1_000_000_000}))
"""


@pytest.fixture
def _contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `contender` for whatever interpreter, and a limit that is read in no time."""
    (tmp_path / "contender.py").write_text(CONTENDER)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    found = {"memory read, GB/s": 10.0}
    monkeypatch.setattr("pipelines.bench.contest._limit", lambda: found["memory read, GB/s"])


def contender(name: str, speed: float, gives: list[float], *against: str) -> Contender:
    return Contender(name, "contender", {"speed": speed, "gives": gives}, against=against)


@pytest.mark.usefixtures("_contender")
def test_a_contest_gives_ratios_of_ours_to_peers_and_to_the_limit() -> None:
    contest = Contest("a contest", {}, read={"ours": 2_000_000_000})
    ours, theirs = contender("ours", 3.0, [1, 2], "theirs"), contender("theirs", 2.0, [1, 2.01])
    hold(contest, [ours, theirs], {}, repeat=2, alike=0.99)
    assert contest.ratios()["ours to theirs"] == {"1 rows, tokens/s": 1.5, "peak": 1.0}
    assert contest.ratios()["ours to the limit of memory"] == {"1 rows, tokens/s": 0.6}
    assert [run["cosine to ours"] for run in contest.runs["theirs"]] == [
        pytest.approx(1, abs=1e-4)
    ] * 2
    assert json.loads(contest.document())["memory read, GB/s"] == [10.0, 10.0]
    assert contest.table().row_count == 4


@pytest.mark.usefixtures("_contender")
@pytest.mark.parametrize("gives", [[2, -1], [1, 2, 3]], ids=["others", "another shape"])
def test_a_contender_that_computes_something_else_is_refused(gives: list[float]) -> None:
    ours, theirs = contender("ours", 3.0, [1, 2], "theirs"), contender("theirs", 9.0, gives)
    with pytest.raises(SettingsError, match="theirs computes something else than ours: the cosine"):
        hold(Contest("a contest", {}), [ours, theirs], {}, repeat=1, alike=0.9)


def test_without_their_environment_peers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Make their environment with `make peers`"):
        peers_python(str(tmp_path))


@pytest.fixture
def _small_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "VALUES", 1 << 16)
    monkeypatch.setattr("pipelines.bench.contest._limit", limit.read_limit)


@pytest.mark.usefixtures("_small_read")
def test_prompts_are_read_by_ours_in_every_precision(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "what=prefill", f"model={checkpoint_folder}", "repeat=1", "prompts=[5,9]"]
    assert main([*words, "precisions=[float32,bfloat16]", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["runs"]) == {"ours float32", "ours bfloat16"}
    for (run,) in found["runs"].values():
        assert min(run["prompt of 5, tokens/s"], run["prompt of 9, tokens/s"], run["peak"]) > 0
        assert run["cosine to ours"] > 0.99


@pytest.mark.usefixtures("_small_read")
@pytest.mark.parametrize(
    ("tower", "figure"),
    [("audio", "clip, seconds of sound/s"), ("vision", "256x256, pictures/s")],
)
def test_towers_encode_in_every_precision(
    tower: str, figure: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.bench.encode._SIDES", [256])
    words = ["bench", "what=encode", f"tower={tower}", "model=nano", "repeat=1"]
    assert main([*words, "precisions=[float32,bfloat16]", "json=true"]) == 0
    for (run,) in json.loads(capsys.readouterr().out)["runs"].values():
        assert run[figure] > 0
        assert run["cosine to ours"] > 0.99


def test_a_profile_accounts_for_a_step(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "what=profile", f"model={checkpoint_folder}", "precision=float32"]
    assert main([*words, "new_tokens=8", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    lines = {line["where"]: line for line in found["runs"]}
    products, outside = lines["products with weights"], found["runs"][-1]
    assert products["calls a step"] >= 10
    assert products["ms a step"] > 0
    step = found["asked"]["step s"] * 1e3
    assert products["ms a step"] + outside["ms a step"] == pytest.approx(step)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("what=profile new_tokens=3", "new_tokens=3: the first 3 steps are left out"),
        ("what=prefill prompts=[]", "prompts=[] measures nothing"),
        ("what=prefill prompts=[0]", "prompts=[0]; each is at least 1"),
        ("what=prefill precisions=[]", "precisions=[] leaves nothing of ours"),
        ("what=prefill precisions=[auto]", "precisions: auto is what suits a machine"),
        ("what=prefill prompts=[999999]", "prompts: 1000000 tokens a row"),
        ("peers=[timm]", "timm has no text decoder"),
        ("peers=[llama_cpp] nested=small", "nested=small: peers run a checkpoint as it is"),
        ("peers=[llama_cpp] peers_env=nowhere", "there are no peers in 'nowhere'"),
        ("what=encode tower=text", "tower=text; this checkpoint has audio and vision"),
        ("what=encode precisions=[]", "precisions=[] leaves nothing of ours"),
        ("what=encode precisions=[int4]", "precisions=['int4']; towers are measured in float32"),
        ("what=encode peers=[timm]", "peers=['timm']: of the audio tower there is transformers"),
    ],
)
def test_a_contest_that_cannot_be_is_refused_in_one_line(
    words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words.split()]) == 2
    assert says in capsys.readouterr().err


def test_what_contenders_share_wants_numpy_alone() -> None:
    """A peer's interpreter has none of our libraries."""
    code = (
        "import sys; import pipelines.bench.contender; "
        "print(*{'torch', 'omegaconf', 'hydra', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_without_the_package_that_writes_gguf_its_extra_is_named(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pipelines.export.gguf", None)
    checkpoint = Checkpoint(checkpoint_folder, ["text"])
    with pytest.raises(SettingsError, match=r"not installed. Install gemma3n-pipelines\[export\]"):
        gguf_file(tmp_path, "BF16", checkpoint, Path(sys.executable), threads=1)


def test_a_gguf_file_that_is_there_is_not_written_again(
    checkpoint_folder: Path, tmp_path: Path
) -> None:
    there = tmp_path / "BF16.gguf"
    there.write_bytes(b"kept")
    checkpoint = Checkpoint(checkpoint_folder, ["text"])
    assert gguf_file(tmp_path, "BF16", checkpoint, Path(sys.executable), threads=1) == there
    assert there.read_bytes() == b"kept"
