"""`cetnet kubeflow compile` on what is wrong: one line and exit code 2; an earlier package stays."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def earlier(folder: Path) -> Iterator[Path]:
    """A folder with a package that must survive."""
    package = folder / "pipeline.yaml"
    package.write_text("an earlier package\n", encoding="utf-8")
    yield folder
    assert package.read_text(encoding="utf-8") == "an earlier package\n"


def replaced(folder: Path, old: str, new: str) -> None:
    text = (folder / "data.yaml").read_text(encoding="utf-8")
    assert old in text
    (folder / "data.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")


def refusal(result: Any) -> str:
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("Error: "), result.stderr
    return str(result.stderr)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("group:", "groups:", "data.yaml:3: groups: unknown key"),
        ("vocabulary: item", "vocabulary: itm", "data.yaml:8: features.seen.vocabulary: found 'itm'"),
        ("features:", "features: [", "data.yaml:"),
        ("splits:", "# splits:", "splits: missing"),
        ("label: click", "label: click # {{$.x}}", "data.yaml:2: found '{{$', which Kubeflow replaces"),
    ],
)
def test_a_wrong_data_spec_is_refused(
    earlier: Path, run_compile: Any, old: str, new: str, words: str
) -> None:
    replaced(earlier, old, new)
    assert words in refusal(run_compile(earlier))


def test_a_wrong_model_spec_is_refused(earlier: Path, run_compile: Any) -> None:
    (earlier / "model.yaml").write_text("members: [{type: dinn}]\n", encoding="utf-8")
    assert "model.yaml:1: members.0.type" in refusal(run_compile(earlier))


def test_a_spec_that_is_not_there_is_refused(earlier: Path, run_compile: Any) -> None:
    (earlier / "data.yaml").unlink()
    assert "data.yaml: cannot be read" in refusal(run_compile(earlier))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("data.yaml/pipeline.yaml", "cannot be made"),
        (".", "found a folder, expected a file to write"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(
    earlier: Path, run_compile: Any, output: str, words: str
) -> None:
    error = refusal(run_compile(earlier, "--output", str(earlier / output)))
    assert words in error and "name another --output" in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--push-to", "/models"], "--push-to /models is on no volume"),
        (["--push-to", "/models", "--pvc", "m:/mod"], "add --pvc CLAIM:/models"),
        (["--pvc", "rows"], "found '', expected an absolute path in the pods"),
        (["--pvc", "rows:/"], "found '/', expected an absolute path in the pods"),
        (["--pvc", "Rows:/data"], "found 'Rows', expected a claim's name"),
        (["--pvc", "team.rows:/data"], "found 'team.rows', expected a claim's name"),
        (["--pvc", "a:/data", "--pvc", "a:/models"], "found the claim a in two --pvc"),
        (["--pvc", "a:/data", "--pvc", "b:/data"], "found the path /data in two --pvc"),
        (["--data-root", "data"], "expected an absolute path in the pods"),
        (["--data-root", "/data/../rows"], "expected an absolute path in the pods"),
        (["--data-root", "/data/*"], "expected an absolute path in the pods"),
        (["--pipeline-root", "/mnt/runs"], "there are no file roots"),
        (["--pipeline-root", "s3://"], "expected a bucket's address"),
        (["--pipeline-root", "s3://bucket/{{$.pipeline_job_name}}"], "expected a bucket's address"),
        (["--image", "cet net"], "expected an image's name"),
        (["--image", ""], "expected an image's name"),
        (["--storage-secret", "My Secret"], "expected a secret's name"),
        (["--accelerator-type", "gpu"], "expected a resource's name"),
        (["--cpu", "nan"], "found 'nan', expected a finite number"),
        (["--memory", "inf"], "found 'inf', expected a finite number"),
        (["--min-auc", "nan"], "found 'nan', expected a finite number"),
        (["--max-bad-rows", "-1"], "-1 is not in the range x>=0"),
        (["--target", "vertex"], "'vertex' is not 'kfp'"),
    ],
)
def test_a_wrong_option_is_refused(earlier: Path, run_compile: Any, options: list[str], words: str) -> None:
    result = run_compile(earlier, *options)
    assert result.exit_code == 2 and words in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--image", "registry.example:5000/team/cetnet:0.1.0-rc.1"),
        ("--image", f"ghcr.io/team/cetnet@sha256:{'0a' * 32}"),
        ("--pipeline-root", "gs://team.bucket/runs/daily=1"),
        ("--data-root", "/data/2024-01/.cache/a_b..c"),
        ("--storage-secret", "storage.team-1"),
        ("--accelerator-type", "amd.com/gpu"),
    ],
)
def test_what_kubernetes_takes_is_taken(folder: Path, run_compile: Any, option: str, value: str) -> None:
    result = run_compile(folder, option, value)
    assert (result.exit_code, result.stderr) == (0, "")


def test_specs_that_are_too_long_are_refused_and_the_task_is_named(earlier: Path, run_compile: Any) -> None:
    with (earlier / "data.yaml").open("a", encoding="utf-8") as file:
        file.write("# a long comment" * 8000)
    error = refusal(run_compile(earlier))
    assert "too long for Kubeflow: argument-size: task " in error and "expected fewer than 131,072" in error


def test_pretrained_vectors_are_read_in_the_pods_from_the_data_root(
    folder: Path, run_compile: Any, read_package: Any
) -> None:
    replaced(folder, "slices:", "  vector: {type: pretrained, of: item, file: v.csv, dimension: 2}\nslices:")
    assert "v.csv: cannot be read" in refusal(run_compile(folder))
    (folder / "v.csv").write_text("item,a,b\n7,0.5,1\n", encoding="utf-8")
    result = run_compile(folder, "--data-root", "/rows/clicks", "--pvc", "rows:/rows")
    assert (result.exit_code, result.stderr) == (0, "")
    package = read_package((folder / "pipeline.yaml").read_text(encoding="utf-8"))
    given = package.spec["root"]["dag"]["tasks"]["trainer"]["inputs"]["parameters"]
    config = json.loads(given["custom_config"]["runtimeValue"]["constant"])
    digest = hashlib.sha256((folder / "v.csv").read_bytes()).hexdigest()
    assert config["vectors"] == {"v.csv": digest} and config["data_root"] == "/rows/clicks"
    assert given["rt_data_root"] == {"componentInputParameter": "data_root"}
    assert package.platform is not None
    mounts = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-trainer"]
    assert mounts == {"pvcMount": [{"constant": "rows", "mountPath": "/rows"}]}


def test_notes_say_what_the_pods_need(folder: Path, run_compile: Any) -> None:
    replaced(folder, "test.csv", "/shared/test.csv")
    result = run_compile(folder, "--data-root", "/rows")
    assert result.exit_code == 0, result.output
    for words in ("/shared/test.csv in the data spec", "no --pvc holds /rows", "no --storage-secret"):
        assert words in result.stdout
    result = run_compile(folder, "--data-root", "/rows/x", "--pvc", "rows:/rows", "--storage-secret", "s")
    assert result.stdout.count("note ") == 2
