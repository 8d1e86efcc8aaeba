"""What `device=` and `precision=` accept. No torch: settings and help read this too."""

from enum import Enum


class Precision(Enum):
    """Number format of weights and activations."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


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
