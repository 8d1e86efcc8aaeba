"""`nested=` and `policy=` settings -> nested sizes of a checkpoint. No torch."""

from dataclasses import replace

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import FULL_SIZE, NestedSize, resolve_size
from gemma3n.named import checkpoint_folder
from pipelines.settings import NestedSettings, PolicyKind, PolicySettings
from stages.model import Load


def nested_size(settings: NestedSettings, config: Config) -> NestedSize:
    """The size by its layers and widths where these are given, else by its name.

    A `budget_gb` is left to `gemma3n.load`, which knows what the weights weigh.

    Raises:
        SettingsError: the checkpoint does not have, or does not contain, such a size; or the
            settings ask for several sizes at once.
    """
    layers, widths = settings.layers, settings.widths
    _check(settings)
    if layers is None and widths is None:
        return resolve_size(settings.name, config)
    one_or_all = widths[0] if widths is not None and len(widths) == 1 else widths
    return resolve_size(NestedSize.from_layers(layers, one_or_all, config.text), config)


def check_policy(settings: PolicySettings, nested: NestedSize, config: Config) -> None:
    """Refuse a policy whose small size is not inside the one that is loaded.

    Raises:
        SettingsError: it is not, or there is no such size.
    """
    if settings.kind is PolicyKind.single:
        return
    small = resolve_size(settings.small, config)
    if not small.within(nested, config.text):
        raise SettingsError(
            f"policy.small={settings.small} is not inside nested={nested.label}. Name a size that "
            "is, or load a larger one."
        )


def small_load(settings: PolicySettings, load: Load) -> Load:
    """The same of the checkpoint, but at the policy's small size alone.

    Raises:
        SettingsError: there is no such size.
    """
    small = resolve_size(settings.small, Config.from_folder(checkpoint_folder(load.folder)))
    return replace(load, nested=small, budget_gb=None)


def _check(settings: NestedSettings) -> None:
    layers, widths = settings.layers, settings.widths
    if "," in settings.name:
        raise SettingsError(
            f"nested={settings.name} names several sizes, and one run has one. Add -m for a run "
            "of each, or name one."
        )
    asked = {
        f"nested={settings.name}": settings.name != FULL_SIZE.name,
        "nested.layers or nested.widths": layers is not None or widths is not None,
        "nested.budget_gb": settings.budget_gb is not None,
    }
    if len(given := [name for name, is_given in asked.items() if is_given]) > 1:
        raise SettingsError(f"{' and '.join(given)} each choose a nested size. Give one of them.")
    if layers is None or widths is None or len(widths) == 1:
        return
    if layers != sorted(set(layers)):
        raise SettingsError(
            f"nested.layers={layers} with a width for each: which width is whose is clear only "
            f"where layers rise and none comes twice, as in {sorted(set(layers))}. Order both."
        )
