"""A few lines of English -> `checkpoint/tokenizer.model`, 512 pieces laid out as Gemma's.

Run as `python tests/golden/train_tokenizer.py`.
"""

import string
from pathlib import Path

from pipelines.nano.vocabulary import learn_vocabulary

TARGET = Path(__file__).parent / "checkpoint" / "tokenizer.model"
VOCAB = 512

WORDS = """
zero one two three four five six seven eight nine ten eleven twelve twenty thirty
red green blue yellow orange purple black white brown grey pink
circle square triangle star cross ring house tree boat cat dog cup ball
""".strip().splitlines()
PUNCTUATION = ".,;:!?'\"()-/<>_"
DIGITS, COLOURS, SHAPES = (line.split() for line in WORDS)
PROMPTS = """
Thank you for calling. Please hold while we connect you to the next free agent.
Your call is important to us and may be recorded for training.
For opening hours, press one. For sales, press two. To speak to an operator, press zero.
Please enter your account number, followed by the hash key.
Sorry, I did not understand that. Please try again after the tone.
The person you are calling is not available. Please leave a message after the beep.
You have three new messages and no saved messages.
To listen to this message again, press four; to delete it, press seven.
The number you have dialled has been changed. Please check it and call back later.
All lines are busy at the moment. Goodbye, and have a nice day!
Your transfer is complete. The balance is 1250 euro and 48 cents.
Enter your password, then press star. Is this correct? Say yes or no.
Transcribe this audio. Translate this speech into Italian: what is said here?
Describe the image in one word. What can you see in the picture?
The user asks a question, the model answers it, and the next user asks another.
Good morning, good afternoon, good evening; we are open from 8:30 to 17:45.
(Today is Monday.) "It's raining," she said - and the train was late.
""".strip().splitlines()


def corpus() -> list[str]:
    """Telephone prompts, spoken and written numbers, captions of coloured shapes."""
    lines = 6 * PROMPTS
    for place, digit in enumerate(DIGITS):
        lines.append(f"Press {digit} now, or dial {place} {place * 37 % 1000} {2026 - place}.")
        lines.append(" ".join(DIGITS[place:] + DIGITS[:place]))
    for place, colour in enumerate(COLOURS):
        for step, shape in enumerate(SHAPES):
            other = COLOURS[(place + step) % len(COLOURS)]
            lines.append(f"a picture of a {colour} {shape} on a {other} ground")
        lines.append(f"A picture of the {colour} {SHAPES[place]} and a small {colour} dot.")
    lines.append(f"{string.ascii_letters} {string.digits} {PUNCTUATION}")
    return lines


if __name__ == "__main__":
    TARGET.write_bytes(learn_vocabulary(corpus(), VOCAB))
