"""A member from its class, which has to take notice of what it is given."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from cetnet_keras.members.base import Member
from cetnet_keras.spec import DataSpec

_OF_ALL = ("embedding_dim", "projection", "dropout", "batch_norm", "embedding_stddev", "name")


def build_member(
    member: type[Member], spec: DataSpec, vocabulary_sizes: Mapping[str, int], options: Mapping[str, Any]
) -> Member:
    """An instance of `member`.

    Args:
        member: its class. spec, vocabulary_sizes: what it reads.
        options: its own, those that all members have, and `name` and `dtype` of a layer.
    Raises:
        ValueError: its constructor does not call that of Member, or does not pass an option on.
        TypeError, ValueError: what the constructor raises.
    """
    cure = f"begin {member.__name__}.__init__ with super().__init__(*args, **kwargs)"
    try:
        built = member(spec, vocabulary_sizes, **options)
    except AttributeError as error:  # most often an attribute that Keras or Member would have made
        raise ValueError(
            f"its constructor fails ({error}), as where that of Member has not run; {cure}"
        ) from error
    if "features" not in vars(built):
        raise ValueError(f"its constructor makes no Member of it; {cure}")
    asked = {name: options[name] for name in _OF_ALL if name in options}
    has = {name: getattr(built, name) for name in asked}
    if options.get("dtype") is not None:
        asked["dtype"] = getattr(options["dtype"], "name", options["dtype"])
        has["dtype"] = built.dtype_policy.name
    for name, value in asked.items():
        took = isinstance(has[name], tf.keras.layers.Layer)  # as in `self.dropout = Dropout(dropout)`
        if not took and _plain(has[name]) != _plain(value):
            ignored = f"{member.__name__} took no notice of {name}={value!r} (it has {has[name]!r})"
            raise ValueError(f"{ignored}: pass **kwargs on to super().__init__")
    return built


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value
