"""The Prometheus metrics of a server, with the names, labels and buckets of TensorFlow Serving.

Not by `prometheus_client`, which adds HELP lines and the suffixes `_total` and `_created`: a dashboard made for
a stock server would find nothing.
"""

import threading
import time
from bisect import bisect_left
from itertools import accumulate

from serving.status import Code

METRICS_PATH = "/monitoring/prometheus/metrics"
_LIMITS = [10 * 1.8**power for power in range(33)]  # microseconds, up to 25 minutes
_BUCKETS = [f'le="{limit:g}"' for limit in _LIMITS] + ['le="+Inf"']


class Counter:
    """How often something happened, by the values of its labels. Any number of threads may add to it."""

    def __init__(self, name: str, *labels: str) -> None:
        self._name, self._labels = name, labels
        self._counts: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def add(self, *values: str) -> None:
        """Counts one more with these values of the labels."""
        with self._lock:
            self._counts[values] = self._counts.get(values, 0) + 1

    def lines(self) -> list[str]:
        """Its part of the page."""
        with self._lock:
            counts = sorted(self._counts.items())
        lines = [f"# TYPE {self._name} counter"]
        return lines + [f"{self._name}{{{_pairs(self._labels, key)}}} {count}" for key, count in counts]


class Histogram:
    """How long something took, by the values of its labels. Any number of threads may add to it."""

    def __init__(self, name: str, *labels: str) -> None:
        self._name, self._labels = name, labels
        self._cells: dict[tuple[str, ...], list[int]] = {}  # a count for each bucket, then the sum
        self._lock = threading.Lock()

    def observe(self, began: int, *values: str) -> None:
        """Adds the time since `began`, in nanoseconds of time.perf_counter_ns."""
        took = (time.perf_counter_ns() - began) // 1000  # microseconds
        bucket = bisect_left(_LIMITS, took)
        with self._lock:
            cell = self._cells.get(values)
            if cell is None:
                cell = self._cells[values] = [0] * (len(_BUCKETS) + 1)
            cell[bucket] += 1
            cell[-1] += took

    def lines(self) -> list[str]:
        """Its part of the page."""
        with self._lock:
            cells = [(key, list(cell)) for key, cell in sorted(self._cells.items())]
        lines = [f"# TYPE {self._name} histogram"]
        for key, (*counts, total) in cells:
            labels, running = _pairs(self._labels, key), list(accumulate(counts))
            for limit, count in zip(_BUCKETS, running, strict=True):
                lines.append(f"{self._name}_bucket{{{labels},{limit}}} {count}")
            lines += [
                f"{self._name}_sum{{{labels}}} {total}",
                f"{self._name}_count{{{labels}}} {running[-1]}",
            ]
        return lines


class ServerMetrics:
    """What one server counts.

    Attributes:
        runtime_latency: of what TensorFlow ran, warm-up included; by model_name, API, runtime.
        warmup_latency: of a version's warm-up; by model_path, status.
    """

    def __init__(self) -> None:
        prefix = ":tensorflow:serving:"
        self._request_count = Counter(prefix + "request_count", "model_name", "status")
        self._request_latency = Histogram(prefix + "request_latency", "model_name", "API", "entrypoint")
        self.runtime_latency = Histogram(prefix + "runtime_latency", "model_name", "API", "runtime")
        self.warmup_latency = Histogram(prefix + "model_warmup_latency", "model_path", "status")

    def count_request(self, began: int, model: str, api: str, entrypoint: str, code: Code) -> None:
        """Counts a request that ends now; only of those that succeed the time is kept, as in a stock server."""
        model = model.encode("utf-8", "replace").decode()  # a path's name may hold any bytes
        self._request_count.add(model, code.name)
        if code == Code.OK:
            self._request_latency.observe(began, model, api, entrypoint)

    def page(self) -> str:
        """All of it in Prometheus' text format."""
        metrics = (self.warmup_latency, self._request_count, self._request_latency, self.runtime_latency)
        return "".join(f"{line}\n" for metric in metrics for line in metric.lines())


def _pairs(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    """A stock server leaves a line break as it is, and the page cannot be read any more."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
