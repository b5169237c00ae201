"""The page: a jinja2 template that escapes whatever it is given, filled with tables and figures."""

from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cetnet_keras.errors import WorkFailed
from pipeline.report import figures, tables
from pipeline.report.data import FUSED, Metrics, ReportData
from pipeline.summary import METRIC_HEADS
from pipeline.training_record import TableHealth

REPORT = "report.html"
_SLICES = 50  # in the report; metrics.json has all
_SECTIONS = {
    "gates": "Gates",
    "metrics": "Metrics",
    "curves": "Ranking and calibration",
    "slices": "Slices",
    "training": "Training",
    "members": "Members and fusion",
    "embeddings": "Embeddings",
    "data": "Data",
    "serving": "Serving",
    "run": "What was run",
}


def write_page(data: ReportData, output: Path) -> Path:
    """Writes DIR/report.html and returns its path. Raises WorkFailed where it cannot be written."""
    path = output / REPORT
    page = render(data)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise WorkFailed(f"{path}: cannot be written ({error.strerror})") from error
    return path


def render(data: ReportData) -> str:
    """The report as one HTML page that refers to nothing outside of it."""
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "percent": _percent,
        "short": lambda value: "" if value is None else f"{value:.4g}",
        "signed": lambda value: "n/a" if value is None else f"{value:+.4f}",
        "time": _time,
        "used": _used,
    }
    return environment.get_template("report.html.jinja").render(_context(data))


def _context(data: ReportData) -> dict[str, Any]:
    slices, model, ensemble = tables.slice_rows(data), tables.model_spec(data), data.training.ensemble
    group = tables.data_spec(data).group
    weights = zip(ensemble.members, ensemble.mean_weight, ensemble.leads, strict=True) if ensemble else ()
    return {
        "run": data.run,
        "metrics": data.metrics,
        "training": data.training,
        "splits": data.splits,
        "sections": list(_SECTIONS.items()),
        "sentences": list(tables.sentences(data)),
        "gates": list(tables.gate_rows(data)),
        "bad_rows": data.metrics.bad_rows,
        "group": group,
        "metric_heads": {k: head for k, head in METRIC_HEADS.items() if group or not k.startswith("gauc")},
        "metric_rows": [(name, dict(found)) for name, found in _metric_rows(data)],
        "roc": figures.roc_figure(data),
        "reliability": figures.reliability_figure(data),
        "slices": slices[:_SLICES],
        "more_slices": len(slices[_SLICES:]),
        "training_sentence": tables.training_sentence(data),
        "training_figures": [*figures.eval_figures(data), figures.loss_figure(data)],
        "fusion_sentence": tables.fusion_sentence(model),
        "member_weights": list(weights),
        "weights": figures.weight_figure(data),
        "differences": figures.difference_figure(data),
        "features": tables.feature_rows(data),
        "seed": model.training.seed,
    }


def _metric_rows(data: ReportData) -> list[tuple[str, Metrics]]:
    rows = [(FUSED, data.metrics.fused), *data.metrics.members.items()]
    return rows if data.metrics.baseline is None else [*rows, ("last blessed model", data.metrics.baseline)]


def _number(value: float | None, digits: int = 4) -> str:
    return "n/a" if value is None else f"{value:,.{digits}f}"


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{share:.1%}" if share >= 0.001 or share == 0 else f"{share:.3%}"


def _time(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC")


def _used(table: TableHealth) -> float:
    """Information abundance over the most that a table of its size can have."""
    return table.abundance / max(min(table.rows, table.width), 1)
