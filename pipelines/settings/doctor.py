"""What `doctor` takes."""

from dataclasses import dataclass, field

from pipelines.settings.model import ModelSettings
from stages.setting import setting


@dataclass
class DoctorJob:
    """What this machine has, and what is missing."""

    model: ModelSettings = field(default_factory=ModelSettings)
    self_test: bool = setting(True, "put one clip and one picture through nano, some seconds")
    json: bool = setting(False, "print JSON instead of a table")
