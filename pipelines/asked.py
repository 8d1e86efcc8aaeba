"""What a job asks of a row that has no prompt of its own."""

from pipelines.compose import compose, to_settings
from pipelines.settings import PathJob


def asked_by(job: str) -> str:
    """The prompt of a job that knows no language, so that training asks what the job will ask."""
    settings: PathJob = to_settings(job, compose(job, ["source.path=[.]"]))
    return settings.fuse.templates()[-1]
