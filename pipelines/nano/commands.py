"""A small task to fine-tune nano on: spoken commands -> JSON.

`python -m pipelines.nano.commands [--out DIR]` writes clips and two manifests, `train.jsonl` and
`dev.jsonl`, whose voices and commands are not those of training. Needs espeak-ng and flite.
"""

import argparse
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.nano.clips import Clip, rng_of, save, tidy
from pipelines.nano.sentences import DIGITS, say_digits
from pipelines.nano.split import Split, sentence
from pipelines.nano.steps import Step, Work, do, read_lines, spread, stamp, write_lines
from pipelines.nano.voices import manner, pick_voice, speak

PROMPT = "Give this command as JSON."
_COUNTS = {Split.train: 1500, Split.dev: 200}
_ABOUT_MESSAGES = ("play", "delete", "save", "forward")
_ABOUT_NUMBERS = ("call", "cancel", "record")
_ABOUT_CONFERENCES = ("enter", "leave", "lock", "mute")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--out", type=Path, default=Path("outputs/commands/data"))
    words.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = words.parse_args()
    work = Work(asked.out, asked.workers)
    for split in (Split.train, Split.dev):
        step = Step(f"commands-{split.value}", partial(_lines, split=split))
        do(step, work)
        write_lines(asked.out / f"{split.value}.jsonl", read_lines(stamp(work, step.name)))


def command(name: str, split: Split) -> tuple[str, str]:
    """What is said, and the JSON that it means.

    Args:
        name: of the clip, where all randomness comes from.
        split: whose sentences it may say.
    """
    rng = rng_of(name)
    while True:
        match rng.choice(("message", "number", "conference")):
            case "message":
                action, which = rng.choice(_ABOUT_MESSAGES), rng.randint(1, 9)
                said = f"{action} message {DIGITS[which]}"
                meant: dict[str, Any] = {"action": action, "message": which}
            case "number":
                action = rng.choice(_ABOUT_NUMBERS)
                number = "".join(rng.choices("0123456789", k=rng.randint(2, 5)))
                said, meant = f"{action} {say_digits(number)}", {"action": action, "number": number}
            case _:
                action = rng.choice(_ABOUT_CONFERENCES)
                room = "".join(rng.choices("0123456789", k=2))
                said = f"{action} conference {say_digits(room)}"
                meant = {"action": action, "conference": room}
        if sentence(said) is split:
            return said, json.dumps(meant)


def _lines(work: Work, split: Split) -> Iterator[dict[str, Any] | str]:
    names = [f"command-{split.value}-{number:04d}" for number in range(_COUNTS[split])]
    for clip, meant in spread(work, partial(_say, split), names):
        yield {**save(work.out, split.value, clip), "text": meant, "prompt": PROMPT}


def _say(split: Split, name: str) -> tuple[Clip, str]:
    said, meant = command(name, split)
    rng = rng_of(f"voice of {name}")
    engine = rng.choice(("espeak", "espeak", "flite"))
    who = pick_voice(rng, engine, split)
    pcm = tidy(*speak(who, said, manner(rng)))
    return Clip(name, said, who, engine, "commands as JSON", pcm), meant


if __name__ == "__main__":
    main()
