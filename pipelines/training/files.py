"""What a training run leaves in its folder, by name."""

CHECKPOINT = "checkpoint"  # folder of the released layout
STATE = "state"  # folder of all that resuming needs
HEADS = "heads.safetensors"  # of the auxiliary losses
