"""Which files a data spec names, for which split, in which format."""

import glob
from dataclasses import dataclass
from pathlib import Path

from cetnet_keras.errors import InputError
from cetnet_keras.formats import format_of
from cetnet_keras.spec import DataSpec, FileSplits, HoldOut, RowSplits

SPLITS = ("train", "eval", "test")
TRAIN, EVAL, TEST = 1, 2, 4  # one bit a split: eval and test may be the same file


@dataclass(frozen=True)
class SourceFile:
    """A file to read."""

    index: int  # counts over all splits; the upper part of the keys of its rows
    path: str
    splits: int  # a set of bits; rows that are divided later have all of them


def split_patterns(spec: DataSpec) -> dict[str, list[str]]:
    """The file patterns that each split is read from; a split cut out of other files has theirs.

    Raises:
        InputError: the spec says nothing about splits.
    """
    splits = spec.splits
    if splits is None:
        raise InputError("data spec: splits: missing, expected files for train, eval and test; add the key")
    if isinstance(splits, RowSplits):
        found = dict.fromkeys(SPLITS, splits.files)
    else:
        eval_files = splits.train if isinstance(splits.eval, HoldOut) else splits.eval
        found = {"train": splits.train, "eval": eval_files, "test": splits.test}
    return {name: [files] if isinstance(files, str) else files for name, files in found.items()}


def source_files(spec: DataSpec, base: Path) -> list[SourceFile]:
    """The files of all splits, each once: train, eval, test, in the order of the patterns, then by name.

    Args:
        base: the folder of the spec; relative patterns start there.
    Raises:
        InputError: a pattern matches no file, or the files of one split have several formats.
    """
    bits: dict[str, int] = {}
    for bit, (name, patterns) in zip((TRAIN, EVAL, TEST), split_patterns(spec).items(), strict=True):
        if name == "eval" and isinstance(spec.splits, FileSplits) and isinstance(spec.splits.eval, HoldOut):
            continue  # its rows are found among those of train
        files = [path for pattern in patterns for path in _matches(pattern, base)]
        _refuse_mixture(name, files)
        for path in files:
            bits[path] = bits.get(path, 0) | bit
            if isinstance(spec.splits, FileSplits) and bits[path] & TRAIN and bits[path] != TRAIN:
                found = f"found among the files of train and of {name}, expected in one of them"
                raise InputError(f"{path}: {found}; nothing is measured on what was learnt")
    return [SourceFile(index, path, splits) for index, (path, splits) in enumerate(bits.items())]


def _matches(pattern: str, base: Path) -> list[str]:
    found = sorted(glob.glob(str(Path(glob.escape(str(base))) / pattern)))
    files = [path for path in found if Path(path).is_file()]
    if files:
        return files
    if found:
        raise InputError(f"{base / pattern}: found a folder, expected files; name them: {pattern}/*.csv")
    advice = "check the path, which starts at the folder of the data spec"
    raise InputError(f"{base / pattern}: found no file, expected at least one; {advice}")


def _refuse_mixture(split: str, files: list[str]) -> None:
    for path in files:
        if format_of(path) != format_of(files[0]):
            found = f"found {format_of(path)} by its name, expected {format_of(files[0])} as {files[0]}"
            raise InputError(f"{path}: {found}; give the files of {split} one format, or name fewer of them")
