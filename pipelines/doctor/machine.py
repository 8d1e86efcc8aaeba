"""Cores, instruction sets, memory and accelerators of this machine."""

import os
import platform
import sys
from pathlib import Path

from gemma3n.limits import (
    ROOT,
    available_memory,
    core_limit,
    memory_limit,
    physical_memory,
    usable_cores,
)
from gemma3n.readable import bytes_text
from pipelines.doctor.finding import Finding, broken, note, ok

GROUP = "machine"
# As /proc/cpuinfo spells them -> as people do.
_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX-BF16",
    "amx_int8": "AMX-INT8",
    "asimd": "NEON",
    "asimddp": "NEON dot product",
    "i8mm": "I8MM",
    "bf16": "NEON BF16",
    "sve": "SVE",
}


def look_at_machine() -> list[Finding]:
    """All of it; what torch says only if there is a torch."""
    found = [
        ok(GROUP, "system", f"{platform.system()} {platform.machine()}, Python {_python()}"),
        _cores(),
        _memory(),
        ok(GROUP, "instruction sets", ", ".join(instruction_sets()) or "none that we know"),
    ]
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0]
        fix = "pip install torch, or on a machine without GPU its CPU build: see pytorch.org"
        return [*found, broken(GROUP, "torch", f"cannot be imported: {reason}", fix)]
    return [*found, *_torch(), *_accelerators()]


def instruction_sets(root: Path = ROOT) -> list[str]:
    """Those of ours that the processor has, by its own word.

    Args:
        root: of the file system, for tests.
    """
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:  # macOS: what it is called says it
        return ["NEON"] if platform.machine() == "arm64" else []
    flags = {
        word
        for line in lines
        if line.partition(":")[0].strip().lower() in ("flags", "features")
        for word in line.partition(":")[2].split()
    }
    return [name for flag, name in _SETS.items() if flag in flags]


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _cores() -> Finding:
    usable, all_of_them, share = usable_cores(), os.cpu_count() or 1, core_limit()
    if share is not None and share < all_of_them:
        return ok(GROUP, "cores", f"{usable}: this container has {share:g} of {all_of_them}")
    if usable < all_of_them:
        return ok(GROUP, "cores", f"{usable} of {all_of_them}: this process may use no more")
    return ok(GROUP, "cores", str(usable))


def _memory() -> Finding:
    whole, bound, free = physical_memory(), memory_limit(), available_memory()
    now = "" if free is None else f", {bytes_text(free)} of it free now"
    if bound is not None and bound < whole:
        found = f"{bytes_text(bound)}: this container's share of {bytes_text(whole)}{now}"
        return ok(GROUP, "memory", found)
    return ok(GROUP, "memory", f"{bytes_text(whole)}{now}")


def _torch() -> list[Finding]:
    import torch

    from gemma3n.device import resolve_device, resolve_precision

    device = resolve_device("auto")
    dtype = str(resolve_precision("auto", device)).removeprefix("torch.")
    uses = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    return [
        ok(GROUP, "torch", f"{torch.__version__}, uses {uses}, {threads} threads"),
        ok(GROUP, "auto", f"device=auto is {device.type} here, precision=auto {dtype}"),
        _products(),
    ]


def _products() -> Finding:
    """Who multiplies packed weights on this processor."""
    from gemma3n.choices import Precision
    from gemma3n.native.build import found_compiler
    from gemma3n.routes import native

    kinds = ", ".join(one.value for one in Precision if native.suits(one))
    if not kinds:
        return ok(GROUP, "products", "torch's: this package has others for AVX-512 without AMX")
    if (compiler := found_compiler()) is None:
        found = f"torch's: those of this package for {kinds} want a C++ compiler"
        return note(GROUP, "products", found, "Install g++ (or set CXX): decoding is faster")
    return ok(GROUP, "products", f"this package's for {kinds}, built once by {compiler}")


def _accelerators() -> list[Finding]:
    import torch

    found: list[Finding] = []
    for number in range(torch.cuda.device_count()):
        one = torch.cuda.get_device_properties(number)
        said = f"{one.name}, {bytes_text(one.total_memory)}, CUDA {torch.version.cuda}"
        found.append(
            ok(GROUP, f"GPU {number}", f"{said}, compute capability {one.major}.{one.minor}")
        )
    if torch.backends.mps.is_available():
        found.append(ok(GROUP, "GPU", "Apple, through MPS"))
    if not found and Path("/proc/driver/nvidia/version").exists():
        fix = "Install a CUDA build of torch for this driver: pytorch.org says which"
        found.append(note(GROUP, "GPU", "this torch cannot use the NVIDIA GPU that is here", fix))
    return found or [ok(GROUP, "GPU", "none")]
