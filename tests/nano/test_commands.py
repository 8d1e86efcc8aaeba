import json

import pytest

from pipelines.nano.commands import command
from pipelines.nano.sentences import DIGITS
from pipelines.nano.split import Split, sentence

NAMES = [f"command-{number}" for number in range(60)]


@pytest.mark.parametrize("split", [Split.train, Split.dev])
def test_a_command_means_what_it_says_and_stays_on_its_side(split: Split) -> None:
    for name in NAMES:
        said, meant = command(name, split)
        assert (said, meant) == command(name, split)
        assert sentence(said) is split
        parts = json.loads(meant)
        action = parts.pop("action")
        ((what, which),) = parts.items()
        digits = " ".join(DIGITS[int(digit)] for digit in str(which))
        assert said == " ".join([action, *([] if what == "number" else [what]), digits])


def test_both_sides_know_all_kinds_and_share_no_command() -> None:
    train, dev = ({command(name, split) for name in NAMES} for split in (Split.train, Split.dev))
    assert not train & dev
    for side in (train, dev):
        keys = {key for _, meant in side for key in json.loads(meant)}
        assert keys == {"action", "message", "number", "conference"}
