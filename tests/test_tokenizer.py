import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from gemma3n.chat import Mark, Turn, parse_template
from gemma3n.config import Config
from gemma3n.errors import InputError, SettingsError
from gemma3n.tokenizer import Tokenizer

CHECKPOINT = Path(__file__).parent / "golden" / "checkpoint"
MODEL = (CHECKPOINT / "tokenizer.model").read_bytes()
CONFIG = Config.from_folder(CHECKPOINT)
TOKENIZER = Tokenizer(CHECKPOINT, CONFIG)

# The file as it is: here the text "<start_of_turn>" is the control token, as in released files.
BARE = SentencePieceProcessor(model_proto=MODEL)
IDS = {BARE.id_to_piece(i): i for i in range(BARE.get_piece_size())}
IDS |= {
    "<end_of_image>": CONFIG.eoi_token_id,
    "<image_soft_token>": CONFIG.image_token_id,
    "<end_of_audio>": CONFIG.eoa_token_id,
    "<audio_soft_token>": CONFIG.audio_token_id,
}
MATCHED = ["<mask>", "<unused0>", "<unused1>", "<start_of_turn>", "<end_of_turn>"]
MATCHED += ["<start_of_image>", "<start_of_audio>"]
UNMATCHED = ["<pad>", "<eos>", "<bos>", "<unk>", "<end_of_image>", "<image_soft_token>"]
UNMATCHED += ["<end_of_audio>", "<audio_soft_token>"]
CONTROLS = {IDS[piece] for piece in MATCHED + UNMATCHED}

IMAGE = "\n\n<start_of_image>" + 256 * "<image_soft_token>" + "<end_of_image>\n\n"
AUDIO = "\n\n<start_of_audio>" + 188 * "<audio_soft_token>" + "<end_of_audio>\n\n"

characters = st.characters(exclude_categories=["Cs"])
hostile = st.lists(
    st.sampled_from([*MATCHED, *UNMATCHED, "<image>", "<audio>", "<0x0A>", "<table>"])
    | st.sampled_from(
        ["<start_of_", "turn>", "<", ">", "<end", "_of_turn>", "▁", "\n", "\n\n", " "]
    )
    | st.text(characters, max_size=5),
    max_size=8,
).map("".join)


def reference(prompt: str) -> list[int]:
    """Ids of a whole prompt string, split at the special tokens that it spells out."""
    parts = re.split(f"({'|'.join(UNMATCHED)})", prompt)
    ids: list[int] = []
    for part in parts:
        ids += [IDS[part]] if part in UNMATCHED else BARE.encode(part)
    return ids


# --- text


@given(hostile)
@example("<start_of_turn>")
@example("<start_of_<end_of_turn>turn>")
@example("<<end_of_turn>>")
def test_no_text_becomes_a_control_token_and_every_text_survives(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert not CONTROLS & set(ids)
    assert max(ids, default=0) < CONFIG.text.vocab_size_per_layer_input
    assert TOKENIZER.decode(ids) == text


def test_the_bare_file_would_let_text_become_control_tokens() -> None:
    for piece in MATCHED:
        assert BARE.encode(piece) == [IDS[piece]]


@given(st.text(characters, max_size=30))
@example("Press one for a picture of a red cat.\n\n\n  <table>1 < 2</table>")
def test_harmless_text_is_encoded_as_by_sentencepiece(text: str) -> None:
    for piece in ["▁", *MATCHED]:
        assume(piece not in text)
    assert TOKENIZER.encode(text) == BARE.encode(text)


@pytest.mark.parametrize("piece", ["\n", "\n\n", "\n\n\n\n", "▁▁", "▁▁▁▁", "<table>", "</table>"])
def test_runs_of_whitespace_and_html_tags_are_one_token_of_text(piece: str) -> None:
    text = piece.replace("▁", " ")
    assert TOKENIZER.encode(text) == [IDS[piece]]
    assert TOKENIZER.decode([IDS[piece]]) == text


def test_decoding_leaves_out_control_tokens_and_media() -> None:
    ids = TOKENIZER.encode("A cat")
    for special in CONTROLS | set(range(512, 544)):
        assert TOKENIZER.decode([special, *ids[:2], special, *ids[2:], special]) == "A cat"


def test_bytes_that_make_no_character_decode_to_the_replacement_character() -> None:
    assert TOKENIZER.decode([IDS["<0xE2>"]]) == "\ufffd"
    assert TOKENIZER.decode([IDS["a"], IDS["<0xC3>"], IDS["e"]]) == "a\ufffde"
    assert TOKENIZER.decode([IDS["<0xC3>"], IDS["<0xA9>"]]) == "é"
    assert TOKENIZER.decode([]) == ""


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InputError, match=r"'\\ud800', at character 3; only valid .* or remove it"):
        TOKENIZER.encode("cat\ud800")


# --- prompts


def test_a_chat_is_encoded_as_the_reference_encodes_its_string() -> None:
    turns = [
        Turn("system", ["Be brief."]),
        Turn("user", parse_template("Describe <image> in one word")),
        Turn("model", ["Cat\n"]),
        Turn("user", ["And this?", Mark.IMAGE, "or", Mark.AUDIO, Mark.AUDIO]),
    ]
    assert TOKENIZER.chat_ids(turns) == reference(
        f"<bos><start_of_turn>user\nBe brief.\n\nDescribe{IMAGE}in one word<end_of_turn>\n"
        f"<start_of_turn>model\nCat<end_of_turn>\n"
        f"<start_of_turn>user\nAnd this?{IMAGE}or{AUDIO}{AUDIO}<end_of_turn>\n"
        f"<start_of_turn>model\n"
    )
    assert TOKENIZER.chat_ids(turns[:3], open_model_turn=False) == reference(
        f"<bos><start_of_turn>user\nBe brief.\n\nDescribe{IMAGE}in one word<end_of_turn>\n"
        f"<start_of_turn>model\nCat<end_of_turn>\n"
    )


def test_a_chat_is_these_ids() -> None:
    assert TOKENIZER.chat_ids([Turn("user", [" ", Mark.IMAGE, "a\n"])]) == [
        *(IDS["<bos>"], IDS["<start_of_turn>"], *TOKENIZER.encode("user"), IDS["\n\n\n"]),
        *(510, *(256 * [513]), 512, IDS["\n\n"], IDS["a"], IDS["<end_of_turn>"], IDS["\n"]),
        *(IDS["<start_of_turn>"], *TOKENIZER.encode("model"), IDS["\n"]),
    ]
    assert TOKENIZER.prompt_ids([Mark.AUDIO]) == [
        *(IDS["<bos>"], IDS["\n\n"], 511, *(188 * [529]), 528, IDS["\n\n"])
    ]


def test_a_prompt_for_a_base_model_has_no_turns_and_is_not_trimmed() -> None:
    content = parse_template(" Two: <image> <audio><image>\n")
    assert TOKENIZER.prompt_ids(content) == reference(
        f"<bos> Two: {IMAGE} {AUDIO}{IMAGE}\n",
    )
    assert TOKENIZER.prompt_ids([]) == [IDS["<bos>"]]


@given(hostile.filter(str.strip), hostile.filter(str.strip))
def test_text_in_a_chat_adds_no_turn_and_no_media(first: str, second: str) -> None:
    turns = [Turn("user", [first, Mark.AUDIO]), Turn("model", [second])]
    ids = TOKENIZER.chat_ids(turns, open_model_turn=False)
    assert ids.count(IDS["<bos>"]) == 1
    assert ids.count(IDS["<start_of_turn>"]) == ids.count(IDS["<end_of_turn>"]) == 2
    assert ids.count(IDS["<start_of_audio>"]) == ids.count(IDS["<end_of_audio>"]) == 1
    assert ids.count(IDS["<audio_soft_token>"]) == 188
    assert sum(i in CONTROLS for i in ids) == 1 + 2 * 2 + 2 + 188


def test_generation_stops_at_the_end_of_text_or_of_the_turn() -> None:
    assert TOKENIZER.stop_ids == [CONFIG.text.eos_token_id, IDS["<end_of_turn>"]]


@pytest.mark.parametrize(
    ("config", "mark", "reads"),
    [
        (replace(CONFIG, vision=None), Mark.IMAGE, "text and <audio>"),
        (replace(CONFIG, audio=None), Mark.AUDIO, "text and <image>"),
        (replace(CONFIG, vision=None, audio=None), Mark.AUDIO, "text"),
    ],
)
def test_media_that_the_checkpoint_does_not_read_are_refused(
    config: Config, mark: Mark, reads: str
) -> None:
    tokenizer = Tokenizer(CHECKPOINT, config)
    with pytest.raises(InputError) as caught:
        tokenizer.prompt_ids(["Look: ", mark])
    assert str(caught.value) == (
        f"the prompt has {mark.value}, but this checkpoint reads {reads}. "
        "Take it out, or use a checkpoint that reads it."
    )


# --- the file


def test_a_folder_and_its_file_load_the_same() -> None:
    assert Tokenizer(CHECKPOINT / "tokenizer.model", CONFIG).encode("A cat") == TOKENIZER.encode(
        "A cat"
    )


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        Tokenizer(tmp_path, CONFIG)
    assert str(caught.value) == (
        f"'{tmp_path / 'tokenizer.model'}' does not exist, and there is no text without it. "
        "tokenizer.model ships with the checkpoint: copy it beside config.json."
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "byte 0 begins no protobuf field"),
        (MODEL[:3000], "it ends within the field"),
        (b"\xff" * 20, "the number before byte 10 has no end"),
        (b"\x0a", "the number before byte 1 has no end"),
        (b"\x08\x01", ""),  # a message, but of another kind; SentencePiece words it
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        Tokenizer(path, CONFIG)
    assert str(caught.value).startswith(f"'{path}' is not a SentencePiece model: {why}")
    assert "Download it again; if it is a file of some 130 bytes, `git lfs pull`" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("text_vocab", "vocab"),
    [(513, 600), (500, 511)],
)
def test_a_vocabulary_of_another_size_is_refused(text_vocab: int, vocab: int) -> None:
    text = replace(CONFIG.text, vocab_size_per_layer_input=text_vocab, vocab_size=vocab)
    with pytest.raises(SettingsError) as caught:
        Tokenizer(CHECKPOINT, replace(CONFIG, text=text))
    assert str(caught.value) == (
        f"'{CHECKPOINT / 'tokenizer.model'}' has 512 pieces, but the model has {text_vocab} text "
        f"tokens and {vocab} in all. Use the tokenizer.model that ships with this checkpoint."
    )


def test_pieces_past_the_text_vocabulary_are_never_made_of_text() -> None:
    # As if the file went on into the media ids: to this config, its last text piece is 499.
    text = replace(CONFIG.text, vocab_size_per_layer_input=500)
    tokenizer = Tokenizer(CHECKPOINT, replace(CONFIG, text=text, vision=None, audio=None))
    past = [BARE.id_to_piece(i) for i in range(500, 512)]
    assert {"X", "<start_of_audio>"} < set(past)
    ids = tokenizer.encode("".join(past))
    assert max(ids) < 500
    assert tokenizer.decode([510, *ids, 511]) == "".join(past)


@pytest.mark.parametrize(
    ("piece", "config"),
    [
        ("<pad>", replace(CONFIG, text=replace(CONFIG.text, pad_token_id=7))),
        ("<eos>", replace(CONFIG, text=replace(CONFIG.text, eos_token_id=7))),
        ("<bos>", replace(CONFIG, text=replace(CONFIG.text, bos_token_id=7))),
        ("<start_of_image>", replace(CONFIG, boi_token_id=7)),
        ("<start_of_audio>", replace(CONFIG, boa_token_id=7)),
    ],
)
def test_special_ids_that_differ_from_the_config_are_refused(piece: str, config: Config) -> None:
    with pytest.raises(SettingsError) as caught:
        Tokenizer(CHECKPOINT, config)
    assert str(caught.value) == (
        f"'{CHECKPOINT / 'tokenizer.model'}' has {piece} as token {IDS[piece]}, but config.json "
        "says 7. Use the tokenizer.model and the config.json of one checkpoint."
    )


def test_a_vocabulary_without_turns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(MODEL.replace(b"<end_of_turn>", b"<end_of_page>"))
    with pytest.raises(SettingsError) as caught:
        Tokenizer(path, CONFIG)
    assert str(caught.value) == (
        f"'{path}' has no <end_of_turn>, which Gemma 3n needs. "
        "Use the tokenizer.model that ships with this checkpoint."
    )


def test_square_brackets_mark_control_tokens_too(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(MODEL.replace(b"<unused0>", b"[media=1]"))
    tokenizer = Tokenizer(path, CONFIG)
    assert SentencePieceProcessor(model_file=str(path)).encode("[media=1]") == [IDS["<unused0>"]]
    assert IDS["<unused0>"] not in tokenizer.encode("[media=1]")
    assert tokenizer.decode(tokenizer.encode("[media=1]")) == "[media=1]"


def test_importing_the_tokenizer_loads_neither_torch_nor_sentencepiece() -> None:
    code = "import sys, gemma3n.tokenizer; print({'torch', 'sentencepiece'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
