"""A local model server that speaks TensorFlow Serving's REST and gRPC."""

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

import uvicorn

from cetnet_keras.errors import WorkFailed
from serving.grpc_service import grpc_server
from serving.rest import RestApp
from serving.version_folders import check_base_path
from serving.versions import VersionManager

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
    ) -> None:
        self.name = name or base_path.absolute().name
        self.version = 0
        self._base_path, self._host = base_path, host
        self._ports = {"rest": rest_port, "grpc": grpc_port}
        self._threads = 4 * (os.cpu_count() or 1)  # for each protocol, as a stock server
        self.versions = VersionManager(base_path, self.name, poll_seconds)

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
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._ports[protocol]}"

    def _reserve(self, protocol: str) -> socket.socket:
        """A socket that holds the port and does not listen: a taken port is seen before the model loads."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # asyncio sets TCP_NODELAY, without which each answer takes 40 ms, on sockets that name their protocol
        reserved = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            reserved.bind((self._host, self._ports[protocol]))
        except (OSError, OverflowError) as error:
            reserved.close()
            raise self._no_port(protocol, str(error)) from error
        self._ports[protocol] = reserved.getsockname()[1]
        return reserved

    def _no_port(self, protocol: str, reason: str) -> WorkFailed:
        cure = f"name another port with --{protocol}-port, or 0 for any free one"
        return WorkFailed(f"{self._address(protocol)}: {reason}; {cure}")

    def _start_grpc(self) -> None:
        self._grpc_pool = ThreadPoolExecutor(self._threads, thread_name_prefix="grpc")
        self._grpc = grpc_server(self.versions, self._grpc_pool)
        try:
            self._grpc.add_insecure_port(self.grpc_target)
        except RuntimeError as error:
            raise self._no_port("grpc", "cannot listen there") from error
        self._grpc.start()

    def _start_rest(self, rest_socket: socket.socket) -> None:
        rest_socket.listen(1024)  # from here on connections wait in the queue, even before the thread runs
        self._rest_app = RestApp(self.versions, self._threads)
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
