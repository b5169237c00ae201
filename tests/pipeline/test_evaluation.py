"""The Evaluator of TFX, run on a small SavedModel, against scikit-learn and plain loops."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss, roc_auc_score
from tfx.components import Evaluator
from tfx.components.evaluator.executor import Executor
from tfx.types import Artifact, artifact_utils, channel_utils
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation

from cetnet_keras.metrics import expected_calibration_error
from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.evaluation import (
    EVALUATOR_MODULE,
    Slice,
    eval_config,
    metrics_document,
    read_curves,
    read_metrics,
)
from pipeline.gates import Gates
from pipeline.score_buckets import ScoreBuckets, score_buckets

MEMBERS = ("dcnv2", "din")
SPEC = """
name: clicks
label: label
group: user
features:
  user: {type: categorical}
  cate: {type: categorical, role: candidate}
  genres: {type: bag, separator: "|", role: candidate}
slices: [[cate], [genres], [cate, genres]]
slice_top: 2
splits: {train: train.csv, eval: eval.csv, test: test.csv}
"""
COUNTED = SPEC.replace("slice_top", "weight: times\nnegative_keep_rate: 0.25\nslice_top")
PLAIN = SPEC.replace("group: user\n", "").replace("slices: [[cate], [genres], [cate, genres]]\n", "")
Row = dict[str, Any]


class Clicks(tf.Module):
    """Scores a tf.Example by its feature `z`: ctr = sigmoid(scale z + shift); its members ignore both."""

    def __init__(self, scale: float, shift: float, top: dict[str, list[str]]) -> None:
        super().__init__()
        self._scale, self._shift, self._top = scale, shift, top

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        z = tf.io.parse_example(examples, {"z": tf.io.FixedLenFeature([], tf.float32)})["z"]
        member = {"dcnv2": tf.sigmoid(0.3 * z), "din": tf.sigmoid(z * z - 1)}
        stacked = tf.stack(list(member.values()), axis=1)
        outputs = {"ctr": tf.sigmoid(self._scale * z + self._shift), "member_ctr": stacked}
        outputs |= {"fusion_weight": stacked, "confidence": stacked}
        return outputs | {f"ctr_{name}": ctr for name, ctr in member.items()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def slices(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        cell = tf.io.FixedLenFeature([], tf.string, "")
        found = tf.io.parse_example(examples, {"cate": cell, "genres": cell})
        genres = tf.strings.split(found["genres"], "|").to_tensor("")
        genres = tf.where(genres == "", "", self._named(genres, "genres"))
        return {"slice_cate": self._named(found["cate"], "cate"), "slice_genres": genres}

    def _named(self, tokens: tf.Tensor, key: str) -> tf.Tensor:
        known = tf.reduce_any(tokens[..., tf.newaxis] == tf.constant(self._top[key]), axis=-1)
        return tf.where(known, tokens, "other")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a model and returns its folder, once for each set of arguments."""
    saved: dict[str, Path] = {}

    def save(scale: float = 1.0, shift: float = 0.0, top: tuple[str, str] = ("a b", "x y")) -> Path:
        key = repr((scale, shift, top))
        if key not in saved:
            saved[key] = tmp_path_factory.mktemp("model")
            module = Clicks(scale, shift, {"cate": top[0].split(), "genres": top[1].split()})
            signatures = {"examples": module.examples, "slices": module.slices}
            tf.saved_model.save(module, str(saved[key] / "Format-Serving"), signatures=signatures)
        return saved[key]

    return save


def rows_of(seed: int, count: int = 300) -> list[Row]:
    """Clicks with probability sigmoid(z). Users may be unknown; a genre may stand in a cell twice."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=count)
    clicks = rng.random(count) < 1 / (1 + np.exp(-z))
    rows = []
    for row in range(count):
        genres = rng.choice(["x", "y", "v", "w", ""], rng.integers(0, 4))
        rows.append(
            {
                "label": int(clicks[row]),
                "z": float(np.float32(z[row])),
                "user": rng.choice([None, "", "u1", "u2", "u3", "u4"]),
                "cate": rng.choice(["a", "b", "c", "d", ""], p=[0.4, 0.3, 0.15, 0.1, 0.05]),
                "genres": "|".join(genres),
            }
        )
    return rows


def tf_example(row: Row) -> bytes:
    example = tf.train.Example()
    for name, value in row.items():
        feature = example.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        elif value is not None:
            feature.int64_list.value.append(value)
    return example.SerializeToString()


def evaluate(
    folder: Path,
    rows: Sequence[Row],
    model: Path,
    gates: Gates,
    baseline: Path | None = None,
    spec: str = SPEC,
) -> tuple[Path, bool]:
    """Runs TFX's Evaluator as a pipeline does; returns where it wrote and whether Pusher would push."""
    data_spec = parse_spec(DataSpec, spec, "data.yaml")
    test = folder / "examples" / "Split-test"
    test.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(test / "rows.tfrecord")) as writer:
        for row in rows:
            writer.write(tf_example(row))
    examples = _artifact(Examples, test.parent)
    examples.split_names = artifact_utils.encode_split_names(["test"])
    inputs = {"examples": [examples], "model": [_artifact(Model, model)]}
    if baseline is not None:
        inputs["baseline_model"] = [_artifact(Model, baseline)]
    component = Evaluator(
        eval_config=eval_config(data_spec, MEMBERS, gates),
        example_splits=["test"],
        module_path=EVALUATOR_MODULE,
        **{key: channel_utils.as_channel(artifacts) for key, artifacts in inputs.items()},
    )
    outputs = {
        "evaluation": [_artifact(ModelEvaluation, folder / "evaluation")],
        "blessing": [_artifact(ModelBlessing, folder / "blessing")],
    }
    Executor(Executor.Context(tmp_dir=str(folder))).Do(inputs, outputs, component.exec_properties)
    return folder / "evaluation", outputs["blessing"][0].get_int_custom_property("blessed") == 1


def _artifact(kind: type[Artifact], uri: Path) -> Artifact:
    artifact = kind()
    artifact.uri = str(uri)
    return artifact


def expected(
    rows: Sequence[Row], score: Callable[[np.ndarray], np.ndarray], keep: float = 1.0
) -> dict[str, float]:
    """The figures of some rows by scikit-learn and a loop over users; rows without a user have no group."""
    label = np.array([row["label"] for row in rows])
    ctr = score(np.array([row["z"] for row in rows]))
    user = np.array([row["user"] or "" for row in rows])
    count = np.array([row.get("times", 1) for row in rows]) / np.where(label == 1, 1, keep)
    sizes, areas = [], []
    for name in set(user) - {""}:
        own = user == name
        if len(set(label[own])) == 2:
            sizes.append(count[own].sum())
            areas.append(roc_auc_score(label[own], ctr[own], sample_weight=count[own]))
    return {
        "rows": len(rows),
        "clicks": int(label.sum()),
        "auc": roc_auc_score(label, ctr, sample_weight=count),
        "gauc": np.average(areas, weights=sizes),
        "gauc_mean": np.mean(areas),
        "log_loss": log_loss(label, ctr, sample_weight=count),
        "calibration": count @ ctr / (count @ label),
        "normalised_entropy": log_loss(label, ctr, sample_weight=count)
        / log_loss(label, np.full_like(ctr, count @ label / count.sum()), sample_weight=count),
        "expected_calibration_error": expected_calibration_error(label, ctr, count),
    }


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def values_of(row: Row, key: str) -> set[str]:
    """The values of a slice key in a row: its two most frequent values are named, all else is `other`."""
    top = {"cate": "ab", "genres": "xy"}[key]
    tokens = [token for token in row[key].split("|") if token] or [""]
    return {token if token and token in top else "other" for token in tokens}


def check_slices(found: Sequence[Slice], rows: Sequence[Row], keep: float = 1.0) -> None:
    wanted = defaultdict(list)
    for row in rows:
        for keys in (["cate"], ["genres"], ["cate", "genres"]):
            for values in product(*([(key, value) for value in values_of(row, key)] for key in keys)):
                wanted[values].append(row)
    assert {tuple(sorted(part.values.items())) for part in found} == set(wanted)
    assert len(found) == len(wanted) == 3 + 3 + 9
    for part in found:
        figures = expected(wanted[tuple(sorted(part.values.items()))], sigmoid, keep)
        assert part.figures == pytest.approx(figures, rel=1e-5)


def check_curves(found: dict[str, ScoreBuckets], rows: Sequence[Row]) -> None:
    label, z = (np.array([row[name] for row in rows]) for name in ("label", "z"))
    scores = {"ctr": sigmoid(z), "dcnv2": sigmoid(0.3 * z), "din": sigmoid(z * z - 1)}
    assert set(found) == set(scores)
    for output, score in scores.items():
        for column, wanted in zip(found[output], score_buckets(label, score), strict=True):
            np.testing.assert_allclose(column, wanted, rtol=1e-5)


def test_figures_slices_and_blessing_of_a_first_model(tmp_path: Path, model: Callable[..., Path]) -> None:
    rows = rows_of(seed=1)
    folder, blessed = evaluate(tmp_path, rows, model(), Gates())
    found = read_metrics(folder)
    assert blessed and found.blessed and found.reasons == [] and found.baseline is None
    assert found.fused == pytest.approx(expected(rows, sigmoid), rel=1e-5)
    assert list(found.members) == ["dcnv2", "din"]
    assert found.members["dcnv2"] == pytest.approx(expected(rows, lambda z: sigmoid(0.3 * z)), rel=1e-5)
    assert found.members["din"] == pytest.approx(expected(rows, lambda z: sigmoid(z * z - 1)), rel=1e-5)
    check_slices(found.slices, rows)
    check_curves(read_curves(folder), rows)
    document = json.loads(json.dumps(metrics_document(found), allow_nan=False))
    assert document["rows"] == 300 and document["fused"]["auc"] == found.fused["auc"]
    assert document["blessed"] is True and document["reasons"] == [] and "baseline" not in document
    assert document["slices"][0]["values"] == found.slices[0].values
    sizes = [part.figures["rows"] for part in found.slices if list(part.values) == ["cate"]]
    assert sizes == sorted(sizes, reverse=True)


def test_rows_count_by_their_weight_and_kept_negatives_for_those_left_out(
    tmp_path: Path, model: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(8)
    rows = [row | {"times": float(rng.choice([0.5, 1.0, 3.0]))} for row in rows_of(seed=8)]
    folder, _ = evaluate(tmp_path, rows, model(), Gates(), spec=COUNTED)
    found = read_metrics(folder)
    assert found.fused == pytest.approx(expected(rows, sigmoid, 0.25), rel=1e-5)
    assert found.members["din"] == pytest.approx(expected(rows, lambda z: sigmoid(z * z - 1), 0.25), rel=1e-5)
    check_slices(found.slices, rows, 0.25)
    counts = [row["times"] * (1 if row["label"] else 4) for row in rows]
    assert read_curves(folder)["ctr"].rows.sum() == pytest.approx(sum(counts))


def test_a_model_below_the_absolute_bounds_is_refused_with_reasons(
    tmp_path: Path, model: Callable[..., Path]
) -> None:
    rows = rows_of(seed=2)
    gates = Gates(max_log_loss=0.5)
    folder, blessed = evaluate(tmp_path, rows, model(scale=-1.0, shift=-4.0), gates, spec=PLAIN)
    found = read_metrics(folder)
    assert not blessed and not found.blessed and found.slices == []
    figures = expected(rows, lambda z: sigmoid(-z - 4))
    assert "gauc" not in found.fused
    assert sorted(found.reasons) == [
        f"auc {figures['auc']:.4f} is below 0.501 on the whole",
        f"calibration {figures['calibration']:.4f} is below 0.5 on the whole",
        f"log_loss {figures['log_loss']:.4f} is above 0.5 on the whole",
    ]


def test_a_model_worse_than_the_last_blessed_one_is_refused(
    tmp_path: Path, model: Callable[..., Path]
) -> None:
    rows = rows_of(seed=3)
    folder, blessed = evaluate(tmp_path, rows, model(scale=0.0), Gates(min_auc=0), baseline=model())
    found, better = read_metrics(folder), expected(rows, sigmoid)
    assert not blessed and not found.blessed
    assert found.baseline == pytest.approx(better, rel=1e-5)
    drop, rise = better["auc"] - 0.5, np.log(2) - better["log_loss"]
    auc, loss = (f"the last blessed model's {better[name]:.4f} on the whole" for name in ("auc", "log_loss"))
    assert sorted(found.reasons) == [
        f"auc 0.5000 is {drop:.4f} below {auc}, expected at most 0.005",
        f"log_loss 0.6931 is {rise:.4f} above {loss}, expected at most 0.01",
    ]
    assert metrics_document(found)["baseline"]["auc"] == pytest.approx(better["auc"], rel=1e-5)


def test_a_model_better_than_the_last_blessed_one_is_blessed_and_sliced_by_its_own_values(
    tmp_path: Path, model: Callable[..., Path]
) -> None:
    rows = rows_of(seed=4)
    worse = model(scale=0.1, top=("c d", "v w"))
    folder, blessed = evaluate(tmp_path, rows, model(), Gates(), baseline=worse)
    found = read_metrics(folder)
    assert blessed and found.blessed and found.reasons == []
    assert found.fused == pytest.approx(expected(rows, sigmoid), rel=1e-5)
    assert found.baseline == pytest.approx(expected(rows, lambda z: sigmoid(0.1 * z)), rel=1e-5)
    check_curves(read_curves(folder), rows)
    check_slices(found.slices, rows)


@pytest.mark.parametrize(("label", "share"), [(0, "none"), (1, "each")])
def test_one_class_has_no_auc_and_is_refused(
    tmp_path: Path, model: Callable[..., Path], label: int, share: str
) -> None:
    rows = [row | {"label": label} for row in rows_of(seed=5, count=40)]
    folder, blessed = evaluate(tmp_path, rows, model(), Gates(min_calibration=0.1), spec=PLAIN)
    found = read_metrics(folder)
    document = json.loads(json.dumps(metrics_document(found), allow_nan=False))
    assert not blessed and not document["blessed"]
    assert document["fused"]["auc"] is None and document["fused"]["log_loss"] > 0
    assert f"auc is n/a on the whole: {share} of its 40 rows is a click" in document["reasons"]


def test_a_prediction_that_is_not_a_number_is_refused(tmp_path: Path, model: Callable[..., Path]) -> None:
    rows = rows_of(seed=6, count=40)
    rows[7]["z"] = float("nan")
    folder, blessed = evaluate(tmp_path, rows, model(), Gates(), spec=PLAIN)
    found = read_metrics(folder)
    assert not blessed and np.isnan(found.fused["log_loss"])
    assert "auc is n/a on the whole: a prediction is not a number" in found.reasons


def test_a_test_split_without_rows_is_refused(tmp_path: Path, model: Callable[..., Path]) -> None:
    folder, blessed = evaluate(tmp_path, [], model(), Gates())
    found = read_metrics(folder)
    assert not blessed and not found.blessed
    assert read_curves(folder) == {}
    assert found.reasons == ["the test split holds no rows, so that nothing could be measured"]
    assert metrics_document(found)["rows"] == 0


def test_gates_that_nothing_could_pass_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found 3, expected 2 \(max_calibration\) or less"):
        Gates(min_calibration=3)
