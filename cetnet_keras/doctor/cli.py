"""`cetnet doctor`: looks at the installation and the machine, and says how to mend what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from cetnet_keras.doctor.finding import Finding

_COLOURS = {"ok": "green", "note": "yellow", "wrong": "bold red"}


@click.command(short_help="Look at the installation and the machine; say how to mend what is wrong.")
@click.option(
    "--output",
    default=Path("runs"),
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The folder that runs will write to.",
)
@click.pass_context
def doctor(context: click.Context, output: Path) -> None:
    """Looks at versions, accelerators, memory, disk and ports. Exit code 1 where something is wrong.

    A note is no error: something will be slower, or is missing that not everybody needs.

    \b
    Example:
      cetnet doctor
    """
    from cetnet_keras.console import progress, quiet
    from cetnet_keras.doctor.machine import machine
    from cetnet_keras.doctor.packages import packages
    from cetnet_keras.doctor.runtime import tensorflow

    with quiet() as console:
        with progress(console) as live:
            task = live.add_task("Looking at packages and machine, loading TensorFlow", total=None)
            findings = [*packages(), *tensorflow(), *machine(output)]
            live.remove_task(task)
        console.print(_table(findings))
        for item, found, verdict, expected, cure in findings:
            if verdict != "ok":
                console.print(f"[{_COLOURS[verdict]}]{verdict}[/]: ", end="")
                line = f"{item}: found {found}, expected {expected}; {cure}"
                console.print(line, markup=False, highlight=False)
        wrong = sum(finding.verdict == "wrong" for finding in findings)
        console.print(f"{wrong} wrong" if wrong else "Nothing is wrong")
    context.exit(1 if wrong else 0)


def _table(findings: list[Finding]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("item", "found", "verdict")
    for finding in findings:
        table.add_row(finding.item, Text(finding.found), Text(finding.verdict, _COLOURS[finding.verdict]))
    return table
