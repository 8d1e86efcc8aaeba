"""A stand-in for torchvision, of which timm imports names that its MobileNet-V5 does not use.

torchvision's wheels each want one build of torch, and pull it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from enum import Enum
from types import ModuleType
from typing import Any


def stand_in() -> None:
    """Let any `import torchvision` succeed, where there is timm and no torchvision."""
    if importlib.util.find_spec("timm") and not importlib.util.find_spec("torchvision"):
        sys.meta_path.append(_Finder())


class _Anything(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent


class _Absent(metaclass=_Anything):
    """Any class, function or constant."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module under `torchvision`, with anything in it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = types.ModuleType(spec.name)
        module.__path__ = []
        vars(module)["__version__"] = "0.28.0"  # transformers asks for it
        module.__getattr__ = _of_module  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


class _InterpolationMode(Enum):
    """What transformers names of torchvision."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def _of_module(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _InterpolationMode if name == "InterpolationMode" else _Absent
