"""The report of a whole run: every figure is that of the rows, the model and metrics.json of this run."""

from pathlib import Path
from typing import Any

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from sklearn.metrics import auc

from pipeline.dataset import transformed_batches
from pipeline.report.data import FUSED, ReportData
from pipeline.score_buckets import roc
from pipeline.transform import vocabulary_sizes


@pytest.fixture(scope="module")
def kept(first_run: Any) -> ReportData:
    """What the first run kept for its report."""
    return ReportData.read(first_run.output)


@pytest.fixture(scope="module")
def eval_batch(first_run: Any) -> dict[str, np.ndarray]:
    """The eval split, transformed, in one batch."""
    transformed = tft.TFTransformOutput(str(first_run.artifact("Transform", "transform_graph")))
    rows = first_run.artifact("Transform", "transformed_examples") / "Split-eval" / "*"
    return next(transformed_batches([str(rows)], transformed, 10**6).as_numpy_iterator())


def test_a_run_ends_with_its_report_and_says_where(first_run: Any) -> None:
    path = first_run.output / "report.html"
    assert f"report   {path}\n" in first_run.stdout and first_run.states["Report"] == "done"
    html = path.read_text(encoding="utf-8")
    assert "Blessed and pushed" in html and f"{first_run.metrics['fused']['auc']:.4f}" in html
    assert path.stat().st_size < 3_000_000


def test_the_curves_are_those_of_the_test_split(first_run: Any, kept: ReportData) -> None:
    metrics = {FUSED: first_run.metrics["fused"]} | first_run.metrics["members"]
    assert set(kept.curves) == set(metrics) == {FUSED, "din", "cross"}
    for name, found in metrics.items():
        buckets = kept.curves[name].buckets
        assert auc(*roc(buckets)) == pytest.approx(found["auc"], abs=1e-9), "80 rows have a bucket each"
        assert (buckets.rows.sum(), buckets.clicks.sum()) == (found["rows"], found["clicks"])
        assert buckets.predicted.sum() / buckets.clicks.sum() == pytest.approx(found["calibration"])


def test_the_embeddings_are_those_of_the_pushed_model(first_run: Any, kept: ReportData) -> None:
    transformed = tft.TFTransformOutput(str(first_run.artifact("Transform", "transform_graph")))
    sizes = vocabulary_sizes(first_run.spec, transformed)
    weights = tf.train.load_checkpoint(
        str(first_run.serving / first_run.versions[0] / "variables" / "variables")
    )
    stored, scales = (
        [
            weights.get_tensor(name)
            for name, shape in weights.get_variable_to_shape_map().items()
            if shape == size
        ]
        for size in ([1 + sum(sizes.values()), width] for width in (4, 1))
    )
    assert [table.dtype for table in stored] == [np.int8] * 2 and len(scales) == 2
    tables = [rows * scale for rows in stored for scale in scales]  # which is whose the file does not say
    for member in ("din", "cross"):
        found = {table.feature: table for table in kept.training.tables if table.member == member}
        assert {owner: table.rows for owner, table in found.items()} == sizes
        assert any(all(matches(found, table, sizes)) for table in tables), member


def matches(found: dict[str, Any], table: np.ndarray, sizes: dict[str, int]) -> list[bool]:
    """Whether each vocabulary's information abundance is that of its rows in `table`, which has padding first."""
    ends = np.cumsum([1, *sizes.values()])
    parts = {owner: table[a:b] for owner, a, b in zip(sizes, ends[:-1], ends[1:], strict=True)}
    values = {
        owner: np.linalg.svd(rows.astype(np.float64), compute_uv=False) for owner, rows in parts.items()
    }
    return [found[owner].abundance == pytest.approx(v.sum() / v[0], rel=3e-3) for owner, v in values.items()]


def test_coverage_is_that_of_the_eval_split(
    first_run: Any, kept: ReportData, eval_batch: dict[str, np.ndarray]
) -> None:
    transformed = tft.TFTransformOutput(str(first_run.artifact("Transform", "transform_graph")))
    known = len(transformed.vocabulary_by_name("item"))
    found = {feature.feature: feature for feature in kept.training.coverage}
    assert set(found) == set(first_run.spec.features)
    for name in ("item", "seen"):
        ids = eval_batch[name].reshape(80, -1)
        unseen, tokens = int((ids > known).sum()), int((ids > 0).sum())
        assert unseen and (found[name].tokens, found[name].unseen) == (tokens, pytest.approx(unseen / tokens))
        assert found[name].missing == pytest.approx(np.mean((ids == 0).all(axis=1)))
    assert (
        found["age"].missing == pytest.approx(eval_batch["age/missing"].mean())
        and found["age"].tokens is None
    )
    assert found["device"].unseen is None, "each hash bucket has a row"


def test_the_members_agreement_is_what_training_scored(first_run: Any, kept: ReportData) -> None:
    offline = np.load(first_run.artifact("Trainer", "model_run") / "offline_scores.npz")
    ensemble = kept.training.ensemble
    assert ensemble is not None and ensemble.rows == len(offline["ctr"]) == 80
    np.testing.assert_allclose(ensemble.mean_weight, offline["fusion_weight"].mean(axis=0), rtol=1e-5)
    p, q = offline["member_ctr"].astype(np.float64).T
    (pair,) = ensemble.pairs
    assert pair.difference == pytest.approx(np.abs(p - q).mean(), rel=1e-4)
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    back = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    assert pair.kl == pytest.approx(np.mean(kl + back) / 2, rel=1e-3)


def test_training_and_data_are_those_of_the_run(first_run: Any, kept: ReportData, csv_rows: Any) -> None:
    training = kept.training
    assert (training.train_rows, training.eval_rows) == (240, 80)
    assert training.monitored == "eval_gauc" and len(training.history["loss_collaboration"]) == 2
    assert [(split.split, split.rows) for split in kept.splits] == [
        ("train", 240),
        ("eval", 80),
        ("test", 80),
    ]
    clicks = sum(int(row["click"]) for row in csv_rows(first_run.folder / "clicks.csv"))
    assert sum(split.rows * (split.click_rate or 0) for split in kept.splits) == pytest.approx(clicks)
    columns = {column.column: column for column in kept.columns}
    assert columns["user"].distinct == 20 and columns["price"].low is not None


def test_what_was_run_is_kept_in_full(first_run: Any, kept: ReportData) -> None:
    for name, text in (("data.yaml", kept.run.data_text), ("model.yaml", kept.run.model_text)):
        assert (first_run.folder / name).read_text(encoding="utf-8") == text
    assert kept.run.pushed and Path(kept.run.pushed) == first_run.serving / first_run.versions[0]
    assert {part.component for part in kept.run.components} >= {
        "ExampleGen",
        "Trainer",
        "Evaluator",
        "Pusher",
    }
    assert kept.run.versions["tensorflow"] == tf.__version__ and kept.run.began <= kept.run.ended
