"""One folder, run after run: what the cache answers, what a change makes anew, what a kill leaves, what the gates refuse.

Each fixture is a call of `cetnet run` and needs the one before it; the run that is killed has a folder of its own.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DATA = """\
name: clicks
label: click
group: user
features:
  user: {type: categorical}
  item: {type: categorical, role: candidate}
  price: {type: numeric, role: candidate}
splits: {files: clicks.csv, by: time, column: ts, within: user, eval: 0.2, test: 0.2}
"""
MODEL = """\
members: [{type: "own_members:Fragile", embedding_dim: 8, hidden: [8], cross_layers: 1}]
training: {batch_size: 32, epochs: 2, learning_rate: 0.02}
"""
MEMBERS = '''\
"""Members of a user's own: one that is stopped while it learns, one that keeps its dropout when it serves."""
import os
import signal

import tensorflow as tf
from cetnet_keras.members.dcnv2 import Dcnv2Member


class Fragile(Dcnv2Member):
    def output_embedding(self, features, training):
        learns = training and tf.distribute.has_strategy()  # not where it is only tried
        if learns and "KILLED_IN_TRAINING" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        if learns and "INTERRUPTED_IN_TRAINING" in os.environ:
            os.killpg(os.getpgrp(), signal.SIGINT)  # as a terminal does at Ctrl-C
        return super().output_embedding(features, training)


class Noisy(Dcnv2Member):
    def output_embedding(self, features, training):
        return tf.nn.dropout(super().output_embedding(features, training), 0.5)
'''
SMALL_DISK = 'mount -t tmpfs -o size=64k tmpfs "$0" && "$@"'
OTHER_BOUND = ("--min-auc", 0.01)
BEFORE_TRAINING = ("ExampleGen", "StatisticsGen", "ExampleValidator", "DataGate", "Transform")


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def states(run: Any, names: tuple[str, ...]) -> dict[str, str]:
    return {name: run.states[name] for name in names}


def each(names: tuple[str, ...], state: str) -> dict[str, str]:
    return dict.fromkeys(names, state)


def scores(run: Any) -> dict[str, np.ndarray]:
    """What the latest model of a folder said of the eval split."""
    return dict(np.load(run.artifact("Trainer", "model_run") / "offline_scores.npz"))


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file with the user's own members, which Python finds."""
    path = tmp_path_factory.mktemp("members") / "own_members.py"
    path.write_text(MEMBERS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        yield path


@pytest.fixture(scope="module")
def search_path(members: Path) -> str:
    """Where other processes find the user's own members."""
    return os.pathsep.join([str(members.parent), *sys.path])


@pytest.fixture(scope="module")
def doomed(search_path: str, project: Any, start_run: Any) -> Any:
    """A run that will kill itself in its first training step, beside the runs below."""
    return start_run(project(data=DATA, model=MODEL), KILLED_IN_TRAINING="1", PYTHONPATH=search_path)


@pytest.fixture(scope="module")
def fresh(doomed: Any, project: Any, run_in: Any) -> Any:
    """Nothing is there yet."""
    return run_in(project(data=DATA, model=MODEL))


@pytest.fixture(scope="module")
def fresh_scores(fresh: Any) -> dict[str, np.ndarray]:
    """Those of the first model."""
    return scores(fresh)


@pytest.fixture(scope="module")
def again(fresh: Any, fresh_scores: Any, run_in: Any) -> Any:
    """Nothing has changed."""
    return run_in(fresh.folder)


@pytest.fixture(scope="module")
def from_elsewhere(again: Any, run_in: Any) -> Any:
    """Nothing has changed but the working directory, from which the paths are relative now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(again.folder)
        return run_in(Path())


@pytest.fixture(scope="module")
def restored(again: Any, from_elsewhere: Any, run_in: Any) -> Any:
    """Nothing has changed but that the pushed versions were moved away."""
    again.serving.rename(again.output / "moved")
    return run_in(again.folder)


@pytest.fixture(scope="module")
def refused(restored: Any, run_in: Any) -> Any:
    """A line of model.yaml has changed, and nothing is good enough."""
    changed(restored.folder / "model.yaml", "learning_rate: 0.02", "learning_rate: 0.03")
    return run_in(restored.folder, "--min-auc", "1.0")


@pytest.fixture(scope="module")
def killed(doomed: Any) -> Any:
    """What the killed run left."""
    return doomed.wait()


@pytest.fixture(scope="module")
def interrupted(killed: Any, search_path: str, start_run: Any) -> Any:
    """The same call once more, until Ctrl-C in its first training step."""
    return start_run(killed.folder, INTERRUPTED_IN_TRAINING="1", PYTHONPATH=search_path).wait()


@pytest.fixture(scope="module")
def resumed(interrupted: Any, run_in: Any) -> Any:
    """The same call once more, and nobody stops it."""
    return run_in(interrupted.folder)


@pytest.fixture(scope="module")
def unreported(resumed: Any, run_in: Any) -> Any:
    """Nothing has changed but that a folder is in the report's place."""
    (resumed.output / "report.html").unlink()
    (resumed.output / "report.html").mkdir()
    return run_in(resumed.folder)


@pytest.fixture(scope="module")
def crowded(unreported: Any, search_path: str, start_run: Any) -> Any:
    """Another bound, and the disk that models are pushed to is too small for one."""
    full = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        SMALL_DISK,
        str(unreported.output / "serving"),
    ]
    if subprocess.run([*full, "true"], check=False).returncode:
        pytest.skip(
            "a small disk is mounted in a namespace of its own, and this machine gives no such namespace"
        )
    (unreported.output / "report.html").rmdir()
    return start_run(unreported.folder, *OTHER_BOUND, within=full, PYTHONPATH=search_path).wait()


@pytest.fixture(scope="module")
def spacious(crowded: Any, run_in: Any) -> Any:
    """The same call, and there is space."""
    return run_in(crowded.folder, *OTHER_BOUND)


@pytest.fixture(scope="module")
def noisy(refused: Any, unreported: Any, members: Path, run_in: Any) -> Any:
    """A line of the members' code has changed, and the model is one whose served values are not those of training."""
    changed(members, "class Noisy", "# noise\nclass Noisy")
    changed(refused.folder / "model.yaml", "Fragile", "Noisy")
    return run_in(refused.folder)


@pytest.fixture(scope="module")
def asked_again(noisy: Any, run_in: Any) -> Any:
    """Nothing has changed since the parity gate said no."""
    return run_in(noisy.folder)


def test_a_first_run_makes_everything_and_pushes(fresh: Any) -> None:
    assert fresh.exit_code == 0, fresh.stdout + fresh.stderr
    assert set(fresh.states.values()) == {"done"}
    assert {*BEFORE_TRAINING, "Trainer", "Pusher"} <= set(fresh.states)
    assert fresh.metrics["blessed"] and fresh.metrics["reasons"] == [] and "baseline" not in fresh.metrics
    assert len(fresh.versions) == 1 and fresh.versions[0] in fresh.stdout
    assert list(fresh.metrics["members"]) == ["Fragile"] and fresh.metrics["rows"] == 80
    assert "Calibration on the eval split" in (fresh.output / "log.txt").read_text(encoding="utf-8")


def test_a_second_run_takes_all_from_the_cache_and_pushes_nothing(fresh: Any, again: Any) -> None:
    assert again.exit_code == 0, again.stdout + again.stderr
    names = (*BEFORE_TRAINING, "Trainer", "Evaluator", "ParityGate", "Pusher")
    assert states(again, names) == each(names, "cached")
    assert again.metrics == fresh.metrics and again.versions == fresh.versions
    assert f"pushed to {again.serving / again.versions[0]}" in again.stdout.replace("\n", "")
    assert "Warning" not in again.stdout.partition("all together")[2]


def test_a_run_from_another_working_directory_takes_all_from_the_cache(
    again: Any, from_elsewhere: Any
) -> None:
    assert from_elsewhere.exit_code == 0, from_elsewhere.stdout + from_elsewhere.stderr
    assert from_elsewhere.states == again.states
    assert (from_elsewhere.metrics, from_elsewhere.versions) == (again.metrics, again.versions)
    assert f"pushed to run/serving/clicks/{again.versions[0]}" in from_elsewhere.stdout


def test_a_version_that_is_gone_is_pushed_again_from_the_cache(again: Any, restored: Any) -> None:
    assert restored.exit_code == 0, restored.stdout + restored.stderr
    assert states(restored, ("Trainer", "Evaluator", "ParityGate", "Pusher")) == {
        "Trainer": "cached",
        "Evaluator": "cached",
        "ParityGate": "cached",
        "Pusher": "done",
    }
    assert len(restored.versions) == 1 and restored.versions != again.versions
    assert (restored.serving / restored.versions[0] / "saved_model.pb").is_file()
    assert restored.versions[0] in restored.stdout


def test_a_changed_model_is_trained_anew_on_what_is_cached_and_compared_with_the_last_pushed_one(
    restored: Any, refused: Any
) -> None:
    assert states(refused, BEFORE_TRAINING) == each(BEFORE_TRAINING, "cached")
    assert states(refused, ("Trainer", "ParityGate")) == {"Trainer": "done", "ParityGate": "done"}
    assert refused.metrics["fused"]["log_loss"] != pytest.approx(restored.metrics["fused"]["log_loss"])
    assert refused.metrics["baseline"] == pytest.approx(restored.metrics["fused"])


def test_a_model_below_the_bounds_is_not_pushed_and_the_last_one_stays(restored: Any, refused: Any) -> None:
    assert refused.exit_code == 3
    reason = f"auc {refused.metrics['fused']['auc']:.4f} is below 1 on the whole"
    assert refused.metrics["blessed"] is False and reason in refused.metrics["reasons"]
    assert refused.stderr.count("\n") == 1 and refused.stderr.startswith("Refused: ")
    assert reason in refused.stderr and reason in refused.stdout
    assert refused.versions == restored.versions
    assert all((refused.serving / version / "saved_model.pb").is_file() for version in refused.versions)


def test_a_refused_model_has_a_report_that_begins_with_the_reason(refused: Any, run_cetnet: Any) -> None:
    path = refused.output / "report.html"
    html = path.read_text(encoding="utf-8")
    assert f"report   {path}\n" in refused.stdout
    assert (
        html.index("Not blessed, not pushed") < html.index(refused.metrics["reasons"][0]) < html.index("<h2")
    )
    assert "There is one member, Fragile" in html and "names columns to measure by" in html
    path.unlink()
    again = run_cetnet("report", refused.output)
    assert again.exit_code == 0, again.output
    assert path.read_text(encoding="utf-8") == html


def test_a_killed_run_leaves_what_it_had_done(killed: Any) -> None:
    assert killed.exit_code == -signal.SIGKILL, killed.stderr
    assert states(killed, BEFORE_TRAINING) == each(BEFORE_TRAINING, "done")
    assert "Trainer" not in killed.states, "it was killed in there"
    assert killed.metrics == {} and killed.versions == []


def test_an_interrupted_run_says_so_in_a_word_and_leaves_what_was_done(interrupted: Any) -> None:
    assert interrupted.exit_code == 130, interrupted.stderr
    assert interrupted.stderr == "Interrupted\n"
    assert states(interrupted, BEFORE_TRAINING) == each(BEFORE_TRAINING, "cached")
    assert interrupted.metrics == {} and interrupted.versions == []


def test_a_stopped_run_goes_on_where_it_was(resumed: Any) -> None:
    assert resumed.exit_code == 0, resumed.stdout + resumed.stderr
    assert states(resumed, BEFORE_TRAINING) == each(BEFORE_TRAINING, "cached")
    assert resumed.states["Trainer"] == "done"
    assert resumed.metrics["blessed"] and len(resumed.versions) == 1


def test_a_run_whose_report_fails_keeps_its_model_and_says_so(resumed: Any, unreported: Any) -> None:
    assert unreported.exit_code == 1
    assert unreported.metrics["blessed"] and unreported.versions == resumed.versions
    assert all((unreported.serving / version / "saved_model.pb").is_file() for version in unreported.versions)
    assert unreported.stderr.startswith("Error: the report could not be made: ")
    assert "report.html: cannot be written" in unreported.stderr and "pushed to" in unreported.stderr
    assert unreported.stderr.count("\n") == 1 and "report   could not be made" in unreported.stdout
    log = (unreported.output / "log.txt").read_text(encoding="utf-8", errors="replace")
    assert "IsADirectoryError" in log


def test_a_full_disk_is_named_with_what_to_do(unreported: Any, crowded: Any) -> None:
    assert crowded.exit_code == 1
    assert crowded.stderr.startswith("Error: ") and crowded.stderr.count("\n") == 1
    assert f"{crowded.serving}/" in crowded.stderr and "No space left on device; free space" in crowded.stderr
    assert crowded.states["Evaluator"] == "done" and "Pusher" not in crowded.states
    assert crowded.versions == unreported.versions


def test_with_space_the_model_is_pushed_and_nothing_else_is_done_again(crowded: Any, spacious: Any) -> None:
    assert spacious.exit_code == 0, spacious.stdout + spacious.stderr
    assert states(spacious, ("Trainer", "Evaluator", "Pusher")) == {
        "Trainer": "cached",
        "Evaluator": "cached",
        "Pusher": "done",
    }
    assert len(spacious.versions) == len(crowded.versions) + 1


def test_the_same_rows_and_the_same_seed_make_the_same_model(
    fresh_scores: dict[str, np.ndarray], resumed: Any
) -> None:
    found = scores(resumed)
    assert list(found) == list(fresh_scores) and len(found["ctr"]) == 80
    for key, value in fresh_scores.items():
        np.testing.assert_array_equal(found[key], value)


def test_changed_code_makes_everything_anew(noisy: Any) -> None:
    names = (*BEFORE_TRAINING, "Trainer", "ParityGate")
    assert states(noisy, names) == each(names, "done")


def test_a_model_that_serves_other_values_than_training_computed_is_not_pushed(
    refused: Any, noisy: Any
) -> None:
    assert noisy.exit_code == 3
    parity = [reason for reason in noisy.metrics["reasons"] if reason.startswith("parity: ")]
    for protocol in ("gRPC", "REST"):
        for signature in ("serving_default", "explain", "examples", "rank"):
            assert any(reason.startswith(f"parity: {protocol} {signature} ctr: row ") for reason in parity)
    assert noisy.metrics["blessed"] is False and noisy.versions == refused.versions
    assert noisy.stderr.count("\n") == 1 and noisy.metrics["reasons"][0] in noisy.stderr
    assert f"and {len(noisy.metrics['reasons']) - 3} more in {noisy.output / 'metrics.json'}" in noisy.stderr


def test_the_parity_gate_is_asked_again_and_what_it_refused_is_no_models_measure(
    refused: Any, noisy: Any, asked_again: Any
) -> None:
    assert asked_again.exit_code == 3
    assert states(asked_again, ("Trainer", "ParityGate")) == {"Trainer": "cached", "ParityGate": "done"}
    assert any(reason.startswith("parity: ") for reason in asked_again.metrics["reasons"])
    assert asked_again.metrics["baseline"] == pytest.approx(refused.metrics["baseline"])
    assert asked_again.versions == refused.versions
