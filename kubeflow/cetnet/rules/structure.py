"""Rules about the document as a whole and its names."""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from google.protobuf import json_format

from kubeflow.cetnet.names import KEBAB, LONGEST
from kubeflow.cetnet.package import Package
from kubeflow.cetnet.steps import executors, root_tasks

SCHEMA_VERSION = "2.1.0"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # a digit may stand first, as no task may have it
ROOTS = ("gs://", "s3://", "minio://")
# of a container's resources: what the protos of kfp-pipeline-spec below 2.6 lack, and backends from 2.4 on read
_NEWER = ("resourceCpuLimit", "resourceMemoryLimit", "resourceCpuRequest", "resourceMemoryRequest")
_NEWER_OF_ACCELERATOR = ("resourceType", "resourceCount")


def strict_proto(package: Package) -> Iterator[str]:
    """Spec and deployment parse strictly as protos (`v2_template.go`; the server itself reads the deployment leniently)."""
    from kfp.pipeline_spec import pipeline_spec_pb2 as protos

    try:
        json_format.ParseDict(package.spec, protos.PipelineSpec())
        deployment = _without_newer_fields(package.spec.get("deploymentSpec", {}))
        json_format.ParseDict(deployment, protos.PipelineDeploymentConfig())
        if package.platform is not None:
            json_format.ParseDict(package.platform, protos.PlatformSpec())
    except json_format.ParseError as error:
        yield " ".join(str(error).split())


def _without_newer_fields(deployment: dict[str, Any]) -> dict[str, Any]:
    """The deployment without the fields of resources that come in two forms; the rule `resources` compares the forms."""
    deployment = deepcopy(deployment)
    for executor in deployment.get("executors", {}).values():
        resources = executor.get("container", {}).get("resources", {})
        for field in _NEWER:
            resources.pop(field, None)
        for field in _NEWER_OF_ACCELERATOR:
            resources.get("accelerator", {}).pop(field, None)
    return deployment


def schema_version(package: Package) -> Iterator[str]:
    """The schema version is 2.1.0 (`v2_template.go`, every release from 2.0.5 on)."""
    found = package.spec.get("schemaVersion")
    if found != SCHEMA_VERSION:
        yield f"found {found!r}, expected {SCHEMA_VERSION!r}"


def root_dag(package: Package) -> Iterator[str]:
    """There is a root with tasks (`v2_template.go`); none of its components is a DAG, where parameters would not reach."""
    if not root_tasks(package.spec):
        yield "found no task in root.dag, expected at least one"
    for name, component in package.spec.get("components", {}).items():
        if "dag" in component:
            yield f"component {name} is a DAG, expected an executor"


def pipeline_name(package: Package) -> Iterator[str]:
    """The pipeline has a name (`v2_template.go`), of which Kubernetes can make others."""
    found = package.spec.get("pipelineInfo", {}).get("name", "")
    if len(found) > LONGEST or not _NAME.fullmatch(found):
        yield f"found {found!r}, expected at most {LONGEST} of a-z, 0-9 and single -"


def pipeline_root(package: Package) -> Iterator[str]:
    """The root is a bucket: there is no file root and no volume as one (`objectstore/config.go`)."""
    found = package.spec.get("defaultPipelineRoot", ROOTS[-1])
    if not found.startswith(ROOTS):
        yield f"found {found!r}, expected an address that starts with {', '.join(ROOTS)}"


def kebab_ids(package: Package) -> Iterator[str]:
    """Tasks, components and executors have ids that are names in Argo as they stand (argo-workflows#5993, #9670)."""
    kinds = {
        "task": root_tasks(package.spec),
        "component": package.spec.get("components", {}),
        "executor": executors(package.spec),
    }
    for kind, found in kinds.items():
        for name in found:
            if len(name) > LONGEST or not KEBAB.fullmatch(name):
                yield f"{kind} {name!r}, expected kebab-case of at most {LONGEST} characters"


def task_info(package: Package) -> Iterator[str]:
    """A task is called what its key says: backends before 2.14 look producers up by taskInfo.name."""
    for key, task in root_tasks(package.spec).items():
        found = task.get("taskInfo", {}).get("name")
        if found != key:
            yield f"task {key}: found taskInfo.name {found!r}, expected the key"
