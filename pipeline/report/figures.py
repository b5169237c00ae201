"""The figures of a report: inline SVG whose text is text and whose colours are the page's, for light and for dark."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from pipeline.report.data import FUSED, Curve, ReportData
from pipeline.score_buckets import reliability, roc
from pipeline.summary import METRIC_HEADS
from pipeline.training_record import Histogram

# stand-ins that the page's stylesheet gives a value to, by the same names
_INK, _FAINT = "#010203", "#020304"
_SERIES = tuple(f"#0304{place:02x}" for place in range(7))
_DASHES = (
    (),
    (5, 1.5),
    (1.2, 1.2),
    (6, 1.5, 1.2, 1.5),
    (3, 1),
    (8, 2),
    (2, 3),
)  # nobody has to tell colours apart
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cetnet",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": _FAINT,
    "grid.linewidth": 0.4,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "lines.linewidth": 1.6,
}


class Series(NamedTuple):
    """A line of a figure's legend, which the page writes itself: names there wrap, and no name is markup."""

    name: str
    place: int  # of its colour and dashes; -1 for a reference line

    @property
    def dashes(self) -> str:
        """As SVG's stroke-dasharray."""
        pattern = (2, 2) if self.place < 0 else _DASHES[self.place]
        return " ".join(f"{length:g}" for length in pattern) or "none"


class Drawn(NamedTuple):
    """A figure, ready for the page."""

    svg: str
    alt: str  # what it shows, for who cannot see it
    caption: str
    legend: list[Series]


def roc_figure(data: ReportData) -> Drawn | None:
    """True over false positive rate of each set of predictions; None where one label alone occurs."""
    curves = {name: roc(curve.buckets) for name, curve in _ordered(data).items()}
    curves = {name: rates for name, rates in curves.items() if len(rates[0])}
    if not curves:
        return None

    def draw(axes: Axes) -> None:
        for place, (x, y) in reversed(list(enumerate(curves.values()))):
            _line(axes, x, y, place)
        axes.plot([0, 1], [0, 1], color=_FAINT, dashes=(2, 2), linewidth=1)
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01))

    areas = {name: data.figures_of(name).auc for name in curves}
    alt = "ROC curves; area under each: " + _listed(
        {n: f"{a:.4f}" for n, a in areas.items() if a is not None}
    )
    caption = (
        f"ROC, test split, {data.metrics.rows:,} rows. The further above the diagonal (chance), the better."
    )
    return Drawn(_svg(draw, "roc"), alt, caption, [*_legend(curves), Series("chance", -1)])


def reliability_figure(data: ReportData) -> Drawn | None:
    """Click rate over predicted CTR in bins of as many rows each; None without rows."""
    found = {name: reliability(curve.buckets) for name, curve in _ordered(data).items()}
    found = {name: bins for name, bins in found.items() if len(bins.rows)}
    if not found:
        return None
    top = max(max(bins.predicted.max(), bins.actual.max()) for bins in found.values()) * 1.06

    def draw(axes: Axes) -> None:
        axes.plot([0, top], [0, top], color=_FAINT, dashes=(2, 2), linewidth=1)
        for place, bins in reversed(list(enumerate(found.values()))):
            if place == 0:
                away = np.abs([bins.low, bins.high] - bins.actual)
                axes.errorbar(bins.predicted, bins.actual, away, fmt="none", ecolor=_SERIES[0], elinewidth=1)
            _line(axes, bins.predicted, bins.actual, place, marker="o" if place == 0 else None)
        axes.set(
            xlabel="predicted CTR, mean of a bin",
            ylabel="share of rows clicked",
            xlim=(0, top),
            ylim=(0, top),
        )

    first = next(iter(found.values()))
    off = np.abs(first.predicted - first.actual)
    alt = f"Reliability diagram: in {len(off)} bins the fused CTR is {off.max():.3f} or less off the share of clicks"
    caption = (
        f"Reliability, test split, {data.metrics.rows:,} rows in {len(off)} bins of as many rows each. On the "
        "diagonal, what is predicted is what happens. Bars: 95 % interval of the fused CTR's bins."
    )
    return Drawn(_svg(draw, "reliability"), alt, caption, [*_legend(found), Series("perfect", -1)])


def loss_figure(data: ReportData) -> Drawn:
    """Training losses at each evaluation."""
    names = [FUSED, *data.run.members, *(["collaboration"] if len(data.run.members) > 1 else [])]
    lines = {name: data.training.history.get(f"loss_{name}", []) for name in names}
    caption = (
        f"Parts of the loss on the train split, {data.training.train_rows:,} rows, in nats a row: mean since the "
        "last evaluation, dropout active."
    )
    return _history_figure(data, lines, "train loss (nats)", "loss", caption)


def eval_figures(data: ReportData) -> list[Drawn]:
    """Log loss and the metric that the weights were chosen by, on the eval split at each evaluation."""
    monitored = data.training.monitored.removeprefix("eval_")
    figures = []
    for metric in dict.fromkeys([monitored, "log_loss"]):
        lines = {FUSED: data.training.history.get(f"eval_{metric}", [])}
        lines |= {name: data.training.history.get(f"eval_{name}_{metric}", []) for name in data.run.members}
        kept = (
            "each member's weights are those with its own best"
            if data.training.own_best
            else "the weights that were kept are those with the best"
        )
        chosen = f"; {kept}" if metric == monitored else ""
        head, unit = METRIC_HEADS[metric], " (nats)" if metric == "log_loss" else ""
        caption = f"{head[0].upper()}{head[1:]} on the eval split, {data.training.eval_rows:,} rows{chosen}."
        figures.append(_history_figure(data, lines, f"eval {head}{unit}", f"eval-{metric}", caption))
    return figures


def weight_figure(data: ReportData) -> Drawn | None:
    """Fusion weights by member; None for a single one."""
    found = data.training.ensemble
    if found is None or len(found.members) < 2:
        return None
    histograms = dict(zip(found.members, found.weights, strict=True))
    means = _listed({n: f"{w:.3f}" for n, w in zip(found.members, found.mean_weight, strict=True)})
    caption = (
        f"Fusion weight of each member, {_eval_rows(data)}. Equal weights would be {1 / len(histograms):.3f}."
    )
    return _histogram_figure(
        histograms, "fusion weight", "weight", f"Histograms of fusion weights; means: {means}", caption
    )


def difference_figure(data: ReportData) -> Drawn | None:
    """How far the members of each pair are apart; None without a pair."""
    found = data.training.ensemble
    if found is None or not found.pairs or len(found.pairs) > len(_SERIES) - 1:
        return None
    histograms = {" and ".join(pair.members): pair.histogram for pair in found.pairs}
    means = _listed({" and ".join(p.members): f"{p.difference:.3f}" for p in found.pairs})
    caption = f"Difference between two members' CTR, {_eval_rows(data)}."
    alt = f"Histograms of the difference; means: {means}"
    return _histogram_figure(histograms, "difference of predicted CTR", "difference", alt, caption)


def _eval_rows(data: ReportData) -> str:
    rows = data.training.ensemble.rows if data.training.ensemble else 0
    which = "" if rows == data.training.eval_rows else "the first "
    return f"eval split, {which}{rows:,} rows"


def _history_figure(
    data: ReportData, lines: Mapping[str, Sequence[float | None]], label: str, key: str, caption: str
) -> Drawn:
    best, own, parts = data.training.best, data.training.own_best, data.training.evaluations_per_epoch
    kept = {name: own.get(name, best) for name in lines}  # by line, the evaluation that its weights are of
    passes = (np.arange(max(map(len, lines.values()), default=0)) + 1) / parts

    def draw(axes: Axes) -> None:
        for place, values in reversed(list(enumerate(lines.values()))):
            y = np.array(values, np.float64)
            _line(axes, passes[: len(y)], y, place, marker="o" if len(y) < 30 else None, markersize=2.5)
        for evaluation in sorted(set(kept.values())):
            if evaluation < len(passes):
                axes.axvline(passes[evaluation], color=_FAINT, dashes=(2, 2), linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set(xlabel="passes over the train split", ylabel=label)

    found = {name: values[kept[name]] for name, values in lines.items() if kept[name] < len(values)}
    last = {name: f"{value:.4f}" for name, value in found.items() if value is not None}
    weights = (
        "best of the fused CTR, and each member's own that was kept" if own else "weights that were kept"
    )
    alt = f"{label} over {passes[-1] if len(passes) else 0:g} passes; at the {weights}: {_listed(last)}"
    legend = [*_legend(lines), Series(weights, -1)]
    return Drawn(_svg(draw, key), alt, caption, legend)


def _histogram_figure(
    histograms: Mapping[str, Histogram], label: str, key: str, alt: str, caption: str
) -> Drawn:
    def draw(axes: Axes) -> None:
        for place, histogram in reversed(list(enumerate(histograms.values(), 1))):
            share = 100 * np.array(histogram.counts) / max(sum(histogram.counts), 1)
            dashes = _DASHES[place % len(_DASHES)]
            axes.stairs(share, histogram.edges, color=_SERIES[place % len(_SERIES)], linewidth=1.6,
                        linestyle=(0, dashes) if dashes else "-")  # fmt: skip
        axes.set(xlabel=label, ylabel="rows (%)", ylim=(0, None))

    return Drawn(_svg(draw, key), alt, caption, _legend(histograms, first=1))


def _line(axes: Axes, x: Any, y: Any, place: int, **style: Any) -> None:
    dashes = _DASHES[place % len(_DASHES)]
    axes.plot(x, y, color=_SERIES[place % len(_SERIES)], dashes=dashes or (None, None),
              **{"markersize": 3.5} | style)  # fmt: skip


def _legend(names: Mapping[str, Any], first: int = 0) -> list[Series]:
    return [Series(name, place % len(_SERIES)) for place, name in enumerate(names, first)]


def _ordered(data: ReportData) -> dict[str, Curve]:
    """The fused CTR first, then the members in the order that they have everywhere."""
    return {name: data.curves[name] for name in (FUSED, *data.run.members) if name in data.curves}


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "n/a"


def _svg(draw: Callable[[Axes], None], key: str) -> str:
    """Draws on a canvas of its own, as narrow as a phone, and hands it to the page's stylesheet."""
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(4.6, 3.3), layout="constrained")
        axes = canvas.subplots()
        axes.locator_params(nbins=6)
        draw(axes)
        file = io.StringIO()
        canvas.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    return _of_the_page(text[text.index("<svg") :], key)


def _of_the_page(svg: str, key: str) -> str:
    names = {_INK: "--ink", _FAINT: "--faint"} | {c: f"--series-{place}" for place, c in enumerate(_SERIES)}
    svg = re.sub("#0[123]0[234][0-9a-f]{2}", lambda found: f"var({names[found[0]]})", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", svg)  # ids are of the whole page
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)  # the page's
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1)
