"""A C++ file beside this one -> operators of torch, compiled once on each machine and kept.

A package that is compiled where it is made would need a wheel for each processor and torch. So the
compiler of the machine does it, in some ten seconds, at the first load that gains by it; without
one everything works, slower. `GEMMA3N_NATIVE=0` in the environment does without.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock

logger = logging.getLogger(__name__)

_SWITCH = "GEMMA3N_NATIVE"
_HERE = Path(__file__).parent
_FLAGS = ("-std=c++20", "-O3", "-fPIC", "-fopenmp", "-mfma")
_LIBRARIES = ("-ltorch_cpu", "-lc10")


@cache
def is_loaded(name: str, flags: tuple[str, ...]) -> bool:
    """Compile and load `name`.cpp; False, with the reason in the log, if that fails.

    Args:
        name: of the file.
        flags: for the compiler, as of the instructions that the file uses.
    """
    if (compiler := found_compiler()) is None:
        return False
    try:
        torch.ops.load_library(_built(name, compiler, flags))
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or "").strip() or str(error)
        logger.warning(
            "products of our own are not to be had, decoding is slower: %s cannot build them (%s)",
            compiler,
            said.splitlines()[0],
        )
        return False
    return True


def found_compiler() -> str | None:
    """The C++ compiler that `is_loaded` would use; None without one, or if the switch is off."""
    if os.environ.get(_SWITCH) == "0":
        return None
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "c++", "g++"))), None)


def _built(name: str, compiler: str, flags: Sequence[str]) -> Path:
    """The library's file, made now if there is none of the same source, torch and flags."""
    source, root = _HERE / f"{name}.cpp", Path(torch.__file__).parent
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    compile_it = [compiler, *_FLAGS, *flags, abi, f"-I{root / 'include'}", "-c", str(source)]
    texts = [path.read_text(encoding="utf-8") for path in (source, *sorted(_HERE.glob("*.h")))]
    made_of = [*texts, torch.__version__, *compile_it]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    library = cache_home / "gemma3n-pipelines" / f"{name}-{key}.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(library.with_suffix(".lock")):  # several processes may begin at once
        if not library.is_file():
            logger.info("building products for this processor, once: %s", library)
            with tempfile.TemporaryDirectory(dir=library.parent) as folder:
                compiled, linked = Path(folder) / "compiled.o", Path(folder) / "linked.so"
                _run([*compile_it, "-o", str(compiled)])
                # OpenMP is torch's own, which it has loaded: a second one would fight for cores.
                found_in = f"-L{root / 'lib'}"
                _run([compiler, "-shared", str(compiled), found_in, *_LIBRARIES, "-o", str(linked)])
                linked.replace(library)
    return library


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
