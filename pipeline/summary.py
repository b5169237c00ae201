"""What the terminal shows of a run: components as they go by, and a table at the end."""

import logging
from time import monotonic
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cetnet_keras.console import progress
from cetnet_keras.spec import DataSpec
from serving.version_folders import versions_on_disk

METRIC_HEADS = {
    "auc": "AUC",
    "gauc": "gAUC",
    "gauc_mean": "gAUC (mean)",
    "log_loss": "log loss",
    "calibration": "calibration",
    "normalised_entropy": "NE",
    "expected_calibration_error": "ECE",
}
_IN_THE_REPORT = ("normalised_entropy", "expected_calibration_error")  # and not in a terminal of 80 columns


class ComponentProgress:
    """Shows the running component with its elapsed time and, when it is done, a line.

    Args:
        console: where to show it; without a terminal only the lines appear.
        begin: what to show before the first component.
    """

    def __init__(self, console: Console, begin: str) -> None:
        self._console, self._live = console, progress(console)  # not console.status: it brings the noise back
        self._task = self._live.add_task(begin, total=None)
        self._running, self._since, self._first = begin, monotonic(), monotonic()

    def __enter__(self) -> "ComponentProgress":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.remove_task(self._task)
        self._live.stop()
        if error is None:
            self._console.print(f"  {'all together':<18} {monotonic() - self._first:6.1f} s")
        else:
            self._console.print(f"  {self._running:<18} stopped after {monotonic() - self._since:.1f} s")

    def __call__(self, component: str, state: str) -> None:
        now = monotonic()
        if state == "running":
            if self._running != component and now - self._since > 1:
                self._line(f"{now - self._since:6.1f} s")
            self._running, self._since = component, now
            self._live.reset(self._task, total=None, description=component)
        else:
            self._line("from the cache" if state == "cached" else f"{now - self._since:6.1f} s")
            self._running, self._since = "between components", now

    def _line(self, how: str) -> None:
        if self._running != "between components":
            self._console.print(f"  {self._running:<18} {how}")


def metrics_table(document: dict[str, Any], title: str) -> Table:
    """The fused output and each member, a row each; n/a where a metric is not defined."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    keys = document["fused"].keys() - _IN_THE_REPORT
    shown = {key: head for key, head in METRIC_HEADS.items() if key in keys}
    for head in shown.values():
        table.add_column(head, justify="right")
    for name, metrics in {"fused": document["fused"], **document["members"]}.items():
        values = [metrics.get(key) for key in shown]
        cells = ["n/a" if value is None else f"{value:.4f}" for value in values]
        table.add_row(f"[bold]{name}[/bold]" if name == "fused" else escape(name), *cells)
    return table


def show_unused(console: Console, columns: list[str]) -> None:
    """Warns, in one line here and in the log, of columns of the files that the spec does not name."""
    if columns:
        more = f" and {len(columns) - 8} more" if len(columns) > 8 else ""
        text = f"the files have columns that the data spec does not use: {', '.join(columns[:8])}{more}"
        logging.getLogger(__name__).warning(text)
        console.print(f"[yellow]Warning[/yellow]: {escape(text)}")


def show_bad_rows(console: Console, bad_rows: dict[str, Any]) -> None:
    """How many rows were left out, if any, and why the first of them."""
    if bad_rows["left_out"]:
        console.print(f"[yellow]{bad_rows['left_out']:,} bad rows left out[/yellow], the first of them:")
        for reason in bad_rows["first"]:
            console.print(f"  {escape(reason)}")


def show_summary(console: Console, spec: DataSpec, output: Any, result: Any, report: Any) -> None:
    """The table, the verdict and where everything is; `report` is None where it could not be made."""
    document = result.metrics
    console.print(metrics_table(document, f"{spec.name}: test split, {document['rows']:,} rows"))
    show_bad_rows(console, document["bad_rows"])
    serving = output / "serving" / spec.name
    pushed = versions_on_disk(serving) or {}
    if result.incomparable:
        warning = f"{escape(result.incomparable)}, so that none was compared with; see the log"
        console.print(f"[yellow]Warning[/yellow]: {warning}")
    if result.blessed:
        console.print(f"[green]blessed[/green] and pushed to {escape(str(result.pushed))}")
    else:
        console.print("[red]not blessed[/red], not pushed:")
        for reason in result.reasons:
            console.print(f"  {escape(reason)}")
    console.print(f"metrics  {escape(str(output / 'metrics.json'))}")
    console.print(f"report   {escape(str(report)) if report else 'could not be made'}")
    console.print(f"log      {escape(str(output / 'log.txt'))}")
    if pushed:  # what an earlier run pushed stays
        console.print(f"serve    cetnet serve {escape(str(serving))}")
