"""The stock TensorFlow Serving, run as a child with the options of `cetnet serve`."""

import shutil
import subprocess
import tempfile
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType

from cetnet_keras.errors import InputError, WorkFailed
from serving.client_errors import Refused, Unreachable
from serving.grpc_client import GrpcClient
from serving.metrics import METRICS_PATH
from serving.ports import address_text, reserve
from serving.rest_client import RestClient
from serving.retry import Retry
from serving.version_folders import check_base_path

BINARY = "tensorflow_model_server"
_EVERYWHERE = "0.0.0.0"  # a stock server listens on all addresses and has no option for it
_HERE = "127.0.0.1"
_GRACE = 10.0  # seconds that it has to end by itself
_ONCE = Retry(attempts=1)
_PAUSE = 0.1  # seconds between two looks whether it is ready


class StockServer:
    """Runs `tensorflow_model_server` from `start` (or `with`) until `stop`; metrics and health are switched on.

    Args:
        base_path: folder whose children are the versions.
        name: what requests call the model; the folder's name if None.
        rest_port: 0 takes any free one.
        grpc_port: 0 takes any free one.
        poll_seconds: pause between two looks for a newer version.
        log: what it prints is appended here.
    Attributes:
        version: the version that was newest at the start.
    """

    def __init__(
        self,
        base_path: Path,
        name: str | None = None,
        *,
        rest_port: int = 8501,
        grpc_port: int = 8500,
        poll_seconds: int = 1,
        log: Path | None = None,
    ) -> None:
        self.name = name or base_path.absolute().name
        self.version = 0
        self._base_path, self._log = base_path, log
        self._ports = {"rest": rest_port, "grpc": grpc_port}
        self._poll_seconds = poll_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._undo = ExitStack()

    @property
    def rest_target(self) -> str:
        """host:port of REST."""
        return address_text(_HERE, self._ports["rest"])

    @property
    def grpc_target(self) -> str:
        """host:port of gRPC."""
        return address_text(_HERE, self._ports["grpc"])

    def start(self) -> None:
        """Starts the binary and waits until both ports answer and a version is AVAILABLE.

        Raises:
            InputError: the binary is not on PATH; the base path is missing or has no version.
            WorkFailed: a port is taken, or the server ended before it was ready.
        """
        binary = shutil.which(BINARY)
        if binary is None:
            raise InputError(
                f"{BINARY} is not on PATH; install it, or run the Docker image tensorflow/serving, which has "
                "it; without --engine this command serves the model itself"
            )
        check_base_path(self._base_path)
        with ExitStack() as held:  # a stock server goes on without a REST port that is taken
            for protocol, port in self._ports.items():
                reserved = held.enter_context(closing(reserve(_EVERYWHERE, port, protocol)))
                self._ports[protocol] = reserved.getsockname()[1]
        with ExitStack() as undo:
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            output = undo.enter_context((self._log or folder / "output").open("ab"))
            began = output.tell()
            command = [binary, *self._flags(folder)]
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            undo.callback(self._end)
            self.version = self._wait_until_ready(self._process, Path(output.name), began)
            self._undo = undo.pop_all()

    def forward(self, number: int, *_: object) -> None:
        """Passes a signal on; can be used as a handler."""
        if self._process is None:
            raise SystemExit(128 + number)
        self._process.send_signal(number)

    def wait(self) -> int:
        """Waits for its end and returns its exit code, 128 + the number of the signal that ended it."""
        assert self._process is not None
        code = None
        while code is None:  # not one long wait: a signal just before it would be passed on at its end
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_PAUSE)
        self._undo.close()
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Ends it."""
        self._undo.close()

    def __enter__(self) -> "StockServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _flags(self, folder: Path) -> list[str]:
        monitoring = folder / "monitoring.txt"
        monitoring.write_text(f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}\n')
        flags = {
            "port": self._ports["grpc"],
            "rest_api_port": self._ports["rest"],
            "model_name": self.name,
            "model_base_path": self._base_path.absolute(),
            "file_system_poll_wait_seconds": self._poll_seconds,
            "monitoring_config_file": monitoring,
            "enable_grpc_healthcheck_service": "true",
        }
        return [f"--{flag}={value}" for flag, value in flags.items()]

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_until_ready(self, process: subprocess.Popen[bytes], output: Path, began: int) -> int:
        pause = threading.Event()
        while (version := self._available()) is None:
            if process.poll() is not None:
                said = output.read_bytes()[began:].decode("utf-8", "replace").strip().splitlines() or [""]
                raise WorkFailed(
                    f"{BINARY} ended with {process.returncode} before it was ready; it said last: {said[-1]}"
                )
            pause.wait(_PAUSE)
        return version

    def _available(self) -> int | None:
        """The newest version that both ports call AVAILABLE."""
        kinds: tuple[tuple[type[RestClient] | type[GrpcClient], str], ...] = (
            (RestClient, self.rest_target),
            (GrpcClient, self.grpc_target),
        )
        newest = None
        for kind, target in kinds:
            with closing(kind(target, self.name, retry=_ONCE)) as client:
                try:
                    statuses = client.status()
                except (Unreachable, Refused):
                    return None
            newest = next((status.version for status in statuses if status.state == "AVAILABLE"), None)
        return newest
