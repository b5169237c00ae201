"""Gets MovieLens-100K and writes it as click rows: `python recipes/movielens_100k/prepare.py`.

The files come out of a package that carries them (RecBole), from the index that pip or uv is set up for. What
is written stays on this machine: the terms of the data allow no redistribution.
"""

import argparse
import csv
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cetnet_keras.errors import InputError, WorkFailed

LICENCE = """\
MovieLens-100K was collected by GroupLens Research at the University of Minnesota. Its terms, in short:
  - It may be used for research; any commercial use needs GroupLens's permission first.
  - It may not be redistributed without separate permission: do not commit or publish what is written here.
  - Do not state or imply that the university or GroupLens endorses you; neither vouches for the data.
  - Publications acknowledge it: F. M. Harper and J. A. Konstan (2015), The MovieLens Datasets: History and
    Context, ACM Transactions on Interactive Intelligent Systems 5(4), article 19, doi:10.1145/2827872."""

PACKAGE = "recbole==1.2.1 --hash=sha256:9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
INSIDE = "recbole/dataset_example/ml-100k"
RATINGS, MOVIES, USERS = "ml-100k.inter", "ml-100k.item", "ml-100k.user"
SHA256 = {  # of what is read and of what is written
    RATINGS: "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    MOVIES: "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    USERS: "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
    "clicks.csv": "d053b1e36f34c06e5fc1a138db3a132e08d973c6af13913af273c96172ea26fa",
    "movies.csv": "88b9829cc387ea03b1361ab66e8b835e5472afe65dbe00f1cc5da430734f295a",
}
WANTED = f"the recbole 1.2.1 wheel or a folder with {RATINGS}, {MOVIES} and {USERS}"
CURE = (
    "get the recbole 1.2.1 wheel by other means and run "
    "`python recipes/movielens_100k/prepare.py --source PATH`"
)


def prepare(folder: Path, source: Path | None = None) -> Path:
    """Writes clicks.csv and movies.csv; where both are there and whole, does nothing and reads no source.

    Args:
        folder: where they go; made if absent.
        source: the recbole 1.2.1 wheel, or a folder with the three files; None fetches the wheel.
    Returns:
        The path of clicks.csv.
    Raises:
        InputError: `source` lacks a file or holds another version of it.
        WorkFailed: the wheel could not be fetched, or the folder not written.
    """
    outputs = [folder / "movies.csv", folder / "clicks.csv"]
    if all(path.is_file() and _sha256(path.read_bytes()) == SHA256[path.name] for path in outputs):
        return outputs[1]
    print(LICENCE, flush=True)
    ratings, movies, users = _read(source) if source is not None else _fetch()
    tables = [movie_rows(movies), click_rows(ratings, movies, users)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, rows in zip(outputs, tables, strict=True):
            _write(path, rows)
    except OSError as error:
        raise WorkFailed(f"{folder}: cannot be written ({error.strerror}); name another folder") from error
    return outputs[1]


def click_rows(ratings: str, movies: str, users: str) -> Iterator[list[str]]:
    """The rows of clicks.csv, header first, in the ratings' order; 4 or 5 stars are a click: our choice.

    Args:
        ratings: text of ml-100k.inter: user_id, item_id, rating, timestamp (seconds).
        movies: text of ml-100k.item: item_id, movie_title, release_year, class (genres).
        users: text of ml-100k.user: user_id, age, gender, occupation, zip_code.
    """
    user = {u["user_id"]: [u["age"], u["gender"], u["occupation"], u["zip_code"]] for u in _table(users)}
    movie = {m["item_id"]: [_year(m), _genres(m)] for m in _table(movies)}
    about_user, about_movie = ["age", "gender", "occupation", "zip"], ["release_year", "genres"]
    yield ["label", "timestamp", "user_id", "item_id", *about_user, *about_movie]
    for row in _table(ratings):
        label = str(int(float(row["rating"]) >= 4))
        ids = [row["user_id"], row["item_id"]]
        yield [label, row["timestamp"], *ids, *user[row["user_id"]], *movie[row["item_id"]]]


def movie_rows(movies: str) -> Iterator[list[str]]:
    """The rows of movies.csv, header first, in the order of ml-100k.item, which `movies` is the text of."""
    yield ["item_id", "title", "release_year", "genres"]
    for row in _table(movies):
        yield [row["item_id"], row["movie_title"], _year(row), _genres(row)]


def _table(text: str) -> Iterator[dict[str, str]]:
    """The rows of a TAB-separated file whose header says `name:type`; quotes are letters like any other."""
    header, *lines = text.splitlines()
    names = [cell.split(":")[0] for cell in header.split("\t")]
    for line in lines:
        yield dict(zip(names, line.split("\t"), strict=True))


def _year(movie: dict[str, str]) -> str:
    """The year, or nothing: two movies have a word there (`unkonwn`, `V`)."""
    return movie["release_year"] if movie["release_year"].isdecimal() else ""


def _genres(movie: dict[str, str]) -> str:
    return "|".join(movie["class"].split())


def _fetch() -> tuple[str, str, str]:
    """The three files out of the wheel, which is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder, "requirements.txt")
        pinned.write_text(PACKAGE + "\n", encoding="utf-8")
        got = Path(folder, "got")
        command = [*_fetcher(got), "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        done = subprocess.run([*command, "--requirement", str(pinned)], capture_output=True, text=True)
        if done.returncode:
            raise WorkFailed(_why(done.stderr))
        return _read(next(got.glob("*.whl"), got))


def _fetcher(into: Path) -> list[str]:
    """The client that the user has set up for a package index: pip of this environment, else uv."""
    # not importlib.util.find_spec: setuptools takes a look for pip as pip at work, and TFX's import then fails
    if any(importlib.metadata.distributions(name="pip")):
        return [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", f"--dest={into}"]
    uv = shutil.which("uv")
    if uv is not None:  # it has no `download`
        return [uv, "pip", "install", f"--python={sys.executable}", f"--target={into}"]
    raise WorkFailed(f"MovieLens-100K: found neither pip in {sys.executable} nor uv on PATH; {CURE}")


def _why(log: str) -> str:
    """One line out of what pip or uv said."""
    lines = [line.strip() for line in log.splitlines()] or ["it did not say why"]
    if any("DO NOT MATCH THE HASHES" in line or "Hash mismatch" in line for line in lines):
        return f"MovieLens-100K: the recbole 1.2.1 of the package index has not the pinned sha256; {CURE}"
    said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
    return f"MovieLens-100K: the package index gave no recbole 1.2.1 ({said}); check the network, or {CURE}"


def _read(source: Path) -> tuple[str, str, str]:
    """The verified text of ratings, movies and users."""
    ratings, movies, users = (_verified(source, name, data) for name, data in _files(source))
    return ratings, movies, users


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    names = (RATINGS, MOVIES, USERS)
    try:
        if source.is_dir():
            folder = source / INSIDE if (source / INSIDE).is_dir() else source
            for name in names:
                yield name, (folder / name).read_bytes()
        else:
            with zipfile.ZipFile(source) as wheel:
                for name in names:
                    yield name, wheel.read(f"{INSIDE}/{name}")
    except OSError as error:
        path = error.filename or source
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected {WANTED}") from error
    except (KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{source}: {error.args[0]}, expected {WANTED}") from error


def _verified(source: Path, name: str, data: bytes) -> str:
    if _sha256(data) != SHA256[name]:
        found = f"found sha256 {_sha256(data)}, expected {SHA256[name]}"
        raise InputError(f"{source}: {name}: {found}; use the file of recbole 1.2.1, unchanged")
    return data.decode("utf-8")


def _write(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Writes a CSV file; it appears whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0 done, 1 the fetch failed, 2 the source is wrong."""
    parser = argparse.ArgumentParser(description="Gets MovieLens-100K and writes clicks.csv and movies.csv.")
    parser.add_argument("--source", type=Path, help=f"{WANTED}; without it the wheel is fetched")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "data", help="where they go")
    options = parser.parse_args(arguments)
    try:
        print(prepare(options.folder, options.source))
    except (InputError, WorkFailed) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
