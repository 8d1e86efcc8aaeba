import subprocess
import sys
from pathlib import Path

import torch

ONE_OF_TWO = """
import sys
import torch
import torch.distributed as dist
from pipelines.training.optimizer import average_gradients

rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
both, one, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
both.grad = torch.tensor([1.0, 2.0]) * (rank + 1)
if rank == 1:
    one.grad = torch.ones(2)
average_gradients([both, one, none], 2)
average_gradients([none], 2)
assert none.grad is None
torch.save([both.grad, one.grad], f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


def test_gradients_are_averaged_and_a_process_that_lacks_one_counts_as_zero(
    tmp_path: Path,
) -> None:
    def start(rank: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", ONE_OF_TWO, str(rank), str(tmp_path)])

    assert [process.wait() for process in [start(0), start(1)]] == [0, 0]
    for rank in range(2):
        both, one = torch.load(tmp_path / f"{rank}.pt")
        assert both.tolist() == [1.5, 3.0]
        assert one.tolist() == [0.5, 0.5]
