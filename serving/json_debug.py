"""JSON values in error messages as TensorFlow Serving prints them: indented, lists on a line, cut off."""

import contextlib
import json
import math
import re
from typing import Any

_LIMIT = 256  # nothing is begun once this many bytes are written
_UINT64 = 2**64
_CONTROL = re.compile(r"\\u00(..)")


class _Full(Exception):
    """The limit is reached."""


def json_type(value: Any) -> str:
    """RapidJSON's name for the type of a value."""
    if value is None or isinstance(value, bool):
        return {None: "Null", False: "False", True: "True"}[value]
    return {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}[type(value)]


def debug_text(value: Any) -> str:
    """The value as it is quoted in an error message."""
    writer = _Writer()
    with contextlib.suppress(_Full, RecursionError):
        writer.write(value, 0)
    return "".join(writer.parts).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class _Writer:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self._bytes = 0

    def write(self, value: Any, depth: int, before: str = "") -> None:
        if isinstance(value, dict):
            self._put(before + "{")
            for index, (key, item) in enumerate(value.items()):
                self._put((",\n" if index else "\n") + "    " * (depth + 1) + _quoted(key))
                self.write(item, depth + 1, ": ")
            self._put(("\n" + "    " * depth if value else "") + "}")
        elif isinstance(value, list):
            self._put(before + "[")
            for index, item in enumerate(value):
                self.write(item, depth + 1, ", " if index else "")
            self._put("]")
        else:
            self._put(before + _scalar(value))

    def _put(self, token: str) -> None:
        if self._bytes >= _LIMIT:
            raise _Full
        self.parts.append(token)
        self._bytes += len(token.encode("utf-8", "surrogateescape"))


def _quoted(text: str) -> str:
    return _CONTROL.sub(lambda match: "\\u00" + match[1].upper(), json.dumps(text, ensure_ascii=False))


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < _UINT64:
        return str(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return _double(float(value))


def _double(value: float) -> str:
    """The shortest digits that read back equal, in RapidJSON's layout (1.0, 1e30, 1.5e-7)."""
    if not math.isfinite(value):
        raise _Full  # RapidJSON's writer gives up here
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    sign, digits, exponent = _decimal(value)
    point = len(digits) + exponent  # 10 ** (point - 1) <= |value| < 10 ** point
    if exponent >= 0 and point <= 21:
        text = digits + "0" * exponent + ".0"
    elif 0 < point <= 21:
        text = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1}"
    return sign + text


def _decimal(value: float) -> tuple[str, str, int]:
    mantissa, _, power = f"{value!r}".lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = int(power or 0) - len(fraction)
    stripped = digits.rstrip("0")
    return "-" if value < 0 else "", stripped, exponent + len(digits) - len(stripped)
