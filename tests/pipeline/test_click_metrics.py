"""ClickMetric inside TFMA: outputs, slices, groups of either type, accumulators in any order."""

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras import metrics
from cetnet_keras.spec.raw import MISSING
from pipeline.click_metrics import FIGURES, ClickMetric


def analysed(frame: pd.DataFrame, metrics_of: list[dict[str, str]]) -> dict[int | None, dict[str, float]]:
    """What TFMA finds for the predictions `ctr` of a table, by hour; None is the whole."""
    metric_configs = [
        tfma.MetricConfig(
            class_name="ClickMetric", module="pipeline.click_metrics", config=json.dumps(arguments)
        )
        for arguments in metrics_of
    ]
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key="label", prediction_key="ctr")],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["hour"])],
        metrics_specs=[tfma.MetricsSpec(metrics=metric_configs)],
    )
    return {
        key[0][1] if key else None: {name: value["doubleValue"] for name, value in outputs[""][""].items()}
        for key, outputs in tfma.analyze_raw_data(frame, config).slicing_metrics
    }


def clicks(seed: int, rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    p = rng.random(rows)
    ctr = np.round(p, 2).astype(np.float32)
    ctr[:20] = np.where(p[:20] < 0.5, 0, 1)  # certain, as a float32 sigmoid can be
    return pd.DataFrame(
        {
            "label": (rng.random(rows) < p).astype(int),
            "ctr": ctr,
            "user": [f"user {number}" for number in rng.integers(0, 30, rows)],
            "session": rng.integers(-(2**62), 2**62, 40)[rng.integers(0, 40, rows)],
            "hour": rng.integers(0, 2, rows),
        }
    )


def wanted(frame: pd.DataFrame, group: str) -> dict[str, float]:
    label, ctr = frame["label"].to_numpy(), frame["ctr"].to_numpy()
    grouped = metrics.group_auc(label, ctr, frame[group].to_numpy())
    return {
        "rows": len(frame),
        "clicks": label.sum(),
        "auc": metrics.auc(label, ctr),
        "gauc": grouped.weighted,
        "gauc_mean": grouped.mean,
        "log_loss": metrics.log_loss(label, ctr),
        "calibration": metrics.calibration(label, ctr),
        "normalised_entropy": metrics.normalised_entropy(label, ctr),
        "expected_calibration_error": metrics.expected_calibration_error(label, ctr),
    }


def test_every_slice_has_its_own_figures() -> None:
    frame = clicks(seed=0)
    found = analysed(frame, [{"name": name, "group": "user"} for name in FIGURES])
    assert set(found) == {None, 0, 1}
    for hour, figures in found.items():
        rows = frame if hour is None else frame[frame["hour"] == hour]
        assert figures == pytest.approx(wanted(rows, "user"), rel=1e-12)


def test_two_metrics_with_different_groups_are_not_taken_for_one() -> None:
    frame = clicks(seed=1)
    found = analysed(frame, [{"name": "gauc", "group": "user"}, {"name": "gauc_mean", "group": "session"}])
    figures = {"gauc": wanted(frame, "user")["gauc"], "gauc_mean": wanted(frame, "session")["gauc_mean"]}
    assert found[None] == pytest.approx(figures, rel=1e-12)


def computation(group: str = "user") -> Any:
    return ClickMetric("gauc", group).computations(model_names=[""], output_names=["ctr"])[0]


def extracts(label: Any, ctr: Any, **features: Any) -> dict[str, Any]:
    return {"labels": label, "predictions": {"ctr": ctr, "ctr_din": np.zeros(1)}, "features": features}


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=30),
    st.lists(st.integers(0, 3), min_size=30, max_size=30),
)
def test_figures_do_not_depend_on_how_rows_are_spread_over_workers(
    rows: list[tuple[int, int, int]], workers: list[int]
) -> None:
    (preprocessor,), combiner = computation().preprocessors, computation().combiner
    parts = [combiner.create_accumulator() for _ in range(4)]
    for (label, tenths, user), worker in zip(rows, workers, strict=False):
        batch = extracts(np.array([label]), np.array([tenths / 10], np.float32), user=np.array([user]))
        for row in preprocessor.process(batch):
            parts[worker] = combiner.add_input(parts[worker], row)
    ((found),) = combiner.extract_output(combiner.merge_accumulators(parts)).values()
    label, ctr, user = np.array(rows).T
    frame = pd.DataFrame({"label": label, "ctr": (ctr / 10).astype(np.float32), "user": user})
    np.testing.assert_allclose(found.figures, list(wanted(frame, "user").values()), rtol=1e-12)


@pytest.mark.parametrize(
    "unknown", [None, np.array([], object), np.array([b""], object), np.array([MISSING["int64"]])]
)
def test_a_row_without_a_group_counts_for_all_but_the_group_aucs(unknown: Any) -> None:
    (preprocessor,), combiner = computation().preprocessors, computation().combiner
    rows = combiner.create_accumulator()
    for label, ctr, user in [(1, 0.9, b"u"), (0, 0.1, b"u"), (1, 0.0, None), (0, 0.5, None)]:
        group = unknown if user is None else np.array([user], object)
        batch = extracts(np.array([label]), np.array([ctr], np.float32), user=group)
        rows = combiner.add_input(rows, next(preprocessor.process(batch)))
    ((found, _),) = combiner.extract_output(rows).values()
    assert found.rows == 4 and found.auc == 0.5
    assert found.gauc == found.gauc_mean == 1.0


def test_a_prediction_of_several_numbers_is_refused() -> None:
    (preprocessor,) = computation().preprocessors
    with pytest.raises(ValueError, match="ctr must be one number a row"):
        next(preprocessor.process(extracts(np.array([1]), np.array([0.1, 0.2]), user=np.array([1]))))
    with pytest.raises(ValueError, match=r"the label must be one number a row\. Received: None"):
        next(preprocessor.process(extracts(None, np.array([0.1]), user=np.array([1]))))


def test_a_wrong_name_and_a_group_auc_without_a_group_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one of rows, clicks, auc, .* Received: name='guac'"):
        ClickMetric("guac", "user")
    with pytest.raises(ValueError, match="gauc needs `group`"):
        ClickMetric("gauc_mean")


def test_tfma_s_own_example_weights_are_refused_and_not_ignored() -> None:
    with pytest.raises(ValueError, match="does not support example weights"):
        ClickMetric("auc").computations(model_names=[""], output_names=["ctr"], example_weighted=True)
