"""Members by name: built-in ones register themselves by decorator, anyone's own are `package.module:Class`."""

import difflib
import importlib
import inspect
from collections.abc import Callable

import tensorflow as tf

from cetnet_keras.members.base import Member

_MEMBERS: dict[str, type[Member]] = {}


def register_member(name: str) -> Callable[[type[Member]], type[Member]]:
    """Class decorator that gives a member its name in model.yaml and registers it with Keras for saving."""

    def register(member: type[Member]) -> type[Member]:
        _MEMBERS[name] = tf.keras.utils.register_keras_serializable(package="cetnet")(member)
        return _MEMBERS[name]

    return register


def built_in_members() -> tuple[str, ...]:
    """The names of the built-in members, in alphabetical order."""
    return tuple(sorted(_MEMBERS))


def member_class(name: str) -> type[Member]:
    """The class of a built-in member or of `package.module:Class`.

    Raises:
        ValueError: the name is not known, the module cannot be imported, or the class is no Member.
    """
    if name in _MEMBERS:
        return _MEMBERS[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        close = difflib.get_close_matches(name, _MEMBERS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(
            f"unknown member {name!r}: {hint}Known: {', '.join(built_in_members())}; or package.module:Class"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"member {name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Member)):
        raise ValueError(f"member {name!r}: found {found!r}, expected a subclass of cetnet_keras.Member")
    return found


def member_options(member: type[Member]) -> list[str]:
    """The options that a member's class takes in model.yaml beside `type` and `name`."""
    names: list[str] = []
    for base in reversed(member.__mro__):
        if issubclass(base, Member) and "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters.items()
            names += [name for name, p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [name for name in dict.fromkeys(names) if name not in ("self", "spec", "vocabulary_sizes")]
