"""Request bodies are read as RapidJSON reads them."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.json_debug import debug_text
from serving.json_parser import _ExactParser, parse_object
from serving.status import StatusError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"  ", "JSON Parse error: The document is empty. at offset: 2"),
        (b'{"a": nan}', "JSON Parse error: Invalid value. at offset: 6"),
        (b'{"a": 1e400}', "JSON Parse error: Number too big to be stored in double. at offset: 6"),
        (b'{"a": -1e309}', "JSON Parse error: Number too big to be stored in double. at offset: 6"),
        (
            b'{"a": %s}' % (b"9" * 400),
            "JSON Parse error: Number too big to be stored in double. at offset: 6",
        ),
        (b'{"a": 1.}', "JSON Parse error: Miss fraction part in number. at offset: 8"),
        (b'{"a": 1e}', "JSON Parse error: Miss exponent in number. at offset: 8"),
        (b'{"a": 01}', "JSON Parse error: Missing a comma or } after an object member. at offset: 7"),
        (b"{a: 1}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (b'{"a": 1,}', "JSON Parse error: Missing a name for object member. at offset: 8"),
        (b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
        (b'{"a": [1 2]}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 9"),
        (b'{"a": "x', "JSON Parse error: Missing a closing quotation mark in string. at offset: 6"),
        (b'{"a": "\\x"}', "JSON Parse error: Invalid escape character in string. at offset: 7"),
        (
            b'{"a": "\\u12g4"}',
            "JSON Parse error: Incorrect hex digit after \\u escape in string. at offset: 7",
        ),
        (b'{"a": "\\ud800"}', "JSON Parse error: The surrogate pair in string is invalid. at offset: 7"),
        (b'{"a": "\x01"}', "JSON Parse error: Invalid encoding in string. at offset: 7"),
        (b"[1]", "JSON Value: [1] Is not object"),
        (b'"text"', 'JSON Value: "text" Is not object'),
    ],
)
def test_a_body_that_is_no_json_object_is_refused_with_rapidjsons_words(body: bytes, message: str) -> None:
    with pytest.raises(StatusError) as refused:
        parse_object(body)
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"[NaN, -NaN]", [math.nan, math.nan]),
        (b"[Inf, -Inf, Infinity, -Infinity]", [math.inf, -math.inf, math.inf, -math.inf]),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\xff"', "\udcff"),  # a byte that is no UTF-8 is kept
        (b"18446744073709551616", 18446744073709551616),
        (b"[1, 1.0, 1e2, -0]", [1, 1.0, 100.0, 0]),
    ],
)
def test_rapidjsons_extensions_are_read(body: bytes, value: object) -> None:
    found = parse_object(b'{"a": ' + body + b"}")["a"]
    assert repr(found) == repr(value)


def test_what_follows_the_object_and_a_byte_order_mark_are_ignored() -> None:
    assert parse_object(b'\xef\xbb\xbf {"a": 1} and more') == {"a": 1}


@pytest.mark.parametrize("extra", [b"", b', "c": Inf'])  # read by Python's parser, and by the exact one
def test_the_first_of_duplicate_keys_counts(extra: bytes) -> None:
    assert parse_object(b'{"a": 1, "b": 2, "a": 3' + extra + b"}")["a"] == 1


def test_no_depth_of_nesting_ends_the_parser() -> None:
    value = parse_object(b'{"a": ' + b"[" * 20_000 + b"]" * 20_000 + b"}")["a"]
    depth = 0
    while value:
        (value,) = value
        depth += 1
    assert depth == 19_999


@settings(deadline=None)
@given(VALUES)
def test_the_exact_parser_reads_what_pythons_reads(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert repr(_ExactParser(text).parse()) == repr(json.loads(text))


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet='{}[]",:\\ue-+.0123abtrufalsnNI \n', max_size=12))
def test_the_exact_parser_takes_every_text_that_pythons_takes(inner: str) -> None:
    text = '{"a": [' + inner + "]}"
    try:
        expected, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return
    assert repr(_ExactParser(text).parse()) == repr(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"x": [1, {"y": 2.0, "z": []}], "q": {}}, None),
        ([1e21, 1e20, 1e-6, 1e-7], "[1e21, 100000000000000000000.0, 0.000001, 1e-7]"),
        ([0.1, 123.25, 1.5e300], "[0.1, 123.25, 1.5e300]"),
        ([None, True, -0.0, 18446744073709551616], "[null, true, -0.0, 18446744073709552000.0]"),
        ('a"\x1f/\u00e9', '"a\\"\\u001F/\u00e9"'),
    ],
)
def test_values_in_messages_look_as_rapidjson_prints_them(value: object, text: str | None) -> None:
    nested = '{\n    "x": [1, {\n            "y": 2.0,\n            "z": []\n        }],\n    "q": {}\n}'
    assert debug_text(value) == (text or nested)


def test_values_in_messages_end_after_the_token_that_passes_256_bytes() -> None:
    assert debug_text(["x" * 100] * 9) == "[" + ", ".join(['"' + "x" * 100 + '"'] * 3)
