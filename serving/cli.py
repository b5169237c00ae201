"""The command `cetnet serve`. What is heavy is imported when it runs."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from cetnet_keras.errors import InputError

if TYPE_CHECKING:
    from serving.server import ModelServer
    from serving.stock_server import StockServer

_DEFAULT = ParameterSource.DEFAULT
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
@click.option(
    "--prediction-log",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for Parquet files of what is asked and answered.",
)
@click.option(
    "--prediction-log-rate",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the requests that are logged.",
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
    prediction_log: Path | None,
    prediction_log_rate: float,
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

        if prediction_log is None and context.get_parameter_source("prediction_log_rate") is not _DEFAULT:
            raise InputError("--prediction-log-rate: there is no log; name its folder with --prediction-log")
        if engine == "local":
            from serving.server import ModelServer

            with ExitStack() as stack:
                written = None
                if prediction_log is not None:
                    from serving.prediction_log import PredictionLog

                    written = stack.enter_context(PredictionLog(prediction_log, prediction_log_rate))
                ports = {"rest_port": rest_port, "grpc_port": grpc_port}
                server = ModelServer(directory, name, host=host, log=written, **ports)
                gc.freeze()  # looking through all that is imported would stop requests for 0.2 s at each swap
                _serve_until_signal(server, show)
            return
        from serving.stock_server import StockServer

        if context.get_parameter_source("host") is not _DEFAULT:
            raise InputError(
                "--host: a stock server listens on all addresses and has no option for it; leave it out"
            )
        if prediction_log is not None:
            raise InputError(
                "--prediction-log: a stock server has no such log; log in the client, or leave it out"
            )
        stock = StockServer(directory, name, rest_port=rest_port, grpc_port=grpc_port, log=log)
        code = _run_stock_server(stock, show)
    context.exit(code)


def _serve_until_signal(server: ModelServer, show: Callable[[str], None]) -> None:
    # a lock that a handler releases is not enough: a signal just before the wait begins would not end it
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    # until it is ready nobody was answered; without a handler process 1 of a container would not end
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    with server, woken, waker:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno())
        try:
            logging.getLogger("serving").addHandler(_Shown(show))  # swaps and failed loads, from here on
            show(_ready(server))
            woken.recv(1)
        finally:
            signal.set_wakeup_fd(-1)  # a second signal would be written into what is opened in its place


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
        try:
            self._show(record.getMessage())
        except (Exception, SystemExit):  # a console that is gone must not end who tells of it
            self.handleError(record)
