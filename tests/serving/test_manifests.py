"""The manifests for a stock TensorFlow Serving: valid by the schemas, in agreement with each other and with a server."""

import copy
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import requests
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.server import ModelServer

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "serving" / "manifests"
KUBERNETES = MANIFESTS / "kubernetes"
NAME = "movielens_100k"
COMPONENTS = ["object_store", "with_model", "batching", "versions"]
RELEASES = ["1.29", "1.37"]  # of Kubernetes: the oldest that all fields are in, and a new one
CUSTOM = yaml.safe_load((Path(__file__).parent / "custom_resources.yaml").read_text(encoding="utf-8"))
MODEL_SERVER = yaml.safe_load((Path(__file__).parent / "model_server.yaml").read_text(encoding="utf-8"))
FLAGS = set(MODEL_SERVER["flags"])
METRICS = {name.removesuffix("_bucket") for name in MODEL_SERVER["metrics"]}


def documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def built(folder: Path) -> list[Any]:
    """What `kubectl apply --kustomize` would send."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def check(document: Any, release: str) -> None:
    """Refuses an unknown or missing key, or a value of the wrong type."""
    schema = CUSTOM.get(document["kind"])
    if schema is None:
        kubernetes_validate.validate(document, release, strict=True)
    else:
        jsonschema.Draft202012Validator(schema).validate(document)


def of_kind(documents: list[Any], kind: str) -> Any:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def flags(arguments: list[str]) -> dict[str, str]:
    """The flags of a command line, each given once and with a value."""
    pairs = [re.fullmatch(r"--(\w+)=(.+)", argument) for argument in arguments]
    assert all(pairs), arguments
    found = {pair[1]: pair[2] for pair in pairs if pair}
    assert len(found) == len(arguments), "a flag is given twice"
    return found


def raw_documents() -> dict[str, Any]:
    files = [*KUBERNETES.glob("*.yaml"), *KUBERNETES.glob("*/fetch.yaml"), *MANIFESTS.glob("kserve/*.yaml")]
    found = {str(file.relative_to(MANIFESTS)): documents(file) for file in files}
    return {name: d[0] for name, d in found.items() if "kind" in d[0] and d[0]["kind"] != "Kustomization"}


RAW = raw_documents()
DEPLOYMENT = RAW["kubernetes/deployment.yaml"]
POD = DEPLOYMENT["spec"]["template"]["spec"]
(SERVER,) = POD["containers"]
(FETCH,) = RAW["kubernetes/object_store/fetch.yaml"]["spec"]["template"]["spec"]["initContainers"]
COMPOSE = documents(MANIFESTS / "compose.yaml")[0]["services"]["server"]
PREDICTOR = RAW["kserve/inference_service.yaml"]["spec"]["predictor"]


def with_defaults(text: str) -> str:
    """Compose's `${NAME:-default}` where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.fixture(scope="module")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The manifests as they are applied: by themselves, with each component, and with all that go together."""
    kserve = MANIFESTS / "kserve"
    found = {"kubernetes": built(KUBERNETES), "kserve": built(kserve)}
    chosen = {name: [KUBERNETES / name] for name in COMPONENTS} | {"standard": [kserve / "standard"]}
    together = [name for name in COMPONENTS if name != "with_model"]  # the model comes in one way
    chosen["all"] = [KUBERNETES / name for name in together]
    for name, components in chosen.items():
        folder = tmp_path_factory.mktemp(name).resolve()
        overlay = {
            "resources": [os.path.relpath(components[0].parent, folder)],
            "components": [os.path.relpath(component, folder) for component in components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        found[name] = built(folder)
    return found


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", [name for name in RAW if not name.endswith("fetch.yaml")])  # a part of one
def test_every_document_is_valid_by_its_schema(name: str, release: str) -> None:
    check(RAW[name], release)


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_applied_is_valid_by_its_schema(overlays: dict[str, list[Any]], release: str) -> None:
    checked = {document["kind"] for found in overlays.values() for document in found}
    for found in overlays.values():
        for document in found:
            check(document, release)
    assert checked == {document["kind"] for document in RAW.values()} | {"ConfigMap"}


@pytest.mark.parametrize("name", ["deployment", "autoscaler", "disruption_budget", "monitor", "alerts"])
def test_a_misspelt_key_is_not_valid(name: str) -> None:
    wrong = copy.deepcopy(RAW[f"kubernetes/{name}.yaml"])
    wrong["spec"]["minAvialable"] = 1
    with pytest.raises(jsonschema.ValidationError, match="minAvialable"):
        check(wrong, RELEASES[0])


def test_one_parameter_names_the_model_everywhere(tmp_path: Path) -> None:
    copied = shutil.copytree(MANIFESTS, tmp_path / "manifests")
    path = copied / "kubernetes" / "kustomization.yaml"
    path.write_text(path.read_text().replace(f"MODEL_NAME={NAME}", "MODEL_NAME=shop"))
    overlay = {"resources": ["manifests/kubernetes"], "components": ["manifests/kubernetes/object_store"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    text = yaml.safe_dump_all(built(tmp_path))
    assert NAME not in text and "MODEL_NAME" not in re.sub(r"\$\(MODEL_NAME\)|name: MODEL_NAME", "", text)
    assert text.count("/v1/models/shop/metadata") == 2 and text.count("value: shop") == 2


def test_a_changed_file_replaces_the_pods(overlays: dict[str, list[Any]]) -> None:
    for name, files in {"kubernetes": 1, "versions": 2, "kserve": 1}.items():
        config_maps = [d["metadata"]["name"] for d in overlays[name] if d["kind"] == "ConfigMap"]
        text = yaml.safe_dump_all(d for d in overlays[name] if d["kind"] != "ConfigMap")
        assert len(config_maps) == files
        assert all(re.search(r"-[a-z0-9]{10}$", found) and found in text for found in config_maps)


def test_the_object_store_takes_the_place_of_the_claim(overlays: dict[str, list[Any]]) -> None:
    pod = of_kind(overlays["object_store"], "Deployment")["spec"]["template"]["spec"]
    assert "PersistentVolumeClaim" not in {document["kind"] for document in overlays["object_store"]}
    assert [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume] == []
    (fetch,) = pod["initContainers"]
    assert fetch["volumeMounts"] == [{"name": "models", "mountPath": "/models"}]
    assert fetch["args"][-1] == "/models/$(MODEL_NAME)/$(MODEL_VERSION)"


def test_no_claim_hides_the_model_inside_the_image(overlays: dict[str, list[Any]]) -> None:
    pod = of_kind(overlays["with_model"], "Deployment")["spec"]["template"]["spec"]
    assert "PersistentVolumeClaim" not in {document["kind"] for document in overlays["with_model"]}
    (copied,) = re.findall(r"^COPY .* (/\S+)/$", (MANIFESTS / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert flags(SERVER["args"])["model_base_path"] == copied.replace("{", "(").replace("}", ")")
    (server,) = pod["containers"]
    assert server["volumeMounts"] == [mount for mount in SERVER["volumeMounts"] if mount["name"] != "models"]
    assert {volume["name"] for volume in pod["volumes"]} == {"config", "tmp"}


@pytest.mark.parametrize(
    "arguments",
    [SERVER["args"], COMPOSE["command"], PREDICTOR["model"]["args"]],
    ids=["kubernetes", "compose", "kserve"],
)
def test_every_flag_is_one_of_the_servers(arguments: list[str]) -> None:
    assert set(flags(arguments)) <= FLAGS


def test_components_add_flags_that_the_server_has(overlays: dict[str, list[Any]]) -> None:
    added = flags(of_kind(overlays["all"], "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"])
    assert {"enable_batching", "model_config_file"} <= set(added) <= FLAGS


def test_all_ways_of_running_it_use_the_same_flags() -> None:
    in_pod = flags(SERVER["args"])
    parameters = re.compile(r"\$\{(\w+):-[^}]*\}")
    assert in_pod == {
        key: parameters.sub(r"$(\1)", value) for key, value in flags(COMPOSE["command"]).items()
    }
    cpus = PREDICTOR["model"]["resources"]["limits"]["cpu"]
    shared = flags(PREDICTOR["model"]["args"])
    assert shared == {key: in_pod[key].replace("$(CPUS)", cpus) for key in shared}


def test_the_ports_are_tensorflow_servings() -> None:
    ports = {"grpc": 8500, "http": 8501}
    given = flags(SERVER["args"])
    assert {"grpc": int(given["port"]), "http": int(given["rest_api_port"])} == ports
    assert {port["name"]: port["containerPort"] for port in SERVER["ports"]} == ports
    service = RAW["kubernetes/service.yaml"]["spec"]["ports"]
    assert {port["targetPort"]: port["port"] for port in service} == ports
    assert [with_defaults(port) for port in COMPOSE["ports"]] == [
        "127.0.0.1:8500:8500",
        "127.0.0.1:8501:8501",
    ]


@pytest.fixture(scope="module")
def movielens(tmp_path_factory: pytest.TempPathFactory, saved_model: Path) -> Iterator[ModelServer]:
    """A server whose model has the manifests' name."""
    base = tmp_path_factory.mktemp("served") / NAME
    shutil.copytree(saved_model, base / "1")
    with ModelServer(base, rest_port=0, grpc_port=0) as running:
        yield running


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe"])
def test_a_probe_is_answered_while_the_model_is_there(movielens: ModelServer, probe: str) -> None:
    path = SERVER[probe]["httpGet"]["path"]
    assert SERVER[probe]["httpGet"]["port"] == "http"
    for name, status in {NAME: 200, "unloaded": 404}.items():
        answer = requests.get(f"http://{movielens.rest_target}{path.replace('MODEL_NAME', name)}", timeout=30)
        assert answer.status_code == status


@pytest.mark.parametrize(("name", "code"), [(NAME, 0), ("unloaded", 1)])
def test_composes_health_check_asks_the_server(movielens: ModelServer, name: str, code: int) -> None:
    kind, *command = COMPOSE["healthcheck"]["test"]
    port = movielens.rest_target.rpartition(":")[2]
    command = [word.replace("8501", port).replace("$$", "$") for word in command]
    done = subprocess.run(command, env=os.environ | {"MODEL_NAME": name}, timeout=60, check=False)
    assert (kind, done.returncode) == ("CMD", code)


def test_composes_own_parser_takes_the_file() -> None:
    found = next((path for path in map(shutil.which, ["docker-compose", "docker"]) if path), None)
    command = [str(found), *(["compose"] if found and Path(found).name == "docker" else [])]
    if found is None or subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    command += [
        "--file",
        str(MANIFESTS / "compose.yaml"),
        "--profile",
        "monitoring",
        "config",
        "--format",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(yaml.safe_load(done.stdout)["services"]) == {"server", "prometheus"}


def test_a_pod_that_goes_outlives_its_connections() -> None:
    options = dict(o.split("=") for o in flags(SERVER["args"])["grpc_channel_arguments"].split(","))
    age = int(options["grpc.max_connection_age_ms"]) * 1.1  # gRPC spreads it by a tenth
    seconds = (age + int(options["grpc.max_connection_age_grace_ms"])) / 1000
    program, waits = SERVER["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep" and seconds <= int(waits) < POD["terminationGracePeriodSeconds"]
    assert int(flags(SERVER["args"])["rest_api_timeout_in_ms"]) / 1000 <= int(waits)


def test_kserves_pods_without_a_proxy_go_as_the_deployments_do(overlays: dict[str, list[Any]]) -> None:
    predictor = of_kind(overlays["standard"], "InferenceService")["spec"]["predictor"]
    assert predictor["model"]["lifecycle"] == SERVER["lifecycle"]
    assert predictor["terminationGracePeriodSeconds"] == POD["terminationGracePeriodSeconds"]
    added = set(predictor["model"]["args"]) - set(PREDICTOR["model"]["args"])
    assert len(added) == 1 and added < set(SERVER["args"])
    assert "grpc_channel_arguments" in flags(predictor["model"]["args"])
    refused = {"lifecycle", "terminationGracePeriodSeconds"}  # by Knative, which serves without the component
    assert not refused & (set(PREDICTOR) | set(PREDICTOR["model"]))


def test_a_rollout_never_takes_a_pod_away_first() -> None:
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert RAW["kubernetes/autoscaler.yaml"]["spec"]["minReplicas"] >= 2
    assert "replicas" not in DEPLOYMENT["spec"]  # each apply would undo what the autoscaler decided


@pytest.mark.parametrize("container", [SERVER, FETCH], ids=["server", "fetch"])
def test_no_container_can_more_than_it_needs(container: dict[str, Any]) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["securityContext"]["runAsNonRoot"] and not POD["automountServiceAccountToken"]
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_the_image_does_not_run_as_root() -> None:
    user = re.findall(r"^USER (\d+):\d+$", (MANIFESTS / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert user == [str(POD["securityContext"]["runAsUser"])]
    assert COMPOSE["read_only"] and COMPOSE["cap_drop"] == ["ALL"]


def test_every_image_has_a_fixed_release() -> None:
    (base,) = re.findall(r"^FROM (\S+:\S+)", (MANIFESTS / "Dockerfile").read_text(), flags=re.MULTILINE)
    release = base.partition(":")[2]
    texts = {path: path.read_text() for path in MANIFESTS.rglob("*.yaml")}
    images = [
        with_defaults(i) for t in texts.values() for i in re.findall(r"^\s+image: (\S+)", t, re.MULTILINE)
    ]
    unpinned = [image for image in images if not re.search(r":v?\d+\.\d+\.\d+$", image)]
    assert unpinned == ["cetnet-serving"]  # which the kustomization names
    (named,) = documents(KUBERNETES / "kustomization.yaml")[0]["images"]
    assert {named["newTag"], PREDICTOR["model"]["runtimeVersion"]} == {release}
    assert with_defaults(COMPOSE["image"]) == f"{named['name']}:{release}"


def parsed(path: Path, name: str) -> Any:
    """A text file as a message of the server that the stock stubs lack."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", syntax="proto3")
    describe(file.message_type.add(name=name), MODEL_SERVER["messages"][name], f".{name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):  # protobuf 4.22 and later
        message = message_factory.GetMessageClass(descriptor)()
    else:
        factory: Any = message_factory.MessageFactory(pool)
        message = factory.GetPrototype(descriptor)()
    return text_format.Parse(path.read_text(encoding="utf-8"), message)


def describe(message: Any, fields: dict[str, Any], name: str) -> None:
    for number, (field, kind) in enumerate(fields.items(), 1):  # a text has no numbers: any will do
        added = message.field.add(name=field, number=number, label="LABEL_OPTIONAL")
        if isinstance(kind, str):
            added.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        else:
            nested = message.nested_type.add(name=f"In_{field}")
            added.type, added.type_name = 11, f"{name}.{nested.name}"  # a message
            describe(nested, kind, added.type_name)


def test_the_monitoring_file_turns_metrics_on_at_the_path_that_is_scraped() -> None:
    config = parsed(MANIFESTS / "config" / "monitoring.config", "MonitoringConfig")
    assert config.prometheus_config.enable
    path = config.prometheus_config.path
    (endpoint,) = RAW["kubernetes/monitor.yaml"]["spec"]["podMetricsEndpoints"]
    (scraped,) = documents(MANIFESTS / "prometheus.yaml")[0]["scrape_configs"]
    annotations = RAW["kserve/inference_service.yaml"]["metadata"]["annotations"]
    assert [endpoint["path"], scraped["metrics_path"], annotations["prometheus.kserve.io/path"]] == [path] * 3


def test_the_batching_file_suits_the_container() -> None:
    config = parsed(MANIFESTS / "config" / "batching.config", "BatchingParameters")
    assert config.num_batch_threads.value == int(SERVER["resources"]["limits"]["cpu"])
    assert (
        min(config.max_batch_size.value, config.batch_timeout_micros.value, config.max_enqueued_batches.value)
        > 0
    )


def test_the_versions_file_serves_the_model_and_labels_versions_that_it_serves() -> None:
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((KUBERNETES / "versions" / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (NAME, f"/models/{NAME}", "tensorflow")
    assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)
    assert not model.HasField("logging_config")  # the stock server refuses it


def test_the_page_names_what_there_is_and_its_overlays_are_applied(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`--([a-z]+_[a-z_]+|port)`", page))
    assert set(flags(SERVER["args"])) <= named <= FLAGS
    metrics = set(re.findall(r":tensorflow:[a-z_:]+", page))
    assert metrics and {name.removesuffix("_bucket") for name in metrics} <= METRICS
    shutil.copytree(MANIFESTS, tmp_path / "cetnet" / "serving" / "manifests")
    fetched, inside, standard = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "kustomization.yaml").write_text(fetched)
    (fetch,) = of_kind(built(tmp_path), "Deployment")["spec"]["template"]["spec"]["initContainers"]
    values = {variable["name"]: variable["value"] for variable in fetch["env"]}
    assert values == {"BUCKET": "models", "MODEL_NAME": NAME, "MODEL_VERSION": "1795883400"}
    check(of_kind(built(tmp_path), "Deployment"), RELEASES[-1])
    (tmp_path / "kustomization.yaml").write_text(inside)
    pod = of_kind(built(tmp_path), "Deployment")["spec"]["template"]["spec"]
    assert f"docker push {pod['containers'][0]['image']}\n" in page
    assert "models" not in {volume["name"] for volume in pod["volumes"]}
    (tmp_path / "kustomization.yaml").write_text(standard)
    check(of_kind(built(tmp_path), "InferenceService"), RELEASES[-1])
