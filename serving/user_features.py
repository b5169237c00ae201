"""One user's features from a command line: NAME=VALUE, a JSON object, or a file with one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cetnet_keras.errors import InputError
from serving.metadata import TensorInfo
from serving.rows import cell_value


def user_features(given: Sequence[str], known: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """A value for each name that was given; which ones the model misses or does not know, `rank` says.

    Args:
        given: `NAME=VALUE`, a JSON object (null is not known), or `@FILE` with one.
        known: the model's context features; a VALUE is read as their type.
    Raises:
        InputError: it is none of these, a name is there twice, or a VALUE is not of the feature's type.
    """
    features: dict[str, Any] = {}
    for text in given:
        found = _json_object(text) if text.startswith(("{", "@")) else _named(text, known)
        for name, value in found.items():
            if name in features:
                raise InputError(f"--user: {name} is given twice; take one out")
            if name in known and len(known[name].shape or ()) == 1 and isinstance(value, list):
                raise InputError(f"--user: {name} is a list; expected one value, for one user")
            features[name] = value
    return features


def _named(text: str, known: Mapping[str, TensorInfo]) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--user {text!r}: expected NAME=VALUE, a JSON object, or @FILE with one")
    info = known.get(name)
    if info is None:
        return {name: value}
    if not info.accepts((1,)):
        raise InputError(f"--user {name}: the model takes a list; give it as JSON: '{{\"{name}\": [...]}}'")
    try:
        return {name: cell_value(value, info.dtype)}
    except ValueError as error:
        raise InputError(f"--user {name}: found {value!r}, expected {error}") from None


def _json_object(text: str) -> dict[str, Any]:
    where = "--user"
    if text.startswith("@"):
        path = Path(text[1:])
        where = str(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{path}: cannot be read ({reason}); name a file with a JSON object") from error
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: no JSON object ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{where}: found a JSON {type(found).__name__}, expected an object: {{NAME: VALUE}}")
    return found
