"""Words of a command line become exactly the settings they name, or a line that says why not."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma3n.choices import Precision
from gemma3n.errors import SettingsError
from pipelines import catalogue, compose
from pipelines.escalation import ESCALATE
from pipelines.pools import posts
from pipelines.settings import PathJob, SliceJob
from stages.model import Load
from stages.resize import Resolution
from stages.write import Format

JOB = "transcribe"
KEYS = compose.keys_of_config(compose.compose(JOB))
# Whatever a shell lets through: Linux names may hold any sign but NUL.
SIGNS = "ab1.-_/ =,:;[]{}()<>'\"\\$?*+~!#%&|@^`\t\n\u00e9\u65e5\U0001f3a4"
TEXTS = st.text(st.sampled_from(SIGNS), max_size=12) | st.text(
    st.characters(exclude_characters="\0"), max_size=6
)


def settings_of(*words: str, paths: tuple[str, ...] = ("a.wav",), job: str = JOB) -> Any:
    keys = KEYS if job == JOB else compose.keys_of_config(compose.compose(job))
    overrides, _ = compose.overrides_of(job, keys, words, paths)
    return compose.to_settings(job, compose.compose(job, overrides))


def refusal(*words: str, **kwargs: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        settings_of(*words, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


@settings(max_examples=12)
@given(paths=st.lists(TEXTS, min_size=1, max_size=6))
@example(paths=["???", "null", "1e3", "true", "", "a\\", '\\"', "\\${x}", "${x}", "$${", "a,b=c"])
def test_any_path_arrives_as_it_was_typed(paths: list[str]) -> None:
    job = settings_of("model=m", paths=tuple(paths))
    assert job.source.path == ["./???" if path == "???" else path for path in paths]


@settings(max_examples=12)
@given(text=TEXTS.filter(lambda text: "${" not in text))
@example(text="Who said: 'Yes, (maybe)'?")
@example(text="null")
@example(text="1e3")
def test_a_text_needs_no_quotes_of_hydra(text: str) -> None:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if not quoted and text != "???":
        assert settings_of("model=m", f"prompt={text}").fuse.prompt == text


@settings(max_examples=12)
@given(path=TEXTS, text=TEXTS.filter(lambda text: "${" not in text and "???" not in text))
def test_the_equivalent_line_asks_for_the_same(path: str, text: str) -> None:
    words = ["model=m", f"prompt={text}", "decode=sampling", "sink.formats=txt,jsonl"]
    overrides, _ = compose.overrides_of(JOB, KEYS, words, [path])
    program, job, *again = shlex.split(compose.equivalent_line(JOB, overrides))
    assert (program, job) == ("gemma3n", JOB)
    assert compose.overrides_of(JOB, KEYS, again) == (overrides, [])


@settings(max_examples=6)
@given(
    path=TEXTS.filter(lambda text: text != "???"),
    text=TEXTS.filter(lambda text: "$" not in text and text != "???"),
)
@example(path="\x85", text="\u2028")
def test_settings_written_to_a_file_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, path: str, text: str
) -> None:
    job = settings_of("model=m", "decode=sampling", "output=\\${o}", paths=(path,))
    job.fuse.prompt = text
    file = tmp_path_factory.mktemp("run") / "config.yaml"
    file.write_text(compose.to_yaml(job), encoding="utf-8")
    config = compose.compose(JOB)
    again = compose.compose(JOB, run=compose.read_run(JOB, config, file))
    assert compose.to_settings(JOB, again) == job


def test_the_equivalent_line_is_plain_where_nothing_needs_quotes() -> None:
    overrides, _ = compose.overrides_of(JOB, KEYS, ["rec/", "model=ckpt", "nested=small"])
    line = compose.equivalent_line(JOB, overrides)
    assert line == ("gemma3n transcribe 'source.path=[rec/]' model.path=ckpt nested.name=small")


@pytest.mark.parametrize("job", catalogue.jobs())
def test_every_job_of_conf_composes_and_has_a_title_and_an_example(job: str) -> None:
    compose.compose(job)
    title, examples = catalogue.heading(job)
    assert title.endswith(".")
    assert all(f"{example} ".startswith(f"gemma3n {job} ") for example in examples)
    assert examples


@pytest.mark.parametrize("job", catalogue.jobs())
def test_every_example_of_a_job_composes(job: str) -> None:
    from pipelines.cli import parse

    for command in catalogue.heading(job)[1]:
        options, words, _ = parse(shlex.split(command)[2:])
        words += [f"output={options['-o']}"] if "-o" in options else []
        settings_of(*words, paths=(), job=job)


def test_every_group_of_conf_belongs_to_a_job_and_composes() -> None:
    conf = Path(__file__).parents[2] / "conf"
    for file in conf.glob("*/*.yaml"):
        # Parts that jobs share, sweeps of jobs, and what is for others to read.
        if file.parent.name in ("tasks", "experiment", "kuberay"):
            continue
        settings_of("model=m", f"{file.parent.name}={file.stem}")
        assert catalogue.heading(file.parent.name, file.stem)[0].endswith(".")


def test_a_new_job_is_a_new_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "other_conf"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "shout.yaml").write_text(
        "# Loud answers.\n#\n#   gemma3n shout a.wav model=m\n"
        "defaults: [path_job, _self_]\njob: shout\npath: [read, write]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(catalogue, "CONF", "other_conf")
    assert catalogue.jobs() == ["shout"]
    job = settings_of("model=m", job="shout")
    assert isinstance(job, PathJob)
    assert job.path == ["read", "write"]


def test_a_broken_job_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_conf"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "typo.yaml").write_text("defaults: [path_job, _self_]\nsauce: {}\n")
    (package / "torn.yaml").write_text("defaults: [path_job\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(catalogue, "CONF", "broken_conf")
    for job, why in (("typo", "Key 'sauce' not in 'PathJob'"), ("torn", "expected ',' or ']'")):
        with pytest.raises(SettingsError) as caught:
            compose.compose(job)
        assert f"conf/{job}.yaml: " in str(caught.value)
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)


def test_short_names_stand_for_one_setting_of_their_group() -> None:
    job = settings_of("model=m", "nested=small", "ple=resident", "executor=in_process")
    assert (job.model.path, job.nested.name) == ("m", "small")
    assert job.ple.placement.name == "resident"


def test_every_task_of_a_job_has_a_prompt_and_pictures_a_size() -> None:
    tasks = {job: settings_of(job=job).fuse.prompts for job in ("transcribe", "caption")}
    assert list(tasks["transcribe"]) == ["transcribe", "translate"]
    assert list(tasks["caption"]) == ["caption", "ocr", "detection", "default"]
    every = settings_of(job="generate")
    assert set(every.fuse.prompts) == {*tasks["transcribe"], *tasks["caption"]} - {"default"}
    assert every.resize.by_task == {"caption": 256, "detection": 512, "ocr": 768}


def test_without_a_task_or_a_language_the_prompts_are_those_that_nano_was_trained_with() -> None:
    trained = settings_of("init=i", "train=[t]", "output=o", job="train", paths=())
    heard, seen = settings_of(), settings_of(job="caption")
    assert heard.fuse.templates()[-1] == trained.audio_prompt
    assert seen.fuse.templates() == [trained.image_prompt]


def test_task_is_a_setting_of_its_own_where_a_job_has_one() -> None:
    job = settings_of("task=caption", "fuse.task=ocr", job="evaluate")
    assert (job.task, job.fuse.task) == ("caption", "ocr")
    assert settings_of("task=ocr", job="caption").fuse.task == "ocr"
    spoken = settings_of("language=fr", "to=it", job="translate").fuse
    assert (spoken.language, spoken.to) == ("French", "Italian")


def test_a_group_takes_a_yaml_by_name_and_single_settings_win() -> None:
    job = settings_of("model=m", "decode.top_k=7", "decode=sampling")
    assert (job.decode.temperature, job.decode.top_k, job.decode.top_p) == (1.0, 7, 0.95)


@pytest.mark.parametrize("name", catalogue.group_choices("executor"))
def test_every_executor_composes_to_pools_of_the_whole_path(name: str, tmp_path: Path) -> None:
    job = settings_of("model=nano", "policy=auto", f"executor={name}")
    assert job.executor.kind.name == "ray"
    pools = list(posts(job, Load(folder="nano"), tmp_path))
    stages = [stage for pool in pools if pool.pool != ESCALATE for stage in pool.stages]
    assert stages == job.path
    assert (pools[-2].pool == ESCALATE) == (name == "ray_escalate")
    assert all(pool.settings.num_cpus > 0 for pool in pools)


def test_a_group_takes_a_mapping() -> None:
    nested = settings_of("model=m", "nested={layers:[0,1],widths:[5]}").nested
    assert (nested.layers, nested.widths) == ([0, 1], [5])


def test_a_setting_may_be_a_map_and_survives_a_run(tmp_path: Path) -> None:
    words = ("executor=ray", "executor.pools.encode.resources={encoder: 1, big: 0.5}")
    job = settings_of("model=m", *words, "executor.pools.read.max=7")
    assert job.executor.kind.name == "ray"
    assert job.executor.pools.encode.resources == {"encoder": 1.0, "big": 0.5}
    assert (job.executor.pools.read.max, job.executor.pools.read.stages[0]) == (7, "read")
    (tmp_path / "config.yaml").write_text(compose.to_yaml(job))
    run = compose.read_run(JOB, compose.compose(JOB), tmp_path)
    assert compose.to_settings(JOB, compose.compose(JOB, run=run)) == job
    assert "takes names with numbers or texts {a: 1}" in refusal(
        "executor.pools.encode.resources=5"
    )
    message = refusal("executor.pools.encode.resources={encoder: many}")
    assert "executor.pools.encode.resources.encoder=many, but it takes names with" in message


def test_a_list_may_be_typed_without_brackets() -> None:
    job = settings_of(
        "model=m", "sink.formats=txt,parquet", "source.path=b c.wav,(1).wav", paths=()
    )
    assert job.sink.formats == [Format.txt, Format.parquet]
    assert job.source.path == ["b c.wav", "(1).wav"]
    assert settings_of("model=m", "nested.widths=8192").nested.widths == [8192]
    one = settings_of("model=m", "source.path='a,b.wav'", paths=())
    assert one.source.path == ["a,b.wav"]


def test_null_is_null_only_where_a_setting_may_be_empty() -> None:
    assert settings_of("model=m", "output=null").output is None
    assert settings_of("model=null").model.path == "null"


def test_a_plus_before_a_setting_changes_nothing() -> None:
    assert settings_of("model=m", "+decode.top_k=3").decode.top_k == 3


def test_values_get_the_type_of_their_setting() -> None:
    job = settings_of("model=m", "precision=float32", "resize.resolution=256", "output=2024")
    assert job.precision is Precision.float32
    assert job.resize.resolution is Resolution["256"]
    assert job.output == "2024"
    sliced = settings_of("model=m", "output=o", paths=(), job="slice")
    assert sliced == SliceJob(model=job.model, output="o")


def test_a_text_may_name_another_setting() -> None:
    assert settings_of("model=m", "output=out/${nested.name}").output == "out/full"


def test_a_file_named_like_a_setting_is_a_path_unless_the_setting_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("take=1.wav").touch()
    Path("nested=small").touch()
    overrides, warnings = compose.overrides_of(JOB, KEYS, ["take=1.wav", "nested=small"])
    assert overrides == ['source.path=["take=1.wav"]', "nested.name=small"]
    assert warnings == [
        "'nested=small' is read as a setting; to name the file write './nested=small'."
    ]


# Wrong use: what came, what is accepted, how to fix it


def test_a_wrong_key_is_answered_with_the_nearest() -> None:
    assert refusal("model=m", "precison=float32") == (
        "'precison=float32': transcribe has no setting precison. Did you mean precision? "
        "`gemma3n transcribe -h` lists what it has."
    )
    assert "Did you mean decode.max_new_tokens?" in refusal("model=m", "max_new_tokens=5")
    assert "Did you mean" not in refusal("model=m", "zzz=5")


def test_a_wrong_key_inside_a_group_is_answered_with_the_nearest() -> None:
    assert "Did you mean decode.temperature?" in refusal("model=m", "decode.temprature=1")
    assert "Did you mean decode.top_k?" in refusal("model=m", "decode={topk:1}")
    assert "no setting hydra.run.dir" in refusal("model=m", "hydra.run.dir=x")


def test_a_group_by_itself_is_answered_with_what_is_in_it() -> None:
    refused = refusal("model=m", "source=x")
    assert refused.startswith("'source=x': source is a group of settings. Write source.path= or ")
    assert refused.count("source.recursive=") == 1
    assert refusal("model=m", "decode=x").endswith("or decode=sampling.")


def test_a_wrong_type_is_answered_with_the_right_one() -> None:
    assert refusal("model=m", "decode.top_k=many") == (
        "decode.top_k=many, but it takes a whole number. "
        f"decode.top_k is: {KEYS['decode.top_k'].doc}."
    )
    assert "takes a number." in refusal("model=m", "decode.temperature=warm")
    assert "takes true or false." in refusal("model=m", "fresh=maybe")
    assert "takes a whole number" in refusal("model=m", "decode={top_k:many}")
    assert "a list [a,b,...], each a whole number, or null" in refusal("model=m", "nested.layers=x")


def test_a_wrong_choice_is_answered_with_the_choices_and_the_nearest() -> None:
    assert refusal("model=m", "precision=bf16") == (
        "precision=bf16, but it takes one of auto, float32, bfloat16, int8, int4. "
        "Did you mean precision=bfloat16?"
    )
    assert "one of auto, 256, 512, 768" in refusal("model=m", "resize.resolution=300")
    assert "each one of txt, srt, vtt, jsonl, csv, parquet" in refusal(
        "model=m", "sink.formats=[txt,doc]"
    )


@pytest.mark.parametrize(("word", "value"), [("auto", None), ("true", True), ("false", False)])
def test_choices_may_be_words_of_yaml(tmp_path: Path, word: str, value: bool | None) -> None:
    job = settings_of("model=m", f"pack={word}")
    assert job.pack.value is value
    (tmp_path / "config.yaml").write_text(compose.to_yaml(job))
    run = compose.read_run(JOB, compose.compose(JOB), tmp_path)
    assert compose.to_settings(JOB, compose.compose(JOB, run=run)).pack is job.pack


def test_float16_is_refused_with_the_reason() -> None:
    message = refusal("model=m", "precision=float16")
    assert message.startswith("precision=float16: ")
    for word in ("65504", "vision", "streams", "overflow", "bfloat16", "float32"):
        assert word in message


def test_a_missing_setting_is_answered_with_an_example() -> None:
    assert refusal(paths=()) == (
        f"source.path is not set, and transcribe needs it: {KEYS['source.path'].doc}. "
        "For example: gemma3n transcribe recordings/"
    )


def test_bad_syntax_is_answered_with_how_to_quote() -> None:
    message = refusal("model=m", "source.path=[a (1).wav]", paths=())
    assert message.startswith("source.path=[a (1).wav] cannot be read")
    assert message.endswith("""'source.path=["a (1).wav",b.wav]'""")


def test_several_values_for_one_setting_are_refused() -> None:
    assert refusal("model=m", "decode.top_k=1,2").startswith(
        "decode.top_k=1,2 asks for several runs"
    )


def test_an_interpolation_that_leads_nowhere_is_refused() -> None:
    assert refusal("model=m", "output=${x}").startswith("output: Interpolation key 'x' not found.")
    assert refusal("model=m", "output=${").endswith(r"write \${ for the signs themselves.")


def test_a_setting_cannot_be_deleted() -> None:
    assert refusal("model=m", "~decode.top_k=3").endswith("Give another value: decode.top_k=...")


def test_a_path_is_refused_by_a_job_that_reads_none() -> None:
    assert refusal("ckpt", paths=(), job="plan") == (
        "plan takes settings only (key=value), but 'ckpt' is a path. "
        "For example: gemma3n plan model=gemma-3n-E4B-it"
    )


def test_paths_come_from_one_place() -> None:
    assert "source.path= is given too" in refusal("model=m", "source.path=b.wav")


def test_an_unknown_job_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        SettingsError, match=r"'transcrib' is not a job; .* Did you mean transcribe\?"
    ):
        catalogue.known_job("transcrib")
    with pytest.raises(SettingsError, match="The job comes first"):
        catalogue.known_job("~~~")


# --from


def run_of(folder: Path, text: str, job: str = JOB) -> Any:
    file = folder / "config.yaml"
    file.write_text(text)
    config = compose.compose(job)
    run = compose.read_run(job, config, file)
    return compose.to_settings(job, compose.compose(job, ["decode.seed=3"], run))


def test_an_earlier_run_gives_its_settings_and_later_words_win(tmp_path: Path) -> None:
    text = (
        "job: transcribe\nmodel: {path: m}\nsource: {path: ['${a}']}\ndecode: {seed: 1, top_k: 2}\n"
    )
    job = run_of(tmp_path, text)
    assert (job.decode.seed, job.decode.top_k) == (3, 2)
    assert job.source.path == ["${a}"]
    assert compose.read_run(JOB, compose.compose(JOB), tmp_path)["model"] == {"path": "m"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("job: caption\n", "is of a run of 'caption', not of 'transcribe'. Write: gemma3n caption"),
        ("- a\n", "holds no settings"),
        ("a: [\n", "is not YAML"),
        ("decode: {topk: 1}\n", "Did you mean decode.top_k?"),
        ("decode: {top_k: x}\n", "decode.top_k=x, but it takes a whole number."),
        ("decode: x\n", "decode is a group of settings"),
        ("precision: float16\n", "overflow"),
    ],
)
def test_a_file_that_is_no_earlier_run_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        run_of(tmp_path, text)
    assert str(caught.value).startswith(f"--from {tmp_path / 'config.yaml'}")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"No such file.* Give the config\.yaml of a run folder"
    ):
        compose.read_run(JOB, compose.compose(JOB), tmp_path / "nope")
