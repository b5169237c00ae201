"""`cetnet spec infer` as it is called."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cetnet_keras.cli import main
from cetnet_keras.spec import RowSplits, load_data_spec

ROWS = "label,user_id,f\n" + "".join(f"{n % 2},u{n % 50},{n % 3}\n" for n in range(200))


def cetnet(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["spec", *map(str, arguments)])


def test_the_spec_is_printed_and_passes_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clicks").mkdir()
    (tmp_path / "clicks" / "rows.csv").write_text(ROWS)
    monkeypatch.chdir(tmp_path)
    result = cetnet("infer", "clicks/rows.csv")
    assert result.exit_code == 0, result.output
    Path("data.yaml").write_text(result.stdout)
    assert cetnet("check", "data.yaml").output.endswith("data.yaml: 2 features, sound\n")
    spec = load_data_spec("data.yaml")
    assert spec.name == "clicks"
    assert isinstance(spec.splits, RowSplits) and spec.splits.files == "clicks/rows.csv"


def test_paths_start_at_the_folder_of_the_output(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "specs").mkdir()
    output = tmp_path / "specs" / "data.yaml"
    result = cetnet("infer", tmp_path / "rows.csv", "--output", output)
    assert result.exit_code == 0, result.output
    splits = load_data_spec(output).splits
    assert isinstance(splits, RowSplits) and splits.files == "../rows.csv"
    written = output.read_text()
    again = cetnet("infer", tmp_path / "rows.csv", "--output", output)
    assert again.exit_code == 2
    assert (
        again.stderr
        == f"Error: {output}: found a file already, expected a new one; remove it or name another\n"
    )
    assert output.read_text() == written
    nowhere = cetnet("infer", tmp_path / "rows.csv", "--output", tmp_path / "none" / "data.yaml")
    assert nowhere.exit_code == 2 and "cannot be written (No such file or directory)" in nowhere.stderr


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    result = cetnet("infer", tmp_path / "none.csv")
    assert result.exit_code == 2
    assert (
        result.stderr
        == f"Error: {tmp_path}/none.csv: found no such file, expected CSV or Parquet; check the path\n"
    )
    assert result.stdout == ""


def test_csv_is_read_without_tensorflow_and_pyarrow(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    code = (
        "import sys; from cetnet_keras.cli import main; main(sys.argv[1:], standalone_mode=False);"
        "print([name for name in ('tensorflow', 'pyarrow', 'numpy', 'rich') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "spec", "infer", str(path)], capture_output=True, text=True, check=True
    )
    assert done.stderr.endswith("[]\n")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1")
    code = "import sys; sys.modules['pyarrow'] = None; from cetnet_keras.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "spec", "infer", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"Error: {path}: reading Parquet needs pyarrow; pip install pyarrow\n"
