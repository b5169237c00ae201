"""What the parity gate measured of a model in a fresh server: in metrics.json, and in the report."""

from collections.abc import Iterator

from pipeline.gates import Gates
from pipeline.training_record import Record


class Latency(Record):
    """Of one request after another, in milliseconds, with the client on the server's machine."""

    p50: float
    p99: float


class ServedModel(Record):
    """How a fresh server with the model answered; keys are such as `gRPC rank`."""

    rows: int
    largest_difference: dict[str, float]  # from what training computed, of any output
    latency_ms: dict[str, Latency]  # of a request of one row, or of one context with up to 100 candidates
    model_mb: float  # size of the SavedModel
    memory_mb: float  # most that the server had


def bounds_of_serving(
    served: ServedModel | None, gates: Gates
) -> Iterator[tuple[str, float | None, float | None]]:
    """What is bounded, what was measured of it, and the bound; None where there is none."""
    p99 = served.latency_ms["gRPC serving_default"].p99 if served else None
    yield "p99 of a gRPC request of one row, ms", p99, gates.max_latency_ms
    yield "size of the model, MB", served.model_mb if served else None, gates.max_model_mb
    yield "memory of its server, MB", served.memory_mb if served else None, gates.max_memory_mb
