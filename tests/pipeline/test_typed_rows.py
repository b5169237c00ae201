"""Typed rows through everything: executor, transform, training, the served model over REST and gRPC, each signature.

What each step makes of a row is worked out here once more, in Python and NumPy, from the CSV file and the vocabulary
files. The rows are those of conftest's TYPED and the random ones around them.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras.spec import ROW_KEY, DataSpec, NumericFeature

Example = dict[str, Any]
OUTPUTS = ("ctr", "member_ctr", "fusion_weight", "confidence")
SPLITS = ("train", "eval", "test")


class Rows(NamedTuple):
    """The rows of all splits by their number in the CSV file, counted from 1."""

    spec: DataSpec
    cells: dict[int, dict[str, str]]
    raw: dict[str, dict[int, Example]]  # by split: what the executor wrote
    ids: dict[str, dict[int, Example]]  # by split: what Transform wrote


@pytest.fixture(scope="module")
def rows(first_run: Any, csv_rows: Any) -> Rows:
    """What the first run made of its rows."""
    cells = dict(enumerate(csv_rows(first_run.folder / "clicks.csv"), 1))
    raw, ids = (first_run.artifact(*output) for output in (("ExampleGen", "examples"), _TRANSFORMED))
    return Rows(
        first_run.spec,
        cells,
        {split: _examples(raw / f"Split-{split}") for split in SPLITS},
        {split: _examples(ids / f"Split-{split}") for split in SPLITS if (ids / f"Split-{split}").exists()},
    )


_TRANSFORMED = ("Transform", "transformed_examples")


def _examples(folder: Path) -> dict[int, Example]:
    """By row number; a list of values for each feature."""
    found = {}
    for serialised in tf.data.TFRecordDataset(
        [str(path) for path in folder.iterdir()], "GZIP"
    ).as_numpy_iterator():
        features = tf.train.Example.FromString(serialised).features.feature
        row = {name: _values(feature) for name, feature in features.items()}
        found[row[ROW_KEY][0]] = row
    return found


def _values(feature: Any) -> list[Any]:
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else []


# 1. The executor


def history(cells: dict[int, dict[str, str]], row: dict[str, str]) -> str:
    """The five latest items that this row's user clicked at an earlier time; nobody's rows have none."""
    own = [c for c in cells.values() if c["user"] == row["user"] != "" and int(c["ts"]) < int(row["ts"])]
    clicked = [c["item"] for c in sorted(own, key=lambda c: int(c["ts"])) if c["click"] == "1" and c["item"]]
    return "^".join(clicked[-5:])


def expected_raw(spec: DataSpec, cells: dict[int, dict[str, str]], number: int) -> Example:
    row = cells[number] | {"before": history(cells, cells[number])}
    kinds: dict[str, Callable[[str], Any]] = {
        "string": str.encode,
        "int64": int,
        "float32": lambda cell: float(np.float32(float(cell))),
    }
    expected: Example = {}
    for name, kind in spec.raw_types.items():
        missing = row[name] == "" and kind != "string"
        expected[name] = [] if missing else [kinds[kind](row[name])]
    return expected | {"click": [int(row["click"])], ROW_KEY: [number]}


def test_raw_examples_hold_what_the_cells_say(rows: Rows) -> None:
    sizes = {split: len(rows.raw[split]) for split in SPLITS}
    users = len({cells["user"] for cells in rows.cells.values()})
    assert sizes == {"train": 12 * users, "eval": 4 * users, "test": 4 * users}
    for split in SPLITS:
        for number, found in rows.raw[split].items():
            assert found == expected_raw(rows.spec, rows.cells, number), f"row {number} of {split}"


def test_the_typed_rows_are_rows_of_the_eval_split(rows: Rows) -> None:
    column = {name: [row[name] for row in rows.raw["eval"].values()] for name in rows.spec.raw_types}
    for name, values in {
        "user": ["", "007", "7", "1e730941"],
        "item": ["", "007", "7", "1e730941", "never seen", "i\u00e9"],
        "seen": ["", "7^007", "^1e730941^^never seen^"],
        "genres": [""],
    }.items():
        assert {value.encode() for value in values} <= {value for (value,) in column[name]}
    assert max(len(value.split(b"^")) for (value,) in column["seen"]) == 150
    assert {(7,), (-9,), (2**63 - 1,), ()} <= {tuple(values) for values in column["shop"]}
    assert {row["click"][0] for row in rows.raw["eval"].values()} == {0, 1}
    assert all([] in column[name] for name in rows.spec.of_type(NumericFeature))


# 2. The transform


def tokens_of(spec: DataSpec, name: str, row: Example) -> list[str]:
    """The tokens of a raw row: no empty ones, a sequence's most recent, a bag's first."""
    feature: Any = spec.features[name]
    values = row[name]
    text = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    if feature.type == "categorical":
        return [token for token in text if token]
    found = [token for token in text[0].split(feature.separator) if token]
    return found[-feature.max_length :] if feature.type == "sequence" else found[: feature.max_length]


def fingerprint(token: str, buckets: int) -> int:
    """FarmHash's 64 bit fingerprint of a token modulo `buckets`; TensorFlow has the only one at hand."""
    return int(tf.strings.to_hash_bucket_fast(token, buckets))


def expected_id(spec: DataSpec, name: str, token: str, vocabulary: dict[str, list[str]]) -> int:
    owner = spec.owner(name)
    if name == "device":
        return 1 + fingerprint(token, 16)
    if name == "hour":
        return 1 + int(token)
    known = vocabulary[owner]
    return 1 + (
        known.index(token) if token in known else len(known) + fingerprint(token, spec.oov_buckets(owner))
    )


@pytest.fixture(scope="module")
def vocabulary(first_run: Any) -> dict[str, list[str]]:
    """The tokens in each vocabulary file, in its order."""
    assets = first_run.artifact("Transform", "transform_graph") / "transform_fn" / "assets"
    return {
        name: (assets / name).read_text(encoding="utf-8").splitlines()
        for name in ("user", "shop", "item", "genres")
    }


def test_vocabularies_hold_the_tokens_of_train_that_are_frequent_enough(
    rows: Rows, vocabulary: dict[str, list[str]]
) -> None:
    for owner, known in vocabulary.items():
        counts = Counter(
            token for row in rows.raw["train"].values() for token in tokens_of(rows.spec, owner, row)
        )
        least = rows.spec.vocabulary(owner).min_count
        assert sorted(known) == sorted(token for token, count in counts.items() if count >= least)
        assert [counts[token] for token in known] == sorted((counts[token] for token in known), reverse=True)
    assert {"007", "7", "1e730941"} <= set(vocabulary["item"]) and "never seen" not in vocabulary["item"]


@pytest.mark.parametrize("split", ["train", "eval"])
def test_ids_are_those_of_the_vocabulary_files(
    rows: Rows, vocabulary: dict[str, list[str]], split: str
) -> None:
    names = [name for name in rows.spec.features if name not in rows.spec.of_type(NumericFeature)]
    assert len(rows.ids[split]) == len(rows.raw[split]) > 50
    for number, found in rows.ids[split].items():
        raw = rows.raw[split][number]
        for name in names:
            ids = [
                expected_id(rows.spec, name, token, vocabulary) for token in tokens_of(rows.spec, name, raw)
            ]
            if rows.spec.features[name].type == "categorical":
                ids = ids or [0]
            assert found[name] == ids, f"{name} of row {number} of {split}"
    longest = max(len(row["seen"]) for row in rows.ids["eval"].values())
    assert longest == 100, "the history of 150 tokens is cut to the 100 most recent ones"


def log1p(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.log1p(np.abs(x))


def log_squared(x: np.ndarray) -> np.ndarray:
    return np.where(x > 2, np.floor(np.log(np.maximum(x, 2)) ** 2), x)


def zscore(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    return (x - train.mean()) / train.std()


SCALED = {
    "price": zscore,
    "age": lambda x, train: np.clip((x - train.min()) / (train.max() - train.min()), 0, 1),
    "visits": lambda x, train: zscore(log1p(x), log1p(train)),
    "stay": lambda x, train: zscore(log_squared(x), log_squared(train)),
    "speed": lambda x, train: x,
}


@pytest.mark.parametrize("name", SCALED)
def test_numbers_are_scaled_by_the_statistics_of_train(rows: Rows, name: str) -> None:
    train = np.array([row[name][0] for row in rows.raw["train"].values() if row[name]], np.float64)
    for split in ("train", "eval"):
        numbers = list(rows.ids[split])
        missing = np.array([not rows.raw[split][number][name] for number in numbers])
        values = np.array([(rows.raw[split][number][name] or [np.nan])[0] for number in numbers], np.float64)
        expected = np.where(missing, 0, SCALED[name](values, train))
        found = np.array([rows.ids[split][number][name] for number in numbers])[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        marks = np.array([rows.ids[split][number][f"{name}/missing"] for number in numbers])[:, 0]
        np.testing.assert_array_equal(marks, missing)
        assert 0 < missing.sum() < len(missing)


def test_buckets_are_quarters_of_train_and_0_is_missing(rows: Rows) -> None:
    pairs = [
        (rows.raw["train"][number]["score"], row["score"][0]) for number, row in rows.ids["train"].items()
    ]
    assert {bucket for value, bucket in pairs if not value} == {0}
    known = sorted((value[0], bucket) for value, bucket in pairs if value)
    buckets = np.array([bucket for _, bucket in known])
    assert (np.diff(buckets) >= 0).all(), "a larger value is never in a lower bucket"
    shares = np.bincount(buckets, minlength=5)[1:] / len(known)
    np.testing.assert_allclose(shares, 0.25, atol=0.03)  # quantiles to 0.01, and a value may not be divided


@pytest.mark.parametrize("key", ["shop", "genres"])
def test_metrics_are_sliced_by_the_most_frequent_values_of_train(
    first_run: Any, rows: Rows, vocabulary: dict[str, list[str]], key: str
) -> None:
    top = vocabulary[key][: rows.spec.slice_top]
    sizes, clicks = Counter[str](), Counter[str]()
    for row in rows.raw["test"].values():
        for value in {token if token in top else "other" for token in tokens_of(rows.spec, key, row) or [""]}:
            sizes[value] += 1
            clicks[value] += row["click"][0]
    slices = [part for part in first_run.metrics["slices"] if list(part["values"]) == [key]]
    assert {part["values"][key]: part["rows"] for part in slices} == sizes
    assert {part["values"][key]: part["clicks"] for part in slices} == {
        value: clicks[value] for value in sizes
    }
    assert set(sizes) == {*top, "other"} and len(top) == 2


# 3. The served model


class Served(NamedTuple):
    """What a fresh process answered, and the requests; rows in the order of `offline`."""

    offline: dict[str, np.ndarray]  # what the trained model said of the transformed eval rows
    columns: dict[str, np.ndarray]  # typed raw columns
    serialised: np.ndarray  # the tf.Examples
    clients: dict[str, Any]


@pytest.fixture(scope="module")
def served(first_run: Any, rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The pushed model in a process of its own, its clients, and the eval rows as requests."""
    from serving.client import GrpcClient, RestClient
    from serving.process import server_process

    offline = dict(np.load(first_run.artifact("Trainer", "model_run") / "offline_scores.npz"))
    numbers = offline.pop(ROW_KEY).tolist()
    assert sorted(numbers) == sorted(rows.raw["eval"])
    missing = {"string": b"", "int64": -1, "float32": np.nan}
    dtypes = {"string": object, "int64": np.int64, "float32": np.float32}
    columns = {
        name: np.array([(rows.raw["eval"][n][name] or [missing[kind]])[0] for n in numbers], dtypes[kind])
        for name, kind in rows.spec.raw_types.items()
    }
    folder = first_run.artifact("ExampleGen", "examples") / "Split-eval"
    stored = tf.data.TFRecordDataset([str(path) for path in folder.iterdir()], "GZIP").as_numpy_iterator()
    by_number = {
        tf.train.Example.FromString(s).features.feature[ROW_KEY].int64_list.value[0]: s for s in stored
    }
    serialised = np.array([by_number[n] for n in numbers], object)
    log = tmp_path_factory.mktemp("served") / "log.txt"
    with server_process(first_run.serving, rows.spec.name, log) as addresses:
        clients = {
            "REST": RestClient(addresses.rest, rows.spec.name),
            "gRPC": GrpcClient(addresses.grpc, rows.spec.name),
        }
        yield Served(offline, columns, serialised, clients)


def assert_same(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    assert found.shape == expected.shape, what
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5, err_msg=what)


@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
def test_every_signature_answers_what_the_trained_model_said(served: Served, protocol: str) -> None:
    client = served.clients[protocol]
    assert np.ptp(served.offline["ctr"]) > 0.05, "equal scores would agree whatever is served"
    default = client.predict(served.columns)
    assert list(default) == ["ctr"]
    assert_same(default["ctr"], served.offline["ctr"], "serving_default")
    explain = client.predict(served.columns, "explain")
    assert sorted(explain) == sorted(OUTPUTS)
    examples = client.predict({"examples": served.serialised}, "examples")
    assert sorted(examples) == sorted([*OUTPUTS, "ctr_din", "ctr_cross"])
    for key in OUTPUTS:
        assert_same(explain[key], served.offline[key], f"explain {key}")
        assert_same(examples[key], served.offline[key], f"examples {key}")
    for member, name in enumerate(["din", "cross"]):
        assert_same(examples[f"ctr_{name}"], served.offline["member_ctr"][:, member], f"examples ctr_{name}")


@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
def test_rank_scores_candidates_in_the_order_of_the_request(
    served: Served, rows: Rows, protocol: str
) -> None:
    client, count, contexts = served.clients[protocol], len(served.serialised), [0, 7, 20]
    candidates = rows.spec.with_role("candidate")
    one_each = {
        name: column[:, np.newaxis] if name in candidates else column
        for name, column in served.columns.items()
    }
    assert_same(client.predict(one_each, "rank")["ctr"][:, 0], served.offline["ctr"], "one candidate a row")
    crossed = {
        name: np.tile(column, (len(contexts), 1)) if name in candidates else column[contexts]
        for name, column in served.columns.items()
    }
    ranked = client.predict(crossed, "rank")["ctr"]
    pairs = {
        name: np.tile(column, len(contexts)) if name in candidates else np.repeat(column[contexts], count)
        for name, column in served.columns.items()
    }
    expected = client.predict(pairs)["ctr"].reshape(len(contexts), count)
    assert_same(ranked, expected, "three contexts with all candidates each")
    assert len(np.unique(expected.round(4), axis=1)[0]) > 10
    backwards = {name: column[:, ::-1] if name in candidates else column for name, column in crossed.items()}
    assert_same(client.predict(backwards, "rank")["ctr"], ranked[:, ::-1], "candidates in reverse")


def test_outputs_keep_the_identities_of_the_method(served: Served) -> None:
    count = len(served.serialised)
    offline = {key: value.astype(np.float64) for key, value in served.offline.items()}
    assert {key: value.shape for key, value in offline.items()} == {
        "ctr": (count,),
        "member_ctr": (count, 2),
        "fusion_weight": (count, 2),
        "confidence": (count, 2),
    }
    assert ((offline["ctr"] > 0) & (offline["ctr"] < 1)).all()
    p = offline["member_ctr"]
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    np.testing.assert_allclose(offline["confidence"], -entropy, atol=1e-5)
    softmax = np.exp(-entropy) / np.exp(-entropy).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(offline["fusion_weight"], softmax, atol=1e-5)
    np.testing.assert_allclose(offline["fusion_weight"].sum(axis=1), 1, atol=1e-6)


def test_cells_of_a_csv_file_are_scored_alike(
    served: Served, first_run: Any, run_cetnet: Any, write_csv: Any, csv_rows: Any, tmp_path: Path
) -> None:
    text = [{n: _cell(c[row]) for n, c in served.columns.items()} for row in range(len(served.serialised))]
    write_csv(tmp_path / "rows.csv", text)
    result = run_cetnet(
        "predict", tmp_path / "rows.csv", "--model", first_run.serving, "--output", tmp_path / "ctr.csv"
    )
    assert result.exit_code == 0, result.output
    found = np.array([float(row["ctr"]) for row in csv_rows(tmp_path / "ctr.csv")])
    assert_same(found, served.offline["ctr"], "cetnet predict")


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.floating):
        return "" if np.isnan(value) else repr(float(value))
    return "" if value == -1 else str(value)
