"""What the job `report` takes."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from gemma3n.errors import SettingsError
from stages.setting import setting


@dataclass
class RunsSettings:
    """What to tell of."""

    path: list[str] = setting(MISSING, "run folders, evaluations, sweeps, or folders of these")


@dataclass
class EmbedSettings:
    """What of the source files goes into the report, from where they lie now."""

    clip_s: float = setting(10.0, "seconds of a row's clip, from its start on; 0 for none")
    picture_px: int = setting(320, "pixels of the longer side of a picture; 0 for none")
    max_mb: float = setting(2.5, "megabytes of clips and pictures together, as they are in HTML")

    def __post_init__(self) -> None:
        for name, most in (("clip_s", 120), ("picture_px", 2048), ("max_mb", 100)):
            if not 0 <= getattr(self, name) <= most:  # also what is no number
                raise SettingsError(
                    f"embed.{name}={getattr(self, name)}; accepted are 0 to {most}. Change it."
                )


@dataclass
class ReportJob:
    """One page about runs."""

    output: str | None = setting(
        None, "HTML file; by default report.html in the folder, or of several in outputs/report/"
    )
    title: str | None = setting(None, "heading; by default the job and the source")
    worst: int = setting(8, "rows to show of each run, the worst first")
    random: int = setting(8, "rows to show of each run, drawn at random")
    seed: int = setting(0, "which random rows")
    article: bool = setting(
        False, "also the article's tables, filled from runs of text, sound and pictures"
    )
    embed: EmbedSettings = field(default_factory=EmbedSettings)
    source: RunsSettings = field(default_factory=RunsSettings)

    def __post_init__(self) -> None:
        for name in ("worst", "random", "seed"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name}={getattr(self, name)}; 0 or more. Raise it.")
