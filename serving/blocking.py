"""Runs coroutines without an event loop, so that what both kinds of client do is written once.

Over a blocking transport nothing is ever waited for: a coroutine runs through in one go, as a function does.
"""

import inspect
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def finished(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """What a coroutine over a blocking transport returns."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _Result = done.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking call waited for an event loop")


async def settled(value: _Result | Awaitable[_Result]) -> _Result:
    """The value itself, which a blocking transport gives at once, or what is waited for."""
    if inspect.isawaitable(value):
        awaited: _Result = await value
        return awaited
    return value
