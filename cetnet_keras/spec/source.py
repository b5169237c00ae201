"""Reads a YAML file into a spec model; a mistake is answered with file, line, key and cure."""

import difflib
from collections.abc import Callable, Mapping
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

DEFAULT_MODEL = """\
fusion: {type: logit_mixture, detach_members: true}
collaboration: {alpha: 0.1}
training: {stop: each, monitor: auc, epochs: 60, embedding_l2: auto, embedding_l2_scope: lazy}
"""
"""The model.yaml of those who have none: what wins on most eval splits of benchmarks/quality (our choice)."""

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


def load_model_source(path: Path | None) -> tuple[ModelSpec, str, str]:
    """A model.yaml, its text and the name it has in errors; without one, `DEFAULT_MODEL`. Raises InputError."""
    name, text = (str(path), read_text(path)) if path else ("the default model", DEFAULT_MODEL)
    return parse_spec(ModelSpec, text, name), text, name


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
        data: with it each member is built too, so that it can refuse the values of its options; a member of the user's own
            is tried on small batches, and members that depend on one another are built together.
    Raises:
        InputError: an unknown member, an option that it does not have, a value that it refuses, a failure in use, or
            members that do not go together.
    """
    for position, member in enumerate(spec.members or []):
        wrong = _mistake_in(member, data)
        if wrong is not None:
            raise error_at(text, name, ("members", position, *wrong[0]), wrong[1])
    if data is not None and (spec.shared_tables or spec.fusion.type == "sum"):
        wrong = _mistake_together(spec, data)
        if wrong is not None:
            raise error_at(text, name, *wrong)


def _mistake_in(member: MemberSpec, data: DataSpec | None) -> tuple[Loc, str] | None:
    # here: TensorFlow takes seconds to import
    from cetnet_keras.members import Member, member_class, member_options
    from cetnet_keras.members.build import build_member
    from cetnet_keras.members.options import option_mistake
    from cetnet_keras.members.probe import member_failure

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
    mistake = option_mistake(found, member.options)
    if mistake is not None:
        return (mistake[0],), mistake[1]
    if data is None:
        return None
    layer = {"embedding_dim": member.embedding_dim, "name": f"member_{member.name or member.type}"}

    def build(options: Mapping[str, object]) -> Member:
        return build_member(found, data, _few_ids(data), layer | dict(options))

    refusal = _refusal(build, member.options)
    if refusal is None and ":" in member.type:  # the built-in ones are known to work
        failure = member_failure(build(member.options), data)
        return None if failure is None else (("type",), failure)
    return refusal


def _few_ids(data: DataSpec) -> dict[str, int]:
    """The smallest vocabularies that a member can be built with."""
    return {owner: data.oov_buckets(owner) + 1 for owner in data.owners}


def _mistake_together(spec: ModelSpec, data: DataSpec) -> tuple[Loc, str] | None:
    """Where and why members that are each sound cannot share tables, or their output embeddings not be summed."""
    from cetnet_keras.cetnet import CETNet
    from cetnet_keras.members.probe import said

    try:
        CETNet(data, _few_ids(data), spec.members, fusion=spec.fusion, shared_tables=spec.shared_tables)
    except ValueError as error:
        _, of_tables, message = said(error).rpartition("shared_tables: ")
        return (("shared_tables",) if of_tables else ("fusion", "type")), message
    return None


def _refusal(
    build: Callable[[Mapping[str, object]], object], options: Mapping[str, object]
) -> tuple[Loc, str] | None:
    """Where and why a member cannot be built with its options; None where it can."""
    try:
        build(options)
        return None
    except Exception as error:  # code of the user's own can fail in any way
        together = error
    try:
        build({})
    except TypeError:
        pass  # an option that has to be given
    except ValueError as error:  # whatever its options: it cannot learn from this data
        return ("type",), str(error)
    except Exception as error:
        return ("type",), f"the member cannot be built ({error!r}); correct the member"
    for option, value in options.items():  # each alone, to know which of them it is
        try:
            build({option: value})
        except Exception as error:
            return (option,), f"found {shown(value)}, expected another value ({error}); correct it"
    return (), f"found options or features that the member refuses ({together}); correct them"
