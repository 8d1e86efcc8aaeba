"""Speed and memory on this machine, as a table or as JSON."""

import sys
from typing import Protocol

from rich.table import Table

from gemma3n.errors import SettingsError
from pipelines.console import console
from pipelines.exit_code import DONE
from pipelines.settings import BenchJob, Measured


class Found(Protocol):
    """What a bench found."""

    def document(self) -> str:
        """All of it, as JSON."""

    def table(self) -> Table:
        """For people."""


def bench(job: BenchJob) -> int:
    """Measure, and print medians with the lowest and highest of all repetitions.

    Returns:
        Exit code.

    Raises:
        SettingsError: nothing to measure, or see what measures it.
    """
    for name in ("prompt_tokens", "new_tokens", "rows", "files", "repeat", "megabytes"):
        if (value := getattr(job, name)) < 1:
            raise SettingsError(f"{name}={value}; at least 1. Leave it out for the default.")
    for name in ("batches", "prompts"):
        if any(value < 1 for value in getattr(job, name)):
            raise SettingsError(f"{name}={getattr(job, name)}; each is at least 1. Change it.")
    if not job.precisions:
        raise SettingsError("precisions=[] leaves nothing of ours. Name some: [bfloat16,int8]")
    found: Found
    match job.what:
        case Measured.decode if job.peers:
            from pipelines.bench.text_contest import bench_decode_peers

            found = bench_decode_peers(job)
        case Measured.prefill:
            from pipelines.bench.text_contest import bench_prefill

            found = bench_prefill(job)
        case Measured.encode:
            from pipelines.bench.encode import bench_encode

            found = bench_encode(job)
        case Measured.profile:
            from pipelines.bench.profile import bench_profile

            found = bench_profile(job)
        case Measured.pipeline:
            from pipelines.bench.pipeline import bench_pipeline

            found = bench_pipeline(job)
        case Measured.decode:
            from pipelines.bench.decode import bench_decode

            found = bench_decode(job)
        case Measured.memory:
            from pipelines.bench.memory import bench_memory

            found = bench_memory(job)
        case Measured.speculative:
            from pipelines.bench.speculative import bench_speculative

            found = bench_speculative(job)
        case Measured.ple:
            from pipelines.bench.ple import bench_ple

            found = bench_ple(job)
        case Measured.store:
            from pipelines.bench.store import bench_store

            found = bench_store(job)
        case Measured.tiers:
            from pipelines.bench.tiers import bench_tiers

            found = bench_tiers(job)
        case Measured.linear:
            from pipelines.bench.linear import bench_linear

            found = bench_linear(job)
        case Measured.read:
            from pipelines.bench.media import bench_read

            found = bench_read(job)
        case Measured.resize:
            from pipelines.bench.media import bench_resize

            found = bench_resize(job)
        case Measured.ray:
            from pipelines.bench.ray import bench_ray

            found = bench_ray(job)
        case Measured.ray_memory:
            from pipelines.bench.ray import bench_ray_memory

            found = bench_ray_memory(job)
        case Measured.ray_scale:
            from pipelines.bench.ray_scale import bench_ray_scale

            found = bench_ray_scale(job)
    if job.json:
        sys.stdout.write(found.document())
    else:
        console().print(found.table())
    return DONE
