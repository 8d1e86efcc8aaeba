"""Reference arrays (`README.md` says how they were made) -> this folder, feature maps thinned.

Run as `python tests/golden/copy_reference.py FOLDER` where FOLDER holds the full-size files.
Image features keep every 4th channel; processed images every 2nd row and column. Everything
else is copied as it is.
"""

import shutil
import sys
from pathlib import Path

from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
CHANNEL_STRIDE = 4
PIXEL_STRIDE = 2


def main(source: Path) -> None:
    for path in sorted(source.rglob("*")):
        target = HERE / path.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        if path.name in ("vision_tower.safetensors", "vision_300m.safetensors"):
            arrays = load_file(path)
            for name in arrays:
                if name.startswith("features_"):
                    arrays[name] = arrays[name][:, ::CHANNEL_STRIDE].copy()
            save_file(arrays, target)
        elif path.name == "image_processor.safetensors":
            arrays = load_file(path)
            for name in arrays:
                if name.endswith("_out_u8"):
                    arrays[name] = arrays[name][:, ::PIXEL_STRIDE, ::PIXEL_STRIDE].copy()
            save_file(arrays, target)
        elif path.suffix in (".safetensors", ".json"):
            shutil.copyfile(path, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
