"""A few lines of English -> `checkpoint/tokenizer.model`, 512 pieces laid out as Gemma's.

Run as `python tests/golden/train_tokenizer.py`. SentencePiece learns the word pieces (BPE, byte
fallback, text taken as it is); the special pieces are then put where config.json expects them.
"""

import io
import string
from pathlib import Path

from sentencepiece import SentencePieceTrainer
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

TARGET = Path(__file__).parent / "checkpoint" / "tokenizer.model"
VOCAB = 512

# Special pieces are user-defined, as in Gemma's file: SentencePiece itself would take the text
# "<start_of_turn>" for the token, and our tokenizer has to stop it.
HEAD = ["<mask>", "<unused0>", "<unused1>", "<start_of_turn>", "<end_of_turn>"]
RUNS = ["\n", "\n\n", "\n\n\n", "\n\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁"]
TAGS = ["<table>", "</table>"]
TAIL = ["<start_of_image>", "<start_of_audio>"]  # 510 and 511
RESERVED = ["<pad>", "<eos>", "<bos>", "<unk>"]
BYTES = 256

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


def learn(size: int) -> ModelProto:
    """BPE over the corpus: `size` learned pieces after the reserved ones and the bytes."""
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=written,
        model_type="bpe",
        vocab_size=len(RESERVED) + BYTES + size,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        num_threads=1,
        minloglevel=2,
    )
    return ModelProto.FromString(written.getvalue())


def user_defined(names: list[str]) -> list[ModelProto.SentencePiece]:
    kind = ModelProto.SentencePiece.USER_DEFINED
    return [ModelProto.SentencePiece(piece=name, score=0.0, type=kind) for name in names]


def main() -> None:
    model = learn(VOCAB - len(RESERVED + HEAD + RUNS + TAGS + TAIL) - BYTES)
    reserved, learned = model.pieces[: len(RESERVED)], model.pieces[len(RESERVED) :]
    del model.pieces[:]
    model.pieces.extend(reserved)
    model.pieces.extend(user_defined(HEAD + RUNS + TAGS))
    model.pieces.extend(learned)
    model.pieces.extend(user_defined(TAIL))
    model.trainer_spec.vocab_size = VOCAB
    TARGET.write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
