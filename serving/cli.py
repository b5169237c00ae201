"""The commands `cetnet serve` and `cetnet predict`. What is heavy is imported when a command runs."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from click.core import ParameterSource

from cetnet_keras.errors import InputError

if TYPE_CHECKING:
    from serving.client import Predictor
    from serving.model import Model
    from serving.rows import CsvRows
    from serving.server import ModelServer
    from serving.stock_server import StockServer

_PORT = click.IntRange(0, 65535)


@click.command(short_help="Serve the newest version of a pushed model over REST and gRPC.")
@click.argument("directory", metavar="DIR/serving/NAME", type=click.Path(path_type=Path))
@click.option("--rest-port", default=8501, show_default=True, type=_PORT, help="0 takes any free port.")
@click.option("--grpc-port", default=8500, show_default=True, type=_PORT, help="0 takes any free port.")
@click.option("--name", help="What requests call the model.  [default: the folder's name]")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all of them."
)
@click.option("--log", type=click.Path(path_type=Path), help="File for what TensorFlow and others print.")
@click.option(
    "--engine",
    default="local",
    show_default=True,
    type=click.Choice(["local", "tf-serving"]),
    help="tf-serving runs the stock tensorflow_model_server, which has to be on PATH.",
)
@click.option("--describe", is_flag=True, help="Show the signatures with a curl command for each, and end.")
@click.pass_context
def serve(
    context: click.Context,
    directory: Path,
    rest_port: int,
    grpc_port: int,
    name: str | None,
    host: str,
    log: Path | None,
    engine: str,
    describe: bool,
) -> None:
    """Serves the newest version of a pushed model with TensorFlow Serving's paths, ports and messages.

    Prints `ready` and both addresses once a version is loaded and warmed up. Newer versions are taken up as
    they come, without a gap. Ctrl-C or SIGTERM ends it.

    \b
    Example:
      cetnet serve --describe runs/movielens_100k/serving/movielens_100k
      cetnet serve runs/movielens_100k/serving/movielens_100k
      curl localhost:8501/v1/models/movielens_100k/metadata
    """
    from cetnet_keras.console import quiet

    if describe:
        from serving.describe import describe_model

        describe_model(directory, name, host, rest_port)
        return
    with quiet(log) as console:

        def show(text: str) -> None:
            console.print(text, markup=False, highlight=False)

        if engine == "local":
            from serving.server import ModelServer

            server = ModelServer(directory, name, host=host, rest_port=rest_port, grpc_port=grpc_port)
            _serve_until_signal(server, show)
            return
        from serving.stock_server import StockServer

        if context.get_parameter_source("host") is not ParameterSource.DEFAULT:
            raise InputError(
                "--host: a stock server listens on all addresses and has no option for it; leave it out"
            )
        stock = StockServer(directory, name, rest_port=rest_port, grpc_port=grpc_port, log=log)
        code = _run_stock_server(stock, show)
    context.exit(code)


def _serve_until_signal(server: ModelServer, show: Callable[[str], None]) -> None:
    # a lock that a handler releases is not enough: a signal just before the wait begins would not end it
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    with woken, waker, server:
        logging.getLogger("serving").addHandler(_Shown(show))  # swaps and failed loads, from here on
        show(_ready(server))
        woken.recv(1)


def _run_stock_server(server: StockServer, show: Callable[[str], None]) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.forward)
    with server:
        show(_ready(server))
        return server.wait()


def _ready(server: ModelServer | StockServer) -> str:
    where = f"REST http://{server.rest_target}  gRPC {server.grpc_target}"
    return f"ready: {server.name} version {server.version}  {where}"


class _Shown(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


@click.command(short_help="Add the predicted CTR to the rows of a CSV file.")
@click.argument("rows", metavar="ROWS.CSV", type=click.Path(path_type=Path))
@click.option(
    "--target", metavar="HOST:PORT", help="A running server: host:port, http://host:port or grpc://host:port."
)
@click.option(
    "--model", type=click.Path(path_type=Path), help="A pushed model's folder, or one version in it."
)
@click.option(
    "--name", help="The model's name at the target.  [default: what `cetnet serve` serves, else `default`]"
)
@click.option("--explain", is_flag=True, help="Add each member's CTR, fusion weight and confidence.")
@click.option("--output", type=click.Path(path_type=Path), help="File to write instead of standard output.")
@click.option(
    "--batch-size", default=1024, show_default=True, type=click.IntRange(1), help="Rows in a request."
)
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds a request may take.",
)
def predict(
    rows: Path,
    target: str | None,
    model: Path | None,
    name: str | None,
    explain: bool,
    output: Path | None,
    batch_size: int,
    timeout: float,
) -> None:
    """Adds a column `ctr` to the rows of a CSV file, and with --explain the members' view.

    Asks a running server (--target) or loads the model itself (--model). A target without http:// or grpc://
    is asked which of both it speaks. The model says which columns it takes and of which type; others pass
    through untouched.

    \b
    Example:
      cetnet predict rows.csv --target localhost:8500
      cetnet predict rows.csv --target http://localhost:8501 --name movielens_100k --explain
      cetnet predict rows.csv --model runs/movielens_100k/serving/movielens_100k --output scored.csv
    """
    from cetnet_keras.console import quiet
    from serving.rows import CsvRows

    if (target is None) == (model is None):
        raise InputError("name either --target, a running server, or --model, a pushed model's folder")
    with quiet() as console, CsvRows(rows) as source, ExitStack() as stack:
        predictor: Predictor
        if target is not None:
            from serving.client import connect

            predictor = stack.enter_context(closing(connect(target, name, timeout)))
        else:
            assert model is not None
            predictor = stack.enter_context(closing(_load(model)))
        file = console.file if output is None else stack.enter_context(_replaced(output))
        count = _add_predictions(source, predictor, file, explain, batch_size)
    if output is not None:
        click.echo(f"{output}: {count} rows", err=True)


def _load(path: Path) -> Model:
    from serving.version_folders import version_folder

    folder = version_folder(path)
    from serving.model import Model  # loads TensorFlow: not before the folder is known to be there

    return Model(folder)


@contextmanager
def _replaced(path: Path) -> Iterator[IO[str]]:
    """A file that takes its place when all is written; an error leaves what was there."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    finally:
        with suppress(OSError):  # there is none if all went well, or nothing did
            partial.unlink()


def _add_predictions(
    source: CsvRows, predictor: Predictor, file: IO[str], explain: bool, batch_size: int
) -> int:
    """Writes the rows with their predictions, a batch at a time, and returns how many."""
    from serving.arrays import known_signature
    from serving.metadata import DEFAULT_SIGNATURE
    from serving.rows import PredictionWriter, RowInputs

    signature = "explain" if explain else DEFAULT_SIGNATURE
    known = known_signature(predictor.metadata(), signature)
    inputs = RowInputs(source.path, source.columns, known.inputs)
    writer, count = PredictionWriter(file, source), 0
    for batch in source.batches(batch_size):
        writer.write(batch, predictor.predict(inputs.arrays(batch), signature))
        count += len(batch)
    return count
