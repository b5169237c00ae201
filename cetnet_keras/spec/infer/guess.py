"""Guesses a data spec from a sample of rows, with the reason of each guess."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cetnet_keras.errors import InputError
from cetnet_keras.spec.data_spec import CsvFormat, DataSpec
from cetnet_keras.spec.document import printable
from cetnet_keras.spec.infer.doubts import find_doubts
from cetnet_keras.spec.infer.features import build_features
from cetnet_keras.spec.infer.files import Source, by_split, data_name
from cetnet_keras.spec.infer.kinds import Single, find_kinds, left_out, taken_for_ids, times_of
from cetnet_keras.spec.infer.label import find_label
from cetnet_keras.spec.infer.roles import find_group
from cetnet_keras.spec.infer.splits import guess_splits
from cetnet_keras.spec.infer.table import Table, listed
from cetnet_keras.spec.splits import RowSplits


@dataclass(frozen=True)
class Guess:
    """A data spec with what it was guessed from.

    Attributes:
        spec: sound, and with splits.
        keys: the reason of a top-level key.
        columns: the reason of each column but the label, in the order of the file, features or not.
    """

    spec: DataSpec
    keys: dict[str, str]
    columns: dict[str, str]


def guess_spec(table: Table, sources: Sequence[Source], base: Path, wanted_label: str | None = None) -> Guess:
    """Guesses the spec of a sample.

    Args:
        sources: all files.
        base: the folder of the spec: paths in it start there.
        wanted_label: the label's column, if the user says it.
    Raises:
        InputError: there is no label, or no column that can be a feature.
    """
    label = find_label(table, wanted_label)
    group = find_group(table, label.name)
    kinds = find_kinds(table, label, group.name)
    features = build_features(kinds, table, group.name)
    left = left_out(kinds)
    if not features:
        why = "; ".join(
            f"{listed([name])}: {printable(kind.reason)}" for name, kind in list(left.items())[:5]
        )
        raise InputError(f"{table.path}: found no column that can be a feature ({why}); add one")
    ids = [name for name, kind in left.items() if kind.is_row_id]
    group_column = table[group.name] if group.name else None
    hashable = [c for c in table.columns if c.can_be_named and c.name not in (label.name, *label.others)]
    as_ids = {name for name, kind in kinds.items() if isinstance(kind, Single)}
    splits, why = guess_splits(
        sources, by_split(sources), base, hashable, as_ids, group_column, times_of(kinds, table)
    )
    spec = DataSpec(
        version=1,
        name=data_name(sources),
        label=label.name,
        group=group.name,
        id=ids,
        csv=table.csv or CsvFormat(),
        features={name: feature for name, (feature, _) in features.items()},
        splits=splits,
    )
    doubts = find_doubts(taken_for_ids(kinds, table))
    unread = next((name for name, doubt in doubts.items() if doubt.is_time), None)
    if unread is not None and isinstance(splits, RowSplits) and splits.by == "hash":
        why += f". It mixes the times: {{by: time, column: {unread}}} would not, once each row has one that is read"
    keys = {"label": label.reason, "group": group.reason, "splits": why}
    reasons = {name: left[name].reason if name in left else features[name][1] for name in kinds}
    reasons |= {name: f"{reasons[name]}. But {doubt.text}" for name, doubt in doubts.items()}
    return Guess(spec, keys, reasons)
