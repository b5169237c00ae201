"""The prediction log: every row as it was asked and answered, files that are whole, nothing that holds a request up."""

import math
import shutil
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import prediction_log_pb2

from cetnet_keras.errors import InputError, WorkFailed
from serving.client import Client, GrpcClient, RestClient
from serving.in_process import load
from serving.prediction_files import Asked, PredictionFiles, rows_of
from serving.prediction_log import PredictionLog, read_prediction_log
from serving.process import server_process
from serving.server import ModelServer
from serving.stock_log import read_stock_log

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
            log.add(*asked)
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
        log.add(*ROWS)
        log.add(*more)
    table = read_prediction_log(tmp_path, "explain").to_table().sort_by("version")
    assert table["input/hour"].to_pylist() == [None, None, 7, 8]


def test_a_file_ends_after_its_time_without_a_further_request(tmp_path: Path) -> None:
    with PredictionLog(tmp_path, seconds_per_file=0.01) as log:
        log.add(*ROWS)
        waiting = threading.Event()
        while not list(tmp_path.glob("explain/*.parquet")):
            assert not waiting.wait(0.01)
        assert len(read_prediction_log(tmp_path, "explain").to_table()) == 2


def test_requests_are_left_out_by_chance_and_where_too_many_wait(tmp_path: Path) -> None:
    with PredictionLog(tmp_path / "none", rate=0.0) as log:
        for _ in range(100):
            log.add(*ROWS)
    assert not list((tmp_path / "none").iterdir()) and log.dropped == 0
    with PredictionLog(tmp_path / "some", most_waiting=1) as log:
        for _ in range(2000):
            log.add(*ROWS)
    written = len(read_prediction_log(tmp_path / "some", "explain").to_table()) // 2
    assert written + log.dropped == 2000 and written > 0


def test_requests_are_left_out_where_those_that_wait_are_too_large(tmp_path: Path) -> None:
    size = 2 * 8 + 2 + 2 * 4 + 2 * 4 + 4 * 4  # two strings of a byte each, prices and outputs
    with PredictionLog(tmp_path / "none", most_bytes_waiting=size - 1) as log:
        log.add(*ROWS)
    assert log.dropped == 1
    with PredictionLog(tmp_path / "each", seconds_per_file=0.01, most_bytes_waiting=size) as log:
        waiting = threading.Event()
        for count in (1, 2, 3):
            log.add(*ROWS)
            while len(list(tmp_path.glob("each/explain/*.parquet"))) < count:
                assert not waiting.wait(0.01)
    assert log.dropped == 0


def test_what_cannot_be_written_is_counted_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with PredictionLog(tmp_path) as log:
        log.add(*ROWS._replace(outputs={}))
        (tmp_path / "rank").write_text("a file where a folder should be")
        log.add(*RANKING)
        log.add(*ROWS)
    assert log.dropped == 2 and len(read_prediction_log(tmp_path, "explain").to_table()) == 2
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith(
        "the prediction log leaves requests out: signature explain: a log of rows takes [B]"
    )
    assert last == "the prediction log left out 2 requests"
    log.add(*ROWS)
    assert log.dropped == 3, "it is closed"


def test_arrays_that_are_filled_again_are_logged_as_they_were(tmp_path: Path) -> None:
    ctr = np.zeros(2, np.float32)
    with PredictionLog(tmp_path) as log:
        for value in range(200):
            ctr[:] = value
            log.add(*ROWS._replace(outputs={"ctr": ctr}))
    found = read_prediction_log(tmp_path, "explain").to_table()["output/ctr"].to_pylist()
    assert sorted(found) == sorted([float(value) for value in range(200)] * 2)


def test_columns_that_alternate_do_not_end_each_other_s_files(tmp_path: Path) -> None:
    fewer = ROWS._replace(outputs={"ctr": ROWS.outputs["ctr"]})
    with PredictionLog(tmp_path) as log:
        for _ in range(50):
            log.add(*ROWS)
            log.add(*fewer)
    assert len(list((tmp_path / "explain").iterdir())) == 2
    assert len(read_prediction_log(tmp_path, "explain").to_table()) == 200


def test_a_half_output_is_read_as_float32(tmp_path: Path) -> None:
    with PredictionLog(tmp_path) as log:
        log.add(*ROWS._replace(outputs={"ctr": np.array([0.5, 0.25], np.float16)}))
    column = read_prediction_log(tmp_path, "explain").to_table()["output/ctr"]
    assert column.type == "float" and column.to_pylist() == [0.5, 0.25] and log.dropped == 0


def test_a_signature_of_any_name_stays_inside_the_folder(tmp_path: Path) -> None:
    with PredictionLog(tmp_path / "log") as log:
        log.add(*ROWS._replace(signature="../out/of it"))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert len(read_prediction_log(tmp_path / "log", "../out/of it").to_table()) == 2


def test_a_file_ends_when_it_is_large(tmp_path: Path) -> None:
    with PredictionLog(tmp_path, bytes_per_file=1) as log:
        for _ in range(3):
            log.add(*ROWS)
    assert len(list((tmp_path / "explain").glob("*.parquet"))) == 3


def test_a_column_that_changed_its_type_is_named_and_versions_are_read_apart(tmp_path: Path) -> None:
    as_text = {**ROWS.inputs, "price": np.array([b"1.5", b""], object)}
    with PredictionLog(tmp_path) as log:
        log.add(*ROWS)
        log.add(*ROWS._replace(version=4, inputs=as_text))
    with pytest.raises(InputError, match=r"input/price.*read the versions apart"):
        read_prediction_log(tmp_path, "explain")
    table = read_prediction_log(tmp_path, "explain", version=4).to_table()
    assert table["input/price"].to_pylist() == ["1.5", ""]


def test_a_rate_that_is_no_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rate: found nan, expected a share"):
        PredictionLog(tmp_path, rate=math.nan)


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="the prediction log cannot be written there"):
        PredictionLog(tmp_path / "file" / "log")
    with pytest.raises(InputError, match="found no prediction of signature rank; signatures: none"):
        read_prediction_log(tmp_path, "rank")


ASKED = {"user": ["ann", "bob", ""], "item": [1, 2, 3], "price": [0.5, math.nan, 2.0]}
USER, ITEMS = {"user": "ann"}, {"item": [7, 8]}


def ask(client: Client) -> tuple[dict[str, np.ndarray], np.ndarray]:
    return client.predict(ASKED, "explain"), client.rank(USER, ITEMS)


@pytest.mark.parametrize("kind", [RestClient, GrpcClient])
def test_server_and_client_log_the_same_rows(
    kind: type[GrpcClient] | type[RestClient], base_path: Path, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "server", tmp_path / "client"
    with ExitStack() as stack:
        log, client_log = (stack.enter_context(PredictionLog(folder)) for folder in (ours, theirs))
        server = stack.enter_context(ModelServer(base_path, rest_port=0, grpc_port=0, log=log))
        target = server.grpc_target if kind is GrpcClient else server.rest_target
        client = stack.enter_context(kind(target, "clicks", log=client_log))
        explained, ranked = ask(client)
        with pytest.raises(InputError):
            client.predict({"user": ["ann"]})
    for signature in ("explain", "rank"):
        one, other = (
            read_prediction_log(folder, signature).to_table().drop(["time", "request", "version"])
            for folder in (ours, theirs)
        )
        assert one.to_pandas().equals(other.select(one.column_names).to_pandas())
    rows = read_prediction_log(ours, "explain").to_table().to_pydict()
    assert rows["input/user"] == ASKED["user"] and rows["input/item"] == ASKED["item"]
    np.testing.assert_array_equal(np.float32(rows["input/price"]), np.float32(ASKED["price"]))
    np.testing.assert_array_equal(np.float32(rows["output/ctr"]), explained["ctr"])
    np.testing.assert_array_equal(np.float32(rows["output/member_ctr"]), explained["member_ctr"])
    ranking = read_prediction_log(ours, "rank").to_table().to_pydict()
    assert (ranking["input/user"], ranking["input/item"], ranking["candidate"]) == (
        ["ann"] * 2,
        [7, 8],
        [0, 1],
    )
    np.testing.assert_array_equal(np.float32(ranking["output/ctr"]), ranked)
    versions = read_prediction_log(theirs, "rank").to_table()["version"].to_pylist()
    assert versions == ([1, 1] if kind is GrpcClient else [None, None]), "REST does not tell"


def test_a_log_goes_on_over_a_swap(base_path: Path, biased_model: Path, tmp_path: Path) -> None:
    with PredictionLog(tmp_path / "log") as log:
        server = ModelServer(base_path, rest_port=0, grpc_port=0, log=log, poll_seconds=3600)
        with server, GrpcClient(server.grpc_target, "clicks") as client:
            ask(client)
            shutil.copytree(biased_model, base_path / "2")
            server.versions.poll()
            ask(client)
    rows = read_prediction_log(tmp_path / "log", "rank").to_table().sort_by("version")
    assert rows["version"].to_pylist() == [1, 1, 2, 2]


def test_what_a_stock_server_logged_becomes_the_same_rows(saved_model: Path, tmp_path: Path) -> None:
    client = load(saved_model)
    explained, ranked = ask(client)
    metadata, path = client.metadata(), tmp_path / "requests.tfrecord"
    sent: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("explain", {key: np.array(value) for key, value in ASKED.items()}, explained),
        ("rank", {"user": np.array(["ann"]), "item": np.array([[7, 8]])}, {"ctr": ranked[np.newaxis]}),
    ]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs, outputs in sent:
            log = prediction_log_pb2.PredictionLog()
            for message, arrays in (
                (log.predict_log.request.inputs, inputs),
                (log.predict_log.response.outputs, outputs),
            ):
                for name, array in arrays.items():
                    message[name].CopyFrom(tf.make_tensor_proto(array))
            log.predict_log.response.model_spec.name = "clicks"
            log.predict_log.response.model_spec.signature_name = signature
            log.predict_log.response.model_spec.version.value = 5
            log.log_metadata.timestamp_secs = 1_700_000_000
            writer.write(log.SerializeToString())
    with PredictionFiles(tmp_path / "log") as files:
        for logged in read_stock_log(path, metadata):
            files.add(*logged)
    rows = read_prediction_log(tmp_path / "log", "rank").to_table().to_pydict()
    assert (rows["input/user"], rows["input/item"], rows["version"]) == (["ann"] * 2, [7, 8], [5, 5])
    assert [when.timestamp() for when in rows["time"]] == [1_700_000_000.0] * 2
    np.testing.assert_array_equal(np.float32(rows["output/ctr"]), ranked)
    assert (
        read_prediction_log(tmp_path / "log", "explain").to_table()["input/user"].to_pylist() == ASKED["user"]
    )
    path.write_bytes(b"no such file")
    with pytest.raises(
        InputError, match="record 1 cannot be read; expected a TFRecord file of PredictionLog"
    ):
        list(read_stock_log(path, metadata))


def test_a_server_that_is_not_ready_in_time_is_killed(base_path: Path, tmp_path: Path) -> None:
    serving = server_process(base_path, "clicks", tmp_path / "log.txt", ready_seconds=0.01)
    with (
        pytest.raises(WorkFailed, match=r"before it was ready: it was killed, .* more than 0\.01 s"),
        serving,
    ):
        pass


def test_serve_writes_a_log_where_it_is_told(base_path: Path, tmp_path: Path) -> None:
    options = ("--prediction-log", str(tmp_path / "log"), "--prediction-log-rate", "1")
    serving = server_process(base_path, "clicks", tmp_path / "log.txt", *options)
    with serving as server, GrpcClient(server.grpc, "clicks") as client:
        ask(client)
    assert len(read_prediction_log(tmp_path / "log", "explain").to_table()) == 3
