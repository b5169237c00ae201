"""What a client does, whatever the protocol and whether it blocks: batches, deadlines, retries, ranking."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from cetnet_keras.errors import InputError
from serving.arrays import batches, joined, known_signature
from serving.client_errors import BadAnswer, Refused
from serving.metadata import DEFAULT_SIGNATURE, ModelMetadata, Prediction, Signature, VersionStatus
from serving.ranking import RANK, candidate_inputs, rank_request
from serving.retry import DEFAULT_RETRY, Deadline, Retry, tried
from serving.status import Code
from serving.tables import Table

if TYPE_CHECKING:
    from serving.prediction_log import PredictionLog  # needs pyarrow


BATCH_SIZE = 1024
_MISFITS = (
    Code.INVALID_ARGUMENT,
    Code.FAILED_PRECONDITION,
)  # of a request to another signature than it was made for
_Result = TypeVar("_Result")
_Arrays = dict[str, np.ndarray]


class Backend(Protocol):
    """One model at one place, asked once a call; `timeout` is in seconds.

    Raises:
        Unreachable, TimedOut, Refused, BadAnswer: see serving/client_errors.py.
    Attributes:
        target: host:port, or where else the model is, for messages.
        name: the model's name.
        blocking: its coroutines never wait for an event loop.
    """

    target: str
    name: str
    blocking: bool

    async def predict(self, arrays: _Arrays, signature: str, known: Signature, timeout: float) -> Prediction:
        """All outputs of a signature, which the metadata describes as `known`, for typed arrays."""
        ...

    async def metadata(self, timeout: float) -> ModelMetadata:
        """Name, version and signatures."""
        ...

    async def status(self, timeout: float) -> list[VersionStatus]:
        """The state of the model's versions, newest first."""
        ...

    async def close(self) -> None:
        """Frees what it holds."""
        ...


class AsyncClient:
    """`serving.blocking_client.Client` for code with an event loop: same methods, to be awaited.

    Args:
        backend: the model to ask.
        deadline: seconds that a call may take where it does not say.
        retry: how often and when an attempt is repeated that could not reach the server.
        log: gets what is asked and answered; who made it closes it.
        in_flight: requests that a call has under way at once, where its input takes several.
    Raises:
        InputError: `in_flight` is below 1.
    """

    def __init__(
        self,
        backend: Backend,
        deadline: float = 30.0,
        retry: Retry = DEFAULT_RETRY,
        log: "PredictionLog | None" = None,
        in_flight: int = 4,
    ) -> None:
        if in_flight < 1:
            raise InputError(f"in_flight: found {in_flight}, expected 1 or more")
        self._backend, self._deadline, self._retry, self._in_flight = backend, deadline, retry, in_flight
        self._log = log
        self._metadata: ModelMetadata | None = None

    @property
    def target(self) -> str:
        """host:port."""
        return self._backend.target

    @property
    def name(self) -> str:
        """The model's name at the server."""
        return self._backend.name

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._backend.close()

    async def predict(
        self,
        inputs: Table,
        signature: str = DEFAULT_SIGNATURE,
        deadline: float | None = None,
        batch_size: int | None = BATCH_SIZE,
    ) -> _Arrays:
        """As `Client.predict`."""
        limit = self._limit(deadline, batch_size)

        async def ask(metadata: ModelMetadata) -> _Arrays:
            known = known_signature(metadata, signature)
            parts = batches(inputs, known, signature, batch_size)
            return await self._all(parts, signature, metadata, limit, joined)

        return await self._with_metadata(ask, limit)

    async def rank(
        self,
        context: Table,
        candidates: Any,
        deadline: float | None = None,
        batch_size: int | None = BATCH_SIZE,
    ) -> np.ndarray:
        """As `Client.rank`."""
        limit = self._limit(deadline, batch_size)

        async def ask(metadata: ModelMetadata) -> np.ndarray:
            request = rank_request(context, candidates, metadata)
            parts = request.parts(batch_size)
            join = partial(request.joined, batch_size=batch_size)
            return await self._all(parts, RANK, metadata, limit, join)

        return await self._with_metadata(ask, limit)

    async def metadata(self, deadline: float | None = None) -> ModelMetadata:
        """As `Client.metadata`."""
        self._metadata = await self._tried(self._backend.metadata, self._limit(deadline))
        return self._metadata

    async def status(self, deadline: float | None = None) -> list[VersionStatus]:
        """As `Client.status`."""
        return await self._tried(self._backend.status, self._limit(deadline))

    def _limit(self, deadline: float | None, batch_size: int | None = None) -> Deadline:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size: found {batch_size}, expected 1 or more, or None for one request")
        return Deadline(self.target, self._deadline if deadline is None else deadline)

    async def _tried(self, ask: Callable[[float], Awaitable[_Result]], limit: Deadline) -> _Result:
        return await tried(ask, limit, self._retry, self._backend.blocking)

    async def _with_metadata(
        self, ask: Callable[[ModelMetadata], Awaitable[_Result]], limit: Deadline
    ) -> _Result:
        """What `ask` makes of the metadata; once more if it fails because the model was swapped for another."""
        known = self._metadata
        if known is None:
            known = self._metadata = await self._tried(self._backend.metadata, limit)
            return await ask(known)
        try:
            return await ask(known)
        except (InputError, Refused, BadAnswer) as error:
            if isinstance(error, Refused) and error.code not in _MISFITS:
                raise
            self._metadata = await self._tried(self._backend.metadata, limit)
            if self._metadata.signatures == known.signatures:
                raise
        return await ask(self._metadata)

    async def _all(
        self,
        parts: Iterable[_Arrays],
        signature: str,
        metadata: ModelMetadata,
        limit: Deadline,
        join: Callable[[list[_Arrays]], _Result],
    ) -> _Result:
        """Answers to all parts, joined in order. A part is made when a request for it can be sent, not before."""
        numbered, answers = enumerate(parts), dict[int, _Arrays]()
        known = known_signature(metadata, signature)
        asked: list[tuple[_Arrays, Prediction]] = []  # for the log

        async def work() -> None:
            for number, part in numbered:
                found = await self._tried(partial(self._backend.predict, part, signature, known), limit)
                answers[number] = found.outputs
                if self._log is not None:
                    asked.append((part, found))

        if self._backend.blocking:
            await work()
        else:
            await _together([work() for _ in range(self._in_flight)])
        result = join([answers[number] for number in sorted(answers)])
        if self._log is not None:  # only now: what is begun anew for another version would be there twice
            candidates = candidate_inputs(metadata, signature)
            for part, found in asked:
                self._log.add(self.name, found.version, signature, part, found.outputs, candidates)
        return result


async def _together(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Runs all to their end; the first error ends the others."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
