"""What a training run leaves in its folder, by name."""

CHECKPOINT = "checkpoint"  # folder of the released layout
ADAPTER = "adapter"  # folder in peft's layout, of a run that trains nothing else
STATE = "state"  # folder of all that resuming needs
HEADS = "heads.safetensors"  # of the auxiliary losses
