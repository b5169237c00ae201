"""Times as keys that sort: whole numbers, decimals and ISO dates or timestamps, compared exactly."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.parsing import parse_column

TIME_KEY = "S12"  # NumPy type of a key: seconds and billionths, big-endian, so that keys sort as bytes
EXPECTED = "a number, or a date or timestamp of 1700 to 2199 such as 2024-05-31 or 2024-05-31T23:59:59Z"

_LAYOUT = np.dtype([("whole", ">u8"), ("billionths", ">u4")])
_SIGN = np.uint64(1 << 63)  # added to a signed whole part so that negative ones sort first
_WHOLE = r"^-?[0-9]{1,18}$"
_DECIMAL = r"^-?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?$"
_DATE = r"^(1[7-9]|2[01])[0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_PLAIN = _DATE + r"([T ][0-9:.]+)?$"
_ZONED = _DATE + r"[T ][0-9:.]+(Z|[-+][0-9][0-9](:?[0-9][0-9])?)$"


def time_keys(text: pa.Array) -> tuple[np.ndarray, int | None]:
    """Keys that sort and compare as the times do.

    A number n stands for n seconds, a date or timestamp for seconds since 1970 (UTC where it names no zone).
    Whole numbers are exact, fractions are cut to a billionth.

    Args:
        text: [N] string.
    Returns:
        keys [N] of type TIME_KEY; the position of the first text that is no time, or None.
    """
    keys = np.zeros(len(text), _LAYOUT)
    known = np.zeros(len(text), bool)
    bad: list[int] = []
    for pattern, parse in ((_WHOLE, _wholes), (_DECIMAL, _decimals), (_PLAIN, _timestamps), (_ZONED, _zoned)):
        chosen = pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False) & ~known
        if not chosen.any():
            continue
        known |= chosen
        positions = np.flatnonzero(chosen)
        mine = text if len(positions) == len(text) else text.take(pa.array(positions))
        parsed, failed = parse_column(mine, parse)
        if parsed is None:
            bad.append(int(positions[failed]))
            continue
        whole, billionths = parsed
        keys["whole"][chosen] = whole.astype(np.int64).view(np.uint64) + _SIGN
        keys["billionths"][chosen] = billionths
    bad.extend(np.flatnonzero(~known)[:1].tolist())
    return keys.view(TIME_KEY), min(bad, default=None)


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
