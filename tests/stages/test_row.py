import pkgutil
import subprocess
import sys
from pathlib import Path

import stages
from pipelines.path import STAGES, stage_class
from stages.row import HEAVY, Row

ROOT = Path(stages.__path__[0]).parent


def test_every_column_a_stage_names_is_declared() -> None:
    for name in STAGES:
        stage = stage_class(name)
        columns = stage.columns(stage.settings_type())
        for named in (columns.reads, columns.takes, columns.adds, columns.drops):
            assert set(named) <= set(Row.__annotations__), name


def test_every_heavy_column_is_added_and_dropped_by_a_stage() -> None:
    found = [stage_class(name) for name in STAGES]
    columns = [stage.columns(stage.settings_type()) for stage in found]
    assert {c for each in columns for c in each.drops} == set(HEAVY)
    assert {c for each in columns for c in each.adds} >= set(HEAVY)


def test_importing_every_stage_loads_no_torch() -> None:
    names = [f"stages.{module.name}" for module in pkgutil.iter_modules(stages.__path__)]
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
