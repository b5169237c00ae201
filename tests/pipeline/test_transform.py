"""preprocessing_fn, feature type by feature type, on the columns that are easily got wrong.

One Beam run analyses and transforms TRAIN. SERVED, which holds what training has not seen, goes through the same graph as
the signatures of a served model call it. Expected values are written out, or computed in NumPy.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from cetnet_keras.spec import ROW_KEY, BagFeature, DataSpec, NumericFeature, SequenceFeature, parse_spec
from cetnet_keras.spec.raw import MISSING
from pipeline.create_pipeline import BEAM_ARGS
from pipeline.groups import NO_GROUP
from pipeline.schema import schema_of
from pipeline.trainer import ServingTransform
from pipeline.transform import GROUP_KEY, preprocessing_fn, vocabulary_sizes
from serving.signatures import DTYPES

SPEC = """
name: edges
label: y
features:
  word: {type: categorical}
  shared: {type: sequence, vocabulary: word, max_length: 3}
  pool: {type: bag, separator: "|", vocabulary: word, max_length: 2}
  frequent: {type: categorical, vocabulary: {min_count: 2}}
  top: {type: categorical, vocabulary: {top_k: 2, oov_buckets: 3}}
  never: {type: categorical}
  number: {type: categorical, dtype: int64}
  numbers: {type: sequence, dtype: int64, separator: " ", vocabulary: number}
  counted: {type: categorical, vocabulary: {count: all}}
  also: {type: sequence, vocabulary: counted}
  place: {type: categorical, identity: 4}
  hashed: {type: categorical, hash_buckets: 8}
  places: {type: sequence, hash_buckets: 8}
  items: {type: sequence, align: behaviour, max_length: 3}
  shops: {type: sequence, align: behaviour, max_length: 3, vocabulary: items}
  listed: {type: sequence, separator: null, vocabulary: word, max_length: 3}
  pages: {type: sequence, separator: null, dtype: int64, vocabulary: number, align: visit, max_length: 2}
  words: {type: sequence, separator: null, vocabulary: word, align: visit, max_length: 2}
  padded: {type: sequence, separator: " ", padding: "0", vocabulary: word}
  when: {type: timestamp}
  second: {type: timestamp, format: seconds, parts: [weekday]}
  look: {type: vector, dimension: 2}
  mean: {type: numeric}
  mean_none: {type: numeric}
  mean_same: {type: numeric}
  mean_one: {type: numeric}
  mean_default: {type: numeric, default: 7}
  share: {type: numeric, transform: minmax}
  share_none: {type: numeric, transform: minmax}
  share_same: {type: numeric, transform: minmax}
  logged: {type: numeric, transform: log1p}
  squared: {type: numeric, transform: log_squared}
  plain: {type: numeric, transform: none}
  plain_default: {type: numeric, transform: none, default: 7}
  quarter: {type: numeric, buckets: 4}
  quarter_default: {type: numeric, buckets: 4, default: 250}
  third_none: {type: numeric, buckets: 3}
  third_same: {type: numeric, buckets: 3}
"""
NUMBERS = [1.0, 2.0, None, 6.0, 3.0, None, 0.0, -4.0]
LARGE = [0.0, 2.0, None, -50.0, 3.0, None, 1e6, 2.5]
NONE: list[Any] = [None] * 8
SAME = [5.0] * 6 + [None] * 2
TRAIN: dict[str, list[Any]] = {
    "word": ["a", "a", "a", "b", "b", "007", "7", ""],
    "shared": ["a^b", "", "b^^a^new^007^7", "^", "7^007", "", "", ""],
    "pool": ["a|b|a", "", "|b", "b", "a|", "", "", ""],
    "frequent": ["x", "x", "x", "y", "y", "z", "", ""],
    "top": ["p", "p", "p", "q", "q", "r", "s", ""],
    "never": [""] * 8,
    "number": [7, 7, 7, 0, 0, 12, None, None],
    "numbers": ["7 0 12", "007 00 -0", "", " 7 ", "99", "", "", ""],
    "counted": ["k", "l", "", "", "", "", "", ""],
    "also": ["m^m^m", "l^l^", "", "", "", "", "", ""],
    "place": [0, 1, 2, 3, None, 0, 0, 0],
    "hashed": ["a", "b", "", "a", "c", "d", "e", "f"],
    "places": ["a^b^a", "", "^a", "", "", "", "", ""],
    "items": ["i^j^k^l", "i^^k", "", "^", "i", "i", "l^l", "l"],
    "shops": ["s^i^i^j", "^l^j", "", "s^", "^", "j", "^", "s"],
    "listed": [["a", "b"], [], ["a", "", "b", "a", "a"], [], [], [], [], []],
    "pages": [[7, 0], [7], [], [-1, 12], [7, 7, 12], [], [], []],
    "words": [["a", "b"], ["", "a"], [], ["a", ""], ["a", "b", ""], [], [], [""]],
    "padded": ["0 0 a 0 b", "0", "", "a", "", "", "", ""],
    "when": ["2024-06-01T13:00:00Z", "", "2024-06-03", *[""] * 5],
    "second": [0, None, -2, 86_400, None, None, None, None],
    "look": [[0.5, -1.0], [], [0.0, 0.0], [], [], [], [], []],
    "mean": NUMBERS,
    "mean_none": NONE,
    "mean_same": SAME,
    "mean_one": [3.0] + [None] * 7,
    "mean_default": NUMBERS,
    "share": NUMBERS,
    "share_none": NONE,
    "share_same": SAME,
    "logged": LARGE,
    "squared": LARGE,
    "plain": LARGE,
    "plain_default": LARGE,
    "quarter": NONE,
    "quarter_default": NONE,
    "third_none": NONE,
    "third_same": SAME,
}
QUARTERS = np.random.default_rng(3).permutation(400).astype(float)  # of both `quarter`, in rows of their own
FAR = [1e30, None, -1e30, 2.0]
NEAR = [5.0, None, 4.0, 6.0]
SERVED: dict[str, list[Any]] = {
    "word": ["007", "07", "", "7.0"],
    "shared": ["^".join(["b", "a"] * 75), "new", "", "a"],
    "pool": ["a|new|b", "|".join(["b", "a"] * 75), "|", "7"],
    "frequent": ["z", "y", "x", "new"],
    "top": ["r", "s", "t", "p"],
    "never": ["anything", "", "b", "c"],
    "number": [-5, 8, None, 7],
    "numbers": ["8 7", "", "-5", "012"],
    "counted": ["m", "n", "k", ""],
    "also": ["k^n", "", "", "^"],
    "place": [4, 99, -3, None],
    "hashed": ["new", "", "a", "007"],
    "places": ["new", "", "", ""],
    "items": ["new^i", "", "", ""],
    "shops": ["s^new", "", "", ""],
    "listed": [["b", "new"], [], ["", ""], ["a"]],
    "pages": [[7], [99, 7, 12], [], [-1, -1]],
    "words": [["new"], ["a"], [], ["", ""]],
    "padded": ["new 0", "", "", "0"],
    "when": ["2024-06-02 23:00+02:00", "no time", "", ""],
    "second": [None, 0, 0, 0],
    "look": [[1.0, 2.0], [float("nan"), 2.0], [], []],
    "mean": FAR,
    "mean_none": NEAR,
    "mean_same": NEAR,
    "mean_one": NEAR,
    "mean_default": FAR,
    "share": FAR,
    "share_none": NEAR,
    "share_same": NEAR,
    "logged": FAR,
    "squared": FAR,
    "plain": FAR,
    "plain_default": FAR,
    "quarter": [1e30, None, -1e30, 150.0],
    "quarter_default": [1e30, None, -1e30, 150.0],
    "third_none": NEAR,
    "third_same": NEAR,
}
Columns = dict[str, list[Any]]


class Transformed(NamedTuple):
    """What the graph made of the rows, by column; tokens are lists without the padding at their end."""

    train: Columns
    fillers: Columns  # the rows of QUARTERS
    again: Columns  # those of TRAIN, as a server has them
    served: Columns
    sizes: dict[str, int]


@pytest.fixture(scope="module")
def spec() -> DataSpec:
    """The spec of all columns."""
    return parse_spec(DataSpec, SPEC, "data.yaml")


@pytest.fixture(scope="module")
def transformed(spec: DataSpec, tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """Analyses and transforms TRAIN under Beam, then SERVED as a server does."""
    folder = tmp_path_factory.mktemp("transform")
    rows = [{name: values[row] for name, values in TRAIN.items()} for row in range(8)]
    empty: dict[str, Any] = {
        name: [] if spec.raw_shapes[name] else "" if kind == "string" else None
        for name, kind in spec.raw_types.items()
    }
    rows += [empty | {"quarter": value, "quarter_default": value} for value in QUARTERS]
    instances = [_instance(spec, row, number) for number, row in enumerate(rows)]
    function = partial(preprocessing_fn, custom_config={"data_spec": SPEC})
    with beam.Pipeline(argv=BEAM_ARGS) as pipeline, tft_beam.Context(str(folder / "temporary")):
        data = pipeline | beam.Create(instances), DatasetMetadata(schema_of(spec))
        (found, _), graph = data | tft_beam.AnalyzeAndTransformDataset(function)
        _ = found | beam.Map(_encoded) | beam.io.WriteToText(str(folder / "rows"))
        _ = graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    lines = [json.loads(line) for path in folder.glob("rows-*") for line in path.read_text().splitlines()]
    lines.sort(key=lambda row: row[ROW_KEY])
    output = tft.TFTransformOutput(str(folder / "graph"))
    server = partial(_served, spec, ServingTransform(spec, output))
    beams = _columns(lines[:8]), _columns(lines[8:])
    return Transformed(*beams, server(TRAIN), server(SERVED), vocabulary_sizes(spec, output))


def _instance(spec: DataSpec, row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """As TFT takes it: a number is a list of none or one."""
    as_it_is = {n for n, kind in spec.raw_types.items() if kind == "string" or spec.raw_shapes[n]}
    cells = {n: v if n in as_it_is else [v] * (v is not None) for n, v in row.items()}
    return cells | {"y": 0, ROW_KEY: number}


def _encoded(row: Any) -> str:
    return json.dumps({name: np.asarray(value).tolist() for name, value in row.items()})


def _columns(rows: list[dict[str, Any]]) -> Columns:
    """By column; of tokens the values alone, which are sorted by row and position."""
    found = {}
    for key in rows[0]:
        name, _, part = key.partition("$")
        if part in ("", "sparse_values"):
            found[name] = [row[key] for row in rows]
    return found


def _served(spec: DataSpec, transform: Callable[..., Any], columns: Columns) -> Columns:
    raw = {}
    for name, kind in spec.raw_types.items():
        missing, values = MISSING[kind], columns[name]
        if spec.raw_shapes[name]:
            size = spec.raw_shapes[name][0] or max(len(value) for value in values)
            values = [value + [missing] * (size - len(value)) for value in values]
        raw[name] = tf.constant([missing if value is None else value for value in values], DTYPES[kind])
    return {
        key: [
            _without_padding(row) if key in spec.of_type(SequenceFeature, BagFeature) else row
            for row in value.numpy().tolist()
        ]
        for key, value in transform(raw).items()
    }


def _without_padding(ids: list[int]) -> list[int]:
    return [] if not any(ids) else ids[: max(place for place, known in enumerate(ids) if known) + 1]


def bucket(token: str, buckets: int) -> int:
    """Where TensorFlow's fingerprint puts a token, counted from 0."""
    return int(tf.strings.to_hash_bucket_fast(token, buckets))


def test_known_tokens_are_numbered_by_count_and_text_stays_text(transformed: Transformed) -> None:
    word = transformed.train["word"]
    assert word[:5] == [1, 1, 1, 2, 2] and word[7] == 0
    assert sorted(word[5:7]) == [3, 4], "007 and 7 are two tokens; of one count, in any order"
    assert transformed.served["word"] == [word[5], 5, 0, 5]
    assert transformed.sizes["word"] == 5


def test_features_that_share_a_vocabulary_have_its_ids(transformed: Transformed) -> None:
    zeros, seven = transformed.train["word"][5:7]
    assert transformed.train["shared"] == [[1, 2], [], [5, zeros, seven], [], [seven, zeros], [], [], []]
    assert transformed.served["shared"] == [[1, 2, 1], [5], [], [1]], "the most recent are kept"
    assert transformed.train["pool"] == [[1, 2], [], [2], [2], [1], [], [], []]
    assert transformed.served["pool"] == [[1, 5], [2, 1], [], [seven]], "the first are kept"
    assert "shared" not in transformed.sizes and "pool" not in transformed.sizes


def test_min_count_keeps_what_is_seen_that_often(transformed: Transformed) -> None:
    assert transformed.train["frequent"] == [1, 1, 1, 2, 2, 3, 0, 0]
    assert transformed.served["frequent"] == [3, 2, 1, 3]
    assert transformed.sizes["frequent"] == 3


def test_top_k_keeps_the_most_frequent_and_the_rest_is_hashed_to_the_buckets(
    transformed: Transformed,
) -> None:
    r, s, t = (3 + bucket(token, 3) for token in "rst")
    assert transformed.train["top"] == [1, 1, 1, 2, 2, r, s, 0]
    assert transformed.served["top"] == [r, s, t, 1]
    assert transformed.sizes["top"] == 5 and len({bucket(c, 3) for c in "abcdefgh"}) == 3


def test_a_column_that_was_always_empty_knows_no_token(transformed: Transformed) -> None:
    size = transformed.sizes["never"]
    assert transformed.train["never"] == [0] * 8
    assert transformed.served["never"] == [size, 0, size, size]


def test_whole_numbers_are_one_token_however_they_are_written(transformed: Transformed) -> None:
    assert transformed.train["number"] == [1, 1, 1, 2, 2, 3, 0, 0]
    assert transformed.served["number"] == [4, 4, 0, 1]
    assert transformed.train["numbers"] == [[1, 2, 3], [1, 2, 2], [], [1], [4], [], [], []]
    assert transformed.served["numbers"] == [[4, 1], [], [4], [3]]


def test_count_all_counts_every_feature_that_shares_the_vocabulary(transformed: Transformed) -> None:
    ids = {token: transformed.train["also"][row][0] for row, token in enumerate("ml")}
    assert sorted(ids.values()) == [1, 2], "three each: m in `also` alone, l in both"
    assert transformed.train["counted"] == [3, ids["l"], 0, 0, 0, 0, 0, 0]
    assert transformed.train["also"] == [[ids["m"]] * 3, [ids["l"]] * 2, [], [], [], [], [], []]
    assert transformed.served["counted"] == [ids["m"], 4, 3, 0]
    assert transformed.served["also"] == [[3, 4], [], [], []]
    assert transformed.sizes["counted"] == 4


def test_identity_adds_one_and_has_one_id_for_what_is_too_large(transformed: Transformed) -> None:
    assert transformed.train["place"] == [1, 2, 3, 4, 0, 1, 1, 1]
    assert transformed.served["place"] == [5, 5, 0, 0]
    assert transformed.sizes["place"] == 5


def test_hashed_tokens_have_an_id_without_a_vocabulary(transformed: Transformed) -> None:
    hashed = {token: 1 + bucket(token, 8) for token in ("a", "b", "c", "d", "e", "f", "new", "007")} | {"": 0}
    assert transformed.train["hashed"] == [hashed[token] for token in TRAIN["hashed"]]
    assert transformed.served["hashed"] == [hashed[token] for token in SERVED["hashed"]]
    a, b, new = (hashed[token] for token in ("a", "b", "new"))
    assert transformed.train["places"] == [[a, b, a], [], [a], [], [], [], [], []]
    assert transformed.served["places"] == [[new], [], [], []]
    assert transformed.sizes["hashed"] == transformed.sizes["places"] == 8


def test_aligned_sequences_keep_step_with_one_another(transformed: Transformed) -> None:
    items, shops = transformed.train["items"], transformed.train["shops"]
    i, j, k, el = items[4][0], items[0][0], items[1][2], items[7][0]
    assert sorted([i, j, k, el]) == [1, 2, 3, 4] and {i, el} == {1, 2}, "i and l are the frequent ones"
    assert items == [[j, k, el], [i, 0, k], [], [0], [i], [i], [el, el], [el]]
    assert shops == [[i, i, j], [0, el, j], [], [5], [0], [j], [0, 0], [5]]
    assert transformed.served["items"][0] == [5, i] and transformed.served["shops"][0] == [5, 5]


def test_lists_become_what_the_same_tokens_in_one_text_do(transformed: Transformed) -> None:
    assert transformed.train["listed"] == [[1, 2], [], [2, 1, 1], *[[]] * 5]
    assert transformed.served["listed"] == [[2, 5], [], [], [1]]
    assert transformed.train["padded"] == [[1, 2], [], [], [1], [], [], [], []], "0 stands for no token"
    assert transformed.served["padded"] == [[5], [], [], []]


def test_lists_of_one_behaviour_keep_step_and_are_cut_alike(transformed: Transformed) -> None:
    """7 is page 1, 0 is 2, 12 is 3; of the last two positions that any of the two has."""
    assert transformed.train["pages"] == [[1, 2], [1, 0], [], [0, 3], [1, 3], [], [], []]
    assert transformed.train["words"] == [[1, 2], [0, 1], [], [1, 0], [2, 0], [], [], []]
    unknown = transformed.sizes["number"]
    assert transformed.served["pages"] == [[1], [1, 3], [], []] and unknown == 4
    assert transformed.served["words"] == [[5], [], [], []], "zeros at the end are padding again"


def test_times_become_ids_of_their_parts(transformed: Transformed) -> None:
    saturday, monday = [14, 25 + 5, 33], [1, 25, 32]
    assert transformed.train["when"] == [saturday, [0, 0, 0], monday, *[[0, 0, 0]] * 5]
    assert transformed.served["when"] == [[22, 31, 33], *[[0, 0, 0]] * 3]
    assert transformed.train["second"] == [[4], [0], [3], [5], *[[0]] * 4], "1970 began on a Thursday"
    assert transformed.served["second"] == [[0], [4], [4], [4]]
    assert (transformed.sizes["when"], transformed.sizes["second"]) == (33, 7)


def test_vectors_stay_and_say_whether_they_are_there(transformed: Transformed) -> None:
    assert transformed.train["look"] == [[0.5, -1.0], *[[0.0, 0.0]] * 7]
    assert transformed.train["look/missing"] == [0, 1, 0, 1, 1, 1, 1, 1]
    assert transformed.served["look"] == [[1.0, 2.0], *[[0.0, 0.0]] * 3]
    assert transformed.served["look/missing"] == [0, 1, 1, 1]


def known(values: list[Any]) -> np.ndarray:
    return np.array([value for value in values if value is not None], np.float64)


def with_missing(values: list[Any], missing: float) -> np.ndarray:
    return np.array([missing if value is None else value for value in values], np.float64)


def log1p(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.log(1 + np.abs(x))


def log_squared(x: np.ndarray) -> np.ndarray:
    return np.array([np.floor(np.log(value) ** 2) if value > 2 else value for value in x])


def zscore(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    return (x - train.mean()) / np.sqrt(np.mean((train - train.mean()) ** 2))


def minmax(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    return np.clip((x - train.min()) / (train.max() - train.min()), 0, 1)


SCALED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": zscore,
    "mean_default": zscore,
    "share": minmax,
    "logged": lambda x, train: zscore(log1p(x), log1p(train)),
    "squared": lambda x, train: zscore(log_squared(x), log_squared(train)),
    "plain": lambda x, train: x,
    "plain_default": lambda x, train: x,
    # nothing is known of these: they say 0, and no division by nothing
    "mean_none": lambda x, train: 0 * x,
    "share_none": lambda x, train: 0 * x,
    "mean_same": lambda x, train: 0 * x,
    "share_same": lambda x, train: 0 * x,
    "mean_one": lambda x, train: 0 * x,
}


@pytest.mark.parametrize("name", SCALED)
def test_numbers_are_scaled_by_what_is_there_and_missing_ones_are_marked(
    spec: DataSpec, transformed: Transformed, name: str
) -> None:
    feature = spec.features[name]
    assert isinstance(feature, NumericFeature)
    default = feature.default
    for columns, found in ((TRAIN, transformed.train), (SERVED, transformed.served)):
        missing = np.array([value is None for value in columns[name]])
        values = with_missing(columns[name], np.nan if default is None else default)
        expected = SCALED[name](values, known(TRAIN[name]))
        if default is None:
            expected = np.where(missing, 0, expected)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found[f"{name}/missing"], missing)


def test_quantile_buckets_share_the_rows_out_evenly(transformed: Transformed) -> None:
    expected = 1 + QUARTERS // 100
    for name in ("quarter", "quarter_default"):
        found = np.array(transformed.fillers[name])
        assert np.mean(found != expected) < 0.02  # boundaries are exact to 0.01 of the rows
        assert (np.diff(found[np.argsort(QUARTERS)]) >= 0).all()
    assert transformed.train["quarter"] == [0] * 8, "0 is missing"
    assert transformed.served["quarter"] == [4, 0, 1, 2]
    assert transformed.train["quarter_default"] == [3] * 8, "the default, 250, has a bucket"
    assert transformed.served["quarter_default"] == [4, 3, 1, 2]


@pytest.mark.parametrize("name", ["third_none", "third_same"])
def test_buckets_without_quantiles_are_buckets_all_the_same(transformed: Transformed, name: str) -> None:
    value, missing, below, above = transformed.served[name]
    assert missing == 0 and 1 <= below <= value <= above <= 3
    assert [found == 0 for found in transformed.train[name]] == [value is None for value in TRAIN[name]]


def _without_end(value: Any) -> Any:
    return _without_padding(value) if isinstance(value, list) else value


def test_a_server_makes_the_same_of_the_rows_of_training(transformed: Transformed) -> None:
    assert set(transformed.again) == set(transformed.train) - {"y", ROW_KEY}
    for key, found in transformed.again.items():
        assert [_without_end(row) for row in found] == [
            _without_end(row) for row in transformed.train[key]
        ], key


def test_nothing_that_is_served_is_not_a_number(transformed: Transformed) -> None:
    for key, found in transformed.served.items():
        values = [value for row in found for value in (row if isinstance(row, list) else [row])]
        assert np.isfinite(values).all(), key


@pytest.mark.parametrize(
    ("dtype", "raw", "texts"),
    [
        ("string", tf.constant(["a", "", "7", "a", "-1"]), ["a", "", "7", "a", "-1"]),
        ("int64", tf.sparse.from_dense([[7], [0], [12], [7], [-1]]), ["7", "", "12", "7", ""]),
    ],
)
def test_a_group_is_a_hash_and_an_empty_one_is_none(dtype: str, raw: Any, texts: list[str]) -> None:
    user = f"user: {{type: categorical, hash_buckets: 8, dtype: {dtype}}}"
    data_spec = f"name: of_groups\nlabel: y\ngroup: user\nfeatures: {{{user}}}\nsplits: {{train: a, eval: b, test: c}}"
    zeros = tf.zeros(5, tf.int64)
    found = preprocessing_fn({"user": raw, "y": zeros, ROW_KEY: zeros}, {"data_spec": data_spec})[GROUP_KEY]
    assert found.dtype == tf.int64
    assert found.numpy().tolist() == [bucket(text, 2**62) if text else NO_GROUP for text in texts]
    assert all((code >= 0) == bool(text) for code, text in zip(found.numpy(), texts, strict=True))
