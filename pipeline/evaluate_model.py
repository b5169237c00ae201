"""Measures a pushed model on the rows of a data spec, with TFMA and the figures that the pipeline's Evaluator has."""

import gc
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec
from pipeline.create_pipeline import BEAM_ARGS
from pipeline.evaluation import FUSED, custom_extractors, eval_config, metrics_document, read_metrics
from pipeline.gates import Gates
from pipeline.ingest import input_error_in
from pipeline.ingest.executor import BAD_ROWS, Ingest
from pipeline.ingest.files import SPLITS, source_files
from pipeline.pushed_model import raw_inputs, signatures, unfit_input


def evaluate_model(
    spec: DataSpec,
    base: Path,
    version: Path,
    split: str,
    progress: Callable[[str, str], None],
    max_bad_rows: int = 0,
) -> dict[str, Any]:
    """Ingests the files of a spec and measures a pushed model, fused and per member, on one of their splits.

    Nothing is compared with another model: of the gates' defaults the absolute bounds apply.

    Args:
        spec: the data spec; its rows may be newer than the model, its raw features are those of the model.
        base: the folder that the spec's paths are relative to.
        version: folder of the SavedModel.
        split: train, eval or test.
        progress: told of each step: (its name, "running" | "done").
        max_bad_rows: rows that do not fit, in all files together, that may be left out.
    Returns:
        the contents of a metrics.json.
    Raises:
        InputError: a file or a row is wrong, or the model is none of ours or takes other columns than the spec has.
    """
    members = _members(spec, version)
    with tempfile.TemporaryDirectory(prefix="cetnet-evaluate-") as folder:
        progress("ExampleGen", "running")
        bad_rows = _ingest(spec, base, Path(folder), max_bad_rows)
        progress("ExampleGen", "done")
        progress("Evaluator", "running")
        output = Path(folder) / "evaluation"
        _measure(spec, members, version, Path(folder) / split, output)
        document = metrics_document(read_metrics(output)) | {"bad_rows": bad_rows}
        progress("Evaluator", "done")
    return document


def _members(spec: DataSpec, version: Path) -> list[str]:
    """The names of the model's members. Raises InputError where it cannot be asked for the rows of this spec."""
    found_signatures = signatures(version)
    outputs = found_signatures["examples"].outputs if "examples" in found_signatures else {}
    if FUSED not in outputs or "serving_default" not in found_signatures:
        named = ", ".join(sorted(found_signatures)) or "(none)"
        found = f"found the signatures {named} without an output {FUSED}"
        raise InputError(
            f"{version}: {found}, expected serving_default and examples; name a model that cetnet pushed"
        )
    unfit = unfit_input(found_signatures["serving_default"], raw_inputs(spec))
    if unfit is not None:
        raise InputError(f"{version}: {unfit}; use the spec that the model was trained with")
    sliced = found_signatures["slices"].outputs if "slices" in found_signatures else {}
    for key in sorted({key for keys in spec.slices for key in keys}):
        if f"slice_{key}" not in sliced:
            found = f"found no values of {key!r} in the model, expected them for the slices of the data spec"
            raise InputError(f"{version}: {found}; take it out of `slices`, or train a model with it")
    return [name.removeprefix(f"{FUSED}_") for name in sorted(outputs) if name.startswith(f"{FUSED}_")]


def _ingest(spec: DataSpec, base: Path, folder: Path, max_bad_rows: int) -> dict[str, Any]:
    folders = [folder / name for name in SPLITS]
    for split in folders:
        split.mkdir()
    try:
        with beam.Pipeline(options=_options()) as pipeline:
            ingest = Ingest(spec, source_files(spec, base), [str(split) for split in folders], max_bad_rows)
            _ = pipeline | "Ingest" >> ingest
    except Exception as error:
        found = input_error_in(error)
        if found is None:
            raise
        raise found from error
    return json.loads((folder / BAD_ROWS).read_text(encoding="utf-8"))


def _measure(spec: DataSpec, members: list[str], version: Path, examples: Path, output: Path) -> None:
    config = tfma.utils.update_eval_config_with_defaults(
        eval_config(spec, members, Gates()), has_baseline=False, rubber_stamp=True
    )
    model = tfma.default_eval_shared_model(
        str(version), model_name=config.model_specs[0].name, eval_config=config
    )
    tfma.run_model_analysis(
        eval_shared_model=model,
        eval_config=config,
        data_location=str(examples / "*"),
        output_path=str(output),
        extractors=custom_extractors(model, config, None),
        pipeline_options=_options(),
    )
    _let_go_of_models()


class _Nothing:
    """An object that Beam can keep in a model's place."""


def _let_go_of_models() -> None:
    """Has the models of TFMA end now.

    Beam keeps the object that was shared last until the process ends. A model that ends then, when half of TensorFlow's
    modules are gone, prints a traceback for each of its functions.
    """
    Shared().acquire(_Nothing)  # what is shared last takes the place of what was before
    gc.collect()  # a model's functions and their graphs hold each other


def _options() -> PipelineOptions:
    return PipelineOptions(BEAM_ARGS)
