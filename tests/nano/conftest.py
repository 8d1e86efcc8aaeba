from collections.abc import Callable
from typing import Any

import pytest

from pipelines.nano.icons import Drawing
from pipelines.nano.sentences import concepts

DISC = '<circle cx="8" cy="8" r="8" fill="{}"/>'


@pytest.fixture
def icon_set() -> Callable[..., dict[str, Any]]:
    """An Iconify set whose icons are discs, 16 units wide."""

    def make(*names: str, fill: str = "#00ff00") -> dict[str, Any]:
        icons = {name: {"body": DISC.format(fill)} for name in names}
        return {"icons": icons, "width": 16, "height": 16}

    return make


@pytest.fixture
def disc() -> Callable[..., Drawing]:
    """A drawing of a disc that fills its view."""

    def make(
        style: str = "noto", concept: str = "balloon", fill: str = "#00ff00", name: str = "disc"
    ) -> Drawing:
        assert concept in concepts()
        return Drawing(concept, style, name, (0, 0, 16, 16), DISC.format(fill))

    return make
