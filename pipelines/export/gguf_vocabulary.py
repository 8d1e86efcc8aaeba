"""A checkpoint's vocabulary -> GGUF's tokenizer keys."""

from typing import Any

import gguf

from gemma3n.config import TextConfig
from gemma3n.tokenizer import PieceKind, Tokenizer

_TYPES = {
    PieceKind.NORMAL: gguf.TokenType.NORMAL,
    PieceKind.UNKNOWN: gguf.TokenType.UNKNOWN,
    PieceKind.CONTROL: gguf.TokenType.CONTROL,
    PieceKind.WHOLE: gguf.TokenType.USER_DEFINED,
    PieceKind.BYTE: gguf.TokenType.BYTE,
}


def add_vocabulary(writer: Any, tokenizer: Tokenizer, text: TextConfig) -> None:
    """Tell a GGUFWriter all tokens; those past the text's, which are media, as unused."""
    pieces = tokenizer.pieces()
    media = range(len(pieces), text.vocab_size)
    writer.add_tokenizer_model("llama")  # which means SentencePiece
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*(p.text for p in pieces), *(f"<media {i}>" for i in media)])
    writer.add_token_scores([*(p.score for p in pieces), *(0.0 for _ in media)])
    writer.add_token_types(
        [*(_TYPES[p.kind] for p in pieces), *(gguf.TokenType.UNUSED for _ in media)]
    )
    writer.add_bos_token_id(text.bos_token_id)
    writer.add_eos_token_id(text.eos_token_id)
    writer.add_pad_token_id(text.pad_token_id)
    unknown = next(i for i, piece in enumerate(pieces) if piece.kind is PieceKind.UNKNOWN)
    writer.add_unk_token_id(unknown)
    writer.add_eot_token_id(tokenizer.stop_ids[-1])
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
