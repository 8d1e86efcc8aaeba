"""`nested=` settings -> the nested size of a checkpoint. No torch."""

from gemma3n.config import Config
from gemma3n.matformer import NestedSize, resolve_size
from pipelines.settings import NestedSettings


def nested_size(settings: NestedSettings, config: Config) -> NestedSize:
    """The size by its layers and widths where these are given, else by its name.

    A `budget_gb` is left to `gemma3n.load`, which knows what the weights weigh.

    Raises:
        SettingsError: the checkpoint does not have, or does not contain, such a size.
    """
    layers, widths = settings.layers, settings.widths
    if layers is None and widths is None:
        return resolve_size(settings.name, config)
    one_or_all = widths[0] if widths is not None and len(widths) == 1 else widths
    return resolve_size(NestedSize.from_layers(layers, one_or_all, config.text), config)
