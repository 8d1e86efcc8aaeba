"""The two kinds of mistake in what a caller brings: one input, or what was asked for as a whole."""


class InputError(ValueError):
    """One input (a clip, an image, a prompt) cannot be used: its row is marked, the job goes on."""


class SettingsError(ValueError):
    """What was asked for cannot be run: a setting, a model folder, a nested size."""


def reason(error: BaseException) -> str:
    """What an error of somebody else's says, or its kind if it says nothing."""
    return str(error) or type(error).__name__
