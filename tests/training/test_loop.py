import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel

import gemma3n
from gemma3n import SettingsError
from gemma3n.choices import Precision
from gemma3n.trainable import Trainable
from pipelines.compose import to_yaml
from pipelines.settings import (
    BatchSettings,
    JointSettings,
    LoraSettings,
    LossSettings,
    Part,
    QatSettings,
    RateSettings,
    TrainJob,
    Trains,
)
from pipelines.train import train
from pipelines.training.optimizer import learning_rate, running_mean

MakeJob = Callable[..., TrainJob]


def weights(job: TrainJob) -> dict[str, torch.Tensor]:
    return load_file(Path(job.output) / "state" / "weights.safetensors")


def same(one: TrainJob, other: TrainJob) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_is_stopped_and_resumed_equals_one_that_was_not_bit_for_bit(
    make_job: MakeJob,
) -> None:
    rate = RateSettings(warmup=2, average=0.9)
    batch = BatchSettings(audio_seconds=12, join_seconds=8, images=2, texts=2)
    through = make_job("through", rate=rate, batch=batch)
    stopped = make_job("stopped", rate=rate, batch=batch, minutes=0.0)
    train(through)
    for _ in range(4):  # each call makes one step and runs out of time
        train(stopped)
    progress = json.loads((Path(stopped.output) / "state" / "progress.json").read_text())
    assert progress["step"] == 4
    assert same(through, stopped)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights(make_job: MakeJob) -> None:
    def command(job: TrainJob) -> list[str]:
        # Processes alike in all: sums depend on the number of threads.
        config = Path(job.output).with_suffix(".yaml")
        config.write_text(to_yaml(job))
        return [sys.executable, "-m", "pipelines", "train", "--from", str(config)]

    through = make_job("through", steps=12)
    killed = make_job("killed", steps=12, save_minutes=0.0)
    subprocess.run(command(through), check=True)
    for patience in (6.0, 8.0, 10.0):
        process = subprocess.Popen(command(killed))
        time.sleep(patience)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command(killed), check=True)
    assert same(through, killed)


@pytest.mark.slow
def test_the_processes_of_a_killed_run_end_with_it(make_job: MakeJob) -> None:
    job = make_job("killed", processes=2, steps=500)
    config = Path(job.output).with_suffix(".yaml")
    config.write_text(to_yaml(job))
    # A shell's `&` has its children ignore SIGINT.
    words = ["-c", '"$@" & wait', "sh", sys.executable, "-m", "pipelines", "train", "--from"]
    shell = subprocess.Popen(["sh", *words, str(config)], start_new_session=True)
    log = Path(job.output) / "log.jsonl"
    while not (log.is_file() and log.read_text()):
        time.sleep(0.5)
    (run,) = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
    workers = Path(f"/proc/{run}/task/{run}/children").read_text().split()
    assert len(workers) >= 2
    os.kill(int(run), signal.SIGKILL)
    shell.wait()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_two_processes_share_a_step(make_job: MakeJob) -> None:
    job = make_job("two", processes=2, steps=2)
    train(job)
    again = make_job("again", processes=2, steps=2)
    train(again)
    assert same(job, again)


@pytest.mark.slow
def test_losses_fall_and_the_result_is_a_checkpoint(make_job: MakeJob) -> None:
    job = make_job("long", steps=30, augment=False, rate=RateSettings(peak=3e-3, warmup=5))
    job.dev = list(job.train)
    train(job)
    lines = [json.loads(line) for line in (Path(job.output) / "log.jsonl").read_text().splitlines()]
    losses = [line["text answer"] for line in lines if "text answer" in line]
    assert losses[-1] < 2.0  # an untrained vocabulary of 544 costs 6.3 nats
    scores = next(line["scores"] for line in lines if "scores" in line)
    assert {"audio, full, wer", "audio, ctc, wer", "images, full, exact"} <= set(scores)
    model = gemma3n.load(Path(job.output) / "checkpoint", precision="float32")
    assert model.generate(["Spell cat."], max_new_tokens=8)[0]


def test_an_adapter_learns_beside_a_checkpoint_that_stays_and_resumes(
    make_job: MakeJob, checkpoint_folder: Path
) -> None:
    rate = RateSettings(peak=3e-2, warmup=2, average=0.5)
    lora = LoraSettings(dropout=0.3)  # its draws must be the same after a resume
    settings = {"trains": Trains.lora, "loss": LossSettings(), "rate": rate, "steps": 3}
    settings |= {"lora": lora}
    job = make_job("lora", **settings)
    train(job)
    output = Path(job.output)
    assert not (output / "checkpoint").exists()
    assert not any("embed_tokens" in name for name in weights(job))
    ids = torch.tensor([[2, 9, 8]])
    adapted = gemma3n.load(checkpoint_folder, precision="float32", adapter=output / "adapter")
    plain = gemma3n.load(checkpoint_folder, precision="float32")
    assert not torch.allclose(adapted.logits(ids), plain.logits(ids), atol=0.01)
    stopped = make_job("stopped", **settings, minutes=0.0)
    for _ in range(3):
        train(stopped)
    assert same(job, stopped)
    last = (Path(one.output) / "adapter" / "adapter_model.safetensors" for one in (job, stopped))
    assert len({path.read_bytes() for path in last}) == 1


def test_a_model_that_acts_rounded_in_training_is_validated_rounded(
    make_job: MakeJob, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    qat = QatSettings(Precision.int8, 8)
    job = make_job("qat", steps=2, qat=qat, loss=LossSettings(), validate_rows=1)
    job.dev = job.train[-1:]
    train(job)
    assert "MB as int8 on cpu" in caplog.text or "packed int8 on cpu" in caplog.text
    with pytest.raises(SettingsError, match=r"qat.weights=float32 rounds nothing"):
        QatSettings(Precision.float32)
    with pytest.raises(SettingsError, match=r"qat.ple_bits=5; accepted are 16, 8, 4"):
        QatSettings(ple_bits=5)


def test_an_adapter_needs_weights_to_be_added_to(
    make_job: MakeJob, checkpoint_folder: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in checkpoint_folder.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, empty)
    job = replace(make_job("none", trains=Trains.lora), init=str(empty))
    with pytest.raises(SettingsError, match="trains=lora adds to the weights of a checkpoint, and"):
        train(job)


@pytest.mark.parametrize(
    ("trains", "frozen", "changed"),
    [
        (Trains.projection, [], {"embed_vision", "embed_audio"}),
        (Trains.towers, [], {"embed_vision", "embed_audio", "vision", "audio"}),
        (Trains.text, [], {"text"}),
        (Trains.all, [Part.vision], {"embed_vision", "embed_audio", "audio", "text"}),
    ],
)
def test_only_the_chosen_parts_change(
    make_job: MakeJob,
    checkpoint_folder: Path,
    trains: Trains,
    frozen: list[Part],
    changed: set[str],
) -> None:
    loss = LossSettings(contrastive=0.5)
    job = make_job(trains.value, trains=trains, frozen=frozen, steps=2, loss=loss)
    train(job)
    before = gemma3n.load(checkpoint_folder, precision="float32").checkpoint
    after = gemma3n.load(Path(job.output) / "checkpoint", precision="float32").checkpoint
    moved = {
        name.split(".")[0]
        for name in after.entries
        if not torch.equal(before.tensor(name), after.tensor(name))
    }
    assert moved == changed


@pytest.mark.slow
def test_alignment_by_projection_alone_lets_media_find_their_texts(make_job: MakeJob) -> None:
    job = make_job(
        "aligned",
        trains=Trains.projection,
        steps=60,
        augment=False,
        validate_first=True,
        loss=LossSettings(answer=0.0, contrastive=1.0),
        batch=BatchSettings(audio_seconds=30, images=4, texts=0),
        rate=RateSettings(peak=1e-2, warmup=5),
    )
    job.dev = list(job.train)
    train(job)
    lines = [json.loads(line) for line in (Path(job.output) / "log.jsonl").read_text().splitlines()]
    before, after = (line["scores"] for line in lines if "scores" in line)
    for name in ("audio, recall@1 of 6", "images, recall@1 of 4"):
        assert before[name] < 0.75 <= after[name]


def test_the_rate_warms_up_and_falls_as_half_a_cosine() -> None:
    rate = RateSettings(peak=1.0, final=0.1, warmup=10)
    rates = [learning_rate(step, 110, rate) for step in range(110)]
    assert rates[0] == 0.1
    assert max(rates) == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)


def test_a_running_mean_forgets_its_first_steps_and_then_follows_slowly() -> None:
    weights = torch.nn.Linear(1, 1, bias=False)

    def follow(mean: AveragedModel, value: float) -> float:
        weights.weight.data.fill_(value)
        mean.update_parameters(weights)
        return next(mean.parameters()).item()

    mean = running_mean(weights, 0.9)
    assert [follow(mean, 0.0) for _ in range(100)][-1] == 0
    assert [follow(mean, 1.0) for _ in range(30)][-1] == pytest.approx(1 - 0.9**30, rel=1e-3)
    early = running_mean(weights, 0.9)
    assert follow(early, 5.0) == 5  # takes over the first
    assert follow(early, 7.0) > 6


def test_the_mean_is_what_is_saved(make_job: MakeJob) -> None:
    job = make_job("mean", rate=RateSettings(warmup=2, average=0.9))
    train(job)
    name = "audio.conformer.0.norm.weight"
    saved = load_file(Path(job.output) / "checkpoint/model.safetensors")
    state = weights(job)
    saved_as = "model.audio_tower.conformer.0.norm.weight"
    mean = state[f"mean.module.model.{name}"]
    assert torch.equal(saved[saved_as], mean.bfloat16())
    assert not torch.equal(mean, state[f"trained.model.{name}"])


def test_a_run_is_not_continued_under_other_settings(make_job: MakeJob) -> None:
    train(make_job("one", steps=1))
    with pytest.raises(SettingsError, match="holds a run with seed=0, and this one asks for 1"):
        train(make_job("one", steps=1, seed=1))
    with pytest.raises(SettingsError, match=r"batch\.images=2, and this one asks for 3"):
        train(make_job("one", steps=1, batch=BatchSettings(audio_seconds=12, images=3, texts=2)))
    assert train(make_job("one", steps=2)) == 0


def test_what_cannot_be_learned_from_is_refused(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("a")
    job.train = ["absent.jsonl"]
    with pytest.raises(SettingsError, match=r"manifests \['absent\.jsonl'\] do not exist"):
        train(job)
    unlabelled = tmp_path / "unlabelled.jsonl"
    unlabelled.write_text('{"prompt": "Say it."}\n')
    job.train = [str(unlabelled)]
    with pytest.raises(SettingsError, match="one example has an answer"):
        train(job)
    long = BatchSettings(join_seconds=40.0)
    with pytest.raises(SettingsError, match=r"join_seconds=40\.0, but a prompt of this model"):
        train(make_job("b", batch=long))


@pytest.mark.slow
def test_what_several_processes_cannot_learn_from_is_refused_as_by_one(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job("a", processes=2)
    timeless = tmp_path / "timeless.jsonl"
    timeless.write_text('{"audio": "a.wav", "text": "hello"}\n')
    job.train = [str(timeless)]
    with pytest.raises(SettingsError, match="a clip in the training manifests has no `seconds`"):
        train(job)


def test_a_refused_start_does_not_stand_in_the_way_of_a_right_one(make_job: MakeJob) -> None:
    with pytest.raises(SettingsError, match="join_seconds"):
        train(make_job("a", batch=BatchSettings(join_seconds=40.0)))
    assert train(make_job("a", steps=1)) == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RateSettings(average=1.0), r"rate\.average=1\.0; it is a share"),
        (lambda: BatchSettings(wrong=20), r"batch\.wrong=20; it is a share"),
        (lambda: JointSettings(random=-0.1), r"joint\.random=-0\.1; it is a share"),
    ],
)
def test_shares_are_shares(make: Callable[[], object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make()


def test_every_step_clips_the_mixing_coefficients(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(Trainable, "clip_mixing", lambda model: calls.append(model))
    train(make_job("clipped", steps=3))
    assert len(calls) == 3
