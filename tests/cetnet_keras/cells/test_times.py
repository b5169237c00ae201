"""Times as text sort as the moments that they name."""

from datetime import datetime, timezone
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras.cells.parsing import parse_column
from cetnet_keras.cells.times import time_keys

WHOLE = st.integers(-(2**63), 2**63 - 1).map(lambda n: (str(n), Fraction(n)))
DECIMAL = st.floats(-1e6, 1e6).map(lambda x: (repr(round(x, 3)), Fraction(round(round(x, 3) * 1000), 1000)))
MOMENT = st.datetimes(datetime(1700, 1, 1), datetime(2199, 12, 31), timezones=st.just(timezone.utc))
SECOND = MOMENT.map(lambda moment: moment.replace(microsecond=0))
STAMP = st.builds(
    lambda moment, layout: (moment.strftime(layout), Fraction(int(moment.timestamp()))),
    SECOND,
    st.sampled_from(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00"]),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(WHOLE | DECIMAL | STAMP, min_size=1, max_size=20))
def test_keys_sort_as_the_times(times: list[tuple[str, Fraction]]) -> None:
    keys = time_keys(pa.array([text for text, _ in times]))
    ranks = np.unique(keys, return_inverse=True)[1].tolist()
    values = [value for _, value in times]
    assert ranks == [sorted(set(values)).index(value) for value in values]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("9", "10"),
        ("-2", "-1"),
        ("999999999999999998", "999999999999999999"),
        ("1717200000000000000", "1717200000000000001"),
        ("1.25", "1.5"),
        ("2024-02-29", "2024-03-01"),
        ("2024-01-01T00:00:00.123456788", "2024-01-01T00:00:00.123456789"),
        ("2024-01-01T12:00:00+02:00", "2024-01-01T11:00:00Z"),
        ("1969-12-31 23:59", "0"),
    ],
)
def test_one_time_is_before_another(earlier: str, later: str) -> None:
    keys = time_keys(pa.array([earlier, later]))
    assert keys[0] < keys[1]


@pytest.mark.parametrize("same", [("1", "1.0"), ("2024-01-01", "2024-01-01T00:00Z"), ("1e3", "1000")])
def test_two_texts_name_one_time(same: tuple[str, str]) -> None:
    keys = time_keys(pa.array(same))
    assert keys[0] == keys[1]


NO_TIMES = [
    "",
    " 1",
    "yesterday",
    "nan",
    "inf",
    "1e730941",
    "9223372036854775808",
    "2024-13-01",
    "2024-01-01T25:00",
    "1500-01-01",
    "01/02/2024",
]


@pytest.mark.parametrize("text", NO_TIMES)
@pytest.mark.parametrize("position", [0, 3, 6])
def test_first_text_that_is_no_time_is_named(text: str, position: int) -> None:
    cells = ["5", "2024-01-01", "1.5", "6", "2024-01-01T01:02:03Z", "7"]
    cells.insert(position, text)
    assert parse_column(pa.array([*cells, "never"]), time_keys) == (None, [position])
    assert parse_column(pa.array([*cells, "never"]), time_keys, 9) == (None, [position, len(cells)])
