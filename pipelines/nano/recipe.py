"""The nano checkpoint from its data: towers first, then all parts and nested sizes together.

`python -m pipelines.nano.recipe --data outputs/nano/data --out outputs/nano/runs [--quick]` goes on
where an earlier call was ended; `--minutes` ends this one in time. Where only weights are left of
an earlier run, `--init gemma3n/nano --share 0.2` takes them through a fifth of each stage again.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

from pipelines.asked import asked_by
from pipelines.nano.model import write_init
from pipelines.settings import (
    BatchSettings,
    JointSettings,
    LossSettings,
    Part,
    RateSettings,
    TrainJob,
    Trains,
)
from pipelines.train import train
from pipelines.training.files import CHECKPOINT

_KINDS = ("speech", "pictures", "text")
_JOIN_S = 11.0  # a clip may get a tenth longer, and a prompt has places for 12.8 s
_AVERAGED = 10  # weights are averaged over the last 1 / so much of a stage
# A decoder that trusts what it said, and words that are always the same tokens, end in reciting.
_WRONG, _SPLIT = 0.25, 0.1
_JOINT_LOSS = LossSettings(answer=1.0, ctc=0.3, phones=0.05, contrastive=0.05, guide=0.2)
_SIZES = JointSettings(full=0.6, small=0.4, random=0.3)
_QUICK = 0.04  # share of the steps
# Seconds a step, as logs of two cores have them: 0.84, 0.76, 0.97, (1.6 for `listen` is a guess,)
# 2.95 and 2.24: 494 minutes. The data take about a hundred more, and ten hours are the most.
_STEPS = {
    "glance": 7000,
    "pictures": 2250,
    "speech": 5500,
    "listen": 1200,
    "joint": 3800,
    "captions": 1600,
}
_GLANCE_SIDE = 128  # pixels: a quarter of the time, for most of what a tower has to learn


def stages(data: Path, out: Path, share: float, init: Path | None = None) -> Iterator[TrainJob]:
    """The runs, in order.

    Args:
        data: folder of the manifests.
        out: folder of the runs, one each.
        share: of the full recipe's steps.
        init: checkpoint to begin with; None begins with new weights.
    """

    def run(name: str, init: Path, rate: RateSettings, **settings: object) -> TrainJob:
        steps = round(_STEPS[name] * share)
        rate.warmup = min(rate.warmup, steps // 4)  # of a short run
        rate.average = max(0.0, 1 - _AVERAGED / steps)
        return TrainJob(
            rate=rate,
            init=str(init),
            train=[str(data / f"{kind}-train.jsonl") for kind in _KINDS],
            dev=[str(data / f"{kind}-dev.jsonl") for kind in _KINDS],
            output=str(out / name),
            steps=steps,
            processes=2,
            audio_prompt=asked_by("transcribe"),
            image_prompt=asked_by("caption"),
            **settings,  # type: ignore[arg-type]
        )

    # A classifier and a speller first: the decoder would only slow them down.
    classify = LossSettings(answer=0.0, classify=1.0)
    yield run(
        "glance",
        init or data / "init",
        loss=classify,
        batch=BatchSettings(audio_seconds=0, images=32, texts=0, image_side=_GLANCE_SIDE),
        rate=RateSettings(peak=1.5e-3, final=0.2, warmup=50),
        validate_steps=1000,
    )
    yield run(
        "pictures",
        out / "glance" / CHECKPOINT,
        loss=classify,
        batch=BatchSettings(audio_seconds=0, images=16, texts=0),
        rate=RateSettings(peak=5e-4, warmup=50),
        validate_steps=700,
    )
    yield run(
        "speech",
        out / "pictures" / CHECKPOINT,
        loss=LossSettings(answer=0.0, ctc=1.0, phones=0.5),
        batch=BatchSettings(audio_seconds=80, join_seconds=_JOIN_S, images=0, texts=0),
        rate=RateSettings(peak=2e-3, warmup=round(500 * share) + 50),
        validate_steps=1000,
    )
    # Short clips and towers that stand still first: a decoder soon finds out where to listen.
    yield run(
        "listen",
        out / "speech" / CHECKPOINT,
        trains=Trains.text,
        loss=LossSettings(guide=1.0),
        batch=BatchSettings(audio_seconds=40, images=8, texts=4, wrong=_WRONG, split=_SPLIT),
        joint=_SIZES,
        rate=RateSettings(peak=2e-3, final=0.3, warmup=100),
        validate_steps=500,
    )
    yield run(
        "joint",
        out / "listen" / CHECKPOINT,
        # A few pictures a step would make the tower forget what it was pre-trained to see.
        frozen=[Part.vision],
        loss=_JOINT_LOSS,
        batch=BatchSettings(
            audio_seconds=80,
            join_seconds=_JOIN_S,
            images=4,
            texts=4,
            wrong=_WRONG,
            split=_SPLIT,
        ),
        joint=_SIZES,
        rate=RateSettings(peak=1.5e-3, warmup=100),
        validate_steps=1000,
    )
    # A decoder says in thousands of steps of few pictures less than the tower saw. Now it is the
    # tower that learns what this decoder understands, and nothing of what was heard is forgotten.
    yield run(
        "captions",
        out / "joint" / CHECKPOINT,
        trains=Trains.towers,
        frozen=[Part.audio],
        loss=LossSettings(answer=1.0, classify=0.5),
        batch=BatchSettings(audio_seconds=0, images=16, texts=0),
        joint=_SIZES,
        rate=RateSettings(peak=1e-3, warmup=50),
        validate_steps=500,
    )


def sentences(data: Path) -> Iterator[str]:
    """What the vocabulary is learned from: all that is asked and answered in training."""
    asked = {"speech": asked_by("transcribe"), "pictures": asked_by("caption")}
    for kind in _KINDS:
        path = data / f"{kind}-train.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield row.get("prompt") or asked.get(kind, "")
            yield row["text"]


def main() -> None:
    """Run what is left of the recipe."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", type=Path, default=Path("outputs/nano/data"))
    words.add_argument("--out", type=Path, default=Path("outputs/nano/runs"))
    words.add_argument("--minutes", type=float, default=None)
    words.add_argument("--init", type=Path, default=None)
    amount = words.add_mutually_exclusive_group()
    amount.add_argument("--share", type=float, default=1.0)
    amount.add_argument("--quick", dest="share", action="store_const", const=_QUICK)
    asked = words.parse_args()
    fresh, end = asked.data / "init", None
    if asked.minutes is not None:
        end = time.monotonic() + asked.minutes * 60
    if asked.init is None and not (fresh / "config.json").is_file():
        write_init(fresh, sentences(asked.data))
    for job in stages(asked.data, asked.out, asked.share, asked.init):
        if end is not None:
            job.minutes = (end - time.monotonic()) / 60
            if job.minutes <= 0:
                return
        train(job)


if __name__ == "__main__":
    main()
