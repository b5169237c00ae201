"""Which members an ensemble has: the default ones, their names, how a spec becomes a member, tables in common."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from cetnet_keras.members import Member, member_class, member_options
from cetnet_keras.members.build import build_member
from cetnet_keras.members.options import option_mistake
from cetnet_keras.spec import DataSpec, MemberSpec, SequenceFeature
from cetnet_keras.spec.model_spec import TAKEN_NAMES

DEFAULT_OPTIONS: dict[str, Any] = {"batch_norm": True, "embedding_stddev": 0.0001}  # of each default member


def default_members(spec: DataSpec) -> list[MemberSpec]:
    """The members of an ensemble that names none: din + finalmlp where the spec has a sequence, else finalmlp + dcnv2.

    Source: our choice, by the eval splits of benchmarks/quality and by what a step costs; CETNet (arXiv 2411.13700) pairs
    InterFormer and DHEN. Rows start small, as FuxiCTR's do, and a norm of batches makes up for it: without one such members
    learn so slowly that the ensemble is done before them.
    """
    types = ("din", "finalmlp") if spec.of_type(SequenceFeature) else ("finalmlp", "dcnv2")
    return [MemberSpec.model_validate({"type": name} | DEFAULT_OPTIONS) for name in types]


def member_names(members: Sequence[MemberSpec]) -> tuple[str, ...]:
    """The name of each member in outputs and losses: its `name`, else its `type`, of which a class path keeps the class.

    Raises:
        ValueError: two members have one name, or a name is taken by another part of the loss.
    """
    names = tuple(member.name or member.type.rpartition(":")[2] for member in members)
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"member {name!r}: found the name {names.count(name)} times; give each `name:` its own"
            )
        if name in TAKEN_NAMES:
            raise ValueError(f"member {name!r}: the name is reserved; give another `name:`")
    return names


def make_member(
    member: MemberSpec, name: str, spec: DataSpec, vocabulary_sizes: Mapping[str, int], dtype: Any = None
) -> Member:
    """The member that a MemberSpec describes.

    Raises:
        ValueError: an unknown member, an option that it does not have, a value that it refuses, or an option of all members
            that it does not pass on.
    """
    layer = member_class(member.type)
    known = member_options(layer)
    for option in member.options:
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ValueError(f"member {name!r}: unknown option {option!r}: {hint}Known: {', '.join(known)}")
    mistake = option_mistake(layer, member.options)
    if mistake is not None:
        raise ValueError(f"member {name!r}: `{mistake[0]}`: {mistake[1]}")
    options = member.options | {
        "embedding_dim": member.embedding_dim,
        "dtype": dtype,
        "name": f"member_{name}",
    }
    try:
        return build_member(layer, spec, vocabulary_sizes, options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"member {name!r}: {error}") from error


def share_tables(members: Sequence[Member]) -> None:
    """Lets all members read the rows of the first. Raises ValueError where their tables differ in width."""
    widths = [member.features.embedding_dim for member in members]  # of multi_embedding all sets together
    if len(set(widths)) > 1:
        need = "members need one embedding_dim (multi_embedding: times `sets`) to share tables"
        raise ValueError(f"shared_tables: {need}. Received: {widths}; give them one")
    for member in members[1:]:
        member.features = members[0].features
