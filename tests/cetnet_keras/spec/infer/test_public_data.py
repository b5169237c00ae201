"""The specs of five public data sets, as far as they are there; test_layouts.py has their layouts in miniature."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cetnet_keras.spec import DataSpec, FileSplits, HoldOut, RowSplits

DATA = Path(__file__).parents[5] / "shared" / "data"
TAOBAO = (
    "btag_his[50],cate_his[50],brand_his[50],mask_a[50],mask_b[50],userid,cms_segid,cms_group_id,final_gender_code,"
    "age_level,pvalue_level,shopping_level,occupation,new_user_class_level,adgroup_id,cate_id,campaign_id,customer,"
    "brand,price,pid,label"
)


def files(*names: str) -> list[Path]:
    paths = [DATA / name for name in names]
    for path in paths:
        if not path.exists():
            pytest.skip(f"{path} is not there")
    return paths


def types(spec: DataSpec) -> Counter[str]:
    return Counter(feature.type for feature in spec.features.values())


def test_frappe(inferred: Callable[..., DataSpec]) -> None:
    spec = inferred(*files("frappe_x1/train.csv.gz", "frappe_x1/valid.csv.gz", "frappe_x1/test.csv.gz"))
    assert types(spec) == {"categorical": 10}
    assert (spec.name, spec.label, spec.group) == ("frappe_x1", "label", "user")
    assert spec.with_role("candidate") == ("item",)
    assert isinstance(spec.splits, FileSplits) and isinstance(spec.splits.eval, str)


def test_amazon_sports(inferred: Callable[..., DataSpec]) -> None:
    spec = inferred(*files("amazon_sports/train.csv.gz", "amazon_sports/test.csv.gz"))
    assert types(spec) == {"categorical": 3, "sequence": 2}
    assert (spec.label, spec.group) == ("label", "user_id")
    assert (spec.owner("item_history"), spec.owner("cate_history")) == ("item_id", "cate_id")
    assert isinstance(spec.splits, FileSplits) and spec.splits.eval == HoldOut(column="user_id")


def test_criteo(inferred: Callable[..., DataSpec]) -> None:
    spec = inferred(*files("criteo_sample/sample.tsv.gz"), columns="label,I1..I13,C1..C26")
    assert {name: f.type for name, f in spec.features.items()} == {
        **{f"I{n}": "numeric" for n in range(1, 14)},
        **{f"C{n}": "categorical" for n in range(1, 27)},
    }
    assert (spec.csv.delimiter, spec.csv.has_header, spec.group) == ("\t", False, None)


def test_criteo_without_telling_names(inferred: Callable[..., DataSpec]) -> None:
    """Values alone tell most of the counts; the two with few values stay ids, and no id becomes a number."""
    names = "label," + ",".join("abcdefghijklm") + ",C1..C26"
    spec = inferred(*files("criteo_sample/sample.tsv.gz"), columns=names)
    numbers = {name for name, feature in spec.features.items() if feature.type == "numeric"}
    assert set("abcdefghijklm") - numbers == set("hjl")
    assert numbers <= set("abcdefghijklm")


def test_avazu(inferred: Callable[..., DataSpec]) -> None:
    spec = inferred(*files("avazu_sample/sample.csv.gz"))
    assert types(spec) == {"categorical": 21}
    assert (spec.label, spec.group, spec.id) == ("click", None, ["id"])
    assert isinstance(spec.splits, RowSplits) and (spec.splits.by, spec.splits.column) == ("hash", "id")


def test_taobao(inferred: Callable[..., DataSpec]) -> None:
    spec = inferred(*files("taobaoad_sample/sample.csv.gz"), columns=TAOBAO)
    assert types(spec) == {"sequence": 3, "categorical": 15, "numeric": 1}
    assert (spec.label, spec.group) == ("label", "userid")
    assert (spec.owner("cate_his"), spec.owner("brand_his")) == ("cate_id", "brand")
    shown = ("adgroup_id", "cate_id", "campaign_id", "customer", "brand", "price")
    assert spec.with_role("candidate") == shown
    assert not any(name.startswith("mask") for name in spec.features)
