"""Logistic regression on MovieLens-100K, the bar for every model: `python benchmarks/movielens_baseline.py`.

It sees the features of the data spec on the very rows of the pipeline's splits: ids and genres one-hot, age
standardised, the history left out, as a multi-hot bag, or as that bag divided by its length. Vocabularies are
of the train split, C is chosen by the log loss on eval, and test is measured once, with that C.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import json
import platform
import runpy
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import scipy.sparse
from rich.console import Console
from rich.table import Table
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler, normalize

from cetnet_keras.metrics import auc, calibration, group_auc, log_loss
from cetnet_keras.spec import (
    ROW_KEY,
    BagFeature,
    CategoricalFeature,
    DataSpec,
    NumericFeature,
    SequenceFeature,
    load_data_spec,
)
from pipeline.ingest.executor import Ingest
from pipeline.ingest.files import SPLITS, source_files

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "movielens_100k"
INVERSE_L2 = (0.1, 0.3, 1.0, 3.0, 10.0)  # scikit-learn's C
HISTORIES = ("none", "multi-hot", "mean")
PACKAGES = ("scikit-learn", "numpy", "scipy")

Columns = dict[str, np.ndarray]  # raw values of a split's rows, [N] each
Encoder = Callable[[Columns], scipy.sparse.csr_matrix]


def ingest(spec: DataSpec, base: Path) -> dict[str, Columns]:
    """The rows of train, eval and test as the pipeline's own ingestion makes them, in file order."""
    with tempfile.TemporaryDirectory() as folder:
        folders = [str(Path(folder, split)) for split in SPLITS]
        for path in folders:
            os.mkdir(path)
        with beam.Pipeline("DirectRunner") as pipeline:
            _ = pipeline | Ingest(spec, source_files(spec, base), folders)
        return {split: _read(spec, path) for split, path in zip(SPLITS, folders, strict=True)}


def _read(spec: DataSpec, folder: str) -> Columns:
    import tensorflow as tf

    types = {**spec.raw_types, spec.label: "int64", ROW_KEY: "int64"}
    missing = {"string": "", "int64": -1, "float32": np.nan}
    parser = {name: tf.io.FixedLenFeature([], kind, missing[kind]) for name, kind in types.items()}
    records = tf.data.TFRecordDataset(tf.io.gfile.glob(f"{folder}/*"), compression_type="GZIP")
    columns = tf.io.parse_example(list(records.as_numpy_iterator()), parser)
    order = np.argsort(columns[ROW_KEY])
    return {name: np.asarray(column)[order] for name, column in columns.items()}


def encoder(spec: DataSpec, train: Columns, history: str) -> Encoder:
    """Encodes the features of rows as one sparse matrix [N, D]; what train has not seen is zero.

    Args:
        train: the rows that vocabularies, means and deviations come from.
        history: what a sequence becomes: "none", "multi-hot" or "mean" (multi-hot divided by its sum).
    """
    parts: list[Encoder] = []
    for name, feature in spec.features.items():
        if isinstance(feature, SequenceFeature) and history == "none":
            continue
        parts.append(_feature_encoder(name, feature, train[name], history))
    return lambda rows: scipy.sparse.hstack([encode(rows) for encode in parts]).tocsr()


def _feature_encoder(name: str, feature: Any, train: np.ndarray, history: str) -> Encoder:
    if isinstance(feature, NumericFeature):
        scaler = StandardScaler().fit(train[:, None])
        return lambda rows: scipy.sparse.csr_matrix(np.nan_to_num(scaler.transform(rows[name][:, None])))
    if isinstance(feature, CategoricalFeature):
        one_hot = OneHotEncoder(handle_unknown="ignore").fit(train[:, None])
        return lambda rows: one_hot.transform(rows[name][:, None])
    assert isinstance(feature, BagFeature | SequenceFeature)
    separator = feature.separator
    bag = CountVectorizer(analyzer=lambda cell: [t for t in cell.split(separator) if t], binary=True)
    bag.fit(train)
    if isinstance(feature, SequenceFeature) and history == "mean":
        return lambda rows: normalize(bag.transform(rows[name]).astype(float), "l1")
    return lambda rows: bag.transform(rows[name])


def measure(spec: DataSpec, splits: dict[str, Columns], history: str) -> dict[str, Any]:
    """Fits one regression a C, keeps the one of the lowest eval log loss, measures it on eval and test."""
    encode = encoder(spec, splits["train"], history)
    features = {name: encode(rows) for name, rows in splits.items()}
    labels = {name: rows[spec.label] for name, rows in splits.items()}
    tried: dict[float, float] = {}
    chosen: dict[str, Any] = {}
    for inverse_l2 in INVERSE_L2:
        model = LogisticRegression(C=inverse_l2, max_iter=2000).fit(features["train"], labels["train"])
        ctr = {name: model.predict_proba(features[name])[:, 1] for name in ("eval", "test")}
        tried[inverse_l2] = log_loss(labels["eval"], ctr["eval"])
        if tried[inverse_l2] == min(tried.values()):
            chosen = {"C": inverse_l2, "ctr": ctr}
    figures = {name: _figures(spec, splits[name], ctr) for name, ctr in chosen["ctr"].items()}
    return {"history": history, "C": chosen["C"], "eval_log_loss_by_C": tried, **figures}


def _figures(spec: DataSpec, rows: Columns, ctr: np.ndarray) -> dict[str, Any]:
    label = rows[spec.label]
    within = group_auc(label, ctr, rows[str(spec.group)])
    return {
        "rows": len(label),
        "auc": auc(label, ctr),
        "gauc": within.weighted,
        "gauc_groups": within.groups,
        "log_loss": log_loss(label, ctr),
        "calibration": calibration(label, ctr),
    }


def describe(spec: DataSpec, splits: dict[str, Columns]) -> dict[str, Any]:
    """Rows and click rate of each split, and how much of it comes from groups that train has."""
    group = str(spec.group)
    known = np.unique(splits["train"][group])
    return {
        name: {
            "rows": len(rows[spec.label]),
            "click_rate": float(rows[spec.label].mean()),
            "known_groups": float(np.isin(rows[group], known).mean()),
        }
        for name, rows in splits.items()
    }


def show(console: Console, spec: DataSpec, data: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Prints what was measured on test, in bold the bar: the variant of the lowest eval log loss."""
    splits = Table("split", "rows", "click rate", f"of a {spec.group} in train", title=spec.name)
    for name, split in data.items():
        splits.add_row(
            name, f"{split['rows']:,}", f"{split['click_rate']:.3f}", f"{split['known_groups']:.0%}"
        )
    console.print(splits)
    figures = Table("history", "C", "eval log loss", "test AUC", "test gAUC", "test log loss")
    best = min(results, key=lambda result: result["eval"]["log_loss"])
    for result in results:
        test = [f"{result['test'][metric]:.4f}" for metric in ("auc", "gauc", "log_loss")]
        cells = [result["history"], f"{result['C']:g}", f"{result['eval']['log_loss']:.4f}", *test]
        figures.add_row(*cells, style="bold" if result is best else None)
    console.print(figures)


def main() -> None:
    """Measures both specs of the recipe, prints a table for each and writes all figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "runs" / "movielens_baseline.json", help="JSON file"
    )
    output: Path = parser.parse_args().output
    runpy.run_path(str(RECIPE / "prepare.py"))["prepare"](RECIPE / "data")
    console = Console()
    versions = {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
    print(f"Logistic regression, C of {INVERSE_L2} by eval log loss; {versions}")
    report: dict[str, Any] = {"versions": versions, "C": INVERSE_L2, "data": {}}
    for name in ("data.yaml", "data_global_time.yaml"):
        spec, began = load_data_spec(RECIPE / name), time.monotonic()
        splits = ingest(spec, RECIPE)
        data = describe(spec, splits)
        results = [measure(spec, splits, history) for history in HISTORIES]
        show(console, spec, data, results)
        report["data"][spec.name] = {"splits": data, "results": results, "seconds": time.monotonic() - began}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"Written to {output}")


if __name__ == "__main__":
    main()
