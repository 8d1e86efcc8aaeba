"""A whole job in one process: files in, answers out, and what each stage takes of its time.

Every run is a command of its own, as a user would give it, on files made up for it.
"""

from typing import Any

from pipelines.bench.command import Run, bench_folder, run_command
from pipelines.bench.media import made_files
from pipelines.bench.table import Bench
from pipelines.settings import BenchJob, Part
from stages.media import Media


def bench_pipeline(job: BenchJob) -> Bench:
    """Clips that are transcribed (`tower=audio`), or pictures that get captions.

    Raises:
        SettingsError: a run that failed, with its reason.
    """
    media = Media.image if job.tower is Part.vision else Media.audio
    task = "caption" if media is Media.image else "transcribe"
    runs = []
    with made_files(media, job.files) as files, bench_folder() as folder:
        words = [task, str(files), f"model={job.model.path}", "device=cpu", "sink.formats=[]"]
        words += [f"precision={job.precision.name}", f"pack={job.pack.name}"]
        words += [f"compile={str(job.compile).lower()}", f"nested.name={job.nested.name}"]
        words += [f"executor.batch={job.rows}", f"decode.max_new_tokens={job.new_tokens}"]
        for number in range(job.repeat):
            run = run_command([*words, "-o", str(folder / f"out{number}")], folder)
            runs.append(_figures(run))
    title = f"{task}: {job.files} files, {job.model.path}, {job.rows} rows at once"
    return Bench(title, {"words": words[2:]}, runs)


def _figures(run: Run) -> dict[str, Any]:
    summary, seconds = run.summary, run.past_start
    figures: dict[str, Any] = {"items/s": summary["items"] / seconds}
    if summary["audio_seconds"]:
        figures["times real time"] = summary["audio_seconds"] / seconds
    figures["new tokens/s"] = summary["new_tokens"] / seconds
    for name, taken in summary["stage_seconds"].items():
        if name not in ("load", "list"):
            figures[f"{name}, % of the time"] = 100 * taken / seconds
    figures["model waited, % of the time"] = 100 * summary["waited_seconds"] / seconds
    figures["start-up s"] = sum(run.start.values())
    figures["peak"] = summary["peak_rss_bytes"]
    return figures
