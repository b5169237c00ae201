"""Times as keys that sort: whole numbers, decimals, ISO dates or timestamps and digits, compared exactly."""

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cetnet_keras.spec.features import DIRECTIVES

TIME_KEY = "S12"  # NumPy type of a key: seconds and billionths, big-endian, so that keys sort as bytes
A_DATE = "a date or timestamp of 1700 to 2199 such as 2024-05-31 or 2024-05-31T23:59:59Z"
A_TIME = f"a number, or {A_DATE}"

_Parse = Callable[[pa.Array], tuple[np.ndarray, np.ndarray]]
_LAYOUT = np.dtype([("whole", ">u8"), ("billionths", ">u4")])
_SIGN = np.uint64(1 << 63)  # added to a signed whole part so that negative ones sort first
_WHOLE = r"^-?[0-9]{1,19}$"  # as many digits as an int64 may have; one that is larger is no time
_DECIMAL = r"^-?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?$"
_DATE = r"^(1[7-9]|2[01])[0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_PLAIN = _DATE + r"([T ][0-9:.]+)?$"
_ZONED = _DATE + r"[T ][0-9:.]+(Z|[-+][0-9][0-9](:?[0-9][0-9])?)$"
_YEARS = {"20": "[0-5][0-9]|6[0-8]", "19": "69|[7-9][0-9]"}  # what %y stands for, as in POSIX


def time_keys(text: pa.Array, layout: str | None = None) -> np.ndarray:
    """Keys that sort and compare as the times do.

    A number n stands for n seconds, a date or timestamp for seconds since 1970 (UTC where it names no zone).
    Whole numbers are exact, fractions are cut to a billionth.

    Args:
        text: [N] string.
        layout: how digits stand for a date, such as %y%m%d%H; None where they do not.
    Returns:
        [N] of type TIME_KEY.
    Raises:
        pyarrow.ArrowInvalid: a text is no time.
    """
    if layout is not None:
        return date_keys(text, layout)
    return _keys(text, {_WHOLE: _wholes, _DECIMAL: _decimals, **_DATES})


def date_keys(text: pa.Array, layout: str | None = None) -> np.ndarray:
    """Keys as of `time_keys`, of dates and timestamps alone. Raises pyarrow.ArrowInvalid where a text is none."""
    return _keys(text if layout is None else _as_iso(text, layout), _DATES)


def _keys(text: pa.Array, parsers: dict[str, _Parse]) -> np.ndarray:
    keys = np.zeros(len(text), _LAYOUT)
    known = np.zeros(len(text), bool)
    for pattern, parse in parsers.items():
        chosen = pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False) & ~known
        if chosen.any():
            known |= chosen
            whole, billionths = parse(text if chosen.all() else text.filter(pa.array(chosen)))
            keys["whole"][chosen] = whole.astype(np.int64).view(np.uint64) + _SIGN
            keys["billionths"][chosen] = billionths
    if not known.all():
        raise pa.ArrowInvalid("no time")
    return keys.view(TIME_KEY)


def _wholes(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    return text.cast(pa.int64()).to_numpy(), np.zeros(len(text), np.uint32)


def _decimals(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    number = text.cast(pa.float64()).to_numpy()
    if not (np.abs(number) < 2.0**63).all():
        raise pa.ArrowInvalid("beyond 64 bits")
    whole = np.floor(number)
    return whole.astype(np.int64), np.minimum(np.floor((number - whole) * 1e9), 999_999_999)


def _timestamps(text: pa.Array, zone: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    return np.divmod(text.cast(pa.timestamp("ns", zone)).cast(pa.int64()).to_numpy(), 1_000_000_000)


def _zoned(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    return _timestamps(text, "UTC")


_DATES: dict[str, _Parse] = {_PLAIN: _timestamps, _ZONED: _zoned}


def _as_iso(text: pa.Array, layout: str) -> pa.Array:
    """2014-10-21T00:00:00 for 14102100, by a layout of %y%m%d%H; whether there is such a day is not looked at."""
    known = np.zeros(len(text), bool)
    for century, years in _YEARS.items() if "%y" in layout else [("", "[0-9]{4}")]:
        pattern, group = "^", dict[str, int]()
        for part in re.split("(%.)", layout):
            if part in DIRECTIVES:
                group[part] = len(group) + 1
                digits = years if part in ("%Y", "%y") else f"[0-9]{{{DIRECTIVES[part]}}}"
                pattern += f"({digits})"
            else:
                pattern += re.escape(part)
        year, month, day, hour, minute, second = (
            f"\\{group[key]}" if key in group else "00"
            for key in ("%y" if "%y" in group else "%Y", "%m", "%d", "%H", "%M", "%S")
        )
        known |= pc.match_substring_regex(text, pattern + "$").to_numpy(zero_copy_only=False)
        iso = f"{century}{year}-{month}-{day}T{hour}:{minute}:{second}"
        text = pc.replace_substring_regex(text, pattern + "$", iso)
    if not known.all():
        raise pa.ArrowInvalid("other digits")
    return text
