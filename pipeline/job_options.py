"""The options of the command line that say what a pipeline allows, for whichever runner it is."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., object])


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
_OPTIONS = (
    click.option("--min-auc", type=FiniteRange(0, 1), help="AUC that a model has to reach to be pushed."),
    click.option(
        "--max-auc-drop",
        type=FiniteRange(0, 1),
        help="How far AUC may fall below the last blessed model's.",
    ),
    click.option(
        "--allow-anomalies",
        is_flag=True,
        help="Go on where the data contradict the schema, or a split has one class alone.",
    ),
    max_bad_rows,
)


def job_options(command: _Command) -> _Command:
    """Adds min_auc and max_auc_drop (None where not given), allow_anomalies and max_bad_rows."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def gate_bounds(min_auc: float | None, max_auc_drop: float | None) -> dict[str, float]:
    """The arguments of Gates that were given; the others keep its defaults."""
    given = {"min_auc": min_auc, "max_auc_drop": max_auc_drop}
    return {name: value for name, value in given.items() if value is not None}
