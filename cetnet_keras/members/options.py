"""Whether the values of a member's options are of the types that its constructor is annotated with."""

import inspect
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from cetnet_keras.members.base import Member
from cetnet_keras.spec.document import shown

_WORDS: dict[type, tuple[str, str]] = {  # one, and many in a list
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "text"),
    NoneType: ("nothing", "nothing"),
}
_TAKEN_FOR: dict[type, type] = {int: Integral, float: Real}  # NumPy's too


def option_mistake(member: type[Member], options: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first option of another type than its annotation, and what is wrong with it; None where there is none.

    Truth values, numbers, text, nothing, lists and unions of these are known; other annotations, and none, take any value.
    """
    for option, value in options.items():
        annotation = _annotation(member, option)
        expected = _expected(annotation)
        if expected is not None and not _fits(annotation, value):
            return option, f"found {shown(value)}, expected {expected}; correct it"
    return None


def _annotation(member: type[Member], option: str) -> Any:
    """The option's in the constructor of the class, or of the nearest base that has the option; Any if there is none."""
    for base in member.__mro__:
        constructor = vars(base).get("__init__")
        if constructor is not None and option in inspect.signature(constructor).parameters:
            try:
                return get_type_hints(constructor).get(option, Any)
            except (NameError, TypeError, AttributeError):  # a name that only a type checker knows
                return Any
    return Any


def _expected(annotation: Any, many: bool = False) -> str | None:
    """An annotation in words; None where it is not known."""
    if isinstance(annotation, type) and annotation in _WORDS:
        return _WORDS[annotation][many]
    if _is_union(annotation):
        either = [_expected(part, many) for part in get_args(annotation)]
        return None if None in either else " or ".join(word for word in either if word)
    entry = _entry(annotation)
    words = None if entry is Any else _expected(entry, many=True)
    return words and f"{'lists' if many else 'a list'} of {words}"


def _fits(annotation: Any, value: Any) -> bool:
    if isinstance(annotation, type) and annotation in _WORDS:
        if isinstance(value, bool):  # which Python counts among the numbers
            return annotation is bool
        return isinstance(value, _TAKEN_FOR.get(annotation, annotation))
    if _is_union(annotation):
        return any(_fits(part, value) for part in get_args(annotation))
    a_list = isinstance(value, Sequence) and not isinstance(value, str)
    return a_list and all(_fits(_entry(annotation), entry) for entry in value)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def _entry(annotation: Any) -> Any:
    """What a list holds: of Sequence[X], list[X] and tuple[X, ...] X; Any where it is no such list."""
    origin, parts = get_origin(annotation), get_args(annotation)
    return parts[0] if origin in (Sequence, list) or (origin is tuple and parts[1:] == (...,)) else Any
