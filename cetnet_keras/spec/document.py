"""YAML text as values whose lines are known. As in YAML 1.2, 1e-3 is a number; for ids, 007 is text."""

import json
import math
import re
from typing import Any

import yaml

from cetnet_keras.errors import InputError

Loc = tuple[int | str, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,29})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,3})?")
_SURROGATE = re.compile("[\ud800-\udfff]")  # an escape can write one, no UTF-8 file can hold it
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_TWO_MEANINGS = ("yes", "no", "on", "off")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq")}
_MAX_DEPTH = 30  # a spec has 5; an alias inside its own anchor is refused by this too
_MAX_VALUES = (
    100_000  # aliases of aliases multiply: a text of 1 kB could stand for more values than memory holds
)


class Document:
    """A YAML text, read.

    Args:
        text: the text.
        name: what stands for the file in errors.
    Attributes:
        value: dict, list, str, int, float, bool or None.
    Raises:
        InputError: it is not the plain YAML that a spec needs; names file and line.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self._lines: dict[Loc, int] = {(): 1}
        root = self._compose(text)
        self.value = None if root is None else self._read(root, ())

    def line(self, loc: Loc) -> int:
        """The line, from 1, of the deepest part of `loc` that the text has."""
        return next(self._lines[loc[:end]] for end in range(len(loc), -1, -1) if loc[:end] in self._lines)

    def error(self, loc: Loc, message: str) -> InputError:
        """The error `file:line: key: message`."""
        return self._located(self.line(loc), loc, message)

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            return yaml.compose(text, Loader=yaml.BaseLoader)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            found = f"found the control character {chr(error.character)!r}, expected YAML text"
            raise InputError(f"{self.name}:{line}: {found}; check that this is the right file") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            why = printable(str(error.problem or error.context))
            cure = "look at indentation, quotes and brackets up to this line"
            cure = "indent with spaces" if "\\t" in why else cure
            raise InputError(f"{self.name}:{line}: not valid YAML: {why}; {cure}") from error
        except (RecursionError, ValueError, OverflowError) as error:  # the last two: \UFFFFFFFF
            raise InputError(
                f"{self.name}:1: not valid YAML: too deep or a wrong escape; check the file"
            ) from error

    def _read(self, node: yaml.Node, loc: Loc) -> Any:
        if len(loc) > _MAX_DEPTH or len(self._lines) > _MAX_VALUES:
            found = f"found more than {_MAX_DEPTH} levels or {_MAX_VALUES:,} values"
            raise self._refused(node, loc[:3], f"{found}, expected fewer; write it simpler")
        self._refuse_oddities(node, loc)
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self._read_item(value, (*loc, at)) for at, value in enumerate(node.value)]
        return self._read_scalar(node, loc)

    def _refuse_oddities(self, node: yaml.Node, loc: Loc) -> None:
        if node.tag not in _PLAIN_TAGS:
            raise self._refused(
                node, loc, f"found the tag {node.tag}, expected a plain value; remove the tag"
            )
        if isinstance(node, yaml.ScalarNode) and _SURROGATE.search(node.value):
            found = f"found {shown(node.value)}, expected text without lone surrogates"
            raise self._refused(node, loc, f"{found}; correct the escape")

    def _read_item(self, node: yaml.Node, loc: Loc) -> Any:
        self._lines[loc] = node.start_mark.line + 1
        return self._read(node, loc)

    def _read_mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._refused(
                    key, loc, "found a list or mapping as a key, expected a name; write it as text"
                )
            if key.value == "<<":
                cure = "write the keys out, or use an alias"
                raise self._refused(key, loc, f"found the key <<, which this format does not have; {cure}")
            self._refuse_oddities(key, loc)
            key_loc = (*loc, key.value)
            if key.value in value:
                again = f"found again, after line {self.line(key_loc)}, expected each key once"
                raise self._refused(key, key_loc, f"{again}; keep one of them")
            self._lines[key_loc] = key.start_mark.line + 1
            value[key.value] = self._read(child, key_loc)
        return value

    def _read_scalar(self, node: yaml.Node, loc: Loc) -> Any:
        text = str(node.value)
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:  # quoted or a block
            return text
        if text.lower() in _TWO_MEANINGS:
            found = f"found {text}, which some readers of YAML take for text and others for true or false"
            raise self._refused(node, loc, f"{found}; write true or false, or put it in quotes")
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        if _INT.fullmatch(text):
            return int(text)
        number = float(text) if _FLOAT.fullmatch(text) else math.inf
        return text if math.isinf(number) else number  # 1e730 is an id

    def _refused(self, node: yaml.Node, loc: Loc, message: str) -> InputError:
        return self._located(node.start_mark.line + 1, loc, message)

    def _located(self, line: int, loc: Loc, message: str) -> InputError:
        where = f"{dotted(loc)}: " if loc else ""
        return InputError(f"{self.name}:{line}: {printable(where + message)}")


def dotted(loc: Loc) -> str:
    """A key as errors name it: `features.item_id.role`."""
    return ".".join(str(part) for part in loc)


def shown(value: Any) -> str:
    """A value as errors quote it, on one short line."""
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return printable(text if len(text) <= 60 else text[:57] + "...")


def printable(text: str) -> str:
    """`text` on one line that every terminal can show: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
