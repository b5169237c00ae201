"""Each rule on a package that breaks it: a rule that nothing can break would guard nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from kubeflow.cetnet.package import Package
from kubeflow.cetnet.rules import RULES, broken_rules

Spoil = Callable[[Package], Any]


def task(package: Package, name: str) -> dict[str, Any]:
    found: dict[str, Any] = package.spec["root"]["dag"]["tasks"][name]
    return found


def given(package: Package, name: str) -> dict[str, Any]:
    found: dict[str, Any] = task(package, name)["inputs"]["parameters"]
    return found


def container(package: Package, name: str) -> dict[str, Any]:
    found: dict[str, Any] = package.spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"]
    return found


def component(package: Package, name: str) -> dict[str, Any]:
    found: dict[str, Any] = package.spec["components"][f"comp-{name}"]
    return found


def root(package: Package) -> dict[str, Any]:
    found: dict[str, Any] = package.spec["root"]["inputDefinitions"]["parameters"]
    return found


def on_platform(package: Package) -> dict[str, Any]:
    assert package.platform is not None
    found: dict[str, Any] = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return found


def moved(mapping: dict[str, Any], old: str, new: str) -> None:
    mapping[new] = mapping.pop(old)


def resolver(package: Package) -> None:
    package.spec["deploymentSpec"]["executors"]["exec-pusher"] = {"resolver": {}}


def condition(text: str) -> Spoil:
    return lambda package: task(package, "pusher").update(triggerPolicy={"condition": text})


BREACHES: list[tuple[str, Spoil, str]] = [
    ("strict-proto", lambda p: p.spec.update(runtimeConfig={}), "runtimeConfig"),
    ("strict-proto", lambda p: container(p, "pusher").update(ports=[1]), "ports"),
    ("strict-proto", lambda p: task(p, "pusher").update(retries=1), "retries"),
    ("schema-version", lambda p: p.spec.update(schemaVersion="2.0.0"), "found '2.0.0', expected '2.1.0'"),
    ("root-dag", lambda p: p.spec["root"]["dag"].update(tasks={}), "no task"),
    ("root-dag", lambda p: component(p, "pusher").update(dag={}), "comp-pusher is a DAG"),
    ("references", lambda p: p.spec["components"].pop("comp-pusher"), "component comp-pusher is not there"),
    ("references", lambda p: task(p, "pusher")["componentRef"].clear(), "component None is not there"),
    (
        "references",
        lambda p: p.spec["deploymentSpec"]["executors"].update(more={"container": {}}),
        "executor more is used by nothing",
    ),
    ("pipeline-name", lambda p: p.spec["pipelineInfo"].update(name="Clicks_2"), "found 'Clicks_2'"),
    ("pipeline-name", lambda p: p.spec["pipelineInfo"].clear(), "found ''"),
    ("pipeline-name", lambda p: p.spec["pipelineInfo"].update(name="-clicks"), "found '-clicks'"),
    ("pipeline-root", lambda p: p.spec.update(defaultPipelineRoot="/mnt/runs"), "found '/mnt/runs'"),
    ("kebab-ids", lambda p: moved(p.spec["root"]["dag"]["tasks"], "pusher", "Pusher.v2"), "task 'Pusher.v2'"),
    ("kebab-ids", lambda p: moved(p.spec["root"]["dag"]["tasks"], "pusher", "p" * 129), "at most 128"),
    (
        "task-info",
        lambda p: task(p, "pusher")["taskInfo"].update(name="Pusher"),
        "task pusher: found taskInfo",
    ),
    (
        "producers",
        lambda p: task(p, "pusher")["inputs"]["artifacts"]["model"]["taskOutputArtifact"].update(
            producerTask="nobody"
        ),
        "task pusher: model comes from model of nobody",
    ),
    (
        "producers",
        lambda p: given(p, "example-gen")["span"]["taskOutputParameter"].update(outputParameterKey="spam"),
        "task example-gen: span comes from spam of data-fingerprint",
    ),
    (
        "producers",
        lambda p: task(p, "pusher")["dependentTasks"].remove("trainer"),
        "task pusher takes model from trainer and does not run after it",
    ),
    (
        "producers",
        lambda p: task(p, "pusher")["dependentTasks"].append("nobody"),
        "task pusher runs after nobody, which is not there",
    ),
    (
        "acyclic",
        lambda p: task(p, "data-fingerprint").update(dependentTasks=["example-gen"]),
        "found the circle",
    ),
    ("inputs-given", lambda p: given(p, "data-gate").pop("code"), "task data-gate: input code is not given"),
    (
        "inputs-given",
        lambda p: given(p, "data-gate").update(more={"runtimeValue": {"constant": 1}}),
        "task data-gate: input more is not declared",
    ),
    ("parameter-types", lambda p: root(p)["seed"].pop("parameterType"), "root: seed: found None"),
    ("parameter-types", lambda p: root(p)["seed"].update(type="INT"), "root: seed"),
    (
        "parameter-types",
        lambda p: component(p, "pusher")["inputDefinitions"]["parameters"]["custom_config"].clear(),
        "input of pusher: custom_config: found None",
    ),
    ("parameter-defaults", lambda p: root(p)["seed"].pop("defaultValue"), "seed: found the default None"),
    ("parameter-defaults", lambda p: root(p)["seed"].update(defaultValue=1.5), "seed: found the default 1.5"),
    (
        "parameter-defaults",
        lambda p: root(p)["seed"].update(defaultValue=True),
        "seed: found the default True",
    ),
    (
        "parameter-defaults",
        lambda p: root(p)["seed"].pop("description"),
        "seed: found no isOptional or no desc",
    ),
    ("parameter-defaults", lambda p: root(p)["seed"].pop("isOptional"), "seed: found no isOptional"),
    ("parameter-reach", lambda p: root(p).update(lost=root(p)["seed"]), "lost reaches no task"),
    (
        "parameter-reach",
        lambda p: root(p)["seed"].update(parameterType="NUMBER_DOUBLE"),
        "task trainer: rt_seed: found seed of type NUMBER_DOUBLE, expected NUMBER_INTEGER",
    ),
    ("parameter-reach", lambda p: root(p).pop("seed"), "task trainer: rt_seed: found seed of type None"),
    (
        "constants",
        lambda p: given(p, "data-gate").update(
            code={"runtimeValue": {"constantValue": {"stringValue": "c"}}}
        ),
        "task data-gate: code: found constantValue, expected constant",
    ),
    (
        "constants",
        lambda p: given(p, "data-gate").update(code={"runtimeValue": {"constant": 7}}),
        "task data-gate: code: found 7, expected STRING",
    ),
    (
        "placeholders",
        lambda p: given(p, "data-gate").update(code={"runtimeValue": {"constant": "a {{$.inputs}} b"}}),
        "task data-gate: code: found a placeholder inside a constant",
    ),
    (
        "placeholders",
        lambda p: root(p)["data_root"].update(defaultValue="/{{$.pipeline_job_name}}"),
        "data_root: found a placeholder in the default",
    ),
    (
        "placeholders",
        lambda p: container(p, "pusher")["args"].append("--x={{$.inputs.parameters['nothing']}}"),
        "task pusher: found {{$.inputs.parameters['nothing']}} in its arguments",
    ),
    (
        "iterators",
        lambda p: task(p, "pusher").update(artifactIterator={}),
        "task pusher has an artifactIterator",
    ),
    (
        "conditions",
        condition("inputs.artifacts['_E.blessing'].artifacts[0].metadata['x'] == 1.0"),
        "_E.blessing",
    ),
    (
        "caching",
        lambda p: task(p, "baseline-resolver")["cachingOptions"].update(enableCache=True),
        "is cached",
    ),
    ("retries", lambda p: task(p, "pusher")["retryPolicy"].pop("maxRetryCount"), "task pusher: found"),
    ("executor-kinds", resolver, "exec-pusher: found resolver, expected container or importer"),
    (
        "executor-kinds",
        lambda p: container(p, "pusher").update(lifecycle={}),
        "exec-pusher: found a lifecycle",
    ),
    ("commands", lambda p: container(p, "pusher").pop("image"), "task pusher has no image"),
    ("commands", lambda p: container(p, "pusher")["command"].pop(), "task pusher: found the command"),
    ("commands", lambda p: container(p, "pusher").update(args=[]), "task pusher: found the arguments []"),
    (
        "commands",
        lambda p: component(p, "pusher")["inputDefinitions"]["artifacts"].pop("infra_blessing"),
        "for --component-spec",
    ),
    (
        "commands",
        lambda p: container(p, "pusher")["args"].remove("--executor-class"),
        "names no --executor-class",
    ),
    ("environment", lambda p: container(p, "pusher").pop("env"), "found None for TF_USE_LEGACY_KERAS"),
    ("resources", lambda p: container(p, "pusher").pop("resources"), "task pusher: found no cpuLimit"),
    (
        "resources",
        lambda p: container(p, "pusher")["resources"].update(memoryLimit=5),
        "task pusher: resourceMemoryLimit: found '4G', expected '5G'",
    ),
    (
        "resources",
        lambda p: container(p, "trainer")["resources"]["accelerator"].pop("resourceType"),
        "task trainer: resourceType: found None, expected 'nvidia.com/gpu'",
    ),
    (
        "argument-size",
        lambda p: given(p, "spec-schema").update(data_spec={"runtimeValue": {"constant": "x" * 115_000}}),
        "task spec-schema: its parameters, as the entrypoint gets them,",
    ),
    (
        "argument-size",
        lambda p: container(p, "pusher")["args"].append("x" * 2**17),
        "task pusher: an argument",
    ),
    (
        "platform-labels",
        lambda p: moved(on_platform(p), "exec-pusher", "exec-push"),
        "executor exec-push is not",
    ),
    ("platform-labels", lambda p: p.platform["platforms"].update(borg={}), "found the platforms"),  # type: ignore[index]
    (
        "platform-fields",
        lambda p: on_platform(p)["exec-pusher"].update(initContainers=[]),
        "executor exec-pusher: initContainers is not known",
    ),
    (
        "platform-fields",
        lambda p: on_platform(p)["exec-pusher"]["pvcMount"][0].update(constant="models"),
        "executor exec-pusher: found the claim models twice",
    ),
    (
        "platform-fields",
        lambda p: on_platform(p)["exec-pusher"]["pvcMount"][0].update(mountPath="data"),
        "executor exec-pusher: found the mount",
    ),
    (
        "platform-fields",
        lambda p: on_platform(p)["exec-register-blessed"]["secretAsEnv"][0].pop("secretName"),
        "executor exec-register-blessed: found the secret",
    ),
]


@pytest.mark.parametrize(("rule", "spoil", "words"), BREACHES)
def test_a_breach_is_told_by_its_rule(full: Package, rule: str, spoil: Spoil, words: str) -> None:
    spoil(full)
    assert any(line.startswith(f"{rule}: ") and words in line for line in broken_rules(full)), broken_rules(
        full
    )


def test_every_rule_has_a_breach_and_an_id_of_its_own() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids)) and set(ids) == {rule for rule, _, _ in BREACHES}
    assert all(rule.check.__doc__ for rule in RULES)


@pytest.mark.parametrize(
    "spoil",
    [
        condition("inputs.artifacts['model_blessing'].artifacts[0].metadata['blessed'] == 1.0"),
        lambda p: container(p, "pusher")["args"].append("--x={{$.inputs.parameters['custom_config']}}"),
        lambda p: given(p, "data-gate").update(
            code={"runtimeValue": {"constant": "{{$.pipeline_job_name}}"}}
        ),
        lambda p: p.spec["pipelineInfo"].update(name="2024-1"),
    ],
)
def test_what_is_allowed_passes(full: Package, spoil: Spoil) -> None:
    spoil(full)
    assert broken_rules(full) == []
