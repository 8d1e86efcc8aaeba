"""All that was looked at, as a table or as JSON, and an exit code."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gemma3n.config import Config
from gemma3n.readable import bytes_text
from pipelines.console import console
from pipelines.doctor.finding import Finding, State, broken
from pipelines.exit_code import BUG, DONE
from pipelines.settings import DoctorJob
from pipelines.show import visible

if TYPE_CHECKING:  # it needs torch, which may be what is missing
    from pipelines.doctor.fits import Fit

_MARKS = {State.ok: "ok", State.note: "note", State.broken: "BROKEN"}
_WIDTH = 120  # columns of what goes to a file


def doctor(job: DoctorJob) -> int:
    """Look at everything.

    Returns:
        Exit code: 0, or 1 if something is broken that jobs need.

    Raises:
        SettingsError: there is no such checkpoint.
    """
    findings, fits = examine(job)
    is_well = all(one.state is not State.broken for one in findings)
    if job.json:
        document = {
            "ok": is_well,
            "findings": [asdict(one) | {"state": one.state.value} for one in findings],
            "fits": [asdict(one) for one in fits],
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return DONE if is_well else BUG
    out = console(_WIDTH)
    out.print(_findings(findings))
    if fits:
        out.print(_fits(fits))
    for one in findings:
        if one.state is State.broken:
            out.print(f"broken: {one.what}: {visible(one.found)}. {one.fix}", soft_wrap=True)
    return DONE if is_well else BUG


def examine(job: DoctorJob) -> "tuple[list[Finding], list[Fit]]":
    """All findings, and which models fit."""
    from pipelines.doctor.codecs import look_at_codecs
    from pipelines.doctor.disk import look_at_disks
    from pipelines.doctor.machine import look_at_machine
    from pipelines.doctor.packages import look_at_packages

    folder = job.model.folder
    Config.from_folder(folder)  # refuses what is no checkpoint
    looks: dict[str, Callable[[], list[Finding]]] = {
        "machine": look_at_machine,
        "packages": look_at_packages,
        "codecs": look_at_codecs,
        "disk": lambda: look_at_disks(folder, Path("outputs")),
    }
    found = [one for what, look in looks.items() for one in _guarded(what, look)]
    if any(one.what == "torch" and one.state is State.broken for one in found):
        return found, []
    if job.self_test:
        from pipelines.doctor.self_test import self_test

        found += _guarded("self-test", self_test)

    from pipelines.doctor.fits import fits, room

    return found, fits(room())


def _guarded(what: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What a look finds; that it cannot look is a finding too."""
    try:
        return look()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        fix = "Reinstall the package; if that is no help, report this line."
        return [broken(what, what, f"could not be looked at: {reason}", fix)]


def _findings(findings: list[Finding]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    for name in ("group", "what", "found", "state"):
        table.add_column(name, overflow="fold")
    before = ""
    for one in findings:
        group = one.group if one.group != before else ""
        before = one.group
        fix = f"\n-> {one.fix}" if one.fix else ""
        found = f"{visible(one.found)}{fix}"
        table.add_row(group, one.what, found, _MARKS[one.state])
    return table


def _fits(fits: "list[Fit]") -> Table:
    """Models down, number formats across."""
    from pipelines.doctor.fits import CONTEXT, room

    formats = list(dict.fromkeys(one.precision for one in fits))
    table = Table(
        title=f"What fits into {bytes_text(room())}: all parts, a row of {CONTEXT} tokens",
        box=SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
    )
    for name in ("model", "nested="):
        table.add_column(name)
    for name in formats:
        table.add_column(name, justify="right")
    for model, size in dict.fromkeys((one.model, one.size) for one in fits):
        cells = [
            f"{bytes_text(one.bytes)} {'fits' if one.fits else 'no'}"
            for one in fits
            if (one.model, one.size) == (model, size)
        ]
        table.add_row(model, size, *cells)
    return table
