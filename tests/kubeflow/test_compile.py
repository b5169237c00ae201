"""What the package says, read back with the pipeline-spec protos: the local pipeline, in the form that a server takes."""

import json
import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import cetnet_keras  # noqa: F401  # before TensorFlow

# isort: split
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as protos

from cetnet_keras.spec import DataSpec, ModelSpec, parse_spec
from kubeflow.cetnet.package import Package
from kubeflow.cetnet.rules import broken_rules
from pipeline.create_pipeline import Job, create_pipeline
from pipeline.gates import Gates

ROOT = Path(__file__).parents[2]
TASKS = {  # by node of the local pipeline
    "ExampleGen": "example-gen",
    "StatisticsGen": "statistics-gen",
    "SpecSchema": "spec-schema",
    "ExampleValidator": "example-validator",
    "DataGate": "data-gate",
    "Transform": "transform",
    "Trainer": "trainer",
    "LatestBlessed": "baseline-resolver",
    "Evaluator": "evaluator",
    "ParityGate": "parity-gate",
    "Pusher": "pusher",
}
OWN = {"data-fingerprint", "baseline-resolver", "register-blessed"}


@pytest.fixture(scope="module")
def document(full_text: str) -> dict[str, Any]:
    """The first document, as it is."""
    found: dict[str, Any] = next(yaml.safe_load_all(full_text))
    return found


@pytest.fixture(scope="module")
def spec(document: dict[str, Any]) -> Any:
    """The first document, strictly as a PipelineSpec."""
    return json_format.ParseDict(document, protos.PipelineSpec())


@pytest.fixture(scope="module")
def containers(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The container of each task."""
    components, executors = document["components"], document["deploymentSpec"]["executors"]
    return {
        name: executors[components[task["componentRef"]["name"]]["executorLabel"]]["container"]
        for name, task in document["root"]["dag"]["tasks"].items()
    }


@pytest.fixture(scope="module")
def nodes(full_folder: Path) -> dict[str, Any]:
    """The nodes of the pipeline that runs here, of the same two specs."""
    texts = [(full_folder / name).read_text(encoding="utf-8") for name in ("data.yaml", "model.yaml")]
    data = (parse_spec(DataSpec, texts[0], "data.yaml"), texts[0], full_folder)
    model = (parse_spec(ModelSpec, texts[1], "model.yaml"), texts[1])
    job = Job.of(data, model, Gates(min_auc=0.61), allow_anomalies=True, max_bad_rows=5)
    return {node.id: node for node in create_pipeline(job, "root", "serving").components}


def test_it_is_a_bare_spec_that_parses_strictly(document: dict[str, Any], spec: Any) -> None:
    assert spec.schema_version == "2.1.0" and spec.pipeline_info.name == "clicks-2"
    assert spec.default_pipeline_root == "s3://bucket/runs"
    assert document["pipelineInfo"]["displayName"] == "Clicks, daily"
    assert document["sdkVersion"].startswith("cetnet-")


def test_executors_parse_strictly_but_for_what_older_protos_lack(document: dict[str, Any]) -> None:
    deployment = deepcopy(document["deploymentSpec"])
    known = protos.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec.DESCRIPTOR.fields_by_name
    for executor in deployment["executors"].values() if "resource_cpu_limit" not in known else ():
        resources = executor["container"]["resources"]
        del resources["resourceCpuLimit"], resources["resourceMemoryLimit"]
        for field in ("resourceType", "resourceCount"):
            resources.get("accelerator", {}).pop(field, None)
    json_format.ParseDict(deployment, protos.PipelineDeploymentConfig())


def test_it_breaks_no_rule(full: Package) -> None:
    assert broken_rules(full) == []


def test_the_tasks_are_the_nodes_of_the_local_pipeline_and_two_more(spec: Any, nodes: dict[str, Any]) -> None:
    assert set(nodes) == set(TASKS)
    assert set(spec.root.dag.tasks) == set(TASKS.values()) | OWN


def test_the_graph_is_that_of_the_local_pipeline(spec: Any, nodes: dict[str, Any]) -> None:
    expected = {TASKS[name]: {TASKS[up.id] for up in node.upstream_nodes} for name, node in nodes.items()}
    expected["example-gen"] = {"data-fingerprint"}
    expected["data-fingerprint"] = set()
    expected["baseline-resolver"] = set()  # what was registered last is the model of another run
    expected["register-blessed"] = {"trainer", "evaluator", "pusher"}
    assert {name: set(task.dependent_tasks) for name, task in spec.root.dag.tasks.items()} == expected


def test_artifacts_flow_as_in_the_local_pipeline(spec: Any, nodes: dict[str, Any]) -> None:
    for name, node in nodes.items():
        expected = {
            key: (TASKS[channel.producer_component_id], channel.output_key)
            for key, channel in node.inputs.items()
            if name != "LatestBlessed"
        }
        given = spec.root.dag.tasks[TASKS[name]].inputs.artifacts
        sources = {key: value.task_output_artifact for key, value in given.items()}
        assert {k: (s.producer_task, s.output_artifact_key) for k, s in sources.items()} == expected


def test_execution_properties_are_those_of_the_local_pipeline(
    document: dict[str, Any], nodes: dict[str, Any]
) -> None:
    """But for paths and those that a run sets."""
    apart = {("example-gen", "input_base"), ("pusher", "push_destination"), ("data-gate", "allow")}
    apart |= {("example-gen", "input_config")}  # the fingerprint hands it on
    compared = 0
    for name, node in nodes.items():
        given = document["root"]["dag"]["tasks"][TASKS[name]].get("inputs", {}).get("parameters", {})
        for key, value in node.exec_properties.items() if name != "LatestBlessed" else ():
            if value is not None and (TASKS[name], key) not in apart:
                text = value if isinstance(value, (str, int)) else json.dumps(value)
                assert given[key]["runtimeValue"]["constant"] == text, (name, key)
                compared += 1
    assert compared > 20
    fingerprint = document["root"]["dag"]["tasks"]["data-fingerprint"]["inputs"]["parameters"]
    patterns = nodes["ExampleGen"].exec_properties["input_config"]
    assert fingerprint["input_config"]["runtimeValue"]["constant"] == patterns


def test_every_component_runs_the_entrypoint_in_the_image(
    document: dict[str, Any], containers: dict[str, dict[str, Any]], nodes: dict[str, Any]
) -> None:
    classes = {
        TASKS[name]: node.executor_spec.executor_class
        for name, node in nodes.items()
        if name != "LatestBlessed"
    }
    for name, container in containers.items():
        assert container["image"] == "registry.example/cetnet:7"
        assert container["command"] == ["python", "-m", "pipeline.kubeflow_entrypoint"]
        assert {"name": "TF_USE_LEGACY_KERAS", "value": "1"} in container["env"]
        call, _, beam = " ".join(container["args"]).partition(" -- ")
        of_class, component = "", json.dumps(document["components"][f"comp-{name}"], sort_keys=True)
        if name not in OWN:
            of_class = f" --executor-class {classes[name].__module__}.{classes[name].__qualname__}"
            assert beam == "--runner=FnApiRunner --sdk_container_image=none"
        subcommand = name if name in OWN else "component"
        start, _, stated = call.partition(" --component-spec ")
        assert start == f"{subcommand}{of_class} --executor-input {{{{$}}}}"
        assert json.loads(stated) == json.loads(component)


def test_no_executor_is_a_resolver_or_has_a_hook(document: dict[str, Any]) -> None:
    for executor in document["deploymentSpec"]["executors"].values():
        assert set(executor) == {"container"} and "lifecycle" not in executor["container"]


def test_our_own_tasks_are_never_cached_and_the_others_may_be(spec: Any) -> None:
    cached = {name for name, task in spec.root.dag.tasks.items() if task.caching_options.enable_cache}
    assert cached == set(spec.root.dag.tasks) - OWN


def test_changed_files_reach_the_key_that_ingestion_is_cached_by(spec: Any) -> None:
    given = spec.root.dag.tasks["example-gen"].inputs.parameters
    found = {
        key: value.task_output_parameter.output_parameter_key
        for key, value in given.items()
        if value.task_output_parameter.producer_task == "data-fingerprint"
    }
    assert found == {name: name for name in ("fingerprint", "input_config", "span", "version")}
    assert set(spec.components["comp-data-fingerprint"].output_definitions.parameters) == set(found)


def test_the_parameters_have_the_compiled_values_as_defaults_and_reach_their_tasks(
    document: dict[str, Any], spec: Any
) -> None:
    kinds = protos.ParameterType.ParameterTypeEnum
    found = spec.root.input_definitions.parameters
    stated = {name: (kinds.Name(p.parameter_type), p.default_value) for name, p in found.items()}
    assert {name: (kind, json_format.MessageToDict(value)) for name, (kind, value) in stated.items()} == {
        "data_root": ("STRING", "/rows/clicks"),
        "allow_anomalies": ("NUMBER_INTEGER", 1),
        "max_bad_rows": ("NUMBER_INTEGER", 5),
        "batch_size": ("NUMBER_INTEGER", 1024),
        "epochs": ("NUMBER_INTEGER", 3),
        "learning_rate": ("NUMBER_DOUBLE", 0.01),
        "seed": ("NUMBER_INTEGER", 42),
    }
    assert all(parameter.is_optional and parameter.description for parameter in found.values())
    reached = {
        (given["componentInputParameter"], name, key)
        for name, task in document["root"]["dag"]["tasks"].items()
        for key, given in task.get("inputs", {}).get("parameters", {}).items()
        if "componentInputParameter" in given
    }
    assert reached == {
        ("data_root", "data-fingerprint", "input_base"),
        ("data_root", "example-gen", "input_base"),
        ("allow_anomalies", "data-gate", "allow"),
        ("max_bad_rows", "example-gen", "rt_max_bad_rows"),
        *((name, "trainer", f"rt_{name}") for name in ("batch_size", "epochs", "learning_rate", "seed")),
    }


def test_the_bounds_are_in_the_evaluator(document: dict[str, Any]) -> None:
    config = document["root"]["dag"]["tasks"]["evaluator"]["inputs"]["parameters"]["eval_config"]
    assert '"lower_bound": 0.61' in config["runtimeValue"]["constant"]


def test_resources_and_retries_are_those_asked_for(
    containers: dict[str, dict[str, Any]], document: dict[str, Any]
) -> None:
    limits = {"cpuLimit": 2.5, "memoryLimit": 12, "resourceCpuLimit": "2.5", "resourceMemoryLimit": "12G"}
    gpu = {"type": "nvidia.com/gpu", "count": "1", "resourceType": "nvidia.com/gpu", "resourceCount": "1"}
    assert containers["transform"]["resources"] == limits
    assert containers["trainer"]["resources"] == limits | {"accelerator": gpu}
    assert containers["pusher"]["resources"]["resourceMemoryLimit"] == "4G"
    tasks = document["root"]["dag"]["tasks"].values()
    assert {task["retryPolicy"]["maxRetryCount"] for task in tasks} == {3}


def test_volumes_and_the_secret_go_to_the_tasks_that_need_them(full: Package) -> None:
    assert full.platform is not None
    found = full.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    mounts = [
        {"constant": "rows", "mountPath": "/rows"},
        {"constant": "models", "mountPath": "/models"},
    ]
    for name in ("data-fingerprint", "example-gen", "pusher"):
        assert found.pop(f"exec-{name}") == {"pvcMount": mounts}
    keys = [
        {"secretKey": "accesskey", "envVar": "AWS_ACCESS_KEY_ID"},
        {"secretKey": "secretkey", "envVar": "AWS_SECRET_ACCESS_KEY"},
    ]
    secret = {"secretAsEnv": [{"secretName": "storage", "keyToEnv": keys}]}
    assert found == {"exec-baseline-resolver": secret, "exec-register-blessed": secret}
    push_to = full.spec["root"]["dag"]["tasks"]["pusher"]["inputs"]["parameters"]["push_destination"]
    destination = json.loads(push_to["runtimeValue"]["constant"])
    assert destination == {"filesystem": {"base_directory": "/models/clicks_2"}}


def test_ids_are_kebab_case_and_tasks_are_called_what_their_keys_say(spec: Any) -> None:
    ids = [*spec.root.dag.tasks, *spec.components, *spec.deployment_spec["executors"]]
    assert len(ids) == 3 * 13
    assert [name for name in ids if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []
    assert all(task.task_info.name == name for name, task in spec.root.dag.tasks.items())


def test_without_options_there_is_one_document_with_sound_defaults(folder: Path, run_compile: Any) -> None:
    from importlib.metadata import version

    result = run_compile(folder)
    assert (result.exit_code, result.stderr) == (0, "")
    text = (folder / "pipeline.yaml").read_text(encoding="utf-8")
    assert "type: logit_mixture" in text  # of the model that has no file
    (only,) = yaml.safe_load_all(text)
    images = {executor["container"]["image"] for executor in only["deploymentSpec"]["executors"].values()}
    assert images == {f"cetnet:{version('cetnet')}"}
    assert only["defaultPipelineRoot"] == "minio://mlpipeline/v2/artifacts"
    assert only["root"]["inputDefinitions"]["parameters"]["data_root"]["defaultValue"] == "/data"
    assert only["pipelineInfo"]["displayName"] == "clicks_2"


def test_another_process_in_another_checkout_makes_the_same_bytes(
    full_text: str, full_folder: Path, every_option: tuple[str, ...], tmp_path: Path
) -> None:
    checkout = tmp_path / "another checkout"
    for floor in ("cetnet_keras", "serving", "pipeline", "kubeflow"):
        shutil.copytree(ROOT / floor, checkout / floor, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data.yaml", "model.yaml"):
        shutil.copy(full_folder / name, tmp_path / name)
    code = (
        "import sys, pipeline, kubeflow.cetnet as ours\n"
        f"assert {str(checkout)!r} in pipeline.__file__ and {str(checkout)!r} in ours.__file__\n"
        "from cetnet_keras.cli import main\n"
        "main(sys.argv[1:])"
    )
    paths = ("--data", "data.yaml", "--model", "model.yaml", "--output", "made/pipeline.yaml")
    done = subprocess.run(
        [sys.executable, "-c", code, "kubeflow", "compile", *paths, *every_option],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(checkout), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = (tmp_path / "made" / "pipeline.yaml").read_bytes()
    assert made == full_text.encode()
    for path in (ROOT, tmp_path, full_folder, Path.home()):
        assert str(path).encode() not in made
