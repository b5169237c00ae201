"""The layout of the table and what a batch becomes, against plain NumPy look-ups; padding, above all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from cetnet_keras import CETNet, DataSpec, FeatureEmbedding, LazyAdam
from cetnet_keras.embeddings import EmbeddingTable, ZeroRows, candidate_of, field_names

MakeSpec = Callable[..., DataSpec]
MakeBatch = Callable[..., dict[str, np.ndarray]]
OFFSET = {"user": 1, "item": 8, "tags": 13, "score": 17, "time": 21}  # sizes 7, 5, 4, 4 and 9 behind padding
FIELDS = ("user", "item", "tags", "score", "time/weekend", "time/weekday", "item_text", "tag_text")


@pytest.fixture
def layer(spec: DataSpec, sizes: dict[str, int], batch: dict[str, np.ndarray]) -> FeatureEmbedding:
    layer = FeatureEmbedding(spec, sizes, embedding_dim=3, name="features")
    layer(batch)
    rng = np.random.default_rng(1)  # row 0 too: padding must be zero whatever stands there
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


def looked_up(layer: FeatureEmbedding, owner: str, ids: np.ndarray) -> np.ndarray:
    assert layer.table is not None
    table = layer.table.get_weights()[0].astype(np.float64)
    return np.stack([table[OFFSET[owner] + i - 1] if i > 0 else np.zeros(3) for i in ids.ravel()]).reshape(
        *ids.shape, 3
    )


def test_vocabularies_lie_end_to_end_behind_one_padding_row(
    layer: FeatureEmbedding, batch: dict[str, np.ndarray]
) -> None:
    features = layer(batch)
    np.testing.assert_allclose(features.fields[:, 0], looked_up(layer, "user", batch["user"]), rtol=1e-6)
    np.testing.assert_allclose(features.fields[:, 1], looked_up(layer, "item", batch["item"]), rtol=1e-6)
    np.testing.assert_allclose(features.fields[:, 3], looked_up(layer, "score", batch["score"]), rtol=1e-6)
    np.testing.assert_allclose(
        features.sequences["history"], looked_up(layer, "item", batch["history"]), rtol=1e-6
    )
    np.testing.assert_array_equal(features.masks["history"], batch["history"] > 0)
    numbers = [batch["age"], batch["age/missing"], *batch["look"].T, batch["look/missing"]]
    np.testing.assert_array_equal(features.dense, np.stack(numbers, axis=1))


def test_each_part_of_a_time_is_a_field(layer: FeatureEmbedding, batch: dict[str, np.ndarray]) -> None:
    assert field_names(layer.spec) == FIELDS
    np.testing.assert_allclose(
        layer(batch).fields[:, 4:6], looked_up(layer, "time", batch["time"]), rtol=1e-6
    )


def test_pretrained_vectors_follow_the_ids_of_their_feature(
    layer: FeatureEmbedding, batch: dict[str, np.ndarray]
) -> None:
    tables = {owner: table.get_weights()[0] for owner, table in layer.pretrained_tables.items()}
    assert {owner: table.shape for owner, table in tables.items()} == {
        "item_text": (6, 2),
        "tag_text": (5, 2),
    }

    def mapped(owner: str, ids: np.ndarray) -> np.ndarray:
        kernel = layer.projections[owner].get_weights()[0]
        return (tables[owner][ids] @ kernel) * (ids > 0)[..., np.newaxis]

    features = layer(batch)
    np.testing.assert_allclose(features.fields[:, 6], mapped("item_text", batch["item"]), rtol=1e-5)
    history = mapped("item_text", batch["history"])
    np.testing.assert_allclose(features.sequences["history_text"], history, rtol=1e-5, atol=1e-7)
    tags = mapped("tag_text", batch["tags"]).sum(axis=1)
    count = np.maximum((batch["tags"] > 0).sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(features.fields[:, 7], tags / count, rtol=1e-5, atol=1e-7)


def test_pretrained_vectors_are_tuned_where_the_spec_says_so_alone(layer: FeatureEmbedding) -> None:
    trainable = {owner: table.trainable for owner, table in layer.pretrained_tables.items()}
    assert trainable == {"item_text": True, "tag_text": False}
    vectors = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    layer.set_pretrained("tag_text", vectors)
    np.testing.assert_array_equal(layer.pretrained_tables["tag_text"].get_weights()[0], vectors)
    with pytest.raises(ValueError, match=r"shape \(5, 2\)\. Received: \(4, 2\)"):
        layer.set_pretrained("tag_text", vectors[:4])
    with pytest.raises(ValueError, match="no pretrained table 'nothing'; there are: item_text, tag_text"):
        layer.set_pretrained("nothing", vectors)
    vectors[3, 1] = np.nan
    with pytest.raises(
        ValueError, match=r"`vectors` of 'tag_text' must be finite. Received: .*nan\] in row 3"
    ):
        layer.set_pretrained("tag_text", vectors)


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_a_bag_is_pooled_over_its_tokens_alone(pooling: str, make_spec: MakeSpec) -> None:
    spec = make_spec({"tags": {"type": "bag", "pooling": pooling}})
    layer, ids = FeatureEmbedding(spec, {"tags": 4}, 3), np.array([[1, 4, 0], [2, 0, 0], [0, 0, 0]])
    layer({"tags": ids})
    table = layer.get_weights()[0]
    many, one, none = layer({"tags": ids}).fields[:, 0].numpy()
    np.testing.assert_allclose(many, (table[1] + table[4]) / (2 if pooling == "mean" else 1), rtol=1e-6)
    np.testing.assert_allclose(one, table[2], rtol=1e-6)
    np.testing.assert_array_equal(none, [0, 0, 0])


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_a_long_bag_is_pooled_in_single_precision(pooling: str, make_spec: MakeSpec) -> None:
    spec = make_spec({"tags": {"type": "bag", "pooling": pooling}})
    layer = FeatureEmbedding(spec, {"tags": 4}, 3, embeddings_initializer="ones", dtype="mixed_float16")
    pooled = layer({"tags": np.ones([1, 3001], np.int64)}).fields[0, 0].numpy()
    # in float16 a sum of ones stays at 2,048
    np.testing.assert_allclose(pooled, np.full(3, 1 if pooling == "mean" else 3001), rtol=1e-3)


def test_padding_is_zero_and_gets_no_gradient_whatever_its_row_holds(
    layer: FeatureEmbedding, batch: dict[str, Any]
) -> None:
    padding = {key: np.zeros_like(values) for key, values in batch.items()}
    with tf.GradientTape() as tape:
        features = layer(padding)
        parts = (features.fields, *features.sequences.values())
        total = sum(tf.reduce_sum(tf.exp(part)) for part in parts)
    for part in parts:
        np.testing.assert_array_equal(part, np.zeros(part.shape))
    tables = [layer.table, layer.pretrained_tables["item_text"]]
    for gradient in tape.gradient(total, [table.embeddings for table in tables if table is not None]):
        assert isinstance(gradient, tf.IndexedSlices)
        np.testing.assert_array_equal(gradient.indices, np.zeros(gradient.indices.shape))
        np.testing.assert_array_equal(gradient.values, np.zeros(gradient.values.shape))


def test_a_table_starts_at_zero_for_padding_and_unknown_ids_alone(make_spec: MakeSpec) -> None:
    spec = make_spec(
        {
            "item": {"type": "categorical", "vocabulary": {"oov_buckets": 2}},
            "hour": {"type": "categorical", "identity": 3},
            "page": {"type": "categorical", "hash_buckets": 4},
        }
    )
    layer = FeatureEmbedding(spec, {"item": 5, "hour": 4, "page": 4}, 2)
    layer({"item": np.array([1]), "hour": np.array([1]), "page": np.array([1])})
    zero = [row for row, values in enumerate(layer.get_weights()[0]) if not values.any()]
    assert zero == [0, 4, 5, 9]  # padding; items 4 and 5 of 5; hour 4 of 4; hashed pages have no unknown one


def test_numbers_alone_need_no_table(make_spec: MakeSpec, make_batch: MakeBatch) -> None:
    spec = make_spec({"age": {"type": "numeric"}, "price": {"type": "numeric"}})
    layer, batch = FeatureEmbedding(spec, {}, 4), make_batch(spec, {})
    features = layer(batch)
    assert layer.variables == []
    assert features.fields.shape == (3, 0, 4)
    np.testing.assert_array_equal(features.dense[:, 2], batch["price"])


def test_sequences_alone_leave_no_fields_and_no_numbers(make_spec: MakeSpec, make_batch: MakeBatch) -> None:
    spec = make_spec({"history": {"type": "sequence"}})
    features = FeatureEmbedding(spec, {"history": 5}, 4)(make_batch(spec, {"history": 5}))
    assert features.fields.shape == (3, 0, 4)
    assert features.dense.shape == (3, 0)
    assert features.sequences["history"].shape == (3, 4, 4)


def test_the_candidate_of_a_sequence_shares_its_rows(make_spec: MakeSpec) -> None:
    spec = make_spec(
        {
            "shop": {"type": "categorical", "role": "candidate"},
            "item": {"type": "categorical", "role": "candidate"},
            "last_item": {"type": "categorical", "vocabulary": "item"},
            "items": {"type": "sequence", "vocabulary": "item"},
            "words": {"type": "sequence"},
            "look": {"type": "pretrained", "of": "item", "file": "look.npz", "dimension": 2},
            "text": {"type": "pretrained", "of": "item", "file": "text.npz", "dimension": 2},
            "texts": {"type": "pretrained", "of": "items", "file": "text.npz", "dimension": 2},
        }
    )
    assert candidate_of(spec, "items") == "item"
    assert candidate_of(spec, "texts") == "text"
    assert candidate_of(spec, "words") is None


def test_a_feature_without_a_size_is_refused(spec: DataSpec) -> None:
    with pytest.raises(
        ValueError, match=r"`vocabulary_sizes` lacks tags, score, time\. Received: {'user': 7, 'item': 5}"
    ):
        FeatureEmbedding(spec, {"user": 7, "item": 5})


def test_contract(
    layer: FeatureEmbedding, batch: Any, assert_layer_contract: Callable[..., None], tmp_path: Path
) -> None:
    assert_layer_contract(layer, [batch], tmp_path)


@given(st.integers(0, 2**32 - 1), st.integers(-30, 30))
def test_a_stored_row_is_off_by_half_a_step_of_its_own_at_most(seed: int, exponent: int) -> None:
    rows = (np.random.default_rng(seed).normal(size=(4, 5)) * 10.0**exponent).astype(np.float32)
    rows[0], rows[1] = 0, rows[1] / 1000  # padding, and a row of another size than its neighbours
    found = stored(rows, "int8")
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - rows) <= 0.5001 * step).all() and (found[0] == 0).all()
    if exponent == 0:
        np.testing.assert_allclose(stored(rows, "float16"), rows, rtol=1e-3, atol=1e-7)  # subnormal


def stored(rows: np.ndarray, dtype: str) -> np.ndarray:
    """What a table gives back once it is stored as another type."""
    table = EmbeddingTable(*rows.shape, name="table")
    table.build(None)
    table.set_weights([rows])
    table.compress(dtype)
    assert table.stored is not None and table.stored.dtype.name == dtype
    return table(tf.range(len(rows))).numpy()


def test_a_model_with_stored_tables_predicts_much_the_same(
    spec: DataSpec, sizes: dict[str, int], batch: dict[str, np.ndarray], tiny_members: list[dict[str, Any]]
) -> None:
    model = CETNet(spec, sizes, tiny_members)
    before = model.predict(batch, verbose=0)["ctr"]
    model.compress_tables("int8")
    after = model.predict(batch, verbose=0)["ctr"]
    assert 0 < np.abs(after - before).max() < 1e-3
    assert [table.stored.dtype for table in model.embedding_tables] == [tf.int8] * len(model.embedding_tables)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_model_with_stored_tables_is_saved_with_them_alone(
    dtype: str,
    spec: DataSpec,
    sizes: dict[str, int],
    batch: dict[str, np.ndarray],
    label: np.ndarray,
    tiny_members: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    model = CETNet(spec, sizes | {"user": 50_000}, tiny_members)
    model.compile(LazyAdam(0.05), run_eagerly=True)
    model.fit(batch, label, verbose=0)
    model.save(tmp_path / "float32.keras")
    model.compress_tables(dtype)
    expected = model.predict(batch, verbose=0)["ctr"]
    model.save(tmp_path / "stored.keras")
    full, stored = (os.path.getsize(tmp_path / f"{name}.keras") for name in ("float32", "stored"))
    assert stored < full / 4, "neither the float32 tables nor their moments are in it"
    again = tf.keras.models.load_model(tmp_path / "stored.keras")
    np.testing.assert_allclose(again.predict(batch, verbose=0)["ctr"], expected, rtol=1e-6)
    assert {table.stored.dtype.name for table in again.embedding_tables} == {dtype}
    for one in (model, again):
        one.fit(batch, label, verbose=0)
    np.testing.assert_allclose(again.predict(batch)["ctr"], model.predict(batch)["ctr"], rtol=1e-4)
    with pytest.raises(ValueError, match=f"stored as {dtype} already. Received: dtype='int8'"):
        again.compress_tables("int8")


def test_contract_of_the_table(assert_layer_contract: Callable[..., None], tmp_path: Path) -> None:
    table = EmbeddingTable(5, 2, embeddings_initializer=ZeroRows([0, 3], "normal"), name="table")
    assert_layer_contract(table, [np.array([[1, 4, 0]])], tmp_path)
