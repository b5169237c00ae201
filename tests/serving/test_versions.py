"""Versions come, go and fail on disk while requests run."""

import gc
import os
import shutil
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cetnet_keras.errors import InputError, WorkFailed
from serving.status import Code, StatusError
from serving.versions import VersionManager

ROW = {"user": np.array([b"abc"], object), "item": np.int64([0]), "price": np.float32([0])}


def ctr_with(bias: float) -> float:
    return float(1 / (1 + np.exp(-(3 + bias))))


@pytest.fixture
def manager(base_path: Path) -> Iterator[VersionManager]:
    """Started on version 1, whose bias is 0; the tests poll by themselves, a failed load is tried once."""
    found = VersionManager(base_path, "clicks", poll_seconds=3600, load_attempts=1)
    assert found.start() == 1
    yield found
    found.close()


def states(manager: VersionManager) -> dict[int, str]:
    return {status.version: status.state for status in manager.statuses("clicks")}


def answer(manager: VersionManager, number: int | None = None) -> tuple[int, float]:
    with manager.use("clicks", number) as model:
        return model.version, model.run("serving_default", ROW)["ctr"].item()


def copy_into_place(source: Path, target: Path) -> None:
    shutil.copytree(source, target.with_name(f"tmp-{target.name}"))
    target.with_name(f"tmp-{target.name}").rename(target)


def test_a_newer_version_takes_over_and_the_old_one_ends(manager: VersionManager, biased_model: Path) -> None:
    assert answer(manager) == (1, pytest.approx(ctr_with(0), rel=1e-6))
    copy_into_place(biased_model, manager.base_path / "00000002")
    manager.poll()
    assert answer(manager) == (2, pytest.approx(ctr_with(1), rel=1e-6))
    assert states(manager) == {2: "AVAILABLE", 1: "END"}
    with pytest.raises(StatusError, match=r"Specific\(clicks, 1\)"):
        answer(manager, 1)


def test_an_unloaded_version_gives_its_memory_back(manager: VersionManager, biased_model: Path) -> None:
    """Also where the last request on it ends after the poll that took the next one up."""
    gc.disable()  # it comes by itself once in many swaps
    try:
        others = graphs()
        copy_into_place(biased_model, manager.base_path / "2")
        manager.poll()
        mine = graphs() - others
        with manager.use("clicks") as model:
            copy_into_place(biased_model, manager.base_path / "3")
            manager.poll()
            assert states(manager) == {3: "AVAILABLE", 2: "UNLOADING", 1: "END"} and len(mine) == 1
        del model
        manager.poll()
        assert states(manager) == {3: "AVAILABLE", 2: "END", 1: "END"} and not mine
    finally:
        gc.enable()


def graphs() -> weakref.WeakSet[tf.Graph]:
    """TensorFlow graphs, while they are in memory."""
    return weakref.WeakSet(found for found in gc.get_objects() if isinstance(found, tf.Graph))


def test_no_request_fails_while_versions_are_swapped(manager: VersionManager, biased_model: Path) -> None:
    done, answers, failures = threading.Event(), [], []

    def ask() -> None:
        while not done.is_set():
            try:
                answers.append(answer(manager))
            except StatusError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in (2, 3):
        copy_into_place(biased_model, manager.base_path / str(number))
        manager.poll()
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {version for version, _ in answers} <= {1, 2, 3}
    expected = {1: ctr_with(0), 2: ctr_with(1), 3: ctr_with(1)}
    assert all(ctr == pytest.approx(expected[version], rel=1e-6) for version, ctr in answers)


def test_a_request_in_flight_finishes_on_the_version_it_began_with(
    manager: VersionManager, biased_model: Path
) -> None:
    copy_into_place(biased_model, manager.base_path / "2")
    with manager.use("clicks") as model:
        manager.poll()
        assert states(manager) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert model.run("serving_default", ROW)["ctr"].item() == pytest.approx(ctr_with(0), rel=1e-6)
        assert answer(manager)[0] == 2
    assert states(manager) == {2: "AVAILABLE", 1: "END"}


def test_a_version_that_fails_ends_with_its_error_and_the_previous_one_goes_on(
    manager: VersionManager,
) -> None:
    (manager.base_path / "2").mkdir()
    manager.poll()
    newest = manager.statuses("clicks")[0]
    assert (newest.version, newest.state, newest.error_code) == (2, "END", "NOT_FOUND")
    assert newest.error_message == (
        "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
        f"`saved_model.pb`)\nSpecified file path: {manager.base_path / '2'}"
    )
    assert answer(manager)[0] == 1


def test_a_failed_version_is_not_tried_again_until_it_left_the_disk(
    manager: VersionManager, biased_model: Path
) -> None:
    version = manager.base_path / "2"
    version.mkdir()
    manager.poll()
    shutil.copytree(biased_model, version, dirs_exist_ok=True)
    manager.poll()
    assert states(manager)[2] == "END"
    version.rename(manager.base_path / "away")
    manager.poll()
    (manager.base_path / "away").rename(version)
    manager.poll()
    assert states(manager) == {2: "AVAILABLE", 1: "END"}


def test_a_version_is_tried_again_while_it_has_attempts(base_path: Path, biased_model: Path) -> None:
    manager = VersionManager(base_path, "clicks", poll_seconds=3600, load_attempts=3, retry_seconds=0)
    manager.start()
    (base_path / "2").mkdir()
    manager.poll()
    assert states(manager) == {2: "LOADING", 1: "AVAILABLE"}
    shutil.copytree(biased_model, base_path / "2", dirs_exist_ok=True)
    manager.poll()
    assert states(manager) == {2: "AVAILABLE", 1: "END"}
    manager.close()


def test_a_version_without_its_variables_is_refused(manager: VersionManager, biased_model: Path) -> None:
    shutil.copytree(biased_model, manager.base_path / "2", ignore=shutil.ignore_patterns("variables.index"))
    manager.poll()
    assert "has no variables/variables.index" in manager.statuses("clicks", 2)[0].error_message
    assert answer(manager)[0] == 1


def test_a_version_with_half_of_its_variables_is_refused(manager: VersionManager, biased_model: Path) -> None:
    shutil.copytree(biased_model, manager.base_path / "2")
    (data,) = (manager.base_path / "2" / "variables").glob("*.data-*")
    data.write_bytes(b"")
    manager.poll()
    status = manager.statuses("clicks", 2)[0]
    assert (
        status.state == "END" and status.error_code != "OK" and str(manager.base_path) in status.error_message
    )
    assert answer(manager)[0] == 1


def test_when_the_newest_vanishes_the_next_is_loaded_again(
    manager: VersionManager, biased_model: Path
) -> None:
    copy_into_place(biased_model, manager.base_path / "2")
    manager.poll()
    shutil.rmtree(manager.base_path / "2")
    manager.poll()
    assert states(manager) == {2: "END", 1: "AVAILABLE"}
    assert answer(manager)[0] == 1


def test_an_empty_base_path_unloads_all_and_a_missing_one_nothing(manager: VersionManager) -> None:
    away = manager.base_path.with_name("away")
    manager.base_path.rename(away)
    manager.poll()
    assert answer(manager)[0] == 1
    manager.base_path.mkdir()
    manager.poll()
    assert states(manager) == {1: "END"}
    with pytest.raises(StatusError, match=r"Servable not found for request: Latest\(clicks\)"):
        answer(manager)


def test_names_that_are_no_numbers_are_no_versions(manager: VersionManager) -> None:
    for name in ("9a", "tmp", "99999999999999999999", "1.5"):
        (manager.base_path / name).mkdir()
    manager.poll()
    assert states(manager) == {1: "AVAILABLE"}


def test_the_thread_takes_up_a_new_version_by_itself(base_path: Path, biased_model: Path) -> None:
    loaded = threading.Event()

    class Seen(VersionManager):
        def poll(self) -> None:
            super().poll()
            if 2 in states(self):
                loaded.set()

    manager = Seen(base_path, "clicks", poll_seconds=0.01)
    manager.start()
    copy_into_place(biased_model, base_path / "2")
    assert loaded.wait(60)
    assert answer(manager)[0] == 2
    manager.close()


def test_a_first_version_that_does_not_load_is_one_error(base_path: Path) -> None:
    (base_path / "2").mkdir()
    with pytest.raises(WorkFailed, match="version 2 of model clicks does not load: Specified file path"):
        VersionManager(base_path, "clicks").start()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "no such folder"),
        ("clicks/1", "is one version of a model; name its parent"),
        ("empty", "found no version in it, expected folders named by numbers"),
    ],
)
def test_a_base_path_that_cannot_be_served(base_path: Path, path: str, message: str) -> None:
    (base_path.parent / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        VersionManager(base_path.parent / path, "clicks").start()


def test_a_failed_version_in_an_emptied_base_path_is_tried_again(base_path: Path, biased_model: Path) -> None:
    manager = VersionManager(base_path, "clicks", poll_seconds=3600, retry_seconds=0)
    manager.start()
    (base_path / "1").rename(base_path / "away")
    manager.poll()
    (base_path / "2").mkdir()
    manager.poll()
    assert states(manager) == {2: "LOADING", 1: "END"}
    shutil.copytree(biased_model, base_path / "2", dirs_exist_ok=True)
    manager.poll()
    assert answer(manager)[0] == 2
    manager.close()


def test_a_folder_that_cannot_be_looked_at_is_one_error(tmp_path: Path) -> None:
    base_path = tmp_path
    while len(str(base_path)) < 3850:
        base_path /= "d" * 200
    base_path /= "d" * (4079 - len(str(base_path)))  # its versions can be listed, and no file in them opened
    (base_path / "1").mkdir(parents=True)
    with pytest.raises(WorkFailed, match=r"does not load: .*File name too long"):
        VersionManager(base_path, "clicks").start()


def test_closing_does_not_wait_for_a_load_that_hangs(base_path: Path, biased_model: Path) -> None:
    before = set(threading.enumerate())
    manager = VersionManager(base_path, "clicks", poll_seconds=0.01, close_seconds=0.01)
    manager.start()
    (polling,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "versions")
    shutil.copytree(biased_model, base_path / "new")
    (data,) = (base_path / "new" / "variables").glob("*.data-*")
    data.unlink()
    os.mkfifo(data)  # holds up who opens it until somebody opens its other end
    (base_path / "new").rename(base_path / "2")
    waiting = threading.Event()
    while states(manager).get(2) != "LOADING":
        assert not waiting.wait(0.01)
    manager.close()
    with open(base_path / "2" / "variables" / data.name, "wb"):
        pass
    polling.join(60)
    assert not polling.is_alive() and "AVAILABLE" not in states(manager).values()


def test_closing_cancels_what_still_runs(base_path: Path) -> None:
    manager = VersionManager(base_path, "clicks", poll_seconds=3600)
    manager.start()
    began, codes = threading.Event(), []

    def ask() -> None:
        with manager.use("clicks") as model:
            began.set()
            try:
                model.run("count_to", {"n": np.array(10**15)})
            except StatusError as error:
                codes.append(error.code)

    thread = threading.Thread(target=ask)
    thread.start()
    assert began.wait(60)
    manager.close()
    thread.join(60)
    assert codes in ([Code.CANCELLED], [Code.UNAVAILABLE])  # closed while it ran, or just before
