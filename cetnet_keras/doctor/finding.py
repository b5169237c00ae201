"""One line of the examination."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verdict = Literal["ok", "note", "wrong"]


class Finding(NamedTuple):
    """What was looked at, what was found, and what to make of it.

    Args:
        verdict: `wrong` where something that CETNet does will fail; `note` where it will be slower or lack something.
        expected: what had to be found; empty where all is well, as `cure` is.
        cure: one line, what to do.
    """

    item: str
    found: str
    verdict: Verdict = "ok"
    expected: str = ""
    cure: str = ""
