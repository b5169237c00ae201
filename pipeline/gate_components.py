"""The pipeline's own components: each of them can say no, and gives its reason."""
# no `from __future__ import annotations` here: TFX reads the types of a component function, not their names

from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import (
    ExampleAnomalies,
    Examples,
    ExampleStatistics,
    InfraBlessing,
    Model,
    ModelRun,
)

from cetnet_keras.spec import DataSpec, parse_spec
from pipeline.anomalies import refuse_anomalies, refuse_one_class, refuse_without_weight
from pipeline.gates import Gates
from pipeline.parity import check_parity
from pipeline.trainer import OFFLINE_SCORES

SERVED = "served.json"  # in the blessing's folder: what the parity gate measured
REASONS = "reasons"  # custom property of a blessing: why the gate said no, a line each


@component
def DataGate(
    anomalies: InputArtifact[ExampleAnomalies],
    statistics: InputArtifact[ExampleStatistics],
    label: Parameter[str],
    weight: Parameter[str],
    allow: Parameter[int],
    code: Parameter[str],
) -> None:
    """Stops the run where no model should come of the data, unless anomalies are allowed.

    Raises:
        InputError: the data contradict the schema, or no row of a split has a weight. GateRefused: a split of one class.
    """
    splits = artifact_utils.decode_split_names(anomalies.split_names)
    refuse_anomalies({split: Path(anomalies.uri) / f"Split-{split}" for split in splits}, allow=bool(allow))
    if weight:
        refuse_without_weight(Path(statistics.uri), splits, weight)
    refuse_one_class(Path(statistics.uri), splits, label, allow=bool(allow))


@component
def ParityGate(
    model: InputArtifact[Model],
    model_run: InputArtifact[ModelRun],
    examples: InputArtifact[Examples],
    data_spec: Parameter[str],
    gates: Parameter[str],
    code: Parameter[str],
    blessing: OutputArtifact[InfraBlessing],
) -> None:
    """Blesses a model that, served by a fresh process, answers real rows with the values that training computed,
    within the bounds on latency, size and memory."""
    spec = parse_spec(DataSpec, data_spec, "data.yaml")
    served, failures = check_parity(
        spec,
        Gates.model_validate_json(gates),
        Path(model.uri) / "Format-Serving",
        Path(model_run.uri) / OFFLINE_SCORES,
        Path(artifact_utils.get_split_uri([examples], "eval")),
    )
    Path(blessing.uri).mkdir(parents=True, exist_ok=True)
    if served is not None:
        (Path(blessing.uri) / SERVED).write_text(served.model_dump_json(), encoding="utf-8")
    (Path(blessing.uri) / ("INFRA_NOT_BLESSED" if failures else "INFRA_BLESSED")).touch()
    blessing.set_int_custom_property("blessed", int(not failures))
    blessing.set_string_custom_property(REASONS, "\n".join(failures))
