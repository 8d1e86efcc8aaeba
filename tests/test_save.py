import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from gemma3n.save import Output, write_shards


def test_large_outputs_are_written_in_shards_with_an_index(tmp_path: Path) -> None:
    tensors = {name: torch.randn(5, 3) for name in "abc"}
    outputs = [Output(n, "F32", (5, 3), iter(t.split(2))) for n, t in tensors.items()]
    write_shards(tmp_path, outputs, shard_bytes=130)
    where = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(where.values())) == 2
    for name, tensor in tensors.items():
        assert torch.equal(load_file(tmp_path / where[name])[name], tensor)
