"""The pipeline, from rows of clicks to a pushed model: one definition for every runner."""

from pathlib import Path
from typing import NamedTuple

from tfx.components import (
    Evaluator,
    ExampleValidator,
    Pusher,
    StatisticsGen,
    Trainer,
    Transform,
)
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2, transform_pb2
from tfx.types import Channel

from cetnet_keras.ensemble_members import default_members, member_names
from cetnet_keras.spec import DataSpec, ModelSpec
from pipeline.baseline import LatestComparableModelStrategy, latest_blessed
from pipeline.code_digest import code_digest
from pipeline.evaluation import EVALUATOR_MODULE, eval_config
from pipeline.gate_components import DataGate, ParityGate
from pipeline.gates import SERVING_BOUNDS, Gates
from pipeline.ingest.component import example_gen
from pipeline.pretrained import pretrained_files
from pipeline.pushed_model import raw_inputs
from pipeline.schema_component import SpecSchema

# Beam's DirectRunner first looks for another runner to download, for 20 s a pipeline, and then falls back to this one.
# An image, which it has no use for, keeps TFX from building a package of itself for each pipeline.
BEAM_ARGS = ["--runner=FnApiRunner", "--sdk_container_image=none"]


class Job(NamedTuple):
    """What one pipeline is made of. The two texts and the digest are exec properties: artifacts are cached by them."""

    spec: DataSpec
    data_text: str
    model_text: str
    members: tuple[str, ...]  # their names, in order
    base: Path  # the folder that the spec's paths are relative to
    vectors: dict[str, str]  # digests of the files of pretrained vectors: another file is another model
    code: str  # digest of the source
    gates: Gates
    allow_anomalies: bool = False
    max_bad_rows: int = 0

    @classmethod
    def of(
        cls,
        data: tuple[DataSpec, str, Path],
        model: tuple[ModelSpec, str],
        gates: Gates,
        allow_anomalies: bool = False,
        max_bad_rows: int = 0,
    ) -> "Job":
        """The job of two sound specs, whichever runner it is for; the code is what is installed here.

        Args:
            data: the data spec, its text, and the folder that its paths are relative to.
            model: the model spec and its text.
            gates: bounds that a model has to keep.
            allow_anomalies: go on where the data contradict the schema.
            max_bad_rows: rows that do not fit, in all files together, that may be left out.
        Raises:
            InputError: a file of pretrained vectors cannot be read.
        """
        (spec, data_text, base), (model_spec, model_text) = data, model
        members = model_spec.members or default_members(spec)
        return cls(
            spec=spec,
            data_text=data_text,
            model_text=model_text,
            members=member_names(members),
            base=base,
            vectors=pretrained_files(spec, base),
            code=code_digest(members),
            gates=gates,
            allow_anomalies=allow_anomalies,
            max_bad_rows=max_bad_rows,
        )


def create_pipeline(
    job: Job, root: str, push_to: str, metadata_config: object = None, baseline: Resolver | None = None
) -> Pipeline:
    """The whole pipeline.

    Args:
        job: what it is made of.
        root: where artifacts go.
        push_to: folder whose children are the pushed versions.
        metadata_config: connection of ML Metadata; none where the runner brings its own.
        baseline: finds the model to compare with; by default the last pushed one that takes the spec's columns.
    Returns:
        a pipeline that any TFX runner takes.
    """
    ingest = example_gen(job.data_text, job.base, job.code, job.max_bad_rows)
    examples = ingest.outputs["examples"]
    statistics = StatisticsGen(examples=examples)
    schema = SpecSchema(data_spec=job.data_text, code=job.code)
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    data_gate = DataGate(
        anomalies=validator.outputs["anomalies"],
        statistics=statistics.outputs["statistics"],
        label=job.spec.label,
        weight=job.spec.weight or "",
        allow=int(job.allow_anomalies),
        code=job.code,
    )
    transform = _transform(job, examples, schema.outputs["schema"])
    transform.add_upstream_node(data_gate)
    trainer = _trainer(job, transform, schema.outputs["schema"])
    model = trainer.outputs["model"]
    baseline = baseline or latest_blessed(
        LatestComparableModelStrategy, model, pipeline=job.spec.name, raw=raw_inputs(job.spec)
    )
    evaluator = Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline.outputs["model"],
        eval_config=eval_config(job.spec, job.members, job.gates),
        example_splits=["test"],
        module_path=EVALUATOR_MODULE,
    )
    parity_gate = ParityGate(
        model=model,
        model_run=trainer.outputs["model_run"],
        examples=examples,
        data_spec=job.data_text,
        gates=job.gates.model_dump_json(include=SERVING_BOUNDS),
        code=job.code,
    )
    pusher = _pusher(model, evaluator, parity_gate, push_to)
    nodes = [ingest, statistics, schema, validator, data_gate, transform, trainer]
    nodes += [baseline, evaluator, parity_gate, pusher]
    return Pipeline(
        pipeline_name=job.spec.name,
        pipeline_root=root,
        components=nodes,
        enable_cache=True,
        metadata_connection_config=metadata_config,
        beam_pipeline_args=BEAM_ARGS,
    )


def _transform(job: Job, examples: Channel, schema: Channel) -> Transform:
    return Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="pipeline.transform.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "eval", "test"]),
        disable_statistics=True,  # StatisticsGen has those of the raw rows
        custom_config={"data_spec": job.data_text, "code": job.code},
    )


def _trainer(job: Job, transform: Transform, schema: Channel) -> Trainer:
    return Trainer(
        run_fn="pipeline.trainer.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
        custom_config={
            "data_spec": job.data_text,
            "model_spec": job.model_text,
            "data_root": str(job.base) if job.vectors else "",  # nothing else is read from there
            "vectors": job.vectors,
            "code": job.code,
        },
    )


def _pusher(model: Channel, evaluator: BaseNode, parity_gate: BaseNode, push_to: str) -> Pusher:
    destination = pusher_pb2.PushDestination.Filesystem(base_directory=push_to)
    return Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=parity_gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(filesystem=destination),
    )
