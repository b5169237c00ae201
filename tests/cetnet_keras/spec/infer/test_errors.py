"""Files that cannot be understood are answered with what was found and what to do."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from cetnet_keras.errors import InputError
from cetnet_keras.spec.infer import infer

ROWS = "label,user_id,f\n" + "".join(f"{n % 2},u{n % 5},{n % 3}\n" for n in range(20))


@pytest.mark.parametrize(
    ("name", "content", "columns", "expected"),
    [
        ("a.csv", b"", None, "a.csv: found an empty file, expected rows; write it again"),
        ("a.csv", b" \n\n", None, "a.csv: found an empty file"),
        ("a.csv", b"label,f\n", None, "a.csv: found no rows below the header"),
        ("a.csv", b"\x00\x01\x02", None, "a.csv: found a binary file"),
        ("a.csv", b"PAR1...", None, "expected CSV text in UTF-8; give it a name that ends in .parquet"),
        ("a.csv", gzip.compress(ROWS.encode(), mtime=0), None, "give it a name that ends in .gz"),
        ("a.csv.gz", ROWS.encode(), None, "a.csv.gz: cannot be read (Not a gzipped file"),
        ("a.csv.gz", gzip.compress(ROWS.encode(), mtime=0)[:-20], None, "not a whole gzip file"),
        ("a.csv", ROWS.encode("utf-16"), None, "a.csv: found UTF-16"),
        ("a.csv", b"label,f\n0,\xff\n1,b\n", None, "a.csv:2: found the byte 0xff, which is not UTF-8"),
        ("a.csv", b"label,f\n0,a\n1,b,c\n", None, "a.csv:3: found 3 cells, expected 2; correct the row"),
        ("a.csv", b"label\n0\n1\n", None, 'a.csv: found one cell a row, such as "label"'),
        (
            "a.csv",
            b"0,u1,7\n1,u2,8\n",
            None,
            'a.csv:1: found no header line but the cells "0", "u1", "7", expected names; name the columns, as in '
            "--columns label,user_id",
        ),
        (
            "a.csv",
            b"0,u1,7\n1,u2,8\n",
            "label,f",
            'a.csv:1: found 3 cells a row ("0", "u1", "7", ...), expected 2 as in',
        ),
        ("a.csv", b"0,u1\n1,u2\n", "label,label", '--columns: found "label" twice'),
        ("a.csv", b"0,u1\n1,u2\n", "label,,f", "--columns: found an empty name"),
        ("a.csv", b"0,u1\n1,u2\n", "label,I9..I1", '--columns: found "I9..I1", expected a range'),
        (
            "a.csv",
            b"f,g,h\n0,1,a\n1,1,b\n",
            None,
            "found no column with the name of a label, such as label, click or clk, that holds 0 and 1 alone; name it by "
            "--label, one of f, g",
        ),
        (
            "a.csv",
            b"click,g\nyes,a\nno,b\n",
            None,
            'a.csv: found "click" with the values "yes", "no", expected 0 and 1',
        ),
        (
            "a.csv",
            b"label,g\n0,a\n1,a\n",
            None,
            "found no column that can be a feature (g: the same in every row",
        ),
    ],
)
def test_a_file_is_refused(
    tmp_path: Path, name: str, content: bytes, columns: str | None, expected: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        infer([str(path)], tmp_path, columns)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("none", 'found no column "none" for --label, expected one of label, user_id, f'),
        ("f", 'found column "f" with "2" in it, expected 0 and 1 alone'),
    ],
)
def test_a_label_is_refused(tmp_path: Path, label: str, expected: str) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    with pytest.raises(InputError, match=expected):
        infer([str(tmp_path / "a.csv")], tmp_path, label=label)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["none.csv"], "none.csv: found no such file"),
        (["*.tsv"], r"\*.tsv: found no such file"),
        (["."], "found a folder, expected files"),
        (["train.csv", "train.csv"], "train.csv: found twice"),
        (["train.csv", "other.csv"], "other.csv: found a name that says no split"),
        (["valid.csv", "test.csv"], "valid.csv: found no file for training"),
        (
            ["train.csv", "test_f.csv"],
            "test_f.csv: found other columns: f, g, expected a file as .*train.csv;",
        ),
        (["train.csv", "test_tabs.csv"], r'test_tabs.csv: found "\\t" between cells and not ",", expected'),
        (["train.csv", "test.parquet"], "train.csv: found beside files of another format"),
    ],
)
def test_files_are_refused_together(tmp_path: Path, files: list[str], expected: str) -> None:
    for name in ("train.csv", "other.csv", "valid.csv", "test.csv", "test.parquet"):
        (tmp_path / name).write_text(ROWS)
    (tmp_path / "test_f.csv").write_text(ROWS.replace(",f\n", ",g\n"))
    (tmp_path / "test_tabs.csv").write_text(ROWS.replace(",", "\t"))
    with pytest.raises(InputError, match=expected):
        infer([str(tmp_path / name) for name in files], tmp_path)


def test_a_parquet_file_has_names(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="a Parquet file has names of its own"):
        infer([str(tmp_path / "a.parquet")], tmp_path, "a,b")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        infer([str(tmp_path / "a.parquet")], tmp_path)


def test_the_other_labels_are_named(tmp_path: Path, inferred: Callable[..., object]) -> None:
    (tmp_path / "a.csv").write_text("is_click,is_like,f\n0,0,a\n1,0,b\n1,1,a\n")
    inferred(tmp_path / "a.csv")
    text = (tmp_path / "data.yaml").read_text()
    assert "label: is_click\n" in text
    assert "is_like could be it too (--label is_like)" in text
    assert "is_like is left out: 0 and 1 as well" in text
    inferred(tmp_path / "a.csv", label="is_like")
    assert "label: is_like\n" in (tmp_path / "data.yaml").read_text()
