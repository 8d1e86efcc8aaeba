import pytest
import torch
from torch.nn import functional as F

from gemma3n.routes import int8, operators, packed
from gemma3n.routes.int8 import Int8
from gemma3n.routes.packed import Packed


@pytest.mark.skipif(
    not packed.is_available(torch.float32) or not int8.packs(),
    reason="this torch build has no oneDNN, or no int8 in it",
)
@pytest.mark.parametrize("few", [1, 4])
@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5])
def test_company_changes_no_row_and_leaves_again(
    rows: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "FEW", few)
    weight = torch.randint(-127, 128, (512, 640), dtype=torch.int8)
    x = torch.randn(rows, 1, 640)
    plain = F.linear(x, weight.float())
    torch.testing.assert_close(Packed(weight.float())(x), plain, atol=1e-2, rtol=1e-4)
    found = Int8(weight, torch.ones(512))(x)
    assert found.shape == plain.shape
    alone = [Int8(weight, torch.ones(512))(row[None]) for row in x]
    assert torch.equal(found, torch.cat([found[:0], *alone]))
