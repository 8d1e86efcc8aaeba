"""A job's prompts, a task and languages -> the template that a row is asked with.

A prompt of a job is a template: in it `<audio>` and `<image>` are marks, `{language}` and `{to}`
are places of languages. All other braces are plain text, and so is all that fills a place.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from gemma3n.chat import Mark, parse_template
from gemma3n.errors import InputError

DEFAULT_TASK = "default"  # of jobs that may be asked without one

_PLACE = re.compile(r"\{(language|to)\}")


def places_in(templates: Sequence[str]) -> set[str]:
    """Names of the places that any of the templates has."""
    return {name for template in templates for name in _PLACE.findall(template)}


def check_task(task: str, tasks: Collection[str]) -> None:
    """Refuse a task that the job has no prompts for.

    Raises:
        InputError: it has none.
    """
    if task not in tasks:
        raise InputError(
            f"task {task!r} is none of this job's; accepted are {', '.join(tasks) or 'none'}. "
            "Correct it, or use a job that has it: generate has all."
        )


def first_filled(templates: Sequence[str], languages: Mapping[str, str | None]) -> list[str | Mark]:
    """The first template whose places can all be filled, with them filled.

    Args:
        templates: of one task, the most specific one first; none for a job without a prompt.
        languages: name of a place -> language, None if it is not known.

    Raises:
        InputError: each has a place for a language that is not known.
    """
    if not templates:
        return []
    known = {name: language for name, language in languages.items() if language is not None}
    for template in templates:
        if places_in([template]) <= known.keys():
            return [_filled(part, known) for part in parse_template(template)]
    lacking = min((places_in([template]) - known.keys() for template in templates), key=len)
    name = min(lacking)
    raise InputError(
        f"the prompt {templates[-1]!r} has {{{name}}}, and neither the job nor the row says what "
        f"goes there. Set {name}=French, for instance, or take it out of the prompt."
    )


def _filled(part: str | Mark, known: Mapping[str, str]) -> str | Mark:
    if isinstance(part, Mark):
        return part
    return _PLACE.sub(lambda place: known[place[1]], part)
