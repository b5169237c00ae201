"""Requests to the signature `rank`: one user or many, each with candidates, cut to size and put together again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cetnet_keras.errors import InputError
from serving.arrays import known_signature, typed_array
from serving.client_errors import BadAnswer
from serving.metadata import DEFAULT_SIGNATURE, ModelMetadata, TensorInfo, shape_text
from serving.tables import Table, columns_of, length_of

RANK = "rank"
_CONTEXT, _CANDIDATES = "the context of signature rank", "the candidates of signature rank"


class RankFeatures(NamedTuple):
    """What `rank` takes, with types and shapes as `serving_default` takes them, a row each."""

    context: Mapping[str, TensorInfo]
    candidate: Mapping[str, TensorInfo]


class RankRequest(NamedTuple):
    """Typed arrays: context features [B, ...] and candidate features [B, N, ...].

    `alone` is True where one user was given without the dimension B.
    """

    context: dict[str, np.ndarray]
    candidate: dict[str, np.ndarray]
    alone: bool

    def parts(self, batch_size: int | None) -> Iterator[dict[str, np.ndarray]]:
        """The inputs of requests with at most `batch_size` candidates over all their users; None: of one."""
        for users, places in self._cuts(batch_size):
            context = {name: array[users] for name, array in self.context.items()}
            yield context | {name: array[users, places] for name, array in self.candidate.items()}

    def joined(self, answers: Sequence[Mapping[str, np.ndarray]], batch_size: int | None) -> np.ndarray:
        """The ctr of all `parts`, in their order, as one array: [N] for one user alone, else [B, N].

        Raises:
            BadAnswer: an answer has no ctr of the shape that was asked for.
        """
        ctr = np.empty(self._shape, np.float32)
        for cut, answer in zip(self._cuts(batch_size), answers, strict=True):
            if "ctr" not in answer or answer["ctr"].shape != ctr[cut].shape:
                found = ", ".join(f"{name} {shape_text(array.shape)}" for name, array in answer.items())
                raise BadAnswer(f"signature {RANK}: expected ctr {shape_text(ctr[cut].shape)}, found {found}")
            ctr[cut] = answer["ctr"]
        return ctr[0] if self.alone else ctr

    @property
    def _shape(self) -> tuple[int, ...]:
        return next(iter(self.candidate.values())).shape[:2]

    def _cuts(self, batch_size: int | None) -> Iterator[tuple[slice, slice]]:
        """Blocks of users and of candidates' places that cover [B, N]."""
        rows, count = self._shape
        across = max(1, count if batch_size is None else min(count, batch_size))
        down = max(1, rows if batch_size is None else batch_size // across)
        for row in range(0, rows, down):
            for place in range(0, count, across):
                yield slice(row, row + down), slice(place, place + across)


def rank_features(metadata: ModelMetadata) -> RankFeatures:
    """Which inputs of `rank` are of the context and which of a candidate: the latter have a dimension more.

    Raises:
        InputError: the model has no such signature, or not beside a `serving_default` of the same features.
    """
    rank, row = known_signature(metadata, RANK).inputs, known_signature(metadata, DEFAULT_SIGNATURE).inputs
    context, candidate = {}, {}
    for name, info in rank.items():
        known = row[name].shape if name in row else None
        if known is None or info.shape is None:
            raise InputError(f"model {metadata.name}: {RANK} takes {name}, and {DEFAULT_SIGNATURE} does not")
        if len(info.shape) > len(known):
            candidate[name] = row[name]
        else:
            context[name] = row[name]
    if not candidate:
        raise InputError(f"model {metadata.name}: {RANK} takes no candidate features")
    return RankFeatures(context, candidate)


def candidate_inputs(metadata: ModelMetadata, signature: str) -> tuple[str, ...]:
    """The inputs of a signature that have a dimension of candidates; none but those of `rank` have."""
    if signature != RANK:
        return ()
    try:
        return tuple(rank_features(metadata).candidate)
    except InputError:  # a model of another kind has a signature of this name
        return ()


def rank_request(context: Table, candidates: Any, metadata: ModelMetadata) -> RankRequest:
    """Typed arrays for `rank`.

    Args:
        context: one user's features as a dict of values; or a table of B users.
        candidates: a table of N candidates for one user; for B users a dict of columns [B, N], or a list of
            B tables of N candidates each.
        metadata: what the model says of itself.
    Raises:
        InputError: a feature is missing, unknown, or of another type, or the numbers of candidates differ.
    """
    features = rank_features(metadata)
    alone = False
    if isinstance(context, Mapping) and _is_one_row(context, features.context):
        alone = True
        context = {name: [value] for name, value in context.items()}
        candidate = {
            name: typed_array(name, values, features.candidate[name])[np.newaxis]
            for name, values in columns_of(candidates, features.candidate, _CANDIDATES).items()
        }
    else:
        candidate = _candidates_of_many(candidates, features.candidate)
    columns = columns_of(context, features.context, _CONTEXT)
    arrays = {name: typed_array(name, values, features.context[name]) for name, values in columns.items()}
    rows = {len(array) for array in (*arrays.values(), *candidate.values())}
    if len(rows) > 1 or len({array.shape[1] for array in candidate.values()}) > 1:
        shapes = ", ".join(
            f"{name} {shape_text(array.shape)}" for name, array in (arrays | candidate).items()
        )
        raise InputError(f"signature {RANK} takes context [B] and candidates [B,N]; found {shapes}")
    return RankRequest(arrays, candidate, alone)


def _is_one_row(context: Mapping[str, Any], known: Mapping[str, TensorInfo]) -> bool:
    """Whether these are one user's values, and not columns of several users."""
    return all(
        _depth(value) < len(known[name].shape or ()) for name, value in context.items() if name in known
    )


def _depth(value: Any) -> int:
    if isinstance(value, list | tuple):
        return 1 + max(map(_depth, value), default=0)
    return np.ndim(value)


def _candidates_of_many(candidates: Any, known: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    """Arrays [B, N, ...] of a dict of such columns, or of a list of B tables."""
    if isinstance(candidates, Mapping):
        columns = columns_of(candidates, known, _CANDIDATES)
    elif isinstance(candidates, list | tuple):
        tables = [
            columns_of(table, known, f"{_CANDIDATES}, row {row}") for row, table in enumerate(candidates, 1)
        ]
        columns = {name: [table[name] for table in tables] for name in known}
    else:
        raise InputError(
            f"{_CANDIDATES}: found {type(candidates).__name__}; for several users give a dict of columns "
            "[B, N], or a list of B tables"
        )
    arrays = {}
    for name, info in known.items():
        counts = set(map(length_of, columns[name])) if length_of(columns[name]) else set()
        if len(counts) > 1:  # filled up, the shorter ones would be scored with candidates that are none
            raise InputError(
                f"{_CANDIDATES}: {name} has {min(counts)} to {max(counts)} values a row; rank has as many "
                "candidates for each user: ask for users with other numbers one by one"
            )
        arrays[name] = typed_array(name, columns[name], TensorInfo(info.dtype, (-1, *(info.shape or ()))))
    return arrays
