"""What `device=`, `precision=` and `pack=` accept. No torch: settings and help read this too."""

from enum import Enum


class Precision(Enum):
    """Number format of weights; of int8 and int4, that of the text decoder's linear maps."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"
    int4 = "int4"


class TowerPrecision(Enum):
    """Number format of the towers' large linear maps."""

    auto = "auto"  # that of the towers, which is never below bfloat16
    int8 = "int8"


ROUNDED = (Precision.int8, Precision.int4)

# By this syntax a name may be a word of Python's: `pack=true` is what people type.
Pack = Enum("Pack", {"auto": None, "true": True, "false": False})


class Device(Enum):
    """Where the model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


FLOAT16 = ("float16", "fp16", "half")  # what people ask for and cannot have
NO_FLOAT16 = (
    "float16 overflows: it ends at 65504, less than convolutions of the vision tower and squared "
    "magnitudes of the AltUp streams reach. Use bfloat16, which is as small, or float32."
)
