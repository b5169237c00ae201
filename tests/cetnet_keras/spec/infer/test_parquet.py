"""Parquet: the schema says what is a list, a vector and a time; ids that are stored as numbers stay ids."""

import datetime
import decimal
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from cetnet_keras.spec import DataSpec, RowSplits

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def test_types_are_those_of_the_schema(tmp_path: Path, inferred: Callable[..., DataSpec]) -> None:
    rng, rows = random.Random(2), 300
    start = datetime.datetime(2024, 5, 31, 12)
    columns = {
        "click": pa.array([n % 2 for n in range(rows)], pa.int8()),
        "user_id": pa.array([10**12 + n // 6 for n in range(rows)]),
        "item_id": pa.array([rng.randrange(90) for _ in range(rows)]),
        "item_history": pa.array([[rng.randrange(90) for _ in range(rng.randrange(5))] for _ in range(rows)]),
        "tags": pa.array([rng.sample(["a", "b", "c"], rng.randrange(3)) for _ in range(rows)]),
        "emb": pa.array([[rng.random() for _ in range(4)] for _ in range(rows)], pa.list_(pa.float32(), 4)),
        "ragged": pa.array([[0.5] * (n % 3) for n in range(rows)]),
        "ts": pa.array([start + datetime.timedelta(minutes=n) for n in range(rows)]),
        "day": pa.array([(start + datetime.timedelta(days=n)).date() for n in range(rows)]),
        "price": pa.array(
            [decimal.Decimal(rng.randrange(999)) / 100 for _ in range(rows)], pa.decimal128(9, 2)
        ),
        "score": pa.array([None if n % 9 == 0 else float(rng.randrange(9)) for n in range(rows)]),
        "city": pa.array(rng.choices(["Rome", "Oslo", None], k=rows)).dictionary_encode(),
        "mobile": pa.array([n % 5 == 0 for n in range(rows)]),
        "struct": pa.array([{"a": n} for n in range(rows)]),
    }
    pq.write_table(pa.table(columns), tmp_path / "clicks.parquet", row_group_size=100)
    spec = inferred(tmp_path / "clicks.parquet")
    assert {name: feature.type for name, feature in spec.features.items()} == {
        **dict.fromkeys(("user_id", "item_id", "city", "mobile"), "categorical"),
        **dict.fromkeys(("price", "score"), "numeric"),
        **dict.fromkeys(("ts", "day"), "timestamp"),
        "item_history": "sequence",
        "tags": "bag",
        "emb": "vector",
    }
    history, vector = spec.features["item_history"], spec.features["emb"]
    assert (history.separator, history.vocabulary) == (None, "item_id")  # type: ignore[union-attr]
    assert vector.dimension == 4  # type: ignore[union-attr]
    assert spec.splits == RowSplits(files="clicks.parquet", by="time", column="ts", eval=0.1, test=0.1)
    assert (spec.label, spec.group) == ("click", "user_id")


def test_rows_of_later_groups_are_looked_at(tmp_path: Path, inferred: Callable[..., DataSpec]) -> None:
    rows = 60_000
    early = ["x"] * 30_000 + ["y"] * 30_000
    table = pa.table({"label": [n % 2 for n in range(rows)], "f": early, "g": ["z"] * rows})
    pq.write_table(table, tmp_path / "clicks.parquet", row_group_size=10_000)
    spec = inferred(tmp_path / "clicks.parquet")
    assert list(spec.features) == ["f"]
    assert "of about 60,000 rows" in (tmp_path / "data.yaml").read_text()
