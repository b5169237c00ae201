"""Load on a served model, and what cheaper models give up: `python -m benchmarks.serving --run runs/movielens_100k`.

Needs a run of `cetnet run` or `cetnet demo`, whose rows it takes; trains its model once more, because a pushed one has no
weights to change, or takes one that benchmarks.quality trained on the same rows. Server and client share the machine: read
ratios within one run, not milliseconds.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.quality.training import weights_path
from benchmarks.serving.exports import WARMUP, Columns, Export, exports
from benchmarks.serving.load import Load, closed_loop, grpc_sender, open_loop, rest_sender
from benchmarks.serving.tables import markdown
from benchmarks.transformed_rows import Rows
from cetnet_keras.spec import ModelSpec, load_data_spec, parse_spec, read_text
from pipeline.warmup_rows import warmup_requests
from serving.arrays import typed_arrays
from serving.model import Model
from serving.process import ServerProcess, server_process
from serving.warmup import replay_warmup

HERE = Path(__file__).resolve().parent
NAME = "model"
SENDERS = {"gRPC": grpc_sender, "REST": rest_sender}
WORKERS = 8  # of an open loop
OPEN_LOAD = 0.5  # of the rate that a closed loop of four workers reached


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/movielens_100k"), help="folder of a run")
    parser.add_argument("--data", type=Path, default=Path("recipes/movielens_100k/data.yaml"))
    parser.add_argument("--model", type=Path, default=Path("recipes/movielens_100k/model.yaml"))
    parser.add_argument(
        "--trained",
        type=Path,
        help="JSON file of a training of benchmarks.quality: its model, in place of --model",
    )
    parser.add_argument("--models-only", action="store_true", help="the table of cheaper models and no loads")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--calls", type=int, default=200, help="in the process, of each model and size")
    parser.add_argument(
        "--swap-seconds", type=float, default=600.0, help="of load while versions are swapped"
    )
    parser.add_argument("--swap-every", type=float, default=20.0, help="seconds between two versions")
    parser.add_argument("--output", type=Path, default=HERE, help="folder for results.json and RESULTS.md")
    parser.add_argument("--quick", action="store_true", help="to see that it works: one epoch, short loads")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.swap_seconds, arguments.swap_every = 1.0, 10.0, 4.0
        arguments.calls, arguments.output = 5, Path(tempfile.mkdtemp())
    spec = load_data_spec(arguments.data)
    model_spec, weights = trained(arguments.trained) if arguments.trained else (read(arguments.model), None)
    rows = Rows.of(spec, arguments.run)
    with tempfile.TemporaryDirectory() as folder:
        found = list(exports(rows, model_spec, Path(folder), arguments.quick, weights))
        with closing(Model(found[0].folder)) as model:
            metadata = model.metadata()
        requests = {
            size: {
                name: typed_arrays(inputs, metadata, name)
                for name, inputs in warmup_requests(spec, rows.transformed, [size])
            }
            for size in WARMUP
        }
        results = {
            "data": spec.name,
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
            "tensorflow": tf.__version__,
            "python": platform.python_version(),
            "seconds": arguments.seconds,
            "models": in_process(found, requests, arguments.calls),
        }
        if not arguments.models_only:
            results |= {
                "loads": loads(found[0], requests, arguments.seconds),
                "swaps": swaps(found[0], requests, arguments.swap_seconds, arguments.swap_every),
            }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path = arguments.output / "RESULTS.md"
    path.write_text(markdown(results, (HERE / "head.md").read_text(encoding="utf-8")), encoding="utf-8")
    print(path)


def read(model: Path) -> ModelSpec:
    """A model.yaml."""
    return parse_spec(ModelSpec, read_text(model), str(model))


def trained(run: Path) -> tuple[ModelSpec, Path]:
    """The model of a finished training of benchmarks.quality, and its weights."""
    found = json.loads(run.read_text(encoding="utf-8"))
    return ModelSpec.model_validate(found["model"]), weights_path(run.parent, found["seed"])


def in_process(
    found: Sequence[Export], requests: dict[int, dict[str, Columns]], calls: int
) -> list[dict[str, Any]]:
    """Quality, size and milliseconds of a call in this process, the models by turns so that all meet the same machine."""
    models = [_warm(export) for export in found]
    sizes = [
        ("serving_default", 1),
        ("serving_default", 100),
        ("serving_default", 500),
        ("rank", 100),
        ("rank", 500),
    ]
    times: dict[tuple[int, str, int], list[float]] = {}
    for _ in range(calls):
        for place, model in enumerate(models):
            for signature, size in sizes:
                began = time.perf_counter()
                model.run(signature, requests[size][signature])
                times.setdefault((place, signature, size), []).append(time.perf_counter() - began)
    for model in models:
        model.close()
    return [
        {
            "name": export.name,
            **{key: round(value, 4) for key, value in export.test.items()},
            "megabytes": export.megabytes,
            **{
                f"{signature} {size}": round(1000 * statistics.median(times[place, signature, size]), 3)
                for signature, size in sizes
            },
        }
        for place, export in enumerate(found)
    ]


def _warm(export: Export) -> Model:
    model = Model(export.folder)
    replay_warmup(model)
    return model


def loads(export: Export, requests: dict[int, dict[str, Columns]], seconds: float) -> list[dict[str, Any]]:
    """Closed and open loops over both protocols beside calls in the process, of 1, 100 and 1000 candidates."""
    rows: list[dict[str, Any]] = []
    model = _warm(export)
    with server_process(export.folder.parent, NAME, export.folder.parent / "log.txt") as server:
        for size in (1, 100, 1000):
            inputs = requests[size]["rank"]
            call = partial(model.run, "rank", inputs)
            rows.append(_row("in process", "1 caller", size, closed_loop(lambda: call, 1, seconds)))  # noqa: B023
            for protocol, make_sender in SENDERS.items():
                target = server.grpc if protocol == "gRPC" else server.rest
                make = make_sender(target, NAME, "rank", inputs)
                rows.append(_row(protocol, "1 caller", size, closed_loop(make, 1, seconds)))
                before = server.cpu_seconds()
                many = closed_loop(make, 4, seconds)
                cpu = (server.cpu_seconds() - before) / many.seconds
                rows.append(_row(protocol, "4 callers", size, many) | {"cpu": round(cpu, 2)})
                rate = OPEN_LOAD * len(many.latency_ms) / many.seconds
                found = open_loop(make, WORKERS, rate, seconds)
                rows.append(_row(protocol, f"{rate:.0f} a second, open", size, found))
        _compare_rows(server, requests, rows, seconds)
        rows[-1]["memory_mb"] = round(server.peak_memory() / 1e6)
    model.close()
    return rows


def _compare_rows(
    server: ServerProcess, requests: dict[int, dict[str, Columns]], rows: list[dict[str, Any]], seconds: float
) -> None:
    """500 candidates in one ranking request beside 500 rows of serving_default."""
    for protocol, make_sender in SENDERS.items():
        target = server.grpc if protocol == "gRPC" else server.rest
        for signature in ("rank", "serving_default"):
            make = make_sender(target, NAME, signature, requests[500][signature])
            what = "1 caller" if signature == "rank" else "1 caller, serving_default"
            rows.append(_row(protocol, what, 500, closed_loop(make, 1, seconds)))


def _row(protocol: str, load: str, size: int, found: Load) -> dict[str, Any]:
    return {"protocol": protocol, "load": load, "candidates": size} | found.figures(size)


def swaps(
    export: Export, requests: dict[int, dict[str, Columns]], seconds: float, every: float
) -> dict[str, Any]:
    """An open loop over gRPC while a new version comes every so often and the oldest goes."""
    base = export.folder.parent
    source = shutil.copytree(export.folder, base.with_name("source"))
    with server_process(base, NAME, base / "log.txt") as server:
        make = grpc_sender(server.grpc, NAME, "rank", requests[100]["rank"])
        alone = closed_loop(make, 4, min(seconds, 5.0))
        rate = OPEN_LOAD / 2 * len(alone.latency_ms) / alone.seconds
        memory: list[float] = []
        done = threading.Event()

        def push() -> None:
            version = 1
            while not done.wait(every):
                memory.append(round(server.memory() / 1e6))
                version += 1
                shutil.copytree(source, base / f"{version}.partial")
                (base / f"{version}.partial").rename(base / str(version))
                if version > 2:
                    shutil.rmtree(base / str(version - 2))

        pushing = threading.Thread(target=push)
        pushing.start()
        found = open_loop(make, WORKERS, rate, seconds)
        done.set()
        pushing.join()
        figures = found.figures(100) | {"versions": len(memory), "memory_mb": memory}
        return figures | {
            "rate": round(rate, 1),
            "seconds": seconds,
            "every": every,
            "errors": found.failures[:5],
        }


if __name__ == "__main__":
    main()
