"""The demo: MovieLens-100K from download to a served ranking, with each member's opinion."""

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cetnet_keras.console import quiet
from cetnet_keras.errors import WorkFailed
from cetnet_keras.spec import DataSpec, load_data_spec, load_model_spec
from pipeline.cli import run_and_show

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "movielens_100k"
_TOP = 10


def run_demo(output: Path) -> None:
    """Runs the demo and shows each step on the terminal.

    Raises:
        WorkFailed: the recipe is not beside the package, the data cannot be fetched, or a step failed.
    """
    prepare = _prepare_module()
    with quiet() as console:
        console.print("[bold]1. Data[/bold]")
        console.print(prepare.LICENCE, highlight=False)
        clicks = prepare.prepare(RECIPE / "data")
        console.print(f"rows in {clicks}")
        console.print("[bold]2. Pipeline[/bold]")
    run_and_show(RECIPE / "data.yaml", RECIPE / "model.yaml", output)
    with quiet(output / "log.txt") as console:
        console.print("[bold]3. Served[/bold]")
        _ask(console, output, clicks.with_name("movies.csv"))


def _prepare_module() -> ModuleType:
    path = RECIPE / "prepare.py"
    if not path.is_file():
        raise WorkFailed(f"{path} is missing: the demo runs from a clone of the project")
    found = importlib.util.spec_from_file_location("movielens_100k_prepare", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _ask(console: Any, output: Path, movies_file: Path) -> None:
    """Serves the pushed model in a process of its own and asks it over both protocols."""
    from cetnet_keras.ensemble_members import member_names
    from serving.client import GrpcClient, RestClient
    from serving.process import server_process

    spec = load_data_spec(RECIPE / "data.yaml")
    members = member_names(load_model_spec(RECIPE / "model.yaml").members or [])
    row = _last_test_row(spec, output)
    movies = _movies(movies_file, row)
    with server_process(output / "serving" / spec.name, spec.name, output / "log.txt") as addresses:
        rest, grpc = RestClient(addresses.rest, spec.name), GrpcClient(addresses.grpc, spec.name)
        single = {name: np.array([value]) for name, value in row.items()}
        for protocol, client, address in (("REST", rest, addresses.rest), ("gRPC", grpc, addresses.grpc)):
            ctr = client.predict(single)["ctr"]
            console.print(
                f"{protocol:<5} {address}  user {_shown(row['user_id'])}, movie {_shown(row['item_id'])}: ctr {ctr[0]:.6f}"
            )
        _show_ranking(console, spec, grpc, row, movies, members)


def _last_test_row(spec: DataSpec, output: Path) -> dict[str, Any]:
    """The raw features of the first row of the test split: one user at the end of what is known."""
    from pipeline.artifacts import latest_outputs
    from pipeline.parity import raw_rows

    examples = latest_outputs(output / "tfx" / "metadata.sqlite", spec.name, "ExampleGen")
    assert examples is not None
    columns = next(raw_rows(spec, examples.folder("examples") / "Split-test"))
    return {name: columns[name][0] for name in spec.raw_types}


def _movies(path: Path, row: dict[str, Any]) -> list[dict[str, str]]:
    """Every movie that is not in the user's history."""
    seen = set(row["history"].decode().split("^"))
    with path.open(encoding="utf-8", newline="") as file:
        return [movie for movie in csv.DictReader(file) if movie["item_id"] not in seen]


def _show_ranking(
    console: Any,
    spec: DataSpec,
    client: Any,
    row: dict[str, Any],
    movies: list[dict[str, str]],
    members: Sequence[str],
) -> None:
    from rich.table import Table

    candidates = spec.with_role("candidate")
    columns = {name: np.array([movie[name] for movie in movies], object) for name in candidates}
    context = {name: np.array([row[name]]) for name in spec.with_role("context")}
    ctr = client.predict(context | {name: value[np.newaxis] for name, value in columns.items()}, "rank")[
        "ctr"
    ][0]
    best = np.argsort(-ctr, kind="stable")[:_TOP]
    rows = {name: np.repeat(value, _TOP) for name, value in context.items()}
    explained = client.predict(rows | {name: value[best] for name, value in columns.items()}, "explain")
    table = Table(
        title=f"Top {_TOP} of {len(movies)} movies for user {_shown(row['user_id'])}", title_justify="left"
    )
    for head in ("", "movie", "ctr", *(f"{member}: ctr x weight" for member in members)):
        table.add_column(head, justify="left" if head == "movie" else "right")
    for place, movie in enumerate(best):
        opinions = zip(explained["member_ctr"][place], explained["fusion_weight"][place], strict=True)
        cells = [f"{p:.3f} x {w:.3f}" for p, w in opinions]
        table.add_row(str(place + 1), movies[movie]["title"], f"{ctr[movie]:.4f}", *cells)
    console.print(table)


def _shown(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
