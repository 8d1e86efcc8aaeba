"""`python -m pipelines <job>`: the same as the installed command `gemma3n <job>`."""

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main())
