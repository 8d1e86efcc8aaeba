"""A bfloat16 GGUF -> one of fewer bits, by llama.cpp's own rounding: `python -m ... JSON`."""

import ctypes
import json
import sys

import llama_cpp

_TYPES = {"Q8_0": 7, "Q4_0": 2}  # LLAMA_FTYPE_MOSTLY_*


def main() -> None:
    wanted = json.loads(sys.argv[1])
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.nthread, settings.ftype = wanted["threads"], _TYPES[wanted["type"]]
    code = llama_cpp.llama_model_quantize(
        wanted["gguf"].encode(), wanted["output"].encode(), ctypes.byref(settings)
    )
    if code:
        raise SystemExit(f"llama_model_quantize gives {code}")
    sys.stdout.write("{}")


if __name__ == "__main__":
    main()
