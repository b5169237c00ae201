"""JSON as TensorFlow Serving reads it: RapidJSON's rules for numbers and strings, and its error texts.

Python's own parser reads nearly every request; what it refuses or reads otherwise goes to the one below.
"""

import json
import math
import re
from typing import Any, NoReturn

from serving.json_debug import debug_text
from serving.status import invalid

_BOM = b"\xef\xbb\xbf"


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object at the start of a request's body; what follows its closing brace is ignored.

    Integer tokens are int, all other numbers float. Of duplicate keys the first counts. Bytes that are no
    UTF-8 are kept as surrogate escapes.

    Raises:
        StatusError: INVALID_ARGUMENT; the body is empty, no JSON, or no object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    text = body.removeprefix(_BOM).decode("utf-8", "surrogateescape")
    value = _parse(text)
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {debug_text(value)} Is not object")
    return value


def _parse(text: str) -> Any:
    if "\\ud" not in text and "\\uD" not in text:  # Python lets halves of surrogate pairs pass
        try:
            return _DECODER.raw_decode(text, _space(text, 0))[0]
        except (ValueError, RecursionError):
            pass
    return _ExactParser(text).parse()


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        found.update(reversed(pairs))
    return found


def _finite(token: str) -> float:
    value = float(token)
    if math.isinf(value):  # "Infinity" does not come here
        raise ValueError(token)
    return value


def _integer(token: str) -> int:
    if len(token) >= _LONG:
        raise ValueError(token)
    return int(token)


_LONG = 300  # an integer token of so many characters may be beyond a double; as a double it is read anyway
_DECODER = json.JSONDecoder(object_pairs_hook=_first_wins, parse_float=_finite, parse_int=_integer)
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(
    r"-?(?:(?P<named>NaN|Inf(?:inity)?)|(?:0|[1-9][0-9]*)(?P<rest>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?))"
)
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


class _ExactParser:
    """Iterative, so that no depth of nesting ends it; each open list or object waits on a stack."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def parse(self) -> Any:
        if self._peek() == "":
            self._fail("The document is empty.")
        stack: list[
            tuple[list[Any] | dict[str, Any], str]
        ] = []  # (open container, key that waits for its value)
        while True:
            value, opened = self._value()
            key = ""
            if opened and self._peek() not in ("]", "}"):
                stack.append((value, self._key() if isinstance(value, dict) else key))
                continue
            if opened:
                self._close(value)
            while stack:
                container, key = stack.pop()
                if isinstance(container, dict):
                    container.setdefault(key, value)
                else:
                    container.append(value)
                if self._peek() == ",":
                    self._at += 1
                    stack.append((container, self._key() if isinstance(container, dict) else ""))
                    break
                self._close(container)
                value = container
            else:
                return value

    def _peek(self) -> str:
        self._at = _space(self._text, self._at)
        return self._text[self._at : self._at + 1]

    def _fail(self, reason: str, at: int | None = None) -> NoReturn:
        offset = len(self._text[: self._at if at is None else at].encode("utf-8", "surrogateescape"))
        raise invalid(f"JSON Parse error: {reason} at offset: {offset}")

    def _value(self) -> tuple[Any, bool]:
        """The value at this place, and whether it is a list or object that was just opened."""
        head = self._peek()
        if head == "{" or head == "[":
            self._at += 1
            return ({} if head == "{" else []), True
        if head == '"':
            return self._string(), False
        if head in _LITERALS:
            word, value = _LITERALS[head]
            if not self._text.startswith(word, self._at):
                self._fail("Invalid value.")
            self._at += len(word)
            return value, False
        return self._number(), False

    def _key(self) -> str:
        if self._peek() != '"':
            self._fail("Missing a name for object member.")
        key = self._string()
        if self._peek() != ":":
            self._fail("Missing a colon after a name of object member.")
        self._at += 1
        return key

    def _close(self, container: list[Any] | dict[str, Any]) -> None:
        head = self._peek()
        if isinstance(container, dict) and head != "}":
            reason = (
                "Missing a comma or } after an object member."
                if container
                else "Missing a name for object member."
            )
            self._fail(reason)
        if isinstance(container, list) and head != "]":
            self._fail("Missing a comma or ] after an array element." if container else "Invalid value.")
        self._at += 1

    def _number(self) -> int | float:
        match = _NUMBER.match(self._text, self._at)
        if match is None:
            self._fail("Invalid value.")
        token, after = match.group(), self._text[match.end() : match.end() + 1]
        if match["named"]:
            if token.endswith("Inf") and after == "i":
                self._fail("Invalid value.")
            self._at = match.end()
            return float(token)
        if after == "." and not match["rest"]:
            self._fail("Miss fraction part in number.", match.end() + 1)
        if after in ("e", "E") and "e" not in match["rest"].lower():
            self._fail("Miss exponent in number.", match.end() + 1)
        if not match["rest"] and len(token) < _LONG:
            self._at = match.end()
            return int(token)
        value = float(token)
        if math.isinf(value):
            self._fail("Number too big to be stored in double.")
        self._at = match.end()
        return value

    def _string(self) -> str:
        start, parts = self._at, []
        self._at += 1
        while True:
            plain = _PLAIN.match(self._text, self._at)
            if plain is not None:
                parts.append(plain.group())
                self._at = plain.end()
            head = self._text[self._at : self._at + 1]
            if head == '"':
                self._at += 1
                return "".join(parts)
            if head in ("", "\0"):
                self._fail("Missing a closing quotation mark in string.", start)
            if head != "\\":
                self._fail("Invalid encoding in string.")
            parts.append(self._escape())

    def _escape(self) -> str:
        start = self._at
        name = self._text[start + 1 : start + 2]
        if name in _ESCAPES:
            self._at += 2
            return _ESCAPES[name]
        if name != "u":
            self._fail("Invalid escape character in string.")
        self._at += 2
        unit = self._hex(start)
        if not 0xD800 <= unit <= 0xDFFF:
            return chr(unit)
        if unit >= 0xDC00 or not self._text.startswith("\\u", self._at):
            self._fail("The surrogate pair in string is invalid.", start)
        self._at += 2
        low = self._hex(start)
        if not 0xDC00 <= low <= 0xDFFF:
            self._fail("The surrogate pair in string is invalid.", start)
        return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))

    def _hex(self, start: int) -> int:
        match = _HEX.match(self._text, self._at)
        if match is None:
            self._fail("Incorrect hex digit after \\u escape in string.", start)
        self._at = match.end()
        return int(match.group(), 16)
