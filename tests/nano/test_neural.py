import pytest

pytest.importorskip("onnxruntime", reason="needs the nano extra")

from pipelines.nano.neural import kokoro_letters


@pytest.mark.parametrize(
    ("ipa", "letters"),
    [
        ("tˈuː nˈaɪn θɹˈiː", "tˈu nˈIn θɹˈi"),  # noqa: RUF001
        ("tʃˈɜːtʃ dʒˈʌdʒ", "ʧˈɜɹʧ ʤˈʌʤ"),  # noqa: RUF001
        ("fˈɔːɹwɚd", "fˈɔɹwəɹd"),  # noqa: RUF001
        ("wˈɔːɾɚɹ bˈʌʔn̩", "wˈɔTəɹ bˈʌtᵊn"),  # noqa: RUF001
        ("ɡˌoʊ ˈeɪt kˈaʊ bˈɔɪ", "ɡˌO ˈAt kˈW bˈY"),  # noqa: RUF001
    ],
)
def test_diphthongs_and_affricates_become_one_letter(ipa: str, letters: str) -> None:
    assert kokoro_letters(ipa) == letters
