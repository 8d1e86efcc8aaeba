"""`gemma3n-lm-eval`: lm-eval's own command, in which `--model gemma3n` is ours.

lm-eval 0.4 has no way for another package to add a model to its command (its issue 3282): its
`lm_eval` knows those of its own table only. This is that command with one more in the table.
"""

import sys

from pipelines.exit_code import WRONG_USE


def main() -> int:
    """Run the words of this process as `lm_eval` would."""
    try:
        from lm_eval.__main__ import cli_evaluate

        from pipelines import lm_eval_model  # noqa: F401  registers it
    except ImportError as error:
        sys.stderr.write(
            f"gemma3n-lm-eval: {error}. It is lm-eval's command: "
            "install gemma3n-pipelines[lm-eval].\n"
        )
        return WRONG_USE
    cli_evaluate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
