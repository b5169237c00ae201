"""Runs the pipeline on this machine and tells how it went."""

import errno
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import objsize
from absl import logging as absl_logging
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner

from cetnet_keras.errors import GateRefused, WorkFailed
from cetnet_keras.output import output_folder
from cetnet_keras.spec import DataSpec, ModelSpec
from pipeline.artifacts import pushes, required_outputs
from pipeline.create_pipeline import Job, create_pipeline
from pipeline.evaluation import metrics_document, read_metrics
from pipeline.gate_components import REASONS, SERVED
from pipeline.gates import Gates
from pipeline.ingest import input_error_in
from pipeline.ingest.executor import BAD_ROWS
from pipeline.renewal import renew
from pipeline.run_record import ComponentClock, Progress, RunRecord, machine, now, versions


class RunResult(NamedTuple):
    """What a run left behind."""

    metrics: dict[str, Any]  # as in metrics.json
    pushed: Path | None  # the version folder
    record: RunRecord
    incomparable: str | None  # why none of the models that were pushed before could be compared with

    @property
    def blessed(self) -> bool:
        """Whether every gate said yes."""
        return bool(self.metrics["blessed"])

    @property
    def reasons(self) -> list[str]:
        """Why it is not blessed."""
        return list(self.metrics["reasons"])


def run_pipeline(
    data: tuple[DataSpec, str, Path],
    model: tuple[ModelSpec, str],
    output: Path,
    gates: Gates,
    progress: Progress,
    allow_anomalies: bool = False,
    max_bad_rows: int = 0,
) -> RunResult:
    """Runs everything that is not cached yet, writes metrics.json and returns what came out.

    Args:
        data: the data spec, its text, and the folder that its paths are relative to.
        model: the model spec and its text.
        output: DIR; artifacts go to DIR/tfx, pushed versions to DIR/serving/NAME.
        gates: bounds that a model has to keep.
        progress: told of each component.
        allow_anomalies: go on where the data contradict the schema.
        max_bad_rows: rows that do not fit, in all files together, that may be left out.
    Raises:
        InputError: rows or anomalies that stop the run. GateRefused: a split of one class. WorkFailed: a component
            failed.
    """
    began, clock = now(), ComponentClock(progress)
    (spec, data_text, _), (_, model_text) = data, model
    # absolute, as ML Metadata keeps them: a run from another working directory finds what this one left
    tfx = output_folder(output.resolve() / "tfx")
    job = Job.of(data, model, gates, allow_anomalies, max_bad_rows)
    database, serving = tfx / "metadata.sqlite", tfx.parent / "serving" / spec.name
    connection = metadata.sqlite_metadata_connection_config(str(database))
    pipeline = create_pipeline(job, str(tfx / "artifacts"), str(serving), connection)
    renew(database, spec.name)
    with _watched(clock):
        _run(pipeline)
    metrics, version = _metrics(spec, database), _pushed_version(spec, database)
    pushed = output / "serving" / spec.name / version if version else None
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    record = RunRecord(
        name=spec.name,
        began=began,
        ended=now(),
        data_text=data_text,
        model_text=model_text,
        members=list(job.members),
        code=job.code,
        gates=gates,
        allow_anomalies=allow_anomalies,
        pushed=str(pushed) if pushed else None,
        versions=versions(),
        machine=machine(),
        components=clock.times,
    )
    incomparable = None if "baseline" in metrics else _why_incomparable(spec, database)
    return RunResult(metrics, pushed, record, incomparable)


def _run(pipeline: Any) -> None:
    # Beam's cache measures each side input, and before each measurement walks through the globals of all modules
    objsize.default_settings.update(exclude_modules_globals=False)
    try:
        LocalDagRunner().run(pipeline)
    except (GateRefused, WorkFailed):
        raise
    except Exception as error:
        refused = input_error_in(error)
        if refused is not None:
            raise refused from error
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        full = os.strerror(errno.ENOSPC) in reason  # TensorFlow's error has no errno
        what_to_do = "; free space there and run again: what is done is kept" if full else ""
        raise WorkFailed(reason + what_to_do) from error


class _ComponentLog(logging.Handler):
    """Reads a component's beginning and end off TFX's own log."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress, self._cached = progress, False

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self._cached |= message.startswith("A cached execution")
        found = re.fullmatch(r"Component (\S+) is (running|finished)\.", message)
        if found and found[2] == "running":
            self._cached = False
            self._progress(found[1], "running")
        elif found:
            self._progress(found[1], "cached" if self._cached else "done")


@contextmanager
def _watched(progress: Progress) -> Iterator[None]:
    logger, handler, verbosity = (
        absl_logging.get_absl_logger(),
        _ComponentLog(progress),
        absl_logging.get_verbosity(),
    )
    logger.addHandler(handler)
    absl_logging.set_verbosity(absl_logging.INFO)  # not the logger's level: TFT puts that back to absl's own
    try:
        yield
    finally:
        absl_logging.set_verbosity(verbosity)
        logger.removeHandler(handler)


def _metrics(spec: DataSpec, database: Path) -> dict[str, Any]:
    parity = required_outputs(database, spec.name, "ParityGate")
    blessing, served = parity.artifacts["blessing"][0], parity.folder("blessing") / SERVED
    parity_reasons = blessing.custom_properties[REASONS].string_value.splitlines()
    evaluation = required_outputs(database, spec.name, "Evaluator").folder("evaluation")
    document = metrics_document(read_metrics(evaluation))
    document["reasons"] += parity_reasons
    document["blessed"] = document["blessed"] and not document["reasons"]
    bad_rows = required_outputs(database, spec.name, "ExampleGen").folder("examples") / BAD_ROWS
    document["served"] = json.loads(served.read_text(encoding="utf-8")) if served.exists() else None
    document["bad_rows"] = json.loads(bad_rows.read_text(encoding="utf-8"))
    return document


def _pushed_version(spec: DataSpec, database: Path) -> str | None:
    model = required_outputs(database, spec.name, "Pusher").artifacts["pushed_model"][0]
    return Path(model.custom_properties["pushed_destination"].string_value).name or None


def _why_incomparable(spec: DataSpec, database: Path) -> str | None:
    """None where no other model has been pushed."""
    new = required_outputs(database, spec.name, "Trainer").artifacts["model"][0]
    with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(database))) as handle:
        numbers = {push.model for push in pushes(handle.store, spec.name)} - {new.id}
        others = [Path(model.uri) for model in handle.store.get_artifacts_by_id(sorted(numbers))]
    if not others:
        return None
    if any(path.exists() for path in others):
        return "no earlier model takes the columns of this data spec"
    return f"the files of the earlier models are gone, such as {others[-1]}"
