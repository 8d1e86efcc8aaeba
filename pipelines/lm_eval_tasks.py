"""A task of lm-eval at each nested size: the harness asks, our engine answers, we tell of it.

The harness fetches its data sets from the Hugging Face hub; those of a YAML file of one's own are
where that says. Such a file is for files that one trusts: lm-eval runs the Python functions that it
names.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.evaluate import changed
from pipelines.evaluate_table import print_scores
from pipelines.exit_code import DONE
from pipelines.intervals import Metric, Part
from pipelines.keys import nearest
from pipelines.output import writable
from pipelines.run import check_ours, new_folder, write_config
from pipelines.score_files import (
    ROWS,
    SCORES,
    Cell,
    Scores,
    TaskRow,
    write_rows,
    write_scores,
)
from pipelines.score_sets import cells
from pipelines.scored import ALL, Scored
from pipelines.settings import (
    EvaluateJob,
    ExecutorKind,
    Normaliser,
    PlePlacement,
    PolicyKind,
    Task,
)

_UNUSED = ("mel", "resize", "encode", "fuse", "decode")  # groups that the harness decides on
_SHOWN = 3  # columns
_Z = 1.96  # standard errors of a 95 % interval
_NEAR = 1e-9  # how far two sums of the same numbers may be apart


@dataclass(frozen=True)
class _Result:
    """What the harness says of one task at one size."""

    rows: list[Scored]
    prompts: dict[str, str]  # by item
    values: dict[str, float]  # by score, as the harness has it
    errors: dict[str, float]  # standard errors, of scores that have one
    higher_is_better: Mapping[str, bool]


def evaluate_task(job: EvaluateJob) -> int:
    """Run a task, score, print; see `pipelines.evaluate.evaluate`.

    Raises:
        SettingsError: lm-eval is not installed or has no such task, or a setting means nothing to
            it.
    """
    _check(job)
    task, manager = _task(job.task)
    job = replace(job, model=job.model.pinned())
    results: dict[str, dict[str, _Result]] = {}
    output = str(new_folder("evaluate")) if job.output is None else job.output
    with writable(output) as folder:
        check_ours(folder, [SCORES, ROWS])
        for size in dict.fromkeys(job.sizes):
            for name, result in _run(job, size, task, manager):
                results.setdefault(name, {})[size] = result
        found = _scores(job, results)
        write_config(job, "evaluate", folder)
        write_scores(found, folder)
        write_rows(_lines(results), folder)
        if job.json:
            sys.stdout.write(json.dumps(found, indent=2) + "\n")
        else:
            print_scores(found)
            sys.stdout.write(f"{folder}\n")
    return DONE


def _check(job: EvaluateJob) -> None:
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        near = nearest(job.task, Task.__members__)
        raise SettingsError(
            f"task={job.task} is none of {', '.join(Task.__members__)}, and tasks of lm-eval need "
            f"lm-eval, which is not installed. {f'Did you mean task={near}? ' if near else ''}"
            "Install gemma3n-pipelines[lm-eval] for its tasks."
        ) from error
    wrong = {
        f"source.path={job.source.path}": bool(job.source.path),
        "calibrate=true": job.calibrate,
        f"normalise={job.normalise.value}": job.normalise is not Normaliser.basic,
        f"policy={job.policy.kind.value}": job.policy.kind is not PolicyKind.single,
        "ple=store": job.ple.placement is PlePlacement.store,
        f"executor={job.executor.kind.value}": job.executor.kind is not ExecutorKind.in_process,
        **{f"{group}.{name}": True for group in _UNUSED for name in changed(getattr(job, group))},
    }
    if given := [name for name, is_wrong in wrong.items() if is_wrong]:
        raise SettingsError(
            f"{given[0]} means nothing to task={job.task}, which is one of lm-eval: that has its "
            "own rows, prompts and scores. Leave it out."
        )


def _task(name: str) -> tuple[Any, Any]:
    """The task as the harness takes it, and what knows all its tasks."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise SettingsError(f"task '{name}' does not exist. Give the YAML file of a task.")
        return load_yaml(name, resolve_func=True), TaskManager(include_defaults=False)
    manager = TaskManager()
    if not manager.match_tasks([name]):
        near = nearest(name, [*Task.__members__, *manager.all_tasks])
        raise SettingsError(
            f"task={name} is none of {', '.join(Task.__members__)}, and lm-eval has none of that "
            f"name. {f'Did you mean {near}?' if near else '`lm_eval ls tasks` lists its tasks.'}"
        )
    return name, manager


def _run(job: EvaluateJob, size: str, task: Any, manager: Any) -> Iterator[tuple[str, _Result]]:
    """Each task of a run, by name: of a group there are several."""
    from lm_eval import simple_evaluate

    from pipelines.lm_eval_model import Gemma3nLM

    model = Gemma3nLM(
        path=job.model.path,
        nested=size,
        precision=job.precision.value,
        device=job.device.value,
        pack=job.pack.value,
        ple=job.ple.anywhere().load,
        batch_size=job.executor.batch,
    )
    found = simple_evaluate(
        model=model,
        tasks=[task],
        num_fewshot=job.shots,
        limit=job.source.limit,
        apply_chat_template=job.chat,
        fewshot_as_multiturn=job.chat,
        task_manager=manager,
        bootstrap_iters=1000,
    )
    assert found is not None  # it is None in processes other than the first only
    for name, samples in found["samples"].items():
        yield name, _result(name, size, samples, found)


def _result(name: str, size: str, samples: Sequence[Mapping[str, Any]], found: Any) -> _Result:
    values, errors = {}, {}
    for key, value in found["results"][name].items():
        metric, _, which = key.partition(",")
        if not which or isinstance(value, str):
            continue
        if metric.endswith("_stderr"):
            errors[_named(metric.removesuffix("_stderr"), which)] = float(value)
        else:
            values[_named(metric, which)] = float(value)
    rows: dict[str, Scored] = {}
    prompts: dict[str, str] = {}
    for sample in samples:  # one a filter
        item = f"{name}/{sample['doc_id']}"
        parts = {}
        for metric in sample["metrics"]:
            if isinstance(value := sample[metric], int | float | bool):
                parts[_named(metric, sample["filter"])] = Part(float(value), 1)
        before = rows[item].parts if item in rows else {}
        arguments = [list(pair) for pair in sample["arguments"]]
        prompts[item] = str(arguments[0][0])
        rows[item] = Scored(
            item=item,
            set=name,
            size=size,
            reference=_reference(sample, arguments),
            text=_text(sample, arguments),
            failed=False,
            parts={**before, **parts},
        )
    better = {
        _named(metric, which): bool(is_so)
        for metric, is_so in found["higher_is_better"].get(name, {}).items()
        for which in {sample["filter"] for sample in samples}
    }
    return _Result(list(rows.values()), prompts, values, errors, better)


def _named(metric: str, which: str) -> str:
    """A score of one filter; `none` is the one that changes nothing."""
    return metric if which == "none" else f"{metric},{which}"


def _reference(sample: Mapping[str, Any], arguments: list[list[Any]]) -> str:
    """What should have been said: of a choice its text."""
    target = sample["target"]
    is_choice = isinstance(target, int) and len(arguments) > target >= 0
    if is_choice and isinstance(arguments[target][-1], str):
        return str(arguments[target][-1]).strip()
    return str(target)


def _text(sample: Mapping[str, Any], arguments: list[list[Any]]) -> str:
    """What was said, or which choice was the likeliest."""
    first = [answer[0] for answer in sample["resps"]]
    if all(isinstance(answer, str) for answer in first):
        return "\n".join(first)
    if len(arguments) < 2 or not all(isinstance(pair[-1], str) for pair in arguments):
        return ""
    best = max(range(len(first)), key=lambda n: float(first[n][0]))
    return str(arguments[best][-1]).strip()


def _scores(job: EvaluateJob, results: Mapping[str, Mapping[str, _Result]]) -> Scores:
    """All tasks at all sizes; a score that is a mean over rows has its interval from them."""
    over = job.sizes[0]
    sets: dict[str, dict[str, Cell]] = {}
    every: list[Scored] = []
    shared: dict[str, Metric] | None = None
    names: dict[str, None] = {}
    lower: dict[str, None] = {}
    for name, by_size in results.items():
        rows = [row for result in by_size.values() for row in result.rows]
        metrics = _metrics(by_size)
        sets[name] = cells(rows, metrics, over)
        for size, result in by_size.items():
            _add_others(sets[name][size], result)
            names |= dict.fromkeys(result.values)
            lower |= dict.fromkeys(m for m, is_so in result.higher_is_better.items() if not is_so)
        every += rows
        shared = metrics if shared is None else {n: m for n, m in metrics.items() if n in shared}
    if len(sets) > 1 and shared:
        sets[ALL] = cells(every, shared, over)
    return {
        "model": job.model.path,
        "task": job.task,
        "shots": job.shots,
        "shown": {name: f"{name} %" for name in list(names)[:_SHOWN]},
        "lower_is_better": list(lower),
        "over": over,
        "sets": sets,
        "runs": {
            size: {"folder": "", "seconds": None, "unlabelled": {"rows": 0, "failed": 0}}
            for size in dict.fromkeys(job.sizes)
        },
    }


def _metrics(by_size: Mapping[str, _Result]) -> dict[str, Metric]:
    """Scores that are means over rows: those of which the harness finds the same."""
    found = {}
    for name in next(iter(by_size.values())).values:
        if all(_is_mean(name, result) for result in by_size.values()):
            higher = next(iter(by_size.values())).higher_is_better.get(name, True)
            found[name] = Metric(name, lower_is_better=not higher)
    return found


def _is_mean(name: str, result: _Result) -> bool:
    parts = [row.parts.get(name) for row in result.rows]
    of = [part.of for part in parts if part is not None]
    if not of or len(of) < len(parts):
        return False
    return math.isclose(sum(of) / len(of), result.values[name], abs_tol=_NEAR)


def _add_others(cell: Cell, result: _Result) -> None:
    """Scores that are no means, such as perplexities, with the harness's own standard error."""
    for name, value in result.values.items():
        if name in cell["scores"]:
            continue
        reach = _Z * result.errors[name] if name in result.errors else None
        cell["scores"][name] = {
            "value": value,
            "low": None if reach is None else value - reach,
            "high": None if reach is None else value + reach,
        }


def _lines(results: Mapping[str, Mapping[str, _Result]]) -> Iterator[TaskRow]:
    for name, by_size in results.items():
        for result in by_size.values():
            for row in result.rows:
                yield {
                    "item": row.item,
                    "set": name,
                    "size": row.size,
                    "reference": row.reference,
                    "text": row.text,
                    "prompt": result.prompts[row.item],
                    "parts": {n: {"of": p.of, "out_of": p.out_of} for n, p in row.parts.items()},
                    "failed": False,
                }
