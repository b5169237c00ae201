"""How long a call may take, and when it is tried again."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from serving.blocking import settled
from serving.client_errors import TimedOut, Unreachable

_LOG = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class Retry(NamedTuple):
    """How often a call is tried, and the seconds between two attempts: exponential backoff with jitter.

    Args:
        attempts: the first one included; 1 never tries again.
        first: the longest pause after the first attempt; it doubles with each further one.
        longest: what it doubles up to.
    """

    attempts: int = 4
    first: float = 0.1
    longest: float = 2.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures: at random between half and all of the pause."""
        pause = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        return pause * random.uniform(
            0.5, 1.0
        )  # many clients of a server that comes back do not come at once


DEFAULT_RETRY = Retry()


class Deadline:
    """When a call has to be done, with all its requests, attempts and pauses.

    Args:
        target: host:port, for the message.
        seconds: from now on.
    """

    def __init__(self, target: str, seconds: float) -> None:
        self._target, self._seconds, self._end = target, seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, more than 0.

        Raises:
            TimedOut: none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimedOut(f"{self._target} did not answer in time: all {self._seconds:g} s are spent")
        return left

    def allows(self, pause: float) -> bool:
        """Whether time is left after a pause of so many seconds."""
        return time.monotonic() + pause < self._end


async def tried(
    ask: Callable[[float], Awaitable[_Answer]],
    deadline: Deadline,
    retry: Retry,
    blocking: bool,
) -> _Answer:
    """The answer to `ask`, which is given the seconds that are left, tried again where that is safe.

    A prediction changes nothing, so it may be asked again whenever the server could not be reached, said
    UNAVAILABLE, or went away in the middle. Every other answer would be the same again.

    Raises:
        Unreachable: after the last attempt, or when the deadline leaves no time for the next pause.
        TimedOut, Refused, BadAnswer: at once.
    """
    failures = 0
    while True:
        try:
            return await ask(deadline.left())
        except TimedOut:
            raise
        except Unreachable as error:
            failures += 1
            pause = retry.pause(failures)
            if failures >= retry.attempts or not deadline.allows(pause):
                raise
            _LOG.info("%s; attempt %d of %d, the next in %.3f s", error, failures, retry.attempts, pause)
        await settled((time.sleep if blocking else asyncio.sleep)(pause))
