"""Which of the files given are for training, evaluation and test, and how the data spec names them."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from cetnet_keras.errors import InputError
from cetnet_keras.formats import format_of

Split = Literal["train", "eval", "test"]

_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "eval", "evaluation", "dev"), "eval"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_EVERYDAY = re.compile(
    r"(train|training|valid|validation|val|eval|dev|test|data|sample|part|rows|clicks|all|[0-9]+)"
)


class Source(NamedTuple):
    """A file, or a pattern and the files that match it."""

    given: str
    files: list[Path]

    def pattern(self, base: Path) -> str:
        """What the data spec in the folder `base` has to say; a character that means something in a glob is escaped."""
        path = Path(self.given)
        found = os.path.relpath(path, base)
        if found.startswith(".."):  # `..` of a folder that is a link leads elsewhere
            found = os.path.relpath(path.parent.resolve() / path.name, base.resolve())
        return glob.escape(found) if self.files == [path] else found


def read_sources(given: Sequence[str]) -> list[Source]:
    """The files that each argument of the command stands for.

    Raises:
        InputError: a file is not there, is a folder, or is named twice; a pattern matches nothing; CSV beside Parquet.
    """
    sources = [Source(text, _matches(text)) for text in given]
    files = [path for source in sources for path in source.files]
    again = [path for at, path in enumerate(files) if path in files[:at]]
    if again:
        raise InputError(f"{again[0]}: found twice, expected each file once; name it once")
    if len({is_parquet(path) for path in files}) > 1:
        raise InputError(f"{files[0]}: found beside files of another format, expected CSV or Parquet alone")
    return sources


def _matches(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        raise InputError(f"{text}: found a folder, expected files; name them: {path / '*.csv'}")
    if path.exists():
        return [path]
    found = sorted(Path(name) for name in glob.glob(text) if Path(name).is_file())
    if not found:
        raise InputError(f"{text}: found no such file, expected CSV or Parquet; check the path")
    return found


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its name."""
    return format_of(path.name) == "Parquet"


def by_split(sources: Sequence[Source]) -> dict[Split, list[Source]]:
    """The files of each split; empty where no file names one, so that rows have to be divided.

    Raises:
        InputError: some names say a split and others do not, or no file is for training.
    """
    splits = [_split_of(source.given) for source in sources]
    if len(sources) == 1 or not any(splits):
        return {}
    if None in splits:
        odd = sources[splits.index(None)].given
        names = "train, valid or test as the others do"
        raise InputError(
            f"{odd}: found a name that says no split, expected {names}; rename it or leave it out"
        )
    found: dict[Split, list[Source]] = {}
    for split, source in zip(splits, sources, strict=True):
        if split is not None:
            found.setdefault(split, []).append(source)
    if "train" not in found:
        raise InputError(f"{sources[0].given}: found no file for training, expected one named train; add it")
    return {} if list(found) == ["train"] else found


def _split_of(given: str) -> Split | None:
    """By the words of the file's name, or by its folder: train/part-1.csv is for training."""
    path = Path(given)
    for word in [*re.split(r"[^a-z]+", path.name.lower()), path.parent.name.lower()]:
        if word in _WORDS:
            return _WORDS[word]
    return None


def data_name(sources: Sequence[Source]) -> str:
    """The name of the data set: the first file's, or its folder's where the file is called train, data or the like."""
    path = sources[0].files[0]
    stem = path.name.split(".")[0]
    everyday = all(_EVERYDAY.fullmatch(word) for word in re.split(r"[^a-z0-9]+", stem.lower()) if word)
    candidates = [path.resolve().parent.name, stem] if everyday else [stem]
    for name in candidates:
        clean = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")
        if clean:
            return clean[:60]
    return "clicks"
