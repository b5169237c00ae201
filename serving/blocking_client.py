"""A client that returns when it has the answer: for scripts, threads, and services without an event loop."""

from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from serving.async_client import BATCH_SIZE, AsyncClient, Backend
from serving.blocking import finished
from serving.metadata import DEFAULT_SIGNATURE, ModelMetadata, VersionStatus
from serving.retry import DEFAULT_RETRY, Retry
from serving.tables import Table

if TYPE_CHECKING:
    from serving.prediction_log import PredictionLog  # needs pyarrow


_Self = TypeVar("_Self", bound="Client")


class Client:
    """Asks one model. Any number of threads may share it; connections are kept for the next call.

    Args:
        backend: the model to ask.
        deadline: seconds that a call may take where it does not say.
        retry: how often and when an attempt is repeated that could not reach the server.
        log: gets what is asked and answered; who made it closes it.
    """

    def __init__(
        self,
        backend: Backend,
        deadline: float = 30.0,
        retry: Retry = DEFAULT_RETRY,
        log: "PredictionLog | None" = None,
    ) -> None:
        self._calls = AsyncClient(backend, deadline, retry, log)

    @property
    def target(self) -> str:
        """host:port."""
        return self._calls.target

    @property
    def name(self) -> str:
        """The model's name at the server."""
        return self._calls.name

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        finished(self._calls.close())

    def predict(
        self,
        inputs: Table,
        signature: str = DEFAULT_SIGNATURE,
        deadline: float | None = None,
        batch_size: int | None = BATCH_SIZE,
    ) -> dict[str, np.ndarray]:
        """All outputs of a signature for these rows, in their order; strings come as arrays of bytes objects.

        Types come from the model's metadata, which is asked for once, and again after a model of another
        signature was swapped in. float64 is narrowed to float32 where the signature has that.

        Args:
            inputs: a list of dicts (one a row), a pandas DataFrame, an Arrow table, or a dict of columns, each
                a list or an array. A feature is [B], a list feature [B, T] or B lists of any lengths. None,
                NaN and pandas' NA are missing, and go as "", NaN or -1.
            signature: e.g. `explain`, see the model's metadata.
            deadline: seconds that the whole call may take, with all requests, attempts and pauses.
            batch_size: the rows of a request; None sends all in one.
        Raises:
            InputError: the rows do not fit the signature, or it does not exist. Messages count rows from 1.
            Unreachable: no answer; TimedOut, a kind of it: none in time.
            Refused: the server says no.
            BadAnswer: it answers with something else.
        """
        return finished(self._calls.predict(inputs, signature, deadline, batch_size))

    def rank(
        self,
        context: Table,
        candidates: Any,
        deadline: float | None = None,
        batch_size: int | None = BATCH_SIZE,
    ) -> np.ndarray:
        """The ctr of candidates, in the order given: [N] for one user, [B, N] for several.

        Args:
            context: one user's features as a dict of values; or B users in a form that `predict` takes.
            candidates: for one user, N candidates in a form that `predict` takes; for B users, a dict of
                columns [B, N] or a list of B such tables, all of N candidates.
            deadline: as in `predict`.
            batch_size: the candidates of a request, over all its users; None sends all in one.
        Raises:
            InputError: the model has no signature `rank`, or the features do not fit it.
            Unreachable, TimedOut, Refused, BadAnswer: as `predict`.
        """
        return finished(self._calls.rank(context, candidates, deadline, batch_size))

    def metadata(self, deadline: float | None = None) -> ModelMetadata:
        """Signatures of the version that answers. Raises: Unreachable, TimedOut, Refused, BadAnswer."""
        return finished(self._calls.metadata(deadline))

    def status(self, deadline: float | None = None) -> list[VersionStatus]:
        """The state of the model's versions, newest first. Raises: Unreachable, TimedOut, Refused, BadAnswer."""
        return finished(self._calls.status(deadline))
