"""Towers at the speed of ours and of other projects': seconds of sound, and pictures, a second."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.limits import usable_cores
from pipelines.bench.contest import Contender, Contest, hold
from pipelines.bench.peers_env import peers_python
from pipelines.settings import BenchJob, Part, Peer, Precision

_CLIP_FRAMES = 3000  # 30 s, the longest clip
_FRAMES_A_SECOND = 100
_SIDES = [256, 512, 768]  # pixels
_PEERS = {
    Part.audio: (Peer.transformers, "pipelines.bench.peers.transformers_audio"),
    Part.vision: (Peer.timm, "pipelines.bench.peers.timm_vision"),
}
_PRECISIONS = (Precision.float32, Precision.bfloat16, Precision.int8)
_ALIKE = 0.95  # cosine of features; rounding to int8 costs more than to bfloat16


def bench_encode(job: BenchJob) -> Contest:
    """Encode a clip of 30 s, or pictures of 256, 512 and 768 pixels, with one tower.

    Raises:
        SettingsError: no such checkpoint or tower, no such peer of it, or a contender failed.
    """
    job = replace(job, model=job.model.pinned())
    config = Config.from_folder(job.model.folder)
    there = {Part.audio: config.audio, Part.vision: config.vision}
    if there.get(job.tower) is None:
        have = [part.value for part, made in there.items() if made is not None]
        raise SettingsError(
            f"tower={job.tower.value}; this checkpoint has {' and '.join(have) or 'no towers'}. "
            "Name a tower that is there, or a checkpoint that has it."
        )
    if others := [one.value for one in job.precisions if one not in _PRECISIONS]:
        raise SettingsError(
            f"precisions={others}; towers are measured in "
            f"{', '.join(one.value for one in _PRECISIONS)}. Name some of these."
        )
    peer, module = _PEERS[job.tower]
    if other := [one.value for one in job.peers if one is not peer]:
        raise SettingsError(
            f"peers={other}: of the {job.tower.value} tower there is {peer.value} alone. "
            "Name that, or nobody."
        )
    checkpoint = Checkpoint(job.model.path, [job.tower.value])
    threads = usable_cores()
    contest = Contest(
        f"{job.model.path}: {job.tower.value} tower, {threads} threads, {job.repeat} rounds",
        {"tower": job.tower.value, "precisions": [one.value for one in job.precisions]},
    )
    theirs = f"{peer.value} bfloat16"
    against = (theirs,) if job.peers else ()
    contenders = [
        Contender(
            f"ours {precision.value}",
            "pipelines.bench.ours",
            {"precision": precision.value},
            against=against,
        )
        for precision in job.precisions
    ]
    if job.peers:
        python = peers_python(job.peers_env)
        contenders.append(Contender(theirs, module, {"precision": "bfloat16"}, python))
    with tempfile.TemporaryDirectory() as folder:
        work = {
            "part": job.tower.value,
            "checkpoint": str(checkpoint.folder.resolve()),
            "threads": threads,
            "folder": folder,
            "inputs": _inputs(job.tower, config, Path(folder)),
        }
        return hold(contest, contenders, work, job.repeat, _ALIKE)


def _inputs(tower: Part, config: Config, folder: Path) -> dict[str, dict[str, Any]]:
    """Write what is encoded; its names, and what is counted in each."""
    import numpy as np

    drawn = np.random.default_rng(0)
    if tower is Part.audio:
        assert config.audio is not None  # checked
        frames = min(_CLIP_FRAMES, 16 * config.audio_soft_tokens_per_image)
        mel = drawn.standard_normal((frames, config.audio.input_feat_size), dtype=np.float32)
        np.save(folder / "clip.npy", mel)
        return {"clip": {"name": "seconds of sound", "count": frames / _FRAMES_A_SECOND}}
    found = {}
    for side in _SIDES:
        name = f"{side}x{side}"
        np.save(folder / f"{name}.npy", drawn.random((3, side, side), dtype=np.float32))
        found[name] = {"name": "pictures", "count": 1}
    return found
