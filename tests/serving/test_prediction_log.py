"""The prediction log: every row as it was asked and answered, files that are whole, nothing that holds a request up."""

import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cetnet_keras.errors import InputError
from serving.prediction_log import Asked, PredictionLog, read_prediction_log, rows_of

ROWS = Asked(
    "clicks",
    3,
    "explain",
    {"user": np.array([b"a", b"\xff"], object), "price": np.array([1.5, np.nan], np.float32)},
    {"ctr": np.array([0.25, 0.5], np.float32), "member_ctr": np.array([[0.1, 0.4], [0.5, 0.5]], np.float32)},
)
RANKING = Asked(
    "clicks",
    3,
    "rank",
    {
        "user": np.array([b"a", b"b"], object),
        "seen": np.array([[b"x", b"y"], [b"z", b""]], object),  # a list, as long as there are candidates
        "item": np.array([[b"1", b"2"], [b"3", b"4"]], object),
    },
    {"ctr": np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)},
    ("item",),
)


def test_a_row_has_what_was_asked_and_answered() -> None:
    table = rows_of(1_700_000_000.5, ROWS)
    first, second = table.to_pylist()
    assert first["time"].isoformat() == "2023-11-14T22:13:20.500000+00:00"
    assert (first["model"], first["version"], first["signature"]) == ("clicks", 3, "explain")
    assert (first["row"], second["row"], first["candidate"]) == (0, 1, None)
    assert first["request"] == second["request"] and len(first["request"]) == 32
    assert (first["input/user"], second["input/user"]) == ("a", "\\xff")
    assert first["input/price"] == 1.5 and np.isnan(second["input/price"])
    assert second["output/ctr"] == 0.5 and first["output/member_ctr"] == pytest.approx([0.1, 0.4])


def test_a_candidate_is_a_row_with_its_context() -> None:
    rows = rows_of(0, RANKING).to_pylist()
    assert [(row["row"], row["candidate"], row["input/item"]) for row in rows] == [
        (0, 0, "1"), (0, 1, "2"), (1, 0, "3"), (1, 1, "4"),
    ]  # fmt: skip
    assert [row["input/user"] for row in rows] == ["a", "a", "b", "b"]
    assert [row["input/seen"] for row in rows] == [["x", "y"], ["x", "y"], ["z", ""], ["z", ""]]
    assert [row["output/ctr"] for row in rows] == pytest.approx([0.1, 0.2, 0.3, 0.4])


@given(
    st.lists(st.lists(st.text(max_size=3), min_size=2, max_size=2), max_size=4),
    st.lists(st.floats(width=32), min_size=4, max_size=4),
    st.integers(0, 3),
)
def test_any_values_are_read_back_as_they_were_asked(
    lists: list[list[str]], numbers: list[float], width: int
) -> None:
    count = len(lists)
    texts = np.empty((count, 2), object)
    for place, each in enumerate(lists):
        texts[place] = [text.encode() for text in each]
    vector = np.array(numbers[:1] * count * width, np.float32).reshape(count, width)
    asked = Asked(
        "m", 1, "s", {"texts": texts, "vector": vector}, {"ctr": np.array(numbers[:count], np.float32)}
    )
    table = rows_of(0, asked)
    assert table["input/texts"].to_pylist() == lists
    found = table["input/vector"].to_pylist()
    np.testing.assert_array_equal(np.array(found, np.float32).reshape(count, width), vector)
    np.testing.assert_array_equal(table["output/ctr"].to_numpy(), asked.outputs["ctr"])


def test_serialised_examples_stay_bytes() -> None:
    asked = Asked(
        "m",
        1,
        "examples",
        {"examples": np.array([b"\xff\x00"], object)},
        {"ctr": np.array([0.5], np.float32)},
    )
    assert rows_of(0, asked)["input/examples"].to_pylist() == [b"\xff\x00"]


def test_files_are_whole_and_of_one_signature_and_version(tmp_path: Path) -> None:
    with PredictionLog(tmp_path, rows_per_file=3) as log:
        for asked in (ROWS, RANKING, ROWS, ROWS._replace(version=4)):
            log.add(asked)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explain", "rank"]
    files = sorted((tmp_path / "explain").iterdir())
    assert [len(pq.read_table(path)) for path in files] == [4, 2] and log.dropped == 0
    table = read_prediction_log(tmp_path, "explain").to_table()
    assert sorted(table["version"].to_pylist()) == [3, 3, 3, 3, 4, 4]
    assert len(set(table["request"].to_pylist())) == 3
    frame = read_prediction_log(tmp_path, "rank").to_table().to_pandas()
    assert frame["input/item"].tolist() == ["1", "2", "3", "4"]


def test_files_of_a_version_with_another_feature_are_read_together(tmp_path: Path) -> None:
    more = ROWS._replace(version=4, inputs={**ROWS.inputs, "hour": np.array([7, 8])})
    with PredictionLog(tmp_path) as log:
        log.add(ROWS)
        log.add(more)
    table = read_prediction_log(tmp_path, "explain").to_table().sort_by("version")
    assert table["input/hour"].to_pylist() == [None, None, 7, 8]


def test_a_file_ends_after_its_time_without_a_further_request(tmp_path: Path) -> None:
    with PredictionLog(tmp_path, seconds_per_file=0.01) as log:
        log.add(ROWS)
        waiting = threading.Event()
        while not list(tmp_path.glob("explain/*.parquet")):
            assert not waiting.wait(0.01)
        assert len(read_prediction_log(tmp_path, "explain").to_table()) == 2


def test_requests_are_left_out_by_chance_and_where_too_many_wait(tmp_path: Path) -> None:
    with PredictionLog(tmp_path / "none", rate=0.0) as log:
        for _ in range(100):
            log.add(ROWS)
    assert not list((tmp_path / "none").iterdir()) and log.dropped == 0
    with PredictionLog(tmp_path / "some", most_waiting=1) as log:
        for _ in range(2000):
            log.add(ROWS)
    written = len(read_prediction_log(tmp_path / "some", "explain").to_table()) // 2
    assert written + log.dropped == 2000 and written > 0


def test_what_cannot_be_written_is_counted_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with PredictionLog(tmp_path) as log:
        log.add(ROWS._replace(outputs={}))
        (tmp_path / "rank").write_text("a file where a folder should be")
        log.add(RANKING)
        log.add(ROWS)
    assert log.dropped == 2 and len(read_prediction_log(tmp_path, "explain").to_table()) == 2
    assert len(caplog.records) == 1 and "the prediction log leaves requests out" in caplog.text


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="the prediction log cannot be written there"):
        PredictionLog(tmp_path / "file" / "log")
    with pytest.raises(InputError, match="found no prediction of signature rank; signatures: none"):
        read_prediction_log(tmp_path, "rank")
