"""The commands `cetnet predict` and `cetnet rank`. What is heavy is imported when a command runs."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from cetnet_keras.errors import InputError

if TYPE_CHECKING:
    from cetnet_keras.spec import CsvFormat, DataSpec
    from serving.blocking_client import Client
    from serving.csv_rows import CsvRows, Row
    from serving.tables import Table


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of both commands: how the rows are written, which model, and where the answer goes."""
    options = [
        click.option(
            "--delimiter",
            metavar="CHARACTER",
            help="What stands between two cells of a CSV file; '\\t' is a tab.  [default: that of --data, else ,]",
        ),
        click.option(
            "--prefix",
            default="",
            metavar="TEXT",
            help="Put before the names of the columns that are added, for rows that have a `ctr` already.",
        ),
        click.option(
            "--target",
            metavar="HOST:PORT",
            help="A running server: host:port, http://host:port or grpc://host:port.",
        ),
        click.option(
            "--model", type=click.Path(path_type=Path), help="A pushed model's folder, or one version in it."
        ),
        click.option(
            "--name",
            help="The model's name at the target.  [default: what `cetnet serve` serves, else `default`]",
        ),
        click.option(
            "--output", type=click.Path(path_type=Path), help="File to write instead of standard output."
        ),
        click.option(
            "--timeout",
            default=30.0,
            show_default=True,
            type=click.FloatRange(0, min_open=True),
            help="Seconds to wait for an answer.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command(short_help="Add the predicted CTR to the rows of a CSV or Parquet file.")
@click.argument("rows", metavar="ROWS.CSV", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="DATA.YAML",
    type=click.Path(path_type=Path),
    help="What the columns mean: needed where the rows have no header line, and for lists and times that "
    "the model takes as text or whole numbers.",
)
@_options
@click.option("--explain", is_flag=True, help="Add each member's CTR, fusion weight and confidence.")
@click.option(
    "--batch-size", default=1024, show_default=True, type=click.IntRange(1), help="Rows in a request."
)
def predict(
    rows: Path,
    data: Path | None,
    delimiter: str | None,
    prefix: str,
    target: str | None,
    model: Path | None,
    name: str | None,
    output: Path | None,
    timeout: float,
    explain: bool,
    batch_size: int,
) -> None:
    """Adds a column `ctr` to the rows of a CSV file, and with --explain the members' view.

    Asks a running server (--target) or loads the model itself (--model). A target without http:// or grpc://
    is asked which of both it speaks. The model says which columns it takes and of which type, or the data spec
    that it was trained with (--data); others pass through untouched. CSV may be compressed with gzip, and is
    written with a header line. Rows of a file called *.parquet or *.pq are written as Parquet to --output.

    \b
    Example:
      cetnet predict rows.csv --target localhost:8500
      cetnet predict rows.tsv.gz --data data.yaml --target localhost:8500 --output scored.tsv.gz
      cetnet predict rows.csv --target http://localhost:8501 --name movielens_100k --explain
      cetnet predict rows.csv --model runs/movielens_100k/serving/movielens_100k --output scored.csv
    """
    from cetnet_keras.console import quiet
    from serving.metadata import DEFAULT_SIGNATURE

    signature = "explain" if explain else DEFAULT_SIGNATURE
    with quiet() as console, ExitStack() as stack:
        kind = _format(rows, output, ("CSV", "Parquet"))
        spec = _data_spec(data)
        if kind == "Parquet":
            from serving.parquet_rows import ParquetRows, add_to_parquet

            if delimiter is not None:
                raise InputError(f"{rows}: found --delimiter, but a Parquet file has none; leave it out")
            parquet = stack.enter_context(ParquetRows(rows))
            if output is None:
                raise InputError(f"{rows}: name a file for the rows and their predictions with --output")
            client = stack.enter_context(_client(target, model, name, timeout))
            file = stack.enter_context(_replaced(output, "wb"))
            count = add_to_parquet(parquet, client, file, signature, batch_size, spec, prefix)
        else:
            from serving.csv_rows import CsvRows

            source = stack.enter_context(CsvRows(rows, _dialect(spec, delimiter)))
            client = stack.enter_context(_client(target, model, name, timeout))
            file = stack.enter_context(_replaced(output, "w")) if output else console.file
            count = _add_to_csv(source, client, file, signature, batch_size, spec, prefix)
    if output is not None:
        click.echo(f"{output}: {count} rows", err=True)


@click.command(short_help="Rank candidates for one user, best first.")
@click.option(
    "--user",
    metavar="NAME=VALUE",
    multiple=True,
    required=True,
    help="A feature of the user or request, once for each; or a JSON object of several; or @FILE with one. "
    "NAME= is a value that is not known.",
)
@click.option(
    "--candidates",
    metavar="ITEMS.CSV",
    required=True,
    type=click.Path(path_type=Path),
    help="A row for each candidate, with its features; other columns pass through.",
)
@click.option("--top", default=20, show_default=True, type=click.IntRange(1), help="Candidates to show.")
@_options
def rank(
    user: tuple[str, ...],
    candidates: Path,
    top: int,
    delimiter: str | None,
    prefix: str,
    target: str | None,
    model: Path | None,
    name: str | None,
    output: Path | None,
    timeout: float,
) -> None:
    """Writes the candidates of a CSV file that the model ranks highest for one user, with a column `ctr`.

    Asks a running server (--target) or loads the model itself (--model), as `cetnet predict` does. The model
    says which features are the user's and which the candidates'.

    \b
    Example:
      cetnet rank --user user_id=59 --user age=49 --user history=50^181 --candidates movies.csv --top 10 \\
          --target localhost:8500
      cetnet rank --user '{"user_id": "59", "age": null}' --candidates movies.csv --model runs/m/serving/m
      cetnet rank --user @user.json --candidates movies.csv --target localhost:8500 --output best.csv
    """
    from cetnet_keras.console import quiet
    from serving.csv_rows import CsvRows

    with quiet() as console, ExitStack() as stack:
        _format(candidates, output, ("CSV",))
        source = stack.enter_context(CsvRows(candidates, _dialect(None, delimiter)))
        client = stack.enter_context(_client(target, model, name, timeout))
        file = stack.enter_context(_replaced(output, "w")) if output else console.file
        count = _write_best(source, client, file, user, top, prefix)
    if output is not None:
        click.echo(f"{output}: {count} rows", err=True)


def _format(rows: Path, output: Path | None, known: Sequence[str]) -> str:
    """The format of rows, by their name. Raises InputError where it is none of `known`, or not that of the output."""
    from cetnet_keras.formats import format_of

    kind = format_of(rows.name)
    if kind not in known:
        expected = " or ".join(known)
        raise InputError(
            f"{rows}: found {kind} by its name, expected {expected}; write the rows as {expected}"
        )
    if output is not None and format_of(output.name) != kind:
        found = f"found another format by its name than {rows}, whose rows are written as {kind}"
        cure = "a name that ends in .parquet" if kind == "Parquet" else "a name such as scored.csv"
        raise InputError(f"{output}: {found}; give --output {cure}")
    return kind


def _data_spec(path: Path | None) -> DataSpec | None:
    from cetnet_keras.spec import load_data_spec

    return None if path is None else load_data_spec(path)


def _dialect(spec: DataSpec | None, delimiter: str | None) -> CsvFormat:
    """How a CSV file is written: as the spec says, but with the delimiter that is given."""
    from pydantic import ValidationError

    from cetnet_keras.spec import CsvFormat

    given = {} if delimiter is None else {"delimiter": delimiter.replace("\\t", "\t")}
    try:
        return CsvFormat(**((spec.csv.model_dump() if spec else {}) | given))
    except ValidationError as error:
        expected = "expected one ASCII character that is no quote; a tab is '\\t'"
        raise InputError(f"--delimiter: found {delimiter!r}, {expected}") from error


def _client(target: str | None, model: Path | None, name: str | None, timeout: float) -> Client:
    if (target is None) == (model is None):
        raise InputError("name either --target, a running server, or --model, a pushed model's folder")
    if target is not None:
        from serving.client import connect

        return connect(target, name, timeout)
    assert model is not None
    from serving.version_folders import version_folder

    version_folder(model)  # TensorFlow is not loaded before the folder is known to be there
    from serving.in_process import load

    return load(model, timeout)


@contextmanager
def _replaced(path: Path, mode: str) -> Iterator[IO[Any]]:
    """A file that takes its place when all is written; an error leaves what was there."""
    partial = path.with_name(path.name + ".partial")
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    form = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with opener(partial, mode if "b" in mode else f"{mode}t", **form) as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    finally:
        with suppress(OSError):  # there is none if all went well, or nothing did
            partial.unlink()


def _add_to_csv(
    source: CsvRows,
    client: Client,
    file: IO[str],
    signature: str,
    batch_size: int,
    spec: DataSpec | None,
    prefix: str,
) -> int:
    """Writes the rows with their predictions, a batch at a time, and returns how many."""
    from serving.arrays import known_signature
    from serving.rows import PredictionWriter, RowInputs

    known = known_signature(client.metadata(), signature).inputs
    arrays: Callable[[Sequence[Row]], Table]
    if spec is None:
        arrays = RowInputs(source.path, source.columns, known).arrays
    else:
        from serving.cell_inputs import CsvInputs

        arrays = CsvInputs(source, known, spec).table
    writer, count = PredictionWriter(file, source, prefix), 0
    for batch in source.batches(batch_size):
        writer.write(batch, client.predict(arrays(batch), signature, batch_size=None))
        count += len(batch)
    return count


def _write_best(
    source: CsvRows, client: Client, file: IO[str], user: tuple[str, ...], top: int, prefix: str
) -> int:
    """Writes the best candidates with their ctr, and returns how many."""
    import numpy as np

    from serving.ranking import rank_features
    from serving.rows import PredictionWriter, RowInputs
    from serving.user_features import user_features

    features = rank_features(client.metadata())
    context = user_features(user, features.context)
    inputs = RowInputs(source.path, source.columns, features.candidate)
    rows = [row for batch in source.batches(1024) for row in batch]
    ctr = client.rank(context, inputs.arrays(rows))
    best = np.argsort(-ctr, kind="stable")[:top]
    PredictionWriter(file, source, prefix).write([rows[place] for place in best], {"ctr": ctr[best]})
    return len(best)
