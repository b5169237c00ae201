"""Splits are disjoint, complete, and what a slow reading of their definition says."""

import collections
import hashlib
import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cetnet_keras.spec import RowSplits
from pipeline.ingest.files import EVAL, SPLITS, TEST, TRAIN
from pipeline.ingest.splits import TimeCounts, below, split_by_hash, split_within, stable_hash

Ingest = Callable[..., dict[str, list[dict[str, Any]]]]
SPEC = """
name: s
label: y
features: {user: {type: categorical}, item: {type: categorical}}
splits: %s
"""
BIT = {"train": TRAIN, "eval": EVAL, "test": TEST}


def clicks(seed: int, rows: int) -> list[tuple[str, str, int, int]]:
    """(user, item, time, label); many rows share a time, users have between one row and many."""
    draw = random.Random(seed)
    users = [f"u{min(int(draw.paretovariate(1)), 40)}" for _ in range(rows)]
    return [(user, f"i{n}", draw.randrange(60), draw.randrange(2)) for n, user in enumerate(users)]


def write(path: Path, rows: Sequence[tuple[str, str, int | str, int]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("user,item,ts,y\n" + "".join(f"{u},{i},{t},{y}\n" for u, i, t, y in rows))


def items(splits: dict[str, list[dict]]) -> dict[str, list[str]]:
    return {name: [row["item"].decode() for row in rows] for name, rows in splits.items()}


def assert_disjoint_and_complete(found: dict[str, list[str]], rows: list[tuple[str, str, int, int]]) -> None:
    assert sorted(item for of_split in found.values() for item in of_split) == sorted(row[1] for row in rows)


def whole(rows: int, share: float) -> int:
    return math.ceil(rows * Fraction(str(share)) - Fraction(1, 2))


def cut_by_time(times: list[int], eval_share: float, test_share: float) -> list[str]:
    """The definition, row by row: the latest rows are test, equal times go together to the later side."""
    latest_first = sorted(times, reverse=True)
    for_test = whole(len(times), test_share)
    for_both = whole(len(times), float(Fraction(str(test_share)) + Fraction(str(eval_share))))
    test_from = latest_first[for_test - 1] if for_test else math.inf
    in_test = sum(time >= test_from for time in times)
    wanted = min(in_test + for_both - for_test, len(times))
    eval_from = latest_first[wanted - 1] if for_both > for_test else test_from
    return ["test" if time >= test_from else "eval" if time >= eval_from else "train" for time in times]


def hash_share(value: str) -> float:
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "big") / 2**64


def test_hash_is_the_same_in_every_run() -> None:
    of_a, of_nothing = 0x40F89E395B66422F, 0xE4A6A0577479B2B4  # as `printf a | b2sum -l 64` says
    assert stable_hash(pa.array(["a", "", "a"])).tolist() == [of_a, of_nothing, of_a]


def test_shares_by_hash_are_met() -> None:
    values = pa.array([str(n) for n in range(20_000)])
    assert below(values, 0.1).mean() == pytest.approx(0.1, abs=0.01)
    bits = split_by_hash(values, RowSplits(files="x", by="hash", column="x", eval=0.2, test=0.3))
    shares = [(bits == BIT[name]).mean() for name in SPLITS]
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.02)


def test_split_by_hash_keeps_a_value_together_whatever_the_files(ingest: Ingest, tmp_path: Path) -> None:
    rows = clicks(1, 300)
    write(tmp_path / "one" / "a.csv", rows)
    write(tmp_path / "two" / "a.csv", rows[200:])
    write(tmp_path / "two" / "b.csv", rows[:200])
    one = items(ingest(SPEC % "{files: one/*.csv, by: hash, column: user, eval: 0.2, test: 0.3}"))
    two = items(ingest(SPEC % "{files: two/*.csv, by: hash, column: user, eval: 0.2, test: 0.3}"))
    assert {name: sorted(found) for name, found in one.items()} == {k: sorted(v) for k, v in two.items()}
    assert_disjoint_and_complete(one, rows)
    for user, item, *_ in rows:
        share = hash_share(user)
        assert item in one["test" if share < 0.3 else "eval" if share < 0.5 else "train"]


def test_eval_held_out_of_the_training_files(ingest: Ingest, tmp_path: Path) -> None:
    rows = clicks(2, 300)
    write(tmp_path / "a.csv", rows[:200])
    write(tmp_path / "b.csv", rows[200:])
    found = items(ingest(SPEC % "{train: a.csv, eval: {column: user, fraction: 0.4}, test: b.csv}"))
    assert found["test"] == [row[1] for row in rows[200:]]
    assert found["eval"] == [row[1] for row in rows[:200] if hash_share(row[0]) < 0.4]
    assert_disjoint_and_complete(found, rows)


def test_split_by_time_over_several_files(ingest: Ingest, tmp_path: Path) -> None:
    rows = clicks(3, 400)
    for number in range(4):
        write(tmp_path / f"part-{number}.csv", rows[number::4])
    found = items(ingest(SPEC % "{files: part-*.csv, by: time, column: ts, eval: 0.15, test: 0.1}"))
    wanted = cut_by_time([row[2] for row in rows], 0.15, 0.1)
    for row, split in zip(rows, wanted, strict=True):
        assert row[1] in found[split]
    assert_disjoint_and_complete(found, rows)


def test_split_by_time_within_each_user(ingest: Ingest, tmp_path: Path) -> None:
    rows = clicks(4, 400)
    write(tmp_path / "a.csv", rows[:150])
    write(tmp_path / "b.csv", rows[150:])
    found = items(ingest(SPEC % "{files: '?.csv', by: time, column: ts, within: user}"))
    by_user = collections.defaultdict(list)
    for row in rows:
        by_user[row[0]].append(row)
    for mine in by_user.values():
        for row, split in zip(mine, cut_by_time([row[2] for row in mine], 0.1, 0.1), strict=True):
            assert row[1] in found[split]
    assert_disjoint_and_complete(found, rows)


def test_whole_days_leave_no_split_empty(ingest: Ingest, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [(f"u{n}", f"i{n}", f"2024-05-{1 + n % 7:02d}", n % 2) for n in range(70)])
    found = items(ingest(SPEC % "{files: a.csv, by: time, column: ts}"))
    assert {name: len(rows) for name, rows in found.items()} == {"train": 50, "eval": 10, "test": 10}
    assert all(int(item[1:]) % 7 == 6 for item in found["test"])


SHARES = st.sampled_from([(0.1, 0.1), (0.2, 0.1), (0.05, 0.3), (0.25, 0.25), (0.01, 0.01)])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), SHARES)
def test_time_cuts_follow_their_definition(times: list[int], shares: tuple[float, float]) -> None:
    keys = np.array([f"{time:012d}" for time in times], "S12")
    spec = RowSplits(files="x", by="time", column="t", eval=shares[0], test=shares[1])
    parts = [TimeCounts.of(keys[start : start + 7]) for start in range(0, len(keys), 7)]
    bits = TimeCounts.merged(parts).cuts(spec).split(keys)
    assert bits.tolist() == [BIT[split] for split in cut_by_time(times, *shares)]


@settings(deadline=None, max_examples=150)
@example([(0, 0)] + [(0, 1)] * 7 + [(1, 0)] * 3, (0.25, 0.25))  # ties leave eval fewer rows than its share
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=80), SHARES)
def test_cuts_within_a_value_are_the_cuts_of_its_rows(
    rows: list[tuple[int, int]], shares: tuple[float, float]
) -> None:
    spec = RowSplits(files="x", by="time", column="t", within="u", eval=shares[0], test=shares[1])
    value, time = np.array(rows, np.int64).T
    bits = split_within(value, time, spec)
    for one in set(value.tolist()):
        mine = value == one
        assert bits[mine].tolist() == [BIT[split] for split in cut_by_time(time[mine].tolist(), *shares)]


def test_twenty_rows_are_cut_16_2_2() -> None:
    spec = RowSplits(files="x", by="time", column="t", within="u")
    bits = split_within(np.zeros(20, np.int64), np.arange(20), spec)
    assert bits.tolist() == [TRAIN] * 16 + [EVAL] * 2 + [TEST] * 2
