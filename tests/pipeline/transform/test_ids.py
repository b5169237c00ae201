"""Ids, tokens, times, vectors and groups, on the columns that are easily got wrong; expected values are written out."""

from collections.abc import Callable
from typing import Any

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import pytest
import tensorflow as tf

from cetnet_keras.spec import ROW_KEY
from pipeline.groups import NO_GROUP
from pipeline.transform import GROUP_KEY, preprocessing_fn

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
"""
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
}
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
}


@pytest.fixture(scope="module")
def transformed(transform_rows: Callable[..., Any]) -> Any:
    """What the graph made of TRAIN, and of SERVED as a server calls it."""
    return transform_rows(SPEC, TRAIN, SERVED)


def bucket(token: str, buckets: int) -> int:
    """Where TensorFlow's fingerprint puts a token, counted from 0."""
    return int(tf.strings.to_hash_bucket_fast(token, buckets))


def test_known_tokens_are_numbered_by_count_and_text_stays_text(transformed: Any) -> None:
    word = transformed.train["word"]
    assert word[:5] == [1, 1, 1, 2, 2] and word[7] == 0
    assert sorted(word[5:7]) == [3, 4], "007 and 7 are two tokens; of one count, in any order"
    assert transformed.served["word"] == [word[5], 5, 0, 5]
    assert transformed.sizes["word"] == 5


def test_features_that_share_a_vocabulary_have_its_ids(transformed: Any) -> None:
    zeros, seven = transformed.train["word"][5:7]
    assert transformed.train["shared"] == [[1, 2], [], [5, zeros, seven], [], [seven, zeros], [], [], []]
    assert transformed.served["shared"] == [[1, 2, 1], [5], [], [1]], "the most recent are kept"
    assert transformed.train["pool"] == [[1, 2], [], [2], [2], [1], [], [], []]
    assert transformed.served["pool"] == [[1, 5], [2, 1], [], [seven]], "the first are kept"
    assert "shared" not in transformed.sizes and "pool" not in transformed.sizes


def test_min_count_keeps_what_is_seen_that_often(transformed: Any) -> None:
    assert transformed.train["frequent"] == [1, 1, 1, 2, 2, 3, 0, 0]
    assert transformed.served["frequent"] == [3, 2, 1, 3]
    assert transformed.sizes["frequent"] == 3


def test_top_k_keeps_the_most_frequent_and_the_rest_is_hashed_to_the_buckets(
    transformed: Any,
) -> None:
    r, s, t = (3 + bucket(token, 3) for token in "rst")
    assert transformed.train["top"] == [1, 1, 1, 2, 2, r, s, 0]
    assert transformed.served["top"] == [r, s, t, 1]
    assert transformed.sizes["top"] == 5 and len({bucket(c, 3) for c in "abcdefgh"}) == 3


def test_a_column_that_was_always_empty_knows_no_token(transformed: Any) -> None:
    size = transformed.sizes["never"]
    assert transformed.train["never"] == [0] * 8
    assert transformed.served["never"] == [size, 0, size, size]


def test_whole_numbers_are_one_token_however_they_are_written(transformed: Any) -> None:
    assert transformed.train["number"] == [1, 1, 1, 2, 2, 3, 0, 0]
    assert transformed.served["number"] == [4, 4, 0, 1]
    assert transformed.train["numbers"] == [[1, 2, 3], [1, 2, 2], [], [1], [4], [], [], []]
    assert transformed.served["numbers"] == [[4, 1], [], [4], [3]]


def test_count_all_counts_every_feature_that_shares_the_vocabulary(transformed: Any) -> None:
    ids = {token: transformed.train["also"][row][0] for row, token in enumerate("ml")}
    assert sorted(ids.values()) == [1, 2], "three each: m in `also` alone, l in both"
    assert transformed.train["counted"] == [3, ids["l"], 0, 0, 0, 0, 0, 0]
    assert transformed.train["also"] == [[ids["m"]] * 3, [ids["l"]] * 2, [], [], [], [], [], []]
    assert transformed.served["counted"] == [ids["m"], 4, 3, 0]
    assert transformed.served["also"] == [[3, 4], [], [], []]
    assert transformed.sizes["counted"] == 4


def test_identity_adds_one_and_has_one_id_for_what_is_too_large(transformed: Any) -> None:
    assert transformed.train["place"] == [1, 2, 3, 4, 0, 1, 1, 1]
    assert transformed.served["place"] == [5, 5, 0, 0]
    assert transformed.sizes["place"] == 5


def test_hashed_tokens_have_an_id_without_a_vocabulary(transformed: Any) -> None:
    hashed = {token: 1 + bucket(token, 8) for token in ("a", "b", "c", "d", "e", "f", "new", "007")} | {"": 0}
    assert transformed.train["hashed"] == [hashed[token] for token in TRAIN["hashed"]]
    assert transformed.served["hashed"] == [hashed[token] for token in SERVED["hashed"]]
    a, b, new = (hashed[token] for token in ("a", "b", "new"))
    assert transformed.train["places"] == [[a, b, a], [], [a], [], [], [], [], []]
    assert transformed.served["places"] == [[new], [], [], []]
    assert transformed.sizes["hashed"] == transformed.sizes["places"] == 8


def test_aligned_sequences_keep_step_with_one_another(transformed: Any) -> None:
    items, shops = transformed.train["items"], transformed.train["shops"]
    i, j, k, el = items[4][0], items[0][0], items[1][2], items[7][0]
    assert sorted([i, j, k, el]) == [1, 2, 3, 4] and {i, el} == {1, 2}, "i and l are the frequent ones"
    assert items == [[j, k, el], [i, 0, k], [], [0], [i], [i], [el, el], [el]]
    assert shops == [[i, i, j], [0, el, j], [], [5], [0], [j], [0, 0], [5]]
    assert transformed.served["items"][0] == [5, i] and transformed.served["shops"][0] == [5, 5]


def test_lists_become_what_the_same_tokens_in_one_text_do(transformed: Any) -> None:
    assert transformed.train["listed"] == [[1, 2], [], [2, 1, 1], *[[]] * 5]
    assert transformed.served["listed"] == [[2, 5], [], [], [1]]
    assert transformed.train["padded"] == [[1, 2], [], [], [1], [], [], [], []], "0 stands for no token"
    assert transformed.served["padded"] == [[5], [], [], []]


def test_lists_of_one_behaviour_keep_step_and_are_cut_alike(transformed: Any) -> None:
    """7 is page 1, 0 is 2, 12 is 3; of the last two positions that any of the two has."""
    assert transformed.train["pages"] == [[1, 2], [1, 0], [], [0, 3], [1, 3], [], [], []]
    assert transformed.train["words"] == [[1, 2], [0, 1], [], [1, 0], [2, 0], [], [], []]
    unknown = transformed.sizes["number"]
    assert transformed.served["pages"] == [[1], [1, 3], [], []] and unknown == 4
    assert transformed.served["words"] == [[5], [], [], []], "zeros at the end are padding again"


def test_times_become_ids_of_their_parts(transformed: Any) -> None:
    saturday, monday = [14, 25 + 5, 33], [1, 25, 32]
    assert transformed.train["when"] == [saturday, [0, 0, 0], monday, *[[0, 0, 0]] * 5]
    assert transformed.served["when"] == [[22, 31, 33], *[[0, 0, 0]] * 3]
    assert transformed.train["second"] == [[4], [0], [3], [5], *[[0]] * 4], "1970 began on a Thursday"
    assert transformed.served["second"] == [[0], [4], [4], [4]]
    assert (transformed.sizes["when"], transformed.sizes["second"]) == (33, 7)


def test_vectors_stay_and_say_whether_they_are_there(transformed: Any) -> None:
    assert transformed.train["look"] == [[0.5, -1.0], *[[0.0, 0.0]] * 7]
    assert transformed.train["look/missing"] == [0, 1, 0, 1, 1, 1, 1, 1]
    assert transformed.served["look"] == [[1.0, 2.0], *[[0.0, 0.0]] * 3]
    assert transformed.served["look/missing"] == [0, 1, 1, 1]


def test_a_server_makes_numbers_and_the_same_of_the_rows_of_training(
    transformed: Any, assert_served_as_trained: Callable[..., None]
) -> None:
    assert_served_as_trained(transformed)


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
