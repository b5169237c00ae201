"""Five public layouts in miniature, each with its own kind of rows."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from cetnet_keras.spec import DataSpec, FileSplits, HoldOut, RowSplits

Infer = Callable[..., DataSpec]
Write = Callable[..., Path]


def types(spec: DataSpec) -> dict[str, str]:
    return {name: feature.type for name, feature in spec.features.items()}


@pytest.fixture
def rng() -> random.Random:
    return random.Random(5)


def test_integers_that_are_ids_in_three_files(
    write: Write, inferred: Infer, tmp_path: Path, rng: random.Random
) -> None:
    """As Frappe: user, item and context, all whole numbers."""
    header = ("label", "user", "item", "weekday", "cost", "city")
    rows = [
        (
            n % 3 // 2,
            rng.randrange(20),
            100 + rng.randrange(300),
            500 + n % 7,
            510 + n % 2,
            600 + rng.randrange(40),
        )
        for n in range(400)
    ]
    files = [
        write(tmp_path / f"{name}.csv.gz", [header, *rows[start::3]])
        for start, name in enumerate(("train", "valid", "test"))
    ]
    spec = inferred(*files)
    assert types(spec) == dict.fromkeys(header[1:], "categorical")
    assert (spec.label, spec.group, spec.with_role("candidate")) == ("label", "user", ("item",))
    assert spec.splits == FileSplits(train="train.csv.gz", eval="valid.csv.gz", test="test.csv.gz")
    assert spec.csv.delimiter == "," and spec.csv.has_header


def test_histories_share_the_vocabularies_of_what_is_shown(
    write: Write, inferred: Infer, tmp_path: Path, rng: random.Random
) -> None:
    """As Amazon in the DIN protocol: two aligned histories, train and test."""
    category = {item: rng.randrange(12) for item in range(200)}
    rows = []
    for n in range(600):
        history = [rng.randrange(200) for _ in range(rng.randrange(1, 9))]
        item = rng.randrange(200)
        joined = ["^".join(map(str, ids)) for ids in (history, [category[i] for i in history])]
        rows.append((n % 2, n // 10, item, category[item], *joined))
    header = ("label", "user_id", "item_id", "cate_id", "item_history", "cate_history")
    train = write(tmp_path / "train.csv", [header, *rows[:500]])
    spec = inferred(train, write(tmp_path / "test.csv", [header, *rows[500:]]))
    assert types(spec) == dict(zip(header[1:], ["categorical"] * 3 + ["sequence"] * 2, strict=True))
    assert spec.group == "user_id"
    assert spec.with_role("candidate") == ("item_id", "cate_id")
    histories = [spec.features[name] for name in ("item_history", "cate_history")]
    assert [(h.separator, h.align, h.vocabulary) for h in histories] == [  # type: ignore[union-attr]
        ("^", "history", "item_id"),
        ("^", "history", "cate_id"),
    ]
    assert spec.splits == FileSplits(train="train.csv", eval=HoldOut(column="user_id"), test="test.csv")


def test_counts_and_hashes_without_a_header(
    write: Write, inferred: Infer, tmp_path: Path, rng: random.Random
) -> None:
    """As Criteo: TABs, no header, skewed counts with gaps, hexadecimal ids."""

    def count(scale: float, gap: float) -> object:
        return "" if rng.random() < gap else int(rng.paretovariate(0.7) * scale - scale)

    rows = [
        (
            rng.randrange(2),
            *(count(1, 0.3), count(3, 0.05), count(40, 0.0), rng.randrange(3) if n % 3 else ""),
            *(
                f"{rng.randrange(9):08x}",
                f"{n % 700 * 48271:08x}",
                "" if n % 2 else "ad3062eb",
            ),
        )
        for n in range(3000)
    ]
    path = write(tmp_path / "day_0.tsv.gz", rows, "\t")
    spec = inferred(path, columns="label,I1..I4,C1..C3")
    assert types(spec) == {
        **dict.fromkeys(("I1", "I2", "I3", "I4"), "numeric"),
        **dict.fromkeys(("C1", "C2", "C3"), "categorical"),
    }
    assert spec.features["I1"].transform == "log1p"  # type: ignore[union-attr]
    assert (spec.csv.delimiter, spec.csv.has_header, spec.group) == ("\t", False, None)
    assert spec.csv.columns == ["label", "I1", "I2", "I3", "I4", "C1", "C2", "C3"]
    assert isinstance(spec.splits, RowSplits) and spec.splits.by == "hash"


def test_a_row_id_an_hour_and_a_device_that_is_mostly_one(
    write: Write, inferred: Infer, tmp_path: Path, rng: random.Random
) -> None:
    """As Avazu: long row ids, YYMMDDHH, hexadecimal ids and small whole numbers."""
    header = ("id", "click", "hour", "C1", "banner_pos", "site_id", "device_id", "C14", "C20")
    rows = [
        (
            *(10**19 + n * 7919, n % 6 // 5, f"141021{n * 24 // 2000:02d}", 1005 - n % 3, n % 4),
            *(f"{rng.randrange(60):08x}", "a99f214a" if n % 5 else f"{n:08x}", 15700 + rng.randrange(80)),
            "-1" if n % 2 else 100000 + n % 50,
        )
        for n in range(2000)
    ]
    spec = inferred(write(tmp_path / "avazu.csv", [header, *rows]))
    assert types(spec) == {"hour": "timestamp"} | dict.fromkeys(header[3:], "categorical")
    assert spec.features["hour"].format == "%y%m%d%H"  # type: ignore[union-attr]
    assert (spec.label, spec.group, spec.id) == ("click", None, ["id"])
    assert spec.splits == RowSplits(files="avazu.csv", by="time", column="hour", eval=0.1, test=0.1)
    text = (tmp_path / "data.yaml").read_text()
    assert "# no group: device_id is a99f214a in 80% of the rows" in text
    assert "# id is left out: another in each row" in text
    one_hour = inferred(
        write(tmp_path / "hour.csv", [header, *(row for row in rows if row[2] == "14102100")])
    )
    assert "hour" not in one_hour.features
    assert one_hour.splits == RowSplits(files="hour.csv", by="hash", column="id", eval=0.1, test=0.1)


def test_lists_in_cells_side_by_side(
    write: Write, inferred: Infer, tmp_path: Path, rng: random.Random
) -> None:
    """As TaobaoAd: no header, histories and masks padded with 0, the label last."""
    width, rows = 6, []
    for n in range(400):
        length = width if n % 3 else rng.randrange(1, width)
        padding = [0] * (width - length)
        histories = [[*padding, *(rng.randrange(1, top) for _ in range(length))] for top in (5, 90, 300)]
        ad = rng.randrange(60)
        flat = [cell for history in histories for cell in history] + [int(cell > 0) for cell in histories[0]]
        rows.append((*flat, 1000 + n // 4, n // 4 % 3, ad, ad % 30 + 60, f"{ad / 60:.4f}", rng.randrange(2)))
    path = write(tmp_path / "ads.csv", rows)
    names = "btag_his[6],cate_his[6],brand_his[6],mask[6],userid,age_level,adgroup_id,cate_id,price,clk"
    spec = inferred(path, columns=names)
    assert types(spec) == {
        **dict.fromkeys(("btag_his", "cate_his", "brand_his"), "sequence"),
        **dict.fromkeys(("userid", "age_level", "adgroup_id", "cate_id"), "categorical"),
        "price": "numeric",
    }
    for name, vocabulary in (("btag_his", None), ("cate_his", "cate_id"), ("brand_his", None)):
        history = spec.features[name]
        expected = (None, "0", 6, "his", vocabulary)
        found = (history.separator, history.padding, history.max_length, history.align, history.vocabulary)  # type: ignore[union-attr]
        assert found == expected
    assert spec.vocabulary("cate_id").count == "all", "the histories have categories that no ad here has"
    assert (spec.label, spec.group) == ("clk", "userid")
    assert spec.with_role("candidate") == ("adgroup_id", "cate_id", "price")
    assert "mask is left out" in (tmp_path / "data.yaml").read_text()
