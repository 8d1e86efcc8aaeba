"""Which recordings, films and pictures can be read here."""

import io

from pipelines.doctor.finding import Finding, broken, note, ok

GROUP = "codecs"
_SOUND = {  # what libsndfile calls the format and its subtype; each is tried
    "WAV": ("WAV", "PCM_16"),
    "FLAC": ("FLAC", "PCM_16"),
    "Ogg Vorbis": ("OGG", "VORBIS"),
    "Opus": ("OGG", "OPUS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}
_NEEDED = ("WAV", "FLAC")
_FILM = {"aac": "AAC", "h264": "H.264", "hevc": "H.265", "vp9": "VP9", "av1": "AV1"}
_PICTURES = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "avif": "AVIF", "jpg_2000": "JPEG 2000"}
_NEEDED_PICTURES = ("JPEG", "PNG")


def look_at_codecs() -> list[Finding]:
    """Sound, films, pictures."""
    return [_sound(), _films(), _pictures()]


def readable_sound() -> dict[str, bool]:
    """Of each format, whether a tone comes back as long as it was."""
    return {name: _comes_back(*how) for name, how in _SOUND.items()}


def _sound() -> Finding:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        fix = "pip install --force-reinstall soundfile, or install the system's libsndfile"
        return broken(GROUP, "sound", f"soundfile does not load: {error}", fix)
    can = readable_sound()
    has = [name for name, is_read in can.items() if is_read]
    lacks = [name for name in can if name not in has]
    found = f"libsndfile {soundfile.__libsndfile_version__} reads {', '.join(has)}"
    if not lacks:
        return ok(GROUP, "sound", found)
    found += f", not {', '.join(lacks)}"
    fix = "pip install --upgrade --force-reinstall soundfile, which brings a newer libsndfile"
    is_broken = any(name in lacks for name in _NEEDED)
    return (broken if is_broken else note)(GROUP, "sound", found, fix)


def _comes_back(file_format: str, subtype: str) -> bool:
    import numpy as np
    import soundfile

    tone = np.sin(np.arange(16_000, dtype=np.float32) / 10) / 2
    try:
        file = io.BytesIO()
        soundfile.write(file, tone, 16_000, format=file_format, subtype=subtype)
        file.seek(0)
        again, rate = soundfile.read(file)
    except (RuntimeError, TypeError, ValueError):
        return False
    return rate == 16_000 and abs(len(again) - len(tone)) < 2_400  # codecs pad at the ends


def _films() -> Finding:
    try:
        import av
    except (ImportError, OSError):
        fix = "pip install 'gemma3n-pipelines[video]'"
        return note(GROUP, "films", "PyAV is not here: no film, and no m4a", fix)
    can = [name for codec, name in _FILM.items() if codec in av.codecs_available]
    return ok(GROUP, "films", f"PyAV {av.__version__} reads {', '.join(can)}")


def _pictures() -> Finding:
    import PIL
    from PIL import features

    known = features.get_supported()
    can = [name for feature, name in _PICTURES.items() if feature in known]
    lacks = [name for name in _PICTURES.values() if name not in can]
    found = f"Pillow {PIL.__version__} reads {', '.join(can)}"
    found += f", not {', '.join(lacks)}" if lacks else ""
    if any(name in lacks for name in _NEEDED_PICTURES):
        fix = "pip install --force-reinstall --upgrade pillow"
        return broken(GROUP, "pictures", found, fix)
    return ok(GROUP, "pictures", found)
