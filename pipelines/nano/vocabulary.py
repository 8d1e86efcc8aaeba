"""A few thousand sentences -> a SentencePiece model laid out as Gemma's, small enough for a toy.

SentencePiece learns the word pieces (BPE, byte fallback, text taken as it is); the special pieces
are then put where a config expects them: `<start_of_image>` and `<start_of_audio>` last.
"""

import io
from collections.abc import Iterable

from sentencepiece import SentencePieceTrainer
from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

# Special pieces are user-defined, as in Gemma's file: SentencePiece itself would take the text
# "<start_of_turn>" for the token, and our tokenizer has to stop it.
HEAD = ["<mask>", "<unused0>", "<unused1>", "<start_of_turn>", "<end_of_turn>"]
RUNS = ["\n", "\n\n", "\n\n\n", "\n\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁"]
TAGS = ["<table>", "</table>"]
TAIL = ["<start_of_image>", "<start_of_audio>"]
RESERVED = ["<pad>", "<eos>", "<bos>", "<unk>"]
BYTES = 256


def learn_vocabulary(sentences: Iterable[str], pieces: int) -> bytes:
    """Learn a vocabulary.

    Args:
        sentences: to learn word pieces from.
        pieces: in all, special ones and the 256 bytes included.

    Returns:
        The contents of a `tokenizer.model`; the same sentences give the same bytes.
    """
    model = _learn(sentences, pieces - len(RESERVED + HEAD + RUNS + TAGS + TAIL) - BYTES)
    reserved, learned = model.pieces[: len(RESERVED)], model.pieces[len(RESERVED) :]
    del model.pieces[:]
    model.pieces.extend(reserved)
    model.pieces.extend(_user_defined(HEAD + RUNS + TAGS))
    model.pieces.extend(learned)
    model.pieces.extend(_user_defined(TAIL))
    model.trainer_spec.vocab_size = pieces
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _learn(sentences: Iterable[str], size: int) -> ModelProto:
    """BPE: `size` learned pieces after the reserved ones and the bytes."""
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
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


def _user_defined(names: list[str]) -> list[ModelProto.SentencePiece]:
    kind = ModelProto.SentencePiece.USER_DEFINED
    return [ModelProto.SentencePiece(piece=name, score=0.0, type=kind) for name in names]
