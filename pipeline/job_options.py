"""The options of the command line that say what a pipeline allows, for whichever runner it is."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A FloatRange without NaN, which click finds in every range, and without infinities."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"found {value!r}, expected a finite number", param, ctx)
        return number


max_bad_rows = click.option(
    "--max-bad-rows",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Rows that do not fit, in all files together, that may be left out.",
)
_GATES = (  # by their names in Gates
    click.option("--min-auc", type=FiniteRange(0, 1), help="AUC that a model has to reach to be pushed."),
    click.option(
        "--max-auc-drop",
        type=FiniteRange(0, 1),
        help="How far AUC may fall below the last blessed model's.",
    ),
    click.option(
        "--max-latency-ms",
        type=FiniteRange(0, min_open=True),
        help="Largest p99 of a gRPC request of one row, measured on this machine.",
    ),
    click.option("--max-model-mb", type=FiniteRange(0, min_open=True), help="Largest size of the model."),
    click.option(
        "--max-memory-mb", type=FiniteRange(0, min_open=True), help="Most memory of a server that has it."
    ),
)
_GATE_NAMES = ("min_auc", "max_auc_drop", "max_latency_ms", "max_model_mb", "max_memory_mb")
_OPTIONS = (
    click.option(
        "--allow-anomalies",
        is_flag=True,
        help="Go on where the data contradict the schema, or a split has one class alone.",
    ),
    max_bad_rows,
)


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `bounds` (arguments of Gates that were given; the others keep its defaults), allow_anomalies, max_bad_rows."""

    @wraps(command)
    def with_bounds(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in _GATE_NAMES}
        bounds = {name: value for name, value in given.items() if value is not None}
        return command(*args, bounds=bounds, **options)

    decorated: Callable[..., Any] = with_bounds
    for option in reversed((*_GATES, *_OPTIONS)):
        decorated = option(decorated)
    return decorated
