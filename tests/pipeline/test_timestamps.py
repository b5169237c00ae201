"""Ids of times in the transform graph against Python's datetime, for every format."""

from datetime import datetime, timedelta, timezone
from typing import Any

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras.spec import TimestampFeature
from pipeline.timestamps import timestamp_ids

TIMES = st.datetimes(datetime(1700, 1, 1), datetime(2199, 12, 31))
ZONES = st.sampled_from([timezone(timedelta(minutes=minutes)) for minutes in (0, 120, -210, 840, -720)])
quick = settings(deadline=None, max_examples=60, database=None)


def expected(time: datetime, utc_offset: float = 0) -> list[int]:
    """Hours are 1 to 24, then 7 weekdays from Monday on, then whether it is one of a weekend."""
    time = time.astimezone(timezone.utc) + timedelta(hours=utc_offset)
    return [1 + time.hour, 25 + time.weekday(), 32 + (time.weekday() >= 5)]


def ids(raw: list[Any], **keys: Any) -> list[list[int]]:
    feature = TimestampFeature(type="timestamp", **keys)
    tensor = tf.constant(raw, tf.string if feature.raw_type == "string" else tf.int64)
    known = tf.constant([value not in ("", None) for value in raw])
    return np.asarray(timestamp_ids(feature, tensor, known)).tolist()


@quick
@given(TIMES, ZONES, st.sampled_from(["minutes", "seconds", "microseconds"]), st.sampled_from(" T"))
def test_iso_times_are_read_in_their_zone(time: datetime, zone: timezone, spec: str, gap: str) -> None:
    here = time.replace(tzinfo=zone)
    assert ids([here.isoformat(gap, spec)]) == [expected(here)]
    assert ids([here.replace(tzinfo=None).isoformat(gap, spec)]) == [
        expected(time.replace(tzinfo=timezone.utc))
    ]


@quick
@given(
    TIMES,
    st.sampled_from([0.0, 5.5, -8.0]),
    st.sampled_from([("seconds", 0), ("milliseconds", 3), ("microseconds", 6)]),
)
def test_whole_numbers_count_from_1970_in_either_direction(
    time: datetime, offset: float, unit: tuple[str, int]
) -> None:
    time = time.replace(tzinfo=timezone.utc)
    since = (time - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)
    raw = since // 10 ** (6 - unit[1])
    assert ids([raw], format=unit[0], utc_offset=offset) == [expected(time, offset)]


@quick
@given(TIMES, st.sampled_from(["%Y%m%d%H", "%d.%m.%Y %H:%M", "(%Y) %H%M%S %m-%d"]))
def test_digits_are_read_as_the_format_says(time: datetime, pattern: str) -> None:
    assert ids([time.strftime(pattern)], format=pattern) == [expected(time.replace(tzinfo=timezone.utc))]


def test_two_digits_of_a_year_turn_the_century_as_posix_has_it() -> None:
    found = ids(["680131", "690131"], format="%y%m%d", parts=["weekday"])
    assert found == [[1 + datetime(2068, 1, 31).weekday()], [1 + datetime(1969, 1, 31).weekday()]]


def test_a_date_alone_begins_at_midnight_and_parts_keep_their_order() -> None:
    assert ids(["2024-06-01"], parts=["weekend", "hour"]) == [[2, 3]], "a Saturday"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("", "iso"),
        ("yesterday", "iso"),
        ("2023-02-29", "iso"),
        ("2024-13-01", "iso"),
        ("2024-01-00", "iso"),
        ("2024-01-01T24:00", "iso"),
        ("2024-01-01T23:60", "iso"),
        ("2024-01-01 ", "iso"),
        ("14102124", "%y%m%d%H"),
        ("1410210", "%y%m%d%H"),
        ("141021000", "%y%m%d%H"),
    ],
)
def test_what_is_no_time_is_missing(text: str, pattern: str) -> None:
    assert ids([text], format=pattern) == [[0, 0, 0]]
