from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from pipelines.training.optimizer import average_gradients


def _average(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/p", rank=rank, world_size=2)
    both, one, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    both.grad = torch.tensor([1.0, 2.0]) * (rank + 1)
    if rank == 1:
        one.grad = torch.ones(2)
    average_gradients([both, one, none], 2)
    average_gradients([none], 2)
    assert none.grad is None
    torch.save([both.grad, one.grad], Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_gradients_are_averaged_and_a_process_that_lacks_one_counts_as_zero(
    tmp_path: Path,
) -> None:
    spawn(_average, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        both, one = torch.load(tmp_path / f"{rank}.pt")
        assert both.tolist() == [1.5, 3.0]
        assert one.tolist() == [0.5, 0.5]
