"""From a job to a package: TFX's compiler, then one rewrite after another, then the rules."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
    KubeflowV2DagRunner,
    KubeflowV2DagRunnerConfig,
)

from cetnet_keras.errors import InputError, WorkFailed
from kubeflow.cetnet import own_tasks, passes
from kubeflow.cetnet.names import kebab
from kubeflow.cetnet.options import Options
from kubeflow.cetnet.package import Package
from kubeflow.cetnet.parameters import run_parameters, with_parameters
from kubeflow.cetnet.platform_document import platform_document
from kubeflow.cetnet.rules import broken_rules
from pipeline.baseline import latest_blessed
from pipeline.create_pipeline import Job, create_pipeline
from pipeline.pushed_model import raw_inputs

_SCRATCH = "/tmp/cetnet/serving"  # in the pod: without a volume the artifact `pushed_model` is what stays


def compile_package(job: Job, options: Options) -> Package:
    """Compiles the pipeline that `create_pipeline` makes of the job for open-source Kubeflow Pipelines v2.

    Nothing of this machine is in the package: the job's `base` is not read, `data_root` stands in its place.

    Raises:
        InputError: the specs are too long to be arguments; a file of pretrained vectors cannot be read.
        WorkFailed: what was made breaks another rule; the message names it.
    """
    spec = passes.bare_spec(_compiled_by_tfx(job, options))
    spec = passes.with_kebab_ids(spec)
    spec = own_tasks.with_data_fingerprint(spec, options.image)
    spec = own_tasks.with_baseline_resolver(spec, options.image, raw_inputs(job.spec))
    spec = own_tasks.with_register_blessed(spec, options.image)
    spec = with_parameters(spec, run_parameters(job, options.data_root))
    spec = passes.with_entrypoint(spec, options.image)
    spec = passes.with_caching(spec, never=own_tasks.OWN_TASKS)
    spec = passes.with_retries(spec, options.retries)
    spec = passes.with_resources(spec, options)
    spec = passes.with_header(spec, options, f"cetnet-{version('cetnet')}")
    package = Package(spec, platform_document(options, _mounted_by(job)))
    broken = broken_rules(package)
    if broken and all(line.startswith("argument-size: ") for line in broken):
        raise InputError(f"the specs are too long for Kubeflow: {broken[0]}; shorten them, comments too")
    if broken:
        raise WorkFailed(f"the package would not run: {'; '.join(broken[:3])}")
    return package


def _mounted_by(job: Job) -> tuple[str, ...]:
    """The tasks that read rows or vectors, or write the pushed versions."""
    return (own_tasks.FINGERPRINT, "example-gen", "pusher", *(["trainer"] if job.vectors else []))


def _compiled_by_tfx(job: Job, options: Options) -> dict[str, Any]:
    name = kebab(job.spec.name)  # of the pipeline; what is pushed keeps the name that the spec has
    spec = job.spec.model_copy(update={"name": name})
    push_to = f"{options.push_to or _SCRATCH}/{job.spec.name}"
    pipeline = create_pipeline(
        job._replace(spec=spec, base=Path(options.data_root)),
        options.pipeline_root,
        push_to,
        baseline=latest_blessed(LatestBlessedModelStrategy),  # TFX's compiler knows no other; it is replaced
    )
    config = KubeflowV2DagRunnerConfig(default_image=options.image, use_pipeline_spec_2_1=True)
    compiled: dict[str, Any] = KubeflowV2DagRunner(config).run(pipeline, write_out=False)
    return compiled
