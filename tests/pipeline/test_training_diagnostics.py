"""What is recorded of a trained model, against NumPy formulas and plain counting."""

from itertools import pairwise
from typing import Any

import cetnet_keras  # before TensorFlow

# isort: split
import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras.cetnet import CETNet
from cetnet_keras.input_signature import example_batch
from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.training_diagnostics import TableWatch, coverage, ensemble_summary
from pipeline.training_record import Histogram

SPEC = """
name: clicks
label: label
features:
  user: {type: categorical, vocabulary: {oov_buckets: 2}}
  item: {type: categorical, role: candidate}
  seen: {type: sequence, vocabulary: item}
  hour: {type: categorical, identity: 3}
  device: {type: categorical, hash_buckets: 4}
  price: {type: numeric}
splits: {train: a.csv, eval: b.csv, test: c.csv}
"""
SIZES = {
    "user": 6,
    "item": 5,
    "hour": 4,
    "device": 4,
}  # user: 4 known and 2 buckets; item: 4 and 1; hour: 3 and 1


@pytest.fixture(scope="module")
def spec() -> DataSpec:
    return parse_spec(DataSpec, SPEC, "data.yaml")


def test_missing_and_unseen_values_are_counted_over_all_batches(spec: DataSpec) -> None:
    batches = [
        {
            "user": np.array([0, 1, 4, 5, 6]),
            "item": np.array([5, 5, 1, 2, 0]),
            "seen": np.array([[1, 5, 5], [0, 0, 0], [0, 2, 3], [4, 0, 0], [0, 0, 5]]),
            "hour": np.array([4, 1, 2, 3, 0]),
            "device": np.array([4, 1, 2, 3, 1]),
            "price": np.zeros(5),
            "price/missing": np.array([1, 0, 0, 1, 0.0]),
        },
        {
            "user": np.array([6]),
            "item": np.array([3]),
            "seen": np.array([[0]]),
            "hour": np.array([1]),
            "device": np.array([0]),
            "price": np.zeros(1),
            "price/missing": np.array([1.0]),
        },
    ]
    found = {f.feature: (f.rows, f.missing, f.tokens, f.unseen) for f in coverage(spec, SIZES, batches)}
    assert found == {
        "user": (6, 1 / 6, 5, 3 / 5),
        "item": (6, 1 / 6, 5, 2 / 5),
        "seen": (6, 2 / 6, 7, 3 / 7),
        "hour": (6, 1 / 6, 5, 1 / 5),
        "device": (6, 1 / 6, 5, None),
        "price": (6, 3 / 6, None, None),
    }


@pytest.mark.parametrize("members", [2, 3])
def test_agreement_follows_the_formulas_of_the_paper(members: int) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 1, (500, 1)) + rng.normal(0, 0.7, (500, members))
    p, w = 1 / (1 + np.exp(-z)), rng.dirichlet(np.ones(members), 500)
    names = [f"m{m}" for m in range(members)]
    found = ensemble_summary(names, p, w)
    assert found is not None and found.rows == 500 and found.members == names
    np.testing.assert_allclose(found.mean_weight, w.mean(axis=0))
    np.testing.assert_allclose(found.leads, np.bincount(w.argmax(axis=1)) / 500)
    assert [pair.members for pair in found.pairs] == [
        (names[i], names[j]) for i in range(members) for j in range(i + 1, members)
    ]

    def kl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))

    for pair in found.pairs:
        i, j = (names.index(name) for name in pair.members)
        difference = np.abs(p[:, i] - p[:, j])
        assert pair.difference == pytest.approx(difference.mean())
        assert pair.difference_high == pytest.approx(np.quantile(difference, 0.95))
        assert pair.kl == pytest.approx(np.mean(kl(p[:, i], p[:, j]) + kl(p[:, j], p[:, i])) / 2)
        assert pair.correlation == pytest.approx(np.corrcoef(z[:, i], z[:, j])[0, 1])
        edges = np.array(pair.histogram.edges)
        inside = [(difference >= a) & (difference < b) for a, b in pairwise(edges)]
        inside[-1] |= difference == edges[-1]
        assert pair.histogram.counts == [part.sum() for part in inside] and sum(pair.histogram.counts) == 500
    assert [sum(histogram.counts) for histogram in found.weights] == [500] * members


def test_one_member_has_no_pair_and_equal_members_share_the_lead() -> None:
    alone = ensemble_summary(["din"], np.full((4, 1), 0.5), np.ones((4, 1)))
    assert alone is not None and alone.pairs == [] and alone.leads == [1.0]
    same = ensemble_summary(["a", "b"], np.full((4, 2), 1.0), np.full((4, 2), 0.5))
    assert same is not None and same.leads == [0.5, 0.5]
    assert (same.pairs[0].kl, same.pairs[0].difference, same.pairs[0].correlation) == (0, 0, None)
    assert ensemble_summary(["a"], np.array([[np.nan]]), np.ones((1, 1))) is None
    assert ensemble_summary(["a"], np.zeros((0, 1)), np.zeros((0, 1))) is None


def test_histograms_of_one_range_hold_every_value() -> None:
    first, second = Histogram.of([np.array([0.0, 1.0, 1.0]), np.array([4.0])], 4)
    assert first.edges == second.edges == [0, 1, 2, 3, 4]
    assert (first.counts, second.counts) == ([1, 2, 0, 0], [0, 0, 0, 1])


def test_embedding_sets_are_watched_each_by_itself(spec: DataSpec) -> None:
    member = {"type": "multi_embedding", "embedding_dim": 4, "sets": 2, "hidden": [8], "cross_layers": 1}
    model = CETNet(spec, SIZES, [member])
    table = model.members[0].features.table
    assert table is not None
    rows, row = len(table.get_weights()[0]), np.array([1.0, 2, 3, 4])
    collapsed = np.outer(np.arange(1, rows + 1), row), np.outer(np.arange(rows, 0, -1), row[::-1])
    table.set_weights([np.concatenate(collapsed, axis=1)])
    found = [table for table in TableWatch(model).health() if table.feature.startswith("user (set")]
    assert [(table.width, pytest.approx(table.abundance, rel=1e-4)) for table in found] == [(4, 1.0)] * 2


def test_no_two_entries_are_of_one_name(spec: DataSpec) -> None:
    sets = {"type": "multi_embedding", "embedding_dim": 2, "sets": 2, "hidden": [8], "cross_layers": 1}
    gates = {"type": "finalmlp", "embedding_dim": 4, "hidden": [8], "second_hidden": [8], "gate_hidden": [8]}
    gates |= {"context": ["user"], "second_context": ["user"]}
    found = [
        (table.member, table.feature) for table in TableWatch(CETNet(spec, SIZES, [sets, gates])).health()
    ]
    assert len(set(found)) == len(found)
    assert [feature for _, feature in found if feature.startswith("user")] == [
        "user (set 1)",
        "user (set 2)",
        "user",
        "user (context)",
        "user (second_context)",
    ]


def test_a_table_that_members_share_is_watched_once(spec: DataSpec) -> None:
    members = [{"type": "dcnv2", "hidden": [8]}, {"type": "mlp", "hidden": [8]}]
    model = CETNet(spec, SIZES, members, shared_tables=True)
    found = [(table.member, table.feature) for table in TableWatch(model).health()]
    assert found == [("dcnv2, mlp", owner) for owner in SIZES]


def test_pretrained_vectors_that_learn_are_watched_too() -> None:
    vectors = {"type": "pretrained", "file": "vectors.npz", "dimension": 3}
    features = {
        "item": {"type": "categorical"},
        "user": {"type": "categorical"},
        "text": vectors | {"of": "item", "trainable": True},
        "face": vectors | {"of": "user"},
    }
    spec = cetnet_keras.DataSpec.model_validate({"name": "small", "label": "click", "features": features})
    model = CETNet(spec, {"item": 4, "user": 2}, [{"type": "mlp", "hidden": [8]}])
    collapsed = np.outer([0.0, 1, 2, 3, 4], [3.0, 0, 4])
    model.set_pretrained({"text": collapsed, "face": np.zeros([3, 3])})
    watch = TableWatch(model)
    moved = np.r_[collapsed[:4], collapsed[4:] * 2]
    model.set_pretrained({"text": moved})
    assert [table.feature for table in watch.health()] == ["item", "user", "text (pretrained)"]
    text = watch.health()[-1]
    assert (text.rows, text.width, text.untrained) == (4, 3, 3 / 4)
    assert text.abundance == pytest.approx(1, rel=1e-5) and text.norm_median == pytest.approx(12.5)


def test_tables_are_watched_by_member_and_vocabulary(spec: DataSpec) -> None:
    members: list[dict[str, Any]] = [
        {"type": "dcnv2", "embedding_dim": 4, "hidden": [32], "cross_layers": 1},
        {"type": "din", "embedding_dim": 3, "hidden": [32], "attention_hidden": [8]},
    ]
    tf.keras.utils.set_random_seed(1)
    model = CETNet(spec, SIZES, members)
    watch = TableWatch(model)
    assert {(t.untrained, t.member) for t in watch.health()} == {(1.0, "dcnv2"), (1.0, "din")}
    model.compile(optimizer=cetnet_keras.LazyAdam(0.1))
    batch = example_batch(spec, rows=2) | {
        "user": tf.constant([2, 6], tf.int64),
        "item": tf.constant([1, 1], tf.int64),
        "seen": tf.constant([[3], [0]], tf.int64),
    }
    model.fit(tf.data.Dataset.from_tensors((batch, tf.constant([1, 0]))), verbose=0)
    found = {(table.member, table.feature): table for table in watch.health()}
    first = {"user": 1, "item": 7, "hour": 12, "device": 16}  # behind the padding row, one after another
    untouched = {"user": 4 / 6, "item": 3 / 5, "hour": 1, "device": 1}
    assert set(found) == {(member, owner) for member in ("dcnv2", "din") for owner in first}
    for (name, owner), table in found.items():
        member = model.members[model.member_names.index(name)]
        table_layer = member.features.table
        assert table_layer is not None
        weights = table_layer.get_weights()[0].astype(np.float64)
        rows = weights[first[owner] : first[owner] + SIZES[owner]]
        values = np.linalg.svd(rows, compute_uv=False)
        assert (table.rows, table.width) == rows.shape
        assert table.abundance == pytest.approx(values.sum() / values[0], rel=1e-5)
        norms = np.quantile(np.linalg.norm(rows, axis=1), [0.05, 0.5, 0.95])
        assert [table.norm_low, table.norm_median, table.norm_high] == pytest.approx(norms)
        assert table.untrained == pytest.approx(untouched[owner]), (name, owner)
