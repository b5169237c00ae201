"""How rows become train, eval and test."""

from collections.abc import Container, Sequence
from pathlib import Path

from cetnet_keras.spec.infer.files import Source, Split
from cetnet_keras.spec.infer.table import Column
from cetnet_keras.spec.infer.times import Time, cuts_rows
from cetnet_keras.spec.splits import Files, FileSplits, HoldOut, RowSplits, Splits

_ENOUGH = 100  # values, equally frequent, that a hash needs to come near the shares that are asked for
_FEW = 30  # with so many groups it is near enough


def guess_splits(
    sources: Sequence[Source],
    named: dict[Split, list[Source]],
    base: Path,
    columns: Sequence[Column],
    features: Container[str],
    group: Column | None,
    times: Sequence[Time],
) -> tuple[Splits, str]:
    """The splits, and why.

    Args:
        named: the files by split, if their names say one.
        base: the folder that paths in the spec start from.
        columns: those whose values may be hashed; at least one.
        features: the columns that become ids, of which a hash would keep values from training.
        times: the time columns, the first of which may cut the rows.
    """
    hashed, why = _hashed(columns, features, group)
    if not named:
        files = _patterns(sources, base)
        time = next((time for time in times if cuts_rows(time.column)), None)
        if time is not None:
            reason = (
                f"the last tenth by {time.column.name} is the test, the tenth before it eval, as in serving: "
            )
            other = f"within: {group.name} cuts each value of it on its own; " if group is not None else ""
            column = time.column.name
            return (
                RowSplits(files=files, by="time", column=column, eval=0.1, test=0.1),
                f"{reason}a model meets later rows. {other}{{by: hash, column: {hashed.name}}} would mix the times",
            )
        return RowSplits(files=files, by="hash", column=hashed.name, eval=0.1, test=0.1), why
    reason = "by the names of the files"
    train = _patterns(named["train"], base)
    if "eval" in named and "test" in named:
        return FileSplits(
            train=train, eval=_patterns(named["eval"], base), test=_patterns(named["test"], base)
        ), reason
    held_out = HoldOut(by="hash", column=hashed.name, fraction=0.1)
    test = _patterns(named["test"] if "test" in named else named["eval"], base)
    reason += f"; eval, which stops the training, is a tenth of train: {why}"
    if "test" not in named:
        reason += ". The evaluation files are the test: nothing may be chosen by it"
    return FileSplits(train=train, eval=held_out, test=test), reason


def _hashed(columns: Sequence[Column], features: Container[str], group: Column | None) -> tuple[Column, str]:
    """The column that divides the rows by its hash, and why."""
    if group is not None and group.evenness >= _FEW:
        return (
            group,
            f"by a hash of {group.name}: all rows of one are on one side, so none is known from training",
        )
    harmless = [column for column in columns if column.name not in features and column.evenness >= _ENOUGH]
    best = max(harmless or columns, key=lambda column: column.evenness)
    if best.distinct == len(best.cells):
        return best, f"by a hash of {best.name}, which is another in each row: rows are divided at random"
    reason = f"by a hash of {best.name}, the most even of the columns ({best.distinct:,} values)"
    if best.name in features:
        reason += (
            "; its values in eval and test are unknown from training, so a column of row ids would be better"
        )
    if best.evenness < _ENOUGH:
        reason += "; few values: the shares may be far from a tenth, look at them in the first run"
    return best, reason


def _patterns(sources: Sequence[Source], base: Path) -> Files:
    patterns = [source.pattern(base) for source in sources]
    return patterns[0] if len(patterns) == 1 else patterns
