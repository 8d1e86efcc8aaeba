import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_installed_and_nothing_else() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"\[tool\.setuptools\]\npackages = \[(.*?)\]", text, re.DOTALL)
    assert listed is not None
    names = re.findall(r'"([\w.]+)"', listed[1])
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("gemma3n", "stages", "pipelines")
        for path in (ROOT / top).rglob("*.py")
    }
    found |= {"conf"} | {f"conf.{path.parent.name}" for path in (ROOT / "conf").glob("*/*.yaml")}
    assert sorted(names) == sorted(found)
