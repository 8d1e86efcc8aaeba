"""Runs of Ray through stages that only pretend: their words, and the rows."""

import json
from pathlib import Path


def pretended_job(source: Path, *stages: str) -> list[str]:
    """The words of a run of such rows through such stages: the last in the decoders' pool."""
    path = ",".join(("read", *stages, "write"))
    words = ["generate", str(source), f"path=[{path}]", "source.media=[]", "device=cpu"]
    words += ["executor=ray", "sink.formats=[]", f"executor.pools.decode.stages=[{stages[-1]}]"]
    return words + [f"executor.pools.encode.stages=[{stage}]" for stage in stages[:-1]]


def pretended_rows(
    path: Path, count: int, encode_s: float = 0.0, decode_s: float = 0.0, tokens: int = 0
) -> Path:
    """A file of so many rows for the stages that only pretend; see `pipelines.pretend`."""
    line = json.dumps({"prompt": f"{encode_s:.6f} {decode_s:.6f} {tokens}"}) + "\n"
    with path.open("w") as file:
        file.writelines(line for _ in range(count))
    return path
