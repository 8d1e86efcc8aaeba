import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.scripts import columns, joined, pieces


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        ([" one", "two\n", "", "  ", "three"], "one two three"),
        (["你好，", "世界。"], "你好，世界。"),  # noqa: RUF001
        (["こんにちは", "カタカナ"], "こんにちはカタカナ"),
        (["สวัสดี", "ครับ"], "สวัสดีครับ"),
        (["ဟယ်လို", "ကမ္ဘာ"], "ဟယ်လိုကမ္ဘာ"),
        (["안녕하세요", "여러분"], "안녕하세요 여러분"),
        (["你好", "GPU", "世界"], "你好 GPU 世界"),
        ([], ""),
    ],
)
def test_texts_are_joined_as_their_script_is_written(texts: list[str], whole: str) -> None:
    assert joined(texts) == whole


@pytest.mark.parametrize(
    ("text", "wide"),
    [("abc", 3), ("你好。", 6), ("e\u0301", 1), ("สวัสดี", 4), ("한국", 4), ("🎉", 2), ("ﾊﾛｰ", 3)],
)
def test_a_wide_character_takes_two_columns_and_an_accent_none(text: str, wide: int) -> None:
    assert columns(text) == wide


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("word,", ["word,"]),
        ("你好。", ["你", "好。"]),
        ("（你好）！", ["（你", "好）！"]),  # noqa: RUF001
        ("サーバー", ["サー", "バー"]),
        ("ちょっと", ["ちょっ", "と"]),
        ("使うGPUを", ["使", "う", "GPU", "を"]),
        ("เด็กน้ำ", ["เด็", "ก", "น้ำ"]),
        ("ကမ္ဘာ", ["က", "မ္ဘာ"]),
        ("x" * 20, ["x" * 9, "x" * 9, "xx"]),
        ("e\u0301" * 10, ["e\u0301" * 9, "e\u0301"]),
        ("👩\u200d🚀👍🏽!", ["👩\u200d🚀👍🏽!"]),
    ],
)
def test_a_word_is_split_where_its_script_lets_a_line_end(word: str, parts: list[str]) -> None:
    assert pieces(word, 9) == parts


@given(st.text(st.sampled_from("aé\u0301你。（一ーเกำ🎉\u200d-"), min_size=1))  # noqa: RUF001
def test_pieces_of_a_word_are_the_word_and_fit(word: str) -> None:
    parts = pieces(word, 9)
    assert "".join(parts) == word
    assert max(map(columns, parts)) <= 9
