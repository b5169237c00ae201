"""`cetnet spec` through the root command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cetnet_keras.cli import main
from cetnet_keras.spec.reference import EXAMPLES, markdown
from cetnet_keras.spec.schema import json_schema


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.yaml"
    path.write_text(EXAMPLES["data"])
    return path


def cetnet(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["spec", *map(str, arguments)])


def test_a_sound_spec_is_shown(data: Path) -> None:
    result = cetnet("check", data)
    assert result.exit_code == 0, result.output
    assert result.output.endswith(f"{data}: 5 features, sound\n")
    row = next(line for line in result.output.splitlines() if "history" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        *("history", "sequence", "context", "string", "ids of item_id"),
    ]


def test_a_wrong_spec_is_one_line_and_exit_code_2(data: Path) -> None:
    data.write_text(EXAMPLES["data"].replace("min_count: 2", "min_count: 0"))
    result = cetnet("check", data)
    assert result.exit_code == 2
    key = "features.item_id.vocabulary.min_count"
    assert result.stderr == f"Error: {data}:7: {key}: found 0, expected 1 or more; remove the key to use 1\n"
    assert result.stdout == ""


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    result = cetnet("check", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert (
        result.stderr
        == f"Error: {tmp_path}/none.yaml: cannot be read (No such file or directory); check the path\n"
    )


def test_the_model_is_checked_beside_the_data(data: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.yaml"
    model.write_text(EXAMPLES["model"])
    result = cetnet("check", data, "--model", model)
    assert result.exit_code == 0, result.output
    assert result.output.endswith(f"{data}: 5 features, sound\n{model}: 2 members, sound\n")
    model.write_text("members:\n  - {type: dhen, layers: 0}\n")
    result = cetnet("check", data, "--model", model)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {model}:2: members.0.layers: found 0, expected another value")
    assert result.stderr.count("\n") == 1


def test_a_member_without_the_sequence_it_needs_is_refused(data: Path, tmp_path: Path) -> None:
    lines = [line for line in EXAMPLES["data"].splitlines() if "sequence" not in line]
    data.write_text("\n".join(lines))
    model = tmp_path / "model.yaml"
    model.write_text("members:\n  - type: dhen\n  - {layers: 3, type: interformer}\n")
    result = cetnet("check", data, "--model", model)
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {model}:3: members.1.type: interformer needs a sequence and another feature; "
        "the data spec has no sequence: add one, or name another member\n"
    )


@pytest.mark.parametrize("name", ["data", "model"])
def test_schemas_are_printed_for_editors_and_for_people(name: str) -> None:
    assert json.loads(cetnet("schema", name).output) == json_schema(name)
    assert cetnet("schema", name, "--markdown").output == markdown(name)


def test_checking_loads_no_tensorflow_and_help_no_pydantic(data: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.yaml"
    model.write_text("training: {epochs: 3}\n")
    calls = [
        (["spec", "--help"], ("tensorflow", "pydantic", "yaml")),
        (["spec", "check", str(data), "--model", str(model)], ("tensorflow",)),
    ]
    for arguments, heavy in calls:
        code = (
            "import sys; from cetnet_keras.cli import main; main(sys.argv[1:], standalone_mode=False);"
            f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stderr.endswith("[]\n")
