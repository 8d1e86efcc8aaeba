"""A language as a source or a user spells it -> its English name, as prompts spell it."""

import difflib
import re

from gemma3n.errors import InputError

# ISO 639-1 codes, and longer ones where there is none or where speech corpora prefer them.
LANGUAGES = dict(
    re.findall(
        r"(\w+) ([\w ]+)",
        "af Afrikaans,am Amharic,ar Arabic,as Assamese,az Azerbaijani,ba Bashkir,be Belarusian,"
        "bg Bulgarian,bn Bengali,bo Tibetan,br Breton,bs Bosnian,ca Catalan,ceb Cebuano,"
        "ckb Kurdish,cmn Mandarin,cs Czech,cy Welsh,da Danish,de German,el Greek,en English,"
        "eo Esperanto,es Spanish,et Estonian,eu Basque,fa Persian,fi Finnish,fil Filipino,"
        "fo Faroese,fr French,fy Frisian,ga Irish,gl Galician,gu Gujarati,ha Hausa,haw Hawaiian,"
        "he Hebrew,hi Hindi,hr Croatian,ht Haitian Creole,hu Hungarian,hy Armenian,id Indonesian,"
        "ig Igbo,is Icelandic,it Italian,ja Japanese,jv Javanese,ka Georgian,kk Kazakh,km Khmer,"
        "kn Kannada,ko Korean,ku Kurdish,ky Kyrgyz,la Latin,lb Luxembourgish,lg Ganda,ln Lingala,"
        "lo Lao,lt Lithuanian,lv Latvian,mg Malagasy,mi Maori,mk Macedonian,ml Malayalam,"
        "mn Mongolian,mr Marathi,ms Malay,mt Maltese,my Burmese,nb Norwegian,ne Nepali,nl Dutch,"
        "nn Norwegian Nynorsk,no Norwegian,ny Nyanja,oc Occitan,om Oromo,or Odia,pa Punjabi,"
        "pl Polish,ps Pashto,pt Portuguese,qu Quechua,ro Romanian,ru Russian,rw Kinyarwanda,"
        "sa Sanskrit,sd Sindhi,si Sinhala,sk Slovak,sl Slovenian,sn Shona,so Somali,sq Albanian,"
        "sr Serbian,st Sotho,su Sundanese,sv Swedish,sw Swahili,ta Tamil,te Telugu,tg Tajik,"
        "th Thai,ti Tigrinya,tk Turkmen,tl Tagalog,tn Tswana,tr Turkish,ts Tsonga,tt Tatar,"
        "ug Uyghur,uk Ukrainian,ur Urdu,uz Uzbek,vi Vietnamese,wo Wolof,xh Xhosa,yi Yiddish,"
        "yo Yoruba,yue Cantonese,zh Chinese,zu Zulu",
    )
)
_NAMES = {name.lower(): name for name in LANGUAGES.values()}
_ANY_NAME = re.compile(rf"\b({'|'.join(_NAMES)})\b", re.IGNORECASE)
# `pt`, `pt-BR`, `zh_Hans_CN`: a code, then script and region, which a prompt goes without.
_CODE = re.compile(r"([a-z]{2,3})([-_][a-z0-9]{2,8})*", re.IGNORECASE)


def language_name(given: str) -> str:
    """The English name of a language.

    Args:
        given: a code (`fr`, `fr-CA`), an English name in any case, or a text that such a name is a
            word of (`Brazilian Portuguese`), which stays as it is.

    Raises:
        InputError: no language that is known here.
    """
    text = " ".join(given.split())
    if text.lower() in _NAMES:
        return _NAMES[text.lower()]
    code = _CODE.fullmatch(text)
    if code and code[1].lower() in LANGUAGES:
        return LANGUAGES[code[1].lower()]
    if _ANY_NAME.search(text):
        return text
    near = difflib.get_close_matches(text.lower(), _NAMES, n=1)
    hint = f" Did you mean {_NAMES[near[0]]}?" if near else ""
    raise InputError(
        f"language {given!r} is not known.{hint} Accepted are ISO 639 codes such as fr or pt-BR, "
        "and English names, also with a word more as in 'Brazilian Portuguese': "
        f"{', '.join(dict.fromkeys(LANGUAGES.values()))}."
    )
