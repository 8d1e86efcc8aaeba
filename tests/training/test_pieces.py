from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gemma3n.config import Config
from gemma3n.named import checkpoint_folder
from gemma3n.tokenizer import Tokenizer
from pipelines.training.pieces import Resplit

NANO = checkpoint_folder("nano")
TOKENIZER = Tokenizer(NANO, Config.from_folder(Path(NANO)))
TEXT = "please enter your four digit password"


@given(st.text(max_size=40), st.floats(0, 1), st.integers(0, 2**32))
def test_the_text_stays_what_it_was(text: str, share: float, seed: int) -> None:
    tokens = TOKENIZER.encode(text)
    split = Resplit(TOKENIZER, share)(tokens, seed)
    assert len(split) >= len(tokens)
    assert TOKENIZER.decode(split) == TOKENIZER.decode(tokens)
    assert split == Resplit(TOKENIZER, share)(tokens, seed)


def test_all_or_nothing() -> None:
    tokens = TOKENIZER.encode(TEXT)
    assert Resplit(TOKENIZER, 0.0)(tokens, 3) == tokens
    spelt = Resplit(TOKENIZER, 1.0)(tokens, 3)
    assert len(spelt) == len(TEXT)  # down to single characters


def test_as_often_as_asked() -> None:
    tokens = [token for token in TOKENIZER.encode(TEXT) if len(TOKENIZER.decode([token])) > 1]
    split = Resplit(TOKENIZER, 0.25)
    kept = Counter(split([token], seed) == [token] for token in tokens for seed in range(200))
    assert abs(kept[True] / kept.total() - 0.75) < 0.05
