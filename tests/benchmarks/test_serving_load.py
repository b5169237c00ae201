"""The load generator: what a stall costs shows in every request that was due in its time; failures are counted apart."""

import itertools
import time

import numpy as np
import pytest

from benchmarks.serving.load import Load, closed_loop, open_loop


def test_latency_of_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """The first request ends after all others were due; these wait for it, the ones that were due first the longest."""
    end = time.perf_counter() + 0.3

    def send() -> None:
        while time.perf_counter() < end:
            pass

    found = open_loop(lambda: send, workers=1, rate=200, seconds=0.1, seed=3)
    assert len(found.latency_ms) == 20 and not found.failures
    assert (np.diff(found.latency_ms) < 0).all()
    assert found.latency_ms.min() > 100, "all were due within 0.1 s and answered after 0.3"


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
