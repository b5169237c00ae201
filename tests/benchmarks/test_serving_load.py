"""The load generator: what a stall costs shows in every request that was due in its time; failures are counted apart."""

import itertools
import time

import numpy as np
import pytest

from benchmarks.serving.load import Load, closed_loop, open_loop


def test_latency_of_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """The first request ends when all others are due: these wait for it, and their waiting counts."""
    rate, count, seed = 200, 20, 3
    due = np.random.default_rng(seed).exponential(1 / rate, count).cumsum()
    due_after_first = due - due[0]
    sent: list[float] = []
    ended: list[float] = []

    def send() -> None:
        sent.append(time.perf_counter())
        while time.perf_counter() < sent[0] + due_after_first[-1]:
            pass
        ended.append(time.perf_counter())

    began = time.perf_counter()
    found = open_loop(lambda: send, workers=1, rate=rate, seconds=count / rate, seed=seed)
    assert len(found.latency_ms) == count and not found.failures
    at_least = np.array(ended) - (sent[0] + due_after_first)  # the first was due when it was sent, or before
    at_most = time.perf_counter() - (began + due)
    assert (at_least[1:-1] > 0).all(), "all but the last have waited, however busy this machine is"
    assert (found.latency_ms >= 1000 * at_least).all() and (found.latency_ms <= 1000 * at_most).all()


def test_a_closed_loop_counts_answers_and_failures() -> None:
    calls = itertools.count()

    def send() -> None:
        if next(calls) % 3 == 0:
            raise ValueError("refused")

    found = closed_loop(lambda: send, workers=1, seconds=0.05)
    answered, failed = len(found.latency_ms), len(found.failures)
    assert next(calls) == answered + failed and failed == -(-(answered + failed) // 3)
    assert found.failures[0] == "ValueError: refused"


def test_figures_are_quantiles_and_rates() -> None:
    latency = np.arange(1.0, 1001.0)
    figures = Load(latency, ["lost"], seconds=10.0).figures(candidates=100)
    assert figures["p50_ms"] == pytest.approx(500.5) and figures["p99_ms"] == pytest.approx(990.01)
    assert figures["p99.9_ms"] == pytest.approx(999.001)
    assert (figures["requests_per_s"], figures["candidates_per_s"], figures["failures"]) == (100, 10_000, 1)
