"""What a sound data spec says of its columns."""

from pathlib import Path

import pytest

from cetnet_keras import spec
from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, SequenceFeature, error_at, load_data_spec, parse_spec

SHOP = """\
name: shop
label: click
group: user
features:
  user: {type: categorical}
  shop: {type: categorical, identity: 30}
  item: {type: categorical, role: candidate, vocabulary: {min_count: 2, oov_buckets: 3}}
  price: {type: numeric, role: candidate}
  age: {type: numeric, buckets: 8}
  tags: {type: bag, role: candidate, hash_buckets: 50}
  seen: {type: sequence, vocabulary: item}
  bought: {type: sequence, vocabulary: item, of: item, by: user, time: second, where: {sold: 1}}
slices: [[shop]]
"""


@pytest.fixture(scope="module")
def shop() -> DataSpec:
    return parse_spec(DataSpec, SHOP, "data.yaml")


def test_raw_types_never_depend_on_data(shop: DataSpec) -> None:
    assert shop.raw_types == {
        "user": "string",
        "shop": "int64",
        "item": "string",
        "price": "float32",
        "age": "float32",
        "tags": "string",
        "seen": "string",
        "bought": "string",
    }


def test_sharers_use_the_rows_of_the_owner(shop: DataSpec) -> None:
    assert shop.owners == ("user", "shop", "item", "age", "tags")
    assert [shop.owner(name) for name in ("item", "seen", "bought")] == ["item"] * 3


def test_out_of_vocabulary_rows_follow_the_kind_of_ids(shop: DataSpec) -> None:
    buckets = {owner: shop.oov_buckets(owner) for owner in shop.owners}
    assert buckets == {"user": 1, "shop": 1, "item": 3, "age": 0, "tags": 0}
    assert [shop.oov_rate(owner) for owner in ("item", "tags")] == [0.01, 0.0]


def test_columns_are_what_files_must_have(shop: DataSpec) -> None:
    assert shop.columns == (
        "click",
        "user",
        "shop",
        "item",
        "price",
        "age",
        "tags",
        "seen",
        "second",
        "sold",
    )


def test_roles_types_and_histories_select_features(shop: DataSpec) -> None:
    assert shop.with_role("candidate") == ("item", "price", "tags")
    assert shop.of_type(SequenceFeature) == ("seen", "bought")
    assert list(shop.histories) == ["bought"]


def test_the_whole_is_always_a_slice(shop: DataSpec) -> None:
    assert shop.slices == [["shop"], []]
    assert parse_spec(DataSpec, SHOP.replace("slices: [[shop]]", ""), "data.yaml").slices == [[]]


@pytest.mark.parametrize("exclude_unset", [True, False])
def test_a_spec_comes_back_from_its_own_dump(shop: DataSpec, exclude_unset: bool) -> None:
    assert DataSpec.model_validate(shop.model_dump(mode="json", exclude_unset=exclude_unset)) == shop


def test_splits_are_optional_in_the_library_and_required_in_a_file(shop: DataSpec, tmp_path: Path) -> None:
    assert shop.splits is None
    path = tmp_path / "data.yaml"
    path.write_text(SHOP)
    with pytest.raises(InputError) as refused:
        load_data_spec(path)
    expected = f"{path}:1: splits: missing, expected how rows are divided into train, eval and test; add it"
    assert str(refused.value) == expected
    path.write_text(SHOP + "splits:\n  train: [a.csv, b.csv]\n  eval: {column: user}\n  test: c.csv\n")
    assert load_data_spec(path).splits is not None


def test_a_null_for_splits_is_refused_on_its_line(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(SHOP + "splits:\n")
    with pytest.raises(InputError, match=r"data\.yaml:14: splits: missing"):
        load_data_spec(path)


def test_error_at_names_the_deepest_line_that_the_text_has() -> None:
    error = error_at(SHOP, "data.yaml", ("features", "price", "nowhere"), "found this; do that")
    assert str(error) == "data.yaml:8: features.price.nowhere: found this; do that"


def test_every_public_name_loads() -> None:
    assert [name for name in spec.__all__ if not hasattr(spec, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'DataSpek'"):
        _ = spec.DataSpek
