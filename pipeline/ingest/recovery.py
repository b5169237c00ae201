"""Beam hands a worker's error on as text, marked with the step; here it becomes the error that was raised."""

import re

from cetnet_keras.errors import InputError

_IN_TRACEBACK = re.compile(r"^(?:[\w.]+\.)?InputError: (.*)$", re.MULTILINE)
_STEP = re.compile(r" \[while running '[^']*'\]$")  # added by Beam, at most once


def input_error_in(error: BaseException | None) -> InputError | None:
    """The InputError that made a pipeline fail, with the text that it was raised with; None without one.

    In one process Beam raises the worker's own exception again; with worker threads or processes it raises a
    RuntimeError that holds the worker's traceback. Either way the text ends with the name of the step.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        texts = [str(error)] if isinstance(error, InputError) else _IN_TRACEBACK.findall(str(error))
        if texts:
            return InputError(_STEP.sub("", texts[-1]))
        error = error.__cause__ or error.__context__
    return None
