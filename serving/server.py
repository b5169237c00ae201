"""A local model server that speaks TensorFlow Serving's REST and gRPC."""

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import uvicorn

from serving.grpc_service import grpc_server
from serving.health import Health
from serving.metrics import ServerMetrics
from serving.model import Model
from serving.ports import address_text, no_port, reserve
from serving.predict import RequestLog
from serving.ranking import candidate_inputs
from serving.rest import RestApp
from serving.version_folders import check_base_path
from serving.versions import VersionManager

if TYPE_CHECKING:
    from serving.prediction_log import PredictionLog  # needs pyarrow

Arrays = dict[str, np.ndarray]
_GRACE = 5.0  # seconds that requests in flight have when the server stops


class ModelServer:
    """Serves the newest version of one model over both protocols, from `start` (or `with`) until `stop`.

    The ports refuse connections until a version is loaded and warmed up.

    Args:
        base_path: folder whose children are the versions.
        name: what requests call the model; the folder's name if None.
        host: address to listen on.
        rest_port: 0 takes any free one.
        grpc_port: 0 takes any free one.
        poll_seconds: pause between two looks for a newer version.
        log: gets what is asked and answered; who made it closes it, after `stop`.
    Attributes:
        version: the version that was newest at the start.
    """

    def __init__(
        self,
        base_path: Path,
        name: str | None = None,
        *,
        host: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int = 8500,
        poll_seconds: float = 1.0,
        log: "PredictionLog | None" = None,
    ) -> None:
        self.name = name or base_path.absolute().name
        self.version = 0
        self._base_path, self._host, self._log = base_path, host, log
        self._ports = {"rest": rest_port, "grpc": grpc_port}
        self._threads = 4 * (os.cpu_count() or 1)  # for each protocol, as a stock server
        self._metrics, self._health = ServerMetrics(), Health()
        self.versions = VersionManager(
            base_path,
            self.name,
            poll_seconds,
            metrics=self._metrics,
            on_availability=self._health.set_available,
        )

    @property
    def rest_target(self) -> str:
        """host:port of REST."""
        return self._address("rest")

    @property
    def grpc_target(self) -> str:
        """host:port of gRPC."""
        return self._address("grpc")

    def start(self) -> None:
        """Loads the newest version, then opens the ports.

        Raises:
            InputError: the base path is missing or has no version.
            WorkFailed: a port is taken, or the newest version does not load.
        """
        check_base_path(self._base_path)
        with ExitStack() as undo:
            rest_socket = undo.enter_context(closing(self._reserve("rest")))
            with closing(self._reserve("grpc")):
                self.version = self.versions.start()
            undo.callback(self.versions.close)
            self._start_grpc()
            self._start_rest(rest_socket)
            undo.pop_all()

    def stop(self) -> None:
        """Takes no more requests, gives those in flight five seconds, frees the ports and the memory."""
        self._health.shut_down()
        self._uvicorn.should_exit = True
        self._grpc.stop(_GRACE).wait()
        self._rest_thread.join()
        self.versions.close()  # cancels what is still running, so that the threads below end
        self._rest_app.close()
        self._grpc_pool.shutdown()

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _address(self, protocol: str) -> str:
        return address_text(self._host, self._ports[protocol])

    def _reserve(self, protocol: str) -> socket.socket:
        reserved = reserve(self._host, self._ports[protocol], protocol)
        self._ports[protocol] = reserved.getsockname()[1]
        return reserved

    @property
    def _request_log(self) -> RequestLog | None:
        log = self._log
        if log is None:
            return None

        def add(model: Model, name: str, signature: str, inputs: Arrays, outputs: Arrays) -> None:
            candidates = candidate_inputs(model.metadata(), signature)
            log.add(name, model.version, signature, inputs, outputs, candidates)

        return add

    def _start_grpc(self) -> None:
        self._grpc_pool = ThreadPoolExecutor(self._threads, thread_name_prefix="grpc")
        self._grpc = grpc_server(self.versions, self._metrics, self._grpc_pool, self._request_log)
        self._health.add_to(self._grpc)
        try:
            self._grpc.add_insecure_port(self.grpc_target)
        except RuntimeError as error:
            raise no_port(self._host, self._ports["grpc"], "grpc", "cannot listen there") from error
        self._grpc.start()

    def _start_rest(self, rest_socket: socket.socket) -> None:
        rest_socket.listen(1024)  # from here on connections wait in the queue, even before the thread runs
        self._rest_app = RestApp(self.versions, self._metrics, self._threads, log=self._request_log)
        config = uvicorn.Config(
            self._rest_app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",  # the application answers and logs its own errors
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=int(_GRACE),
        )
        self._uvicorn = uvicorn.Server(config)
        self._rest_thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [rest_socket]}, name="rest", daemon=True
        )
        self._rest_thread.start()
