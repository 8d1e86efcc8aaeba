import pytest

from gemma3n.errors import InputError
from stages.languages import language_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("French", "French"),
        (" french ", "French"),
        ("fr", "French"),
        ("FR-ca", "French"),
        ("zh_Hans_CN", "Chinese"),
        ("haitian creole", "Haitian Creole"),
        ("Brazilian  Portuguese", "Brazilian Portuguese"),
    ],
)
def test_a_language_goes_by_its_english_name_or_its_code(given: str, name: str) -> None:
    assert language_name(given) == name


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("Frensh", r"Did you mean French\?"),
        ("xx", "such as fr or pt-BR"),
        ("", "Brazilian Portuguese': Afrikaans, Am"),
        ("Frenchman's", "is not known"),
    ],
)
def test_what_is_no_language_is_refused_with_what_is(given: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        language_name(given)
