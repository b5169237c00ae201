"""Every mistake in a spec is one line: file, line, key, what was found, what was expected, what to do."""

from pathlib import Path

import pytest
import yaml

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, ModelSpec, load_data_spec, parse_spec

SOUND = """\
name: shop
label: click
group: user
features:
  user: {type: categorical}
  item: {type: categorical, role: candidate}
  age: {type: numeric}
  tags: {type: bag}
  seen: {type: sequence, vocabulary: item}
splits: {train: a.csv, eval: b.csv, test: c.csv}
"""
MISTAKES = yaml.safe_load(Path(__file__).with_name("mistakes.yaml").read_text(encoding="utf-8"))


def test_the_spec_that_the_mistakes_are_made_in_is_sound() -> None:
    assert len(parse_spec(DataSpec, SOUND, "data.yaml").features) == 5


@pytest.mark.parametrize("mistake", MISTAKES["data"], ids=lambda mistake: mistake["by"].replace("\n", " "))
def test_a_mistake_in_a_data_spec_is_one_line(mistake: dict[str, str]) -> None:
    assert mistake["part"] in SOUND
    with pytest.raises(InputError) as refused:
        parse_spec(DataSpec, SOUND.replace(mistake["part"], mistake["by"], 1), "data.yaml")
    assert str(refused.value) == f"data.yaml:{mistake['says']}"


@pytest.mark.parametrize("mistake", MISTAKES["model"], ids=lambda mistake: mistake["text"].replace("\n", " "))
def test_a_mistake_in_a_model_spec_is_one_line(mistake: dict[str, str]) -> None:
    with pytest.raises(InputError) as refused:
        parse_spec(ModelSpec, mistake["text"], "model.yaml")
    assert str(refused.value) == f"model.yaml:{mistake['says']}"


@pytest.mark.parametrize("mistake", MISTAKES["file"], ids=lambda mistake: ascii(mistake["content"][:20]))
def test_a_file_that_is_no_spec_is_one_line(mistake: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_bytes(mistake["content"].encode("latin-1"))
    with pytest.raises(InputError) as refused:
        load_data_spec(path)
    assert str(refused.value) == f"{path}:{mistake['says']}"


def test_a_path_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError) as refused:
            load_data_spec(path)
        assert str(refused.value) == f"{path}: cannot be read ({why}); check the path"


def test_a_data_file_in_place_of_a_spec_is_refused_unparsed(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_bytes(b"user,item\n" * 200_000)
    with pytest.raises(InputError, match="found a larger file, expected YAML text"):
        load_data_spec(path)


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(InputError, match="found more than 30 levels or 100,000 values"):
        parse_spec(DataSpec, "\n".join(lines), "data.yaml")
