"""The tables of RESULTS.md."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def markdown(results: Mapping[str, Any], head: str) -> str:
    """RESULTS.md of one run."""
    data, machine, version = results["data"], results["machine"], results["tensorflow"]
    where = f"{data}; {machine}, TensorFlow {version}, Python {results['python']}"
    where += f"; {results['seconds']:g} s a load." if "loads" in results else "."
    parts = [head, where, "", *_models(results["models"])]
    if "loads" in results:
        parts += ["", *_loads(results["loads"]), "", *_swaps(results["swaps"])]
    return "\n".join(parts) + "\n"


def _models(models: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## Cheaper models"
    yield ""
    quality = [key for key in ("auc", "gauc", "log_loss") if key in models[0]]
    calls = [key for key in models[0] if key.startswith(("serving_default", "rank"))]
    names = {"auc": "AUC", "gauc": "gAUC", "log_loss": "log loss"}
    heads = ["model", *(names[key] for key in quality), "MB", *(f"{key}, ms" for key in calls)]
    rows = [
        [each["name"], *(f"{each[key]:.4f}" for key in quality), f"{each['megabytes']:.2f}"]
        + [f"{each[key]:.2f}" for key in calls]
        for each in models
    ]
    yield from _table(heads, rows)


def _loads(loads: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## Loads of `rank`"
    yield ""
    heads = [
        "candidates",
        "protocol",
        "load",
        "p50, ms",
        "p99, ms",
        "p99.9, ms",
        "requests/s",
        "candidates/s",
    ]
    heads += ["CPUs of the server", "p50 to in process"]
    floor = {each["candidates"]: each["p50_ms"] for each in loads if each["protocol"] == "in process"}
    rows = []
    for each in loads:
        base = floor.get(each["candidates"])
        times = [f"{each[key]:.2f}" for key in ("p50_ms", "p99_ms", "p99.9_ms")]
        rates = [f"{each['requests_per_s']:,.0f}", f"{each['candidates_per_s']:,}"]
        ratio = f"{each['p50_ms'] / base:.2f}" if base and each["load"] == "1 caller" else ""
        cpu = f"{each['cpu']:.2f}" if "cpu" in each else ""
        rows.append([f"{each['candidates']}", each["protocol"], each["load"], *times, *rates, cpu, ratio])
    yield from _table(heads, rows)
    yield ""
    failed = sum(each["failures"] for each in loads)
    yield f"{failed} failed requests. The server had {loads[-1]['memory_mb']:,} MB at most."


def _swaps(swaps: Mapping[str, Any]) -> Iterator[str]:
    yield "## Versions swapped under load"
    yield ""
    memory = swaps["memory_mb"]
    yield (
        f"{swaps['seconds']:g} s of {swaps['rate']:g} gRPC requests a second of 100 candidates, open loop, a new version "
        f"every {swaps['every']:g} s: {swaps['versions']} versions, {swaps['requests']:,} answers, {swaps['failures']} "
        f"failures; p50 {swaps['p50_ms']:.1f} ms, p99 {swaps['p99_ms']:.1f} ms, p99.9 {swaps['p99.9_ms']:.1f} ms. "
        f"Memory of the server before each swap, MB: {', '.join(f'{each:.0f}' for each in memory)}."
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(row)} |"
