"""How fast recordings and pictures become what the towers read, on files made up for it."""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pipelines.bench.cost import seconds
from pipelines.bench.table import Bench
from pipelines.settings import BenchJob
from pipelines.step import expand_step, run_step
from stages.audio import RATE
from stages.media import Media
from stages.mel import Mel, MelSettings
from stages.model import Load
from stages.read import Read
from stages.resize import Resize, ResizeSettings, Resolution
from stages.row import Row, Stage
from stages.source import SourceSettings, list_items

_CLIP_S = 10
_WIDTH, _HEIGHT, _SIDE = 1600, 1200, 256  # pixels, of a file and of what the tower reads


def bench_read(job: BenchJob) -> Bench:
    """16 kHz wav files to mel frames, a thread a core, against real time."""
    load = Load(folder=job.model.path)
    with made_files(Media.audio, job.files) as folder:
        work = _reading(folder, Media.audio, load, "mel", Mel(MelSettings(), load))
        work()
        runs = [{"times real time": job.files * _CLIP_S / seconds(work)} for _ in range(job.repeat)]
    title = f"{job.files} clips of {_CLIP_S} s read and made mel frames, {_cores()} threads"
    return Bench(title, {"files": job.files, "threads": _cores()}, runs)


def bench_resize(job: BenchJob) -> Bench:
    """Pictures to pixels, a thread a core; beside it a plain Pillow loop, a process a core."""
    load, size = Load(folder=job.model.path), Resolution[str(_SIDE)]
    with (
        made_files(Media.image, job.files) as folder,
        # Not by fork: that of a process with threads may hang.
        ProcessPoolExecutor(_cores(), mp_context=get_context("spawn")) as pool,
    ):
        ours = _reading(folder, Media.image, load, "resize", Resize(ResizeSettings(size), load))
        paths = sorted(folder.iterdir())

        def theirs() -> None:
            list(pool.map(_plain, paths, chunksize=4))

        ours()
        theirs()
        runs = []
        for _ in range(job.repeat):
            mine, plain = seconds(ours), seconds(theirs)
            runs.append(
                {
                    "pictures/s": job.files / mine,
                    "pictures/s, Pillow": job.files / plain,
                    "ours to Pillow": plain / mine,
                }
            )
    title = (
        f"{job.files} JPEG pictures of {_WIDTH}x{_HEIGHT} read and made {_SIDE}x{_SIDE}, "
        f"{_cores()} threads, and by a plain Pillow loop in {_cores()} processes"
    )
    return Bench(title, {"files": job.files, "side": _SIDE, "threads": _cores()}, runs)


def _reading(folder: Path, media: Media, load: Load, name: str, then: Stage) -> Callable[[], None]:
    """What reads all files of a folder and sends them through the stage after `read`."""
    source = SourceSettings(path=[str(folder)], media=[media])
    rows, read = list(list_items(source)), Read(source, load)

    def one(row: Row) -> None:
        for made in run_step(then, name, list(expand_step(read, "read", row))):
            if error := made.get("error"):
                raise RuntimeError(error["message"])

    def work() -> None:
        with ThreadPoolExecutor(_cores()) as threads:
            list(threads.map(one, rows))

    return work


def _plain(path: Path) -> int:
    """What a loop of one's own would do with a picture."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small).shape[0]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def made_files(media: Media, files: int) -> Iterator[Path]:
    """A folder of so many recordings or pictures, which goes when it was used."""
    write = _write_clip if media is Media.audio else _write_picture
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        for number in range(files):
            write(Path(name) / f"{number:06d}", rng)
        yield Path(name)


def _write_clip(path: Path, rng: np.random.Generator) -> None:
    """Noise that comes and goes as speech does."""
    import soundfile

    loudness = np.repeat(rng.choice([0.003, 0.1, 0.3], _CLIP_S * 5, p=[0.3, 0.3, 0.4]), RATE // 5)
    wave = loudness * rng.standard_normal(len(loudness))
    soundfile.write(path.with_suffix(".wav"), wave.clip(-1, 1).astype(np.float32), RATE)


def _write_picture(path: Path, rng: np.random.Generator) -> None:
    """Soft colours with some grain, as a photograph has."""
    from PIL import Image

    colours = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    soft = np.asarray(colours.resize((_WIDTH, _HEIGHT)), dtype=np.int16)
    grainy = (soft + rng.integers(-8, 9, soft.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(grainy).save(path.with_suffix(".jpg"), quality=90)
