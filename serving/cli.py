"""The command `cetnet serve`. What is heavy is imported when it runs."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from serving.server import ModelServer

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
def serve(
    directory: Path, rest_port: int, grpc_port: int, name: str | None, host: str, log: Path | None
) -> None:
    """Serves the newest version of a pushed model with TensorFlow Serving's paths, ports and messages.

    Prints `ready` and both addresses once a version is loaded and warmed up. Newer versions are taken up as
    they come, without a gap. Ctrl-C or SIGTERM ends it.

    \b
    Example:
      cetnet serve runs/movielens_100k/serving/movielens_100k
      curl localhost:8501/v1/models/movielens_100k/metadata
    """
    from cetnet_keras.console import quiet

    with quiet(log) as console:
        from serving.server import ModelServer

        server = ModelServer(directory, name, host=host, rest_port=rest_port, grpc_port=grpc_port)
        _serve_until_signal(server, lambda text: console.print(text, markup=False, highlight=False))


def _serve_until_signal(server: ModelServer, show: Callable[[str], None]) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with server:
        logging.getLogger("serving").addHandler(_Shown(show))  # swaps and failed loads, from here on
        where = f"REST http://{server.rest_target}  gRPC {server.grpc_target}"
        show(f"ready: {server.name} version {server.version}  {where}")
        stop.wait()


class _Shown(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())
