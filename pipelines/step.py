"""One stage over one batch: rows that fail are marked and stepped over. Both executors use it."""

from collections.abc import Iterator

from gemma3n.errors import InputError
from stages.row import HEAVY, Row, Stage


def run_step(stage: Stage, name: str, rows: list[Row]) -> list[Row]:
    """Run a stage over a batch.

    Args:
        stage: sees copies of the rows, good ones only unless it `sees_errors`.
        name: of the stage, for the errors of rows that it cannot use.
        rows: any mix of good and failed rows.

    Returns:
        Rows in the same order; as many, unless the stage `expands`. A row for which the stage
        raised `InputError` carries it as `error`, and no heavy columns any more. Rows that failed
        before, or have their `text` already (of silence), are stepped over.
    """
    if stage.sees_errors:
        return _run(stage, name, rows)
    if stage.expands:
        return [made for row in rows for made in expand_step(stage, name, row)]
    results = _results(stage, name, [row for row in rows if not _is_over(row)])
    done: list[Row] = []
    for row in rows:
        done += [row] if _is_over(row) else next(results)
    return done


def _is_over(row: Row) -> bool:
    return bool(row.get("error")) or "text" in row


def expand_step(stage: Stage, name: str, row: Row) -> Iterator[Row]:
    """What becomes of one row in a stage that `expands`, as it comes.

    Args:
        stage: sees a copy of the row.
        name: of the stage, for the error of a row that it cannot use.
        row: good or failed; a failed one is passed on.
    """
    if row.get("error"):
        yield row
        return
    segment = 0
    try:
        for made in stage.expand(row.copy()):
            yield made
            segment = made["segment"] + 1
    except InputError as error:
        yield _failed(row, name, error) | Row(segment=segment, last=True)


def _results(stage: Stage, name: str, rows: list[Row]) -> Iterator[list[Row]]:
    """What becomes of each row."""
    if len(rows) > 1:
        try:
            done = _run(stage, name, rows)
        except InputError:
            pass  # somebody's; alone, each row answers for itself
        else:
            yield from ([row] for row in done)
            return
    for row in rows:
        try:
            yield _run(stage, name, [row])
        except InputError as error:
            yield [_failed(row, name, error)]


def _run(stage: Stage, name: str, rows: list[Row]) -> list[Row]:
    done = stage([row.copy() for row in rows])
    if len(done) != len(rows):
        raise RuntimeError(
            f"stage '{name}' got {len(rows)} rows and returned {len(done)}. "
            "A stage returns every row it gets, in order, unless it says `expands`."
        )
    return done


def _failed(row: Row, name: str, error: InputError) -> Row:
    light = row.copy()
    for column in HEAVY:
        light.pop(column, None)  # type: ignore[misc]
    light["error"] = {"stage": name, "message": str(error)}
    return light
