"""Times in the transform graph, which cannot parse dates by itself: raw values to ids of hour, weekday and weekend."""

import re

import tensorflow as tf

from cetnet_keras.spec import TimestampFeature
from cetnet_keras.spec.features import DIRECTIVES, PART_SIZES, SINCE_1970

_DAY = 24 * 60  # minutes
_ISO = r"\d{4}-\d\d-\d\d([T ]\d\d(:\d\d(:\d\d([.]\d+)?)?)?(Z|[-+]\d\d(:?\d\d)?)?)?"
_NOTHING = "1970-01-01T00:00+00:00"  # stands for a text that is no time, so that its digits can be read
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # of the months


def timestamp_ids(feature: TimestampFeature, raw: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Ids of the parts of each time, the values of one part after those of the part before it.

    Args:
        feature: says what `raw` is, and the parts.
        raw: [B] string or int64.
        known: [B] bool, whether there is a value at all.
    Returns:
        int64 [B, parts]: 0 where there is no time or none that can be read.
    """
    if feature.format in SINCE_1970:
        per_second = 1000 ** SINCE_1970.index(feature.format)
        minutes = tf.math.floordiv(raw, tf.constant(60 * per_second, tf.int64))
    else:
        minutes, readable = _iso_minutes(raw) if feature.format == "iso" else _minutes(raw, feature.format)
        known &= readable
    minutes += round(feature.utc_offset * 60)
    weekday = tf.math.floormod(tf.math.floordiv(minutes, _DAY) + 3, 7)  # 1970 began on a Thursday
    values = {
        "hour": tf.math.floordiv(tf.math.floormod(minutes, _DAY), 60),
        "weekday": weekday,
        "weekend": tf.cast(weekday >= 5, tf.int64),
    }
    columns, before = [], 1
    for part in feature.parts:
        columns.append(values[part] + before)
        before += PART_SIZES[part]
    return tf.where(known[:, tf.newaxis], tf.stack(columns, axis=1), tf.constant(0, tf.int64))


def _iso_minutes(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Minutes since 1970 in UTC, [B], and whether the text is an ISO date or time, [B]."""
    readable = tf.strings.regex_full_match(text, _ISO)
    text = tf.where(readable, text, _NOTHING)
    time = tf.strings.regex_replace(text, "^.{10}[T ]?", "")  # empty for a date alone
    clock, zone = "(\\d\\d):?(\\d\\d)?[0-9:.]*", "(Z|[-+]\\d\\d:?(?:\\d\\d)?)?"
    hour, minute, offset = (
        tf.strings.regex_replace(time, f"^{clock}{zone}$", f"\\{group}") for group in (1, 2, 3)
    )
    sign = tf.where(tf.strings.substr(offset + " ", 0, 1) == "-", -1, 1)
    away = tf.strings.regex_replace(offset, "[-+:Z]", "")
    zone_minutes = _digits(tf.strings.substr(away + "0000", 0, 2)) * 60 + _digits(
        tf.strings.substr(away + "0000", 2, 2)
    )
    values = {
        "%Y": _digits(tf.strings.substr(text, 0, 4)),
        "%m": _digits(tf.strings.substr(text, 5, 2)),
        "%d": _digits(tf.strings.substr(text, 8, 2)),
        "%H": _digits(hour),
        "%M": _digits(minute),
    }
    minutes, valid = _since_1970(values)
    return minutes - tf.cast(sign, tf.int64) * zone_minutes, readable & valid


def _minutes(text: tf.Tensor, pattern: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Minutes since 1970, [B], and whether the text is as the pattern of fixed widths says, [B]."""
    pieces = re.split(f"({'|'.join(DIRECTIVES)})", pattern)
    widths = [DIRECTIVES.get(piece, len(piece.encode())) for piece in pieces]
    expected = "".join(f"\\d{{{DIRECTIVES[p]}}}" if p in DIRECTIVES else re.escape(p) for p in pieces)
    readable = tf.strings.regex_full_match(text, expected)
    text = tf.where(readable, text, "0" * sum(widths))
    values = {
        piece: _digits(tf.strings.substr(text, sum(widths[:place]), widths[place]))
        for place, piece in enumerate(pieces)
        if piece in DIRECTIVES
    }
    if "%y" in values:  # as POSIX has it: 69 to 99 are of the last century
        values["%Y"] = values["%y"] + tf.where(values["%y"] < 69, tf.constant(2000, tf.int64), 1900)
    minutes, valid = _since_1970(values)
    return minutes, readable & valid


def _digits(text: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_number(tf.where(text == "", "0", text), tf.int64)


def _since_1970(values: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Minutes since 1970 of a year, month, day and, where there are, hour and minute; and whether there is such a time.

    Days by the proleptic Gregorian calendar, counted in years that begin in March (Hinnant, "chrono-compatible
    low-level date algorithms").
    """
    year, month, day = values["%Y"], values["%m"], values["%d"]
    hour, minute = (values.get(key, tf.zeros_like(day)) for key in ("%H", "%M"))
    second = values.get("%S", tf.zeros_like(day))
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    length = tf.gather(tf.constant((0, *_LENGTHS), tf.int64), tf.clip_by_value(month, 0, 12))
    length += tf.cast(leap & (month == 2), tf.int64)
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)
    valid &= (hour < 24) & (minute < 60) & (second < 60)
    from_march = tf.math.floormod(month + 9, 12)
    since_march = year - tf.cast(month <= 2, tf.int64)
    days = 365 * since_march + since_march // 4 - since_march // 100 + since_march // 400
    days += (153 * from_march + 2) // 5 + day - 1 - 719_468
    return (days * 24 + hour) * 60 + minute, valid
