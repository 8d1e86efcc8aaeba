"""Text <-> token ids, with SentencePiece and the `tokenizer.model` of a checkpoint.

Encoding is for plain text: whatever a text holds, it never becomes a control token. Only
`Tokenizer.chat_ids` and `Tokenizer.prompt_ids`, which lay out a whole prompt, place those.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from pathlib import Path

from gemma3n.chat import Boundary, Mark, Turn, chat_layout
from gemma3n.config import Config
from gemma3n.errors import InputError, SettingsError

_SPACE = "▁"  # U+2581, how SentencePiece spells a space within a piece

# Which user-defined pieces steer the model: `<start_of_turn>`, `<unused0>`, `[multimodal]` ...
_BRACKETED = re.compile(r"<.+>|\[.+\]")
# The others are text. So are these tags, which released vocabularies hold as user-defined pieces:
# a model that reads a page writes its tables with them.
_HTML_TAG = re.compile(
    r"</?(table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote"
    r"|strong|em|b|i|u|s|sub|sup|code)>"
)


class PieceKind(Enum):
    """What a piece of a vocabulary is."""

    NORMAL = "normal"  # made by merging
    UNKNOWN = "unknown"
    CONTROL = "control"  # never made from text
    WHOLE = "whole"  # found in a text before anything is merged, such as "\n\n" and "<td>"
    BYTE = "byte"


@dataclass(frozen=True)
class Piece:
    """One entry of a vocabulary."""

    text: str  # "▁" is a space
    score: float  # of merges: the higher comes first
    kind: PieceKind


class Tokenizer:
    """The vocabulary of one checkpoint.

    Attributes:
        stop_ids: `<eos>` and `<end_of_turn>`; the model has finished when it gives any of them.
    """

    def __init__(self, path_or_folder: Path, config: Config) -> None:
        """Load a vocabulary and check that it is the one the checkpoint was trained with.

        Args:
            path_or_folder: a checkpoint folder, or its `tokenizer.model`.
            config: that checkpoint's config, which says where the special ids are.

        Raises:
            SettingsError: no such file, not a SentencePiece model, or not this checkpoint's.
        """
        # Not at the top: it loads a shared library, which importers of this module may not need.
        from sentencepiece import SentencePieceProcessor

        text = config.text
        self._text_vocab = text.vocab_size_per_layer_input  # ids past it are media
        self._path = path_or_folder
        if self._path.is_dir():
            self._path = self._path / "tokenizer.model"
        if not self._path.is_file():
            raise SettingsError(
                f"'{self._path}' does not exist, and there is no text without it. "
                "tokenizer.model ships with the checkpoint: copy it beside config.json."
            )
        try:
            pieces, self._whole, model = _guard(self._path.read_bytes(), self._text_vocab)
            self._pieces = SentencePieceProcessor(model_proto=model)
        except (RuntimeError, ValueError) as error:
            raise SettingsError(
                f"'{self._path}' is not a SentencePiece model: {error}. Download it again; if it "
                "is a file of some 130 bytes, `git lfs pull` fetches what it points to."
            ) from error
        if not self._text_vocab <= pieces <= text.vocab_size:
            raise SettingsError(
                f"'{self._path}' has {pieces} pieces, but the model has {self._text_vocab} text "
                f"tokens and {text.vocab_size} in all. Use the tokenizer.model that ships with "
                "this checkpoint."
            )
        self._special("<pad>", text.pad_token_id)
        self._bos = self._special("<bos>", text.bos_token_id)
        self._boundaries = {boundary: self._special(boundary.value) for boundary in Boundary}
        self.stop_ids = [
            self._special("<eos>", text.eos_token_id),
            self._boundaries[Boundary.END],
        ]
        self._media: dict[Mark, list[int]] = {}
        if config.vision is not None:
            begin = self._special("<start_of_image>", config.boi_token_id)
            soft_tokens = [config.image_token_id] * config.vision_soft_tokens_per_image
            self._media[Mark.IMAGE] = [begin, *soft_tokens, config.eoi_token_id]
        if config.audio is not None:
            begin = self._special("<start_of_audio>", config.boa_token_id)
            soft_tokens = [config.audio_token_id] * config.audio_soft_tokens_per_image
            self._media[Mark.AUDIO] = [begin, *soft_tokens, config.eoa_token_id]

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text: no `<bos>`, and never a control token or a placeholder.

        Raises:
            InputError: half of a surrogate pair, which is not Unicode text.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the text has a lone surrogate, {text[error.start]!r}, at character "
                f"{error.start}; only valid Unicode can be encoded. Decode its source with the "
                "right encoding, or remove it."
            ) from error
        # A U+2581 of the text itself would come back as a space: it goes in as its three bytes.
        first, *others = text.split(_SPACE)
        ids: list[int] = self._pieces.encode(first)
        for part in others:
            ids += [self._pieces.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE.encode()]
            ids += self._pieces.encode(part)
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of token ids, in which control tokens and media leave nothing.

        Bytes that make no whole character become U+FFFD, the replacement character.
        """
        unknown = self._pieces.unk_id()
        return self._pieces.decode([i for i in ids if i < self._text_vocab and i != unknown])

    def pieces(self) -> list[Piece]:
        """The text vocabulary, in the order of ids; what steers the model is of kind CONTROL."""
        return [
            Piece(self._pieces.id_to_piece(i), self._pieces.get_score(i), self._kind(i))
            for i in range(self._pieces.get_piece_size())
        ]

    def _kind(self, token: int) -> PieceKind:
        if token in self._whole:
            return PieceKind.WHOLE
        if self._pieces.is_unknown(token):
            return PieceKind.UNKNOWN
        if self._pieces.is_control(token):
            return PieceKind.CONTROL
        return PieceKind.BYTE if self._pieces.is_byte(token) else PieceKind.NORMAL

    def chat_ids(self, turns: list[Turn], open_model_turn: bool = True) -> list[int]:
        """A conversation, as instruction-tuned checkpoints know it.

        Args:
            turns: an optional system turn, then user and model alternately, user first. Each text
                part of a user or model turn is trimmed, as the released template does.
            open_model_turn: end with the opening of a model turn, which the model then fills.

        Returns:
            All ids from `<bos>` on, with placeholders where soft tokens go, in the media's order.

        Raises:
            InputError: turns in another order, an empty turn, media in the system turn, or media
                that the checkpoint does not read.
        """
        return self._ids(chat_layout(turns, open_model_turn))

    def said(self, ids: Sequence[int]) -> list[bool]:
        """Which tokens of a chat the model says: those of its turns, with the one that ends each.

        Args:
            ids: of a whole chat, from `chat_ids`.
        """
        start, end = self._boundaries[Boundary.START], self._boundaries[Boundary.END]
        opening = [start, *self.encode("model\n")]
        first = len(ids)  # of the tokens of a turn of the model, if one is open
        says = []
        for at, token in enumerate(ids):
            if token == start and list(ids[at : at + len(opening)]) == opening:
                first = at + len(opening)
            says.append(at >= first)
            if token == end:
                first = len(ids)
        return says

    def prompt_ids(self, content: Sequence[str | Mark | Boundary]) -> list[int]:
        """`<bos>` and the content, as base checkpoints know it: no turns but those given.

        Nothing is trimmed.

        Raises:
            InputError: media that the checkpoint does not read.
        """
        return self._ids(content)

    def _ids(self, layout: Sequence[str | Mark | Boundary]) -> list[int]:
        parts: list[str | int] = [self._bos]
        for part in layout:
            if isinstance(part, str):
                parts.append(part)
            elif isinstance(part, Boundary):
                parts.append(self._boundaries[part])
            elif part in self._media:
                parts += ["\n\n", *self._media[part], "\n\n"]
            else:
                reads = " and ".join(["text", *(mark.value for mark in self._media)])
                raise InputError(
                    f"the prompt has {part.value}, but this checkpoint reads {reads}. "
                    "Take it out, or use a checkpoint that reads it."
                )
        # Neighbouring texts are encoded as one: the reference splits at special tokens only, so
        # the newline of "user\n" and the two before an image become one token.
        ids: list[int] = []
        for is_text, run in groupby(parts, key=lambda part: isinstance(part, str)):
            if is_text:
                ids += self.encode("".join(map(str, run)))
            else:
                ids += map(int, run)
        return ids

    def _special(self, piece: str, expected: int | None = None) -> int:
        """The id of a special piece; `expected` is what the config says, where it does."""
        found: int = self._pieces.piece_to_id(piece)
        if self._pieces.id_to_piece(found) != piece:
            raise SettingsError(
                f"'{self._path}' has no {piece}, which Gemma 3n needs. "
                "Use the tokenizer.model that ships with this checkpoint."
            )
        if expected is not None and found != expected:
            raise SettingsError(
                f"'{self._path}' has {piece} as token {found}, but config.json says {expected}. "
                "Use the tokenizer.model and the config.json of one checkpoint."
            )
        return found


# Fields and piece types of sentencepiece_model.proto. The file is walked by hand because the
# module that sentencepiece generates from it wants a very recent protobuf package.
_PIECES, _PIECE_TEXT, _PIECE_TYPE = 1, 1, 3
_CONTROL, _USER_DEFINED = b"\x03", b"\x04"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _guard(model: bytes, text_vocab: int) -> tuple[int, set[int], bytes]:
    """Make SentencePiece itself unable to turn text into control tokens.

    Released files hold `<start_of_turn>` and its like as user-defined pieces, which are matched
    wherever a text has them. Retyped as control pieces they never match, and decode to nothing.
    Pieces past the text vocabulary (media, if a file has them) are left out.

    Returns:
        How many pieces the file has, which stay user-defined, and the changed file.

    Raises:
        ValueError: not a protobuf message.
    """
    pieces, whole, guarded = 0, set(), bytearray()
    absent = slice(0, 0)
    for number, begin, value, end in _fields(model, 0, len(model)):
        record = bytearray(model[begin:end])
        if number == _PIECES:
            pieces += 1
            if pieces > text_vocab:
                continue
            if _USER_DEFINED[0] in record:  # a quick look, with which most pieces are done
                piece = {n: slice(at, stop) for n, _, at, stop in _fields(model, value, end)}
                text, kind = piece.get(_PIECE_TEXT, absent), piece.get(_PIECE_TYPE, absent)
                if model[kind] == _USER_DEFINED:
                    if _is_control(model[text].decode()):
                        record[kind.start - begin : kind.stop - begin] = _CONTROL
                    else:
                        whole.add(pieces - 1)
        guarded += record
    return pieces, whole, bytes(guarded)


def _is_control(piece: str) -> bool:
    return bool(_BRACKETED.fullmatch(piece)) and not _HTML_TAG.fullmatch(piece)


def _fields(message: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, begin, begin of the value, and end of each field of the message at [at, end)."""
    while at < end:
        tag, value = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, stop = _varint(message, value)
        elif kind == _BYTES:
            size, value = _varint(message, value)
            stop = value + size
        elif kind in (_FIXED32, _FIXED64):
            stop = value + (4 if kind == _FIXED32 else 8)
        else:
            raise ValueError(f"byte {at} begins no protobuf field")
        if stop > end:
            raise ValueError(f"it ends within the field that begins at byte {at}")
        yield tag >> 3, at, value, stop
        at = stop


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, low bits first, and where it ends."""
    number = shift = 0
    for byte in message[at : at + 10]:  # 64 bits take 10
        number |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return number, at
    raise ValueError(f"the number before byte {at} has no end")
