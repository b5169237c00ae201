"""The recipe on made-up files of the source's layout, and on the real ones where they have been fetched."""

import csv
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest

from cetnet_keras.errors import InputError, WorkFailed
from cetnet_keras.spec import RowSplits, load_data_spec

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "movielens_100k"

RATINGS = """\
user_id:token\titem_id:token\trating:float\ttimestamp:float
7\t50\t4\t881250949
007\t2\t3\t881250948
7\t9\t5\t881250949
"""
MOVIES = """\
item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
2\tDouble vie de Véronique, La\t1991\tDrama
9\t"unquoted\tunkonwn\tunknown
50\tStar Wars\t1977\tAction Sci-Fi
"""
USERS = """\
user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token
7\t24\tM\ttechnician\t00000
007\t53\tF\tother\tT8H1N
"""
CLICKS = """\
label,timestamp,user_id,item_id,age,gender,occupation,zip,release_year,genres
1,881250949,7,50,24,M,technician,00000,1977,Action|Sci-Fi
0,881250948,007,2,53,F,other,T8H1N,1991,Drama
1,881250949,7,9,24,M,technician,00000,,unknown
"""
TITLES = [
    ["item_id", "title", "release_year", "genres"],
    ["2", "Double vie de Véronique, La", "1991", "Drama"],
    ["9", '"unquoted', "", "unknown"],
    ["50", "Star Wars", "1977", "Action|Sci-Fi"],
]


@pytest.fixture
def recipe() -> ModuleType:
    found = importlib.util.spec_from_file_location("movielens_100k_prepare", RECIPE / "prepare.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path: Path, recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the made-up files, which the recipe takes for the pinned ones."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, text in ((recipe.RATINGS, RATINGS), (recipe.MOVIES, MOVIES), (recipe.USERS, USERS)):
        (folder / name).write_text(text, encoding="utf-8")
        monkeypatch.setitem(recipe.SHA256, name, sha256(text.encode()).hexdigest())
    monkeypatch.setitem(recipe.SHA256, "clicks.csv", sha256(CLICKS.encode()).hexdigest())
    return folder


def as_wheel(source: Path, wheel: Path, inside: str) -> Path:
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in source.iterdir():
            archive.write(path, f"{inside}/{path.name}")
    return wheel


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_ratings_become_clicks_in_their_order(tmp_path: Path, recipe: ModuleType, source: Path) -> None:
    clicks = recipe.prepare(tmp_path / "data", source)
    assert clicks == tmp_path / "data" / "clicks.csv"
    assert clicks.read_bytes() == CLICKS.encode()
    assert rows_of(tmp_path / "data" / "movies.csv") == TITLES


def test_wheel_and_folder_give_the_same_files(tmp_path: Path, recipe: ModuleType, source: Path) -> None:
    wheel = as_wheel(source, tmp_path / "some.whl", recipe.INSIDE)
    folder = tmp_path / "unpacked" / recipe.INSIDE
    folder.parent.mkdir(parents=True)
    source.rename(folder)
    for name, given in (("a", wheel), ("b", tmp_path / "unpacked"), ("c", folder)):
        assert recipe.prepare(tmp_path / name, given).read_bytes() == CLICKS.encode()
        assert rows_of(tmp_path / name / "movies.csv") == TITLES


def test_second_call_reads_no_source_and_prints_nothing(
    tmp_path: Path,
    recipe: ModuleType,
    source: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe.prepare(tmp_path / "data", source)
    movies = (tmp_path / "data" / "movies.csv").read_bytes()
    monkeypatch.setitem(recipe.SHA256, "movies.csv", sha256(movies).hexdigest())
    assert "may not be redistributed" in capsys.readouterr().out
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "data").iterdir())]
    assert recipe.prepare(tmp_path / "data", tmp_path / "absent") == tmp_path / "data" / "clicks.csv"
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "data").iterdir())] == before
    assert capsys.readouterr().out == ""


def test_damaged_output_is_written_again(tmp_path: Path, recipe: ModuleType, source: Path) -> None:
    clicks = recipe.prepare(tmp_path / "data", source)
    clicks.write_bytes(clicks.read_bytes()[:-10])
    assert recipe.prepare(tmp_path / "data", source).read_bytes() == CLICKS.encode()
    assert sorted(path.name for path in clicks.parent.iterdir()) == ["clicks.csv", "movies.csv"]


def test_changed_source_is_refused_and_what_was_made_stays(
    tmp_path: Path, recipe: ModuleType, source: Path
) -> None:
    clicks = recipe.prepare(tmp_path / "data", source)
    clicks.write_text("kept", encoding="utf-8")
    (source / recipe.USERS).write_text(USERS.replace("24", "25"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"source: ml-100k.user: found sha256 \w+, expected \w+; use the file"
    ):
        recipe.prepare(tmp_path / "data", source)
    assert clicks.read_text(encoding="utf-8") == "kept"


def test_source_that_is_no_source_is_refused(tmp_path: Path, recipe: ModuleType, source: Path) -> None:
    (tmp_path / "text.whl").write_text("no wheel", encoding="utf-8")
    other = as_wheel(source, tmp_path / "other.whl", "another/place")
    (source / recipe.USERS).unlink()
    for given, found in (
        (tmp_path / "absent", "absent: cannot be read"),
        (tmp_path / "text.whl", "text.whl: File is not a zip file"),
        (other, "other.whl: There is no item named 'recbole/dataset_example/ml-100k/ml-100k.inter'"),
        (source, "ml-100k.user: cannot be read"),
    ):
        with pytest.raises(
            InputError, match=rf"{found}.*, expected the recbole 1.2.1 wheel or a folder with"
        ):
            recipe.prepare(tmp_path / "data", given)
    assert not (tmp_path / "data").exists()


def test_folder_that_cannot_be_made_is_one_error(tmp_path: Path, recipe: ModuleType, source: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(WorkFailed, match="file/data: cannot be written"):
        recipe.prepare(tmp_path / "file" / "data", source)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which pip and uv look for packages, in place of any index."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}
    settings |= {"UV_DEFAULT_INDEX": folder.as_uri(), "UV_FIND_LINKS": str(folder)}
    for name, value in (settings | {"UV_NO_CACHE": "1", "UV_NO_CONFIG": "1"}).items():
        monkeypatch.setenv(name, value)
    return folder


def test_index_without_the_wheel_is_one_line_and_exit_code_1(tmp_path: Path, index: Path) -> None:
    command = [sys.executable, str(RECIPE / "prepare.py"), "--folder", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: MovieLens-100K: ")
    assert "prepare.py --source PATH" in done.stderr
    assert not (tmp_path / "data").exists()


def test_wheel_of_another_content_is_refused_by_its_hash(
    tmp_path: Path, recipe: ModuleType, source: Path, index: Path
) -> None:
    if not any(importlib.metadata.distributions(name="pip")) and shutil.which("uv") is None:
        pytest.skip("neither pip nor uv is here to fetch with")
    as_wheel(source, index / "recbole-1.2.1-py3-none-any.whl", recipe.INSIDE)
    with pytest.raises(WorkFailed, match="has not the pinned sha256"):
        recipe.prepare(tmp_path / "data")


def test_wrong_source_is_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, str(RECIPE / "prepare.py"), "--folder", str(tmp_path / "data")]
    done = subprocess.run([*command, "--source", str(tmp_path / "absent")], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("name", "histories"),
    [("data.yaml", {"history"}), ("data_global_time.yaml", {"liked", "disliked", "ratings"})],
)
def test_a_spec_reads_columns_that_prepare_writes(name: str, histories: set[str]) -> None:
    columns = set(CLICKS.splitlines()[0].split(","))
    read = load_data_spec(RECIPE / name)
    assert isinstance(read.splits, RowSplits) and read.group == "user_id"
    assert set(read.histories) == histories
    assert {history.time for history in read.histories.values()} == {read.splits.column}
    assert {*read.features, read.label, read.splits.column} - histories == columns


def test_specs_differ_in_name_split_histories_and_ids_left_out() -> None:
    within, across = (
        load_data_spec(RECIPE / name).model_dump() for name in ("data.yaml", "data_global_time.yaml")
    )
    assert within.pop("name") != across.pop("name")
    assert within["splits"].pop("within") == "user_id" and across["splits"].pop("within") is None
    for name in ("user_id", "zip"):
        rates = [spec["features"][name].pop("vocabulary") for spec in (within, across)]
        assert rates[0] is None and rates[1]["oov_rate"] == 0.5
    for spec, names in ((within, ["history"]), (across, ["liked", "disliked", "ratings"])):
        for name in names:
            assert spec["features"].pop(name)["by"] == "user_id"
    assert within == across


def test_fetched_files_are_whole(recipe: ModuleType) -> None:
    clicks = RECIPE / "data" / "clicks.csv"
    if not clicks.exists():
        pytest.skip(f"{clicks} is not there: run `python recipes/movielens_100k/prepare.py`")
    rows = rows_of(clicks)[1:]
    titles = {row[0] for row in rows_of(clicks.with_name("movies.csv"))[1:]}
    assert len(rows) == 100_000
    assert sum(row[0] == "1" for row in rows) == 55_375
    assert {row[3] for row in rows} == titles and len(titles) == 1682
    assert recipe.prepare(clicks.parent, RECIPE / "absent") == clicks
