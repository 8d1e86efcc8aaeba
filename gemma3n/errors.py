"""The two kinds of mistake a caller can make; anything else that is raised is a bug of ours."""


class InputError(ValueError):
    """One input (a clip, an image, a prompt) cannot be used: its row is marked, the job goes on."""


class SettingsError(ValueError):
    """What was asked for cannot be run: a setting, a model folder, a nested size."""
