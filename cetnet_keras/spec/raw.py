"""Raw values: the types they have from file to request, and what a request holds where a row has nothing."""

from typing import Any, Literal

RawType = Literal["string", "int64", "float32"]
RawShape = tuple[int | None, ...]
"""Of one row: () for a scalar, (None,) for a list of any length, (n,) for n numbers."""

MISSING: dict[RawType, Any] = {"string": "", "int64": -1, "float32": float("nan")}
