"""Says in one line what pydantic found wrong: the key, what was found, what was expected, what to do."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from cetnet_keras.spec.base import SpecModel
from cetnet_keras.spec.document import Loc, shown
from cetnet_keras.spec.features import FEATURE_TYPES, RESERVED_ROLES

_LIMITS = {
    "greater_than_equal": ("ge", "{} or more"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "{} or less"),
    "less_than": ("lt", "less than {}"),
}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "string_too_short": "at least one character",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "dict": "keys and values",
    "model": "keys and values",
    "too_short": "at least one entry",
}
_NO_CONTAINER = ("list_type", "dict_type", "model_type", "model_attributes_type")
_SHAPES = {
    "features": "keys and values, such as {type: categorical}",
    "slices": "lists of columns, such as [[], [item_id]]",
    "members": "a list of members, such as [{type: dhen}]",
}
_PATTERNS = {
    "delimiter": 'one ASCII character, not a quote; a tab is "\\t" in double quotes',
    "name": "letters, digits and _ alone",
    "type": "a built-in member or package.module:Class",
}


def first_mistake(
    kind: type[SpecModel], value: Any, errors: Sequence[Any], line: Callable[[Loc], int]
) -> tuple[Loc, str]:
    """The topmost mistake in a file.

    Args:
        kind: the model that refused the value.
        value: what the file holds.
        errors: pydantic's.
        line: the line of a key.
    Returns:
        (path of the key in the file, what is wrong with it).
    """
    located = [(_path(value, error), error) for error in errors]
    # Of the branches of a union, the one that got further is the one that was meant.
    above = {p[:end] for p, _ in located for end in range(len(p))}
    located = [(p, e) for p, e in located if p not in above]
    # A misspelt key is the cause of one that is missing beside it.
    unknown = {p[:-1] for p, e in located if e["type"] == "extra_forbidden"}
    located = [(p, e) for p, e in located if e["type"] != "missing" or p[:-1] not in unknown]
    path, error = min(located, key=lambda pair: line(pair[0]))
    return path, _describe(kind, path, error, [e for p, e in located if p == path])


def _path(value: Any, error: Any) -> Loc:
    """The key that an error is about, without the parts that pydantic adds for unions."""
    path: list[int | str] = []
    for part in error["loc"]:
        inside = (
            part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        )
        if inside:
            value = value[part]
            path.append(part)
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    elif error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        path.append("type")
    elif error["type"] == "value_error":
        path += getattr(error["ctx"]["error"], "loc", ())
    return tuple(path)


def _describe(kind: type[SpecModel], path: Loc, error: Any, alternatives: Sequence[Any]) -> str:
    key, found = str(path[-1]) if path else "", shown(error["input"])
    owner = _owner(kind, error["loc"], key)
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return _unknown_key(owner, key)
    if error["type"] == "missing":
        described = owner.model_fields[key].description if owner else None
        return f"missing, expected {described or 'this key'}; add it"
    if error["type"] == "union_tag_not_found":
        return f"missing, expected one of {', '.join(FEATURE_TYPES)}; add it"
    if error["type"] == "union_tag_invalid":
        tag = error["ctx"]["tag"]
        meant = _did_you_mean(tag, FEATURE_TYPES) or "; correct it"
        return f"found {shown(tag)}, expected one of {', '.join(FEATURE_TYPES)}{meant}"
    if key == "role" and str(error["input"]) in RESERVED_ROLES:
        return (
            f"found {found}, which is reserved and cannot be used yet; {RESERVED_ROLES[str(error['input'])]}"
        )
    expected = " or ".join(dict.fromkeys(_expected(e, path) for e in alternatives))
    return f"found {found}, expected {expected}{_cure(owner, key, error)}"


def _unknown_key(owner: type[SpecModel] | None, key: str) -> str:
    if owner is not None and key in owner.RESERVED:
        return f"found a key that is reserved and cannot be used yet; remove it ({owner.RESERVED[key]})"
    known = list(owner.model_fields) if owner else []
    return f"unknown key, expected one of {', '.join(known)}{_did_you_mean(key, known) or '; remove it'}"


def _did_you_mean(found: Any, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(found), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _expected(error: Any, path: Loc) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _LIMITS:
        name, text = _LIMITS[kind]
        limit = context[name]
        return text.format(f"{limit:g}" if isinstance(limit, float) else limit)
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(path[-1]), f"text that matches {context['pattern']}")
    if kind == "string_type" and isinstance(error["input"], bool | int | float):
        return "text (put it in quotes)"
    if kind in _NO_CONTAINER and len(path) <= 2 and path[0] in _SHAPES:
        return _SHAPES[str(path[0])]
    return next((text for start, text in _WORDS.items() if kind.startswith(start)), str(error["msg"]))


def _cure(owner: type[SpecModel] | None, key: str, error: Any) -> str:
    if error["type"] == "literal_error":
        meant = _did_you_mean(error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
        if meant:
            return meant
    field = owner.model_fields.get(key) if owner else None
    if field is None or field.default is None or field.is_required() or field.default_factory is not None:
        return "; correct it"
    return f"; remove the key to use {shown(field.default)}"


def _models_in(annotation: Any) -> list[type[SpecModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation] if issubclass(annotation, SpecModel) else []
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _tag(model: type[SpecModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["type"].annotation) if "type" in model.model_fields else ()


def _owner(kind: type[SpecModel], loc: Loc, key: str) -> type[SpecModel] | None:
    """The spec model that has the key at the end of pydantic's own location, which unions may prolong."""
    ends = [position for position, part in enumerate(loc) if part == key]
    models: list[type[SpecModel]] = [kind]
    a_name = False  # whether the next part is a name in a dict, and no key of a model
    for part in loc[: ends[-1]] if ends else ():
        field = next((m.model_fields[str(part)] for m in models if str(part) in m.model_fields), None)
        if a_name:
            a_name = False
        elif field is not None:
            models, a_name = _models_in(field.annotation), get_origin(field.annotation) is dict
        else:
            models = [m for m in models if part in (*_tag(m), m.__name__)] or models
    return models[0] if models and not a_name else None
