"""Reads a YAML file into a spec model; a mistake is answered with file, line, key and cure."""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from cetnet_keras.errors import InputError
from cetnet_keras.spec.base import SpecModel
from cetnet_keras.spec.data_spec import DataSpec
from cetnet_keras.spec.document import Document, Loc, shown
from cetnet_keras.spec.mistakes import first_mistake
from cetnet_keras.spec.model_spec import MemberSpec, ModelSpec

Model = TypeVar("Model", bound=SpecModel)

_KERAS_BEGINS, _KERAS_ENDS = ").\n\n", "\n\nCall arguments"  # what it puts around the message of a layer
_MAX_BYTES = 1_000_000  # a data file in place of a spec is refused before anything tries to parse it


def load_data_spec(path: Path | str) -> DataSpec:
    """Reads a data.yaml, which has to say the splits. Raises InputError, naming file, line and key."""
    text = read_text(path)
    spec = parse_spec(DataSpec, text, str(path))
    if spec.splits is None:
        missing = "missing, expected how rows are divided into train, eval and test"
        raise error_at(text, str(path), ("splits",), f"{missing}; add it")
    return spec


def load_model_spec(path: Path | str) -> ModelSpec:
    """Reads a model.yaml. Raises InputError, naming file, line and key."""
    return parse_spec(ModelSpec, read_text(path), str(path))


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file. Raises InputError where there is none or it is not text."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise InputError(
            f"{path}: cannot be read ({getattr(error, 'strerror', error)}); check the path"
        ) from error
    if len(content) > _MAX_BYTES:
        expected = f"expected YAML text of at most {_MAX_BYTES:,} bytes"
        raise InputError(f"{path}: found a larger file, {expected}; check that this is the right file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"found the byte 0x{content[error.start]:02x}, which is not UTF-8, expected YAML text"
        raise InputError(f"{path}:{line}: {found}; save the file as UTF-8") from error


def parse_spec(kind: type[Model], text: str, name: str) -> Model:
    """Parses YAML text; `name` stands for the file in errors. Raises InputError, naming line and key."""
    document = Document(text, name)
    value = document.value
    if value is None and kind is ModelSpec:
        value = {}
    if not isinstance(value, dict):
        keys = ", ".join(list(kind.model_fields)[:4])
        raise document.error(
            (), f"found {shown(value)}, expected keys such as {keys}; write them as `key: value`"
        )
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise document.error(*first_mistake(kind, value, error.errors(), document.line)) from error


def error_at(text: str, name: str, loc: Loc, message: str) -> InputError:
    """An error about the value at `loc` of a YAML text, for checks that need more than the text itself."""
    return Document(text, name).error(loc, message)


def check_members(spec: ModelSpec, text: str, name: str, data: DataSpec | None = None) -> None:
    """Checks the members of a model spec against their classes. Imports TensorFlow where there are any.

    Args:
        spec: what `text` was parsed into.
        text: the YAML text, for the lines.
        name: what stands for the file in errors.
        data: with it each member is built too, so that it can refuse the values of its options, and a member of the
            user's own is called once.
    Raises:
        InputError: an unknown member, an option that it does not have, a value that it refuses, or a failure in use.
    """
    for position, member in enumerate(spec.members or []):
        wrong = _mistake_in(member, data)
        if wrong is not None:
            raise error_at(text, name, ("members", position, *wrong[0]), wrong[1])


def _mistake_in(member: MemberSpec, data: DataSpec | None) -> tuple[Loc, str] | None:
    from cetnet_keras.members import member_class, member_options  # here: TensorFlow takes seconds to import

    try:
        found = member_class(member.type)
    except ValueError as error:
        return ("type",), str(error)
    except Exception as error:  # a module of the user's own is imported, and can fail in any way
        return ("type",), f"cannot be imported ({error!r}); correct the module"
    known = ["type", "name", *member_options(found)]
    for option in member.options:
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            cure = f"did you mean {close[0]}?" if close else "remove it"
            return (option,), f"unknown option of {member.type}, expected one of {', '.join(known)}; {cure}"
    if data is None:
        return None
    sizes = {owner: data.oov_buckets(owner) + 1 for owner in data.owners}
    build = partial(found, data, sizes, embedding_dim=member.embedding_dim)
    refusal = _refusal(build, member.options)
    if refusal is None and ":" in member.type:  # the built-in ones are known to work
        return _failure(partial(build, **member.options), data)
    return refusal


def _failure(build: Callable[[], Callable[..., object]], data: DataSpec) -> tuple[Loc, str] | None:
    """Where and why a member of the user's own fails on a batch; None where it works."""
    from cetnet_keras.input_signature import example_batch

    try:
        build()(example_batch(data, rows=2))
    except Exception as error:  # code of the user's own can fail in any way
        said = str(error).partition(_KERAS_ENDS)[0].rpartition(_KERAS_BEGINS)[2]
        what = f"{type(error).__name__}: {said}"
        return ("type",), f"the member fails on a batch of missing values ({what}); correct the member"
    return None


def _refusal(build: Callable[..., object], options: Mapping[str, object]) -> tuple[Loc, str] | None:
    """Where and why a member cannot be built with its options; None where it can."""
    try:
        build(**options)
        return None
    except (TypeError, ValueError) as error:
        together = error
    try:
        build()
    except ValueError as error:  # whatever its options: it cannot learn from this data
        return ("type",), str(error)
    except TypeError:
        pass  # an option that has to be given
    for option, value in options.items():  # each alone, to know which of them it is
        try:
            build(**{option: value})
        except (TypeError, ValueError) as error:
            return (option,), f"found {shown(value)}, expected another value ({error}); correct it"
    return (), f"found options or features that the member refuses ({together}); correct them"
