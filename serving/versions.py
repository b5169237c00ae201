"""The versions of a model: polls the base path, loads the newest, swaps without a gap."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cetnet_keras.errors import WorkFailed
from serving.metadata import VersionStatus
from serving.metrics import ServerMetrics
from serving.model import Model
from serving.status import Code, StatusError, invalid
from serving.version_folders import check_base_path, versions_on_disk
from serving.warmup import replay_warmup

_LOG = logging.getLogger(__name__)


@dataclass
class _Version:
    """One folder that was seen, from START to END."""

    number: int
    path: Path
    state: str = "START"
    error: StatusError | None = None
    model: Model | None = None
    users: int = 0  # requests that are running on it
    attempts: int = 0
    next_attempt: float = 0.0  # on the monotonic clock
    left_disk: bool = False

    def status(self) -> VersionStatus:
        if self.error is not None and self.state == "END":
            return VersionStatus(self.number, self.state, self.error.code.name, self.error.message)
        return VersionStatus(self.number, self.state, "OK", "")


class VersionManager:
    """Keeps the highest version under a base path loaded, warmed up and usable.

    A newer version is loaded before the older one goes, and requests in flight finish on the one they began
    with. A version that fails ends in END with its error and the older one goes on. Versions that ended stay
    listed.

    Args:
        base_path: folder whose children are the versions.
        name: what requests call the model.
        poll_seconds: pause between two looks at the base path.
        load_attempts: how often a version is tried before it ends; the first one of all has one attempt, so
            that a broken model is reported at once (our choice; a stock server is silent for minutes).
        retry_seconds: pause between two attempts.
        close_seconds: how long `close` waits for a load.
        metrics: what counts warm-ups and runs.
        on_availability: told after each look, and at the end, whether there is a version to use.
    """

    def __init__(
        self,
        base_path: Path,
        name: str,
        poll_seconds: float = 1.0,
        load_attempts: int = 6,
        retry_seconds: float = 60.0,
        close_seconds: float = 5.0,
        metrics: ServerMetrics | None = None,
        on_availability: Callable[[bool], None] = lambda available: None,
    ) -> None:
        self.base_path, self.name = base_path, name
        self._poll_seconds, self._load_attempts, self._retry_seconds = (
            poll_seconds,
            load_attempts,
            retry_seconds,
        )
        self._close_seconds = close_seconds
        self._metrics, self._on_availability = metrics or ServerMetrics(), on_availability
        self._versions: dict[int, _Version] = {}
        self._lock = (
            threading.Lock()
        )  # guards the dict and the fields of its versions, never held while loading
        self._left_garbage = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll_until_stopped, name="versions", daemon=True)

    def start(self) -> int:
        """Loads the newest version, goes on polling in a thread of its own, and returns the version's number.

        Raises:
            InputError: there is no base path, or no version in it.
            WorkFailed: the newest version cannot be loaded.
        """
        check_base_path(self.base_path)
        self.poll()
        with self._lock:
            newest = max(self._versions.values(), key=lambda version: version.number)
        if newest.model is None:
            reason = newest.error.message if newest.error else f"it was {newest.state} and vanished"
            raise WorkFailed(
                f"{newest.path}: version {newest.number} of model {self.name} does not load: {reason}"
            )
        self._thread.start()
        return newest.number

    def close(self) -> None:
        """Stops polling and unloads everything; what is still running is cancelled.

        A load that goes on for longer than `close_seconds` is left alone: its version is never used.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._close_seconds)
        self._on_availability(False)
        for version in list(self._versions.values()):
            self._end(version)

    @contextmanager
    def use(self, name: str, number: int | None = None, label: str | None = None) -> Iterator[Model]:
        """The model that a request asks for, kept loaded until the block ends.

        Raises:
            StatusError: INVALID_ARGUMENT without a name or for a label (none is configured), NOT_FOUND if
                the model or the version is not loaded.
        """
        version, model = self._acquire(name, number, label)
        try:
            yield model
        finally:
            self._release(version)

    def statuses(self, name: str, number: int | None = None) -> list[VersionStatus]:
        """The state of each version that was ever seen, newest first, or of the one asked for.

        Raises:
            StatusError: NOT_FOUND if none was.
        """
        with self._lock:
            known = self._versions if name == self.name else {}
            found = [known[key].status() for key in sorted(known, reverse=True) if number in (None, key)]
        if found:
            return found
        if number is not None:
            raise StatusError(Code.NOT_FOUND, f"Could not find version {number} of model {name}")
        raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")

    def poll(self) -> None:
        """One look at the base path: loads what is new, unloads what is old. Not for two threads at once."""
        on_disk = versions_on_disk(self.base_path)
        if on_disk is None:  # a base path that is away for a while must not end the service
            return
        with self._lock:
            for number, version in self._versions.items():
                version.left_disk |= number not in on_disk
        aspired = max(on_disk) if on_disk else None
        if aspired is not None:
            self._load(aspired, on_disk[aspired])
        self._retire(aspired)
        with self._lock:
            available = any(version.state == "AVAILABLE" for version in self._versions.values())
        self._on_availability(available)
        if self._left_garbage:  # a graph's objects refer to each other in circles, and hold some 40 MB
            self._left_garbage = False
            gc.collect()  # here and not where a version ends, which may be in a request

    def _poll_until_stopped(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            try:
                self.poll()
            except Exception:  # the loaded version goes on, and the next look comes
                _LOG.exception("polling %s failed", self.base_path)

    def _load(self, number: int, path: Path) -> None:
        version = self._versions.get(number)
        if version is None or (version.state == "END" and (version.error is None or version.left_disk)):
            version = _Version(number, path)
            with self._lock:
                self._versions[number] = version
        due = version.state == "LOADING" and time.monotonic() >= version.next_attempt
        if version.state == "START" or due:
            self._attempt(version)

    def _attempt(self, version: _Version) -> None:
        with self._lock:
            version.state, version.attempts = "LOADING", version.attempts + 1
        model = None
        try:
            model = Model(version.path, self._count_run)
            began = time.perf_counter_ns()
            if replay_warmup(model):
                self._metrics.warmup_latency.observe(began, str(version.path), "OK")
        except (
            Exception
        ) as failure:  # a folder of another user, a file system that is away: it fails like any other
            if model is not None:
                model.close()
            self._left_garbage = True
            error = failure if isinstance(failure, StatusError) else _unknown(version.path, failure)
            ended = (
                version.attempts >= self._load_attempts or not self._thread.is_alive()
            )  # still starting up
            _LOG.error("version %d of %s does not load: %s", version.number, self.name, error)
            with self._lock:
                version.error, version.state = error, "END" if ended else "LOADING"
                version.next_attempt = time.monotonic() + self._retry_seconds
            return
        with self._lock:
            stopped = self._stop.is_set()
            if not stopped:
                version.model, version.error, version.state = model, None, "AVAILABLE"
        if stopped:
            model.close()
        else:
            _LOG.info("version %d of %s is loaded", version.number, self.name)

    def _count_run(self, began: int) -> None:
        self._metrics.runtime_latency.observe(began, self.name, "Predict", "TF1")

    def _retire(self, aspired: int | None) -> None:
        """Unloads old versions once the aspired one is there; gives up those it overtook in their retries."""
        for number, version in list(self._versions.items()):
            if number == aspired:
                continue
            if version.state == "LOADING":
                with self._lock:
                    version.state = "END"
            elif version.model and (aspired is None or self._versions[aspired].state == "AVAILABLE"):
                self._unload(version)

    def _unload(self, version: _Version) -> None:
        with self._lock:
            version.state = "UNLOADING"
            idle = version.users == 0
        if idle:
            self._end(version)  # otherwise the last request does it

    def _end(self, version: _Version) -> None:
        with self._lock:
            model, version.model, version.state = version.model, None, "END"
        if model is not None:
            model.close()
            self._left_garbage = True
            _LOG.info("version %d of %s is unloaded", version.number, self.name)

    def _acquire(self, name: str, number: int | None, label: str | None) -> tuple[_Version, Model]:
        if not name:
            raise invalid("ModelSpec has no name specified.")
        if label is not None:
            raise invalid(f"Unrecognized servable version label: {label}")
        with self._lock:
            for key in sorted(self._versions, reverse=True) if name == self.name else ():
                version = self._versions[key]
                if version.state == "AVAILABLE" and version.model is not None and number in (None, key):
                    version.users += 1
                    return version, version.model
        wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")

    def _release(self, version: _Version) -> None:
        with self._lock:
            version.users -= 1
            last = version.users == 0 and version.state == "UNLOADING"
        if last:
            self._end(version)


def _unknown(path: Path, error: Exception) -> StatusError:
    return StatusError(Code.UNKNOWN, f"{path}: {type(error).__name__}: {error}")
