"""A sweep of the benchmark: its models are sound, and what is there is not made again unless it is of something else."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import __main__ as sweep
from benchmarks.quality.__main__ import settings
from benchmarks.quality.data_sets import DATA_SETS, MOVIELENS, DataSet, prepared
from benchmarks.quality.models import WAYS, load_models
from benchmarks.quality.peers import rows as peer_rows
from benchmarks.quality.peers.settings import QUICK_SETS
from benchmarks.quality.run_file import data_digest, is_of, settings_of_run
from benchmarks.transformed_rows import Rows
from cetnet_keras.ensemble_members import default_members, make_member
from cetnet_keras.errors import InputError
from cetnet_keras.input_signature import example_batch
from cetnet_keras.spec import DEFAULT_MODEL, ModelSpec, load_data_spec, load_model_spec, parse_spec
from pipeline.trainer import make_model

MEMBER = {"type": "dcnv2", "embedding_dim": 4}


def test_a_run_of_another_model_or_of_other_rows_is_not_taken_for_this_one(tmp_path: Path) -> None:
    made, other = (
        settings(ModelSpec.model_validate({"members": [MEMBER], "training": {"epochs": n}})) for n in (3, 4)
    )
    path = tmp_path / "1.json"
    path.write_text(json.dumps({"model": made, "data": "today", "code": "of another day"}))
    assert is_of({"model": made, "data": "today"}, path)
    assert not is_of({"model": other, "data": "today"}, path)
    assert not is_of({"model": made, "data": "tomorrow"}, path)
    path.write_text(json.dumps({"model": made}))
    assert not is_of({"model": made, "data": "today"}, path)


SPEC = "name: {}\nlabel: y\nfeatures: {{a: {{type: categorical}}}}\nsplits: {{train: a.csv, eval: b.csv, test: c.csv}}\n"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The spec of a set, `small`, whose rows are prepared in no time: the pipeline's run leaves one file there."""
    spec = tmp_path / "data.yaml"
    spec.write_text(SPEC.format("first"))
    monkeypatch.setitem(DATA_SETS, "small", DataSet("small", spec, spec, lambda source, folder: None))

    def run(command: list[str], cwd: Path, check: bool) -> subprocess.CompletedProcess[str]:
        (cwd / "run").mkdir()
        (cwd / "run" / "metrics.json").write_text((cwd / "data.yaml").read_text())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(Rows, "of", lambda spec, run: (spec, run))
    return spec


def test_rows_are_prepared_anew_where_their_spec_has_changed(small: Path, tmp_path: Path) -> None:
    kept = tmp_path / "rows" / "run" / "metrics.json"
    prepared("small", tmp_path, tmp_path / "rows")
    kept.write_text("made once")
    prepared("small", tmp_path, tmp_path / "rows")
    assert kept.read_text() == "made once"
    small.write_text(SPEC.format("second"))
    spec = prepared("small", tmp_path, tmp_path / "rows")[0]
    assert spec.name == "second" and kept.read_text() == SPEC.format("second")


def test_arrays_for_peers_are_written_anew_where_the_spec_has_changed(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(peer_rows, "SETS", ["small"])
    monkeypatch.setattr(
        peer_rows, "write_rows", lambda rows, folder: written.append(folder.mkdir(exist_ok=True))
    )
    monkeypatch.setattr("sys.argv", ["rows", "--data", str(tmp_path), "--output", str(tmp_path)])
    (tmp_path / "small").mkdir()
    for spec, writings in (("first", 1), ("first", 1), ("second", 2)):
        small.write_text(SPEC.format(spec))
        peer_rows.main()
        assert len(written) == writings
    assert data_digest(tmp_path / "small" / "arrays" / "data.yaml") == data_digest(small)


def test_a_sweep_trains_again_where_the_data_spec_has_changed(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec.model_validate({"members": [MEMBER]})
    trained = []

    def train_once(rows: Any, *of: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        trained.append(rows)
        return {"seed": 1, "model": settings(spec), "train_seconds": 1.0, "eval": {}, "test": {}}, {}

    monkeypatch.setattr(sweep, "train_once", train_once)
    monkeypatch.setattr(sweep, "models_of", lambda name, quick: {"dcn": spec})
    for code, trainings in (("a", 1), ("b", 1)):
        sweep.train_all("small", tmp_path, None, [1], tmp_path / "out", False, code)
        assert len(trained) == trainings, "other sources are no reason to train again"
    small.write_text(SPEC.format("second"))
    sweep.train_all("small", tmp_path, None, [1], tmp_path / "out", False, "c")
    assert len(trained) == 2
    found = json.loads((tmp_path / "out" / "dcn" / "1.json").read_text())
    assert found["data"] == data_digest(small) and found["code"] == "c"
    assert {"dcn": settings_of_run(found)} == sweep.settings_of("small", quick=False)


def test_a_model_that_a_set_does_not_have_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["sweep", "--data", str(tmp_path), "--sets", "frappe_x1", "--models", "finalmlp", "dien"]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit, match="2"):
        sweep.main()
    assert (
        "--models: found dien, expected some of frappe_x1's: default, finalmlp, finalnet"
        in capsys.readouterr().err
    )


def test_a_quick_sweep_trains_a_pair_alone_and_together() -> None:
    known = sweep.models_of(QUICK_SETS[0], quick=True)
    *alone, paper, ours = (known[name] for name in sweep.QUICK_MODELS)
    assert all(model.training.epochs == 1 for model in (*alone, paper, ours))
    assert [member for model in alone for member in model.members or []] == paper.members == ours.members


DATA = load_data_spec(DATA_SETS["frappe_x1"].spec)
OF_SETS = {
    f"{name}-{model}": (data_set.spec, spec)
    for name, data_set in DATA_SETS.items()
    for model, spec in load_models(data_set.models, load_data_spec(data_set.spec)).items()
}


@pytest.mark.parametrize("name", OF_SETS)
def test_its_models_are_sound_on_their_data_spec(name: str) -> None:
    data_spec, model_spec = OF_SETS[name]
    spec = load_data_spec(data_spec)
    made = make_model(spec, dict.fromkeys(spec.owners, 9), model_spec)
    assert len(made.members) == len(model_spec.members or [])


def test_at_each_size_the_ways_differ_in_all_but_embedding_parameters() -> None:
    data_spec, _ = OF_SETS["movielens_100k-dcnv2"]
    spec = load_data_spec(data_spec)
    sizes = dict.fromkeys(spec.owners, 9)
    found = []
    for name in ("dcnv2-stacked-3x", "multi-embedding-3x", "cetnet-3x", "cetnet-paper-3x"):
        model = make_model(spec, sizes, OF_SETS[f"movielens_100k-{name}"][1])
        tables = [v for v in model.trainable_variables if "embeddings" in v.name]
        found.append(sum(v.shape.num_elements() for v in tables))
    assert len(set(found)) == 1


def test_one_embedding_set_is_the_architecture_that_several_are_compared_with() -> None:
    spec = load_data_spec(OF_SETS["movielens_100k-dcnv2-stacked"][0])
    sizes = dict.fromkeys(spec.owners, 9)
    shapes = []
    for name in ("dcnv2-stacked", "multi-embedding"):
        members = OF_SETS[f"movielens_100k-{name}"][1].members or []
        sets = {"sets": 1} if name == "multi-embedding" else {}
        member = make_member(members[0].model_copy(update=sets), "one", spec, sizes)
        member(example_batch(spec))
        shapes.append(sorted(v.shape.as_list() for v in member.trainable_variables))
    assert shapes[0] == shapes[1]


def test_models_of_unknown_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("training: {}\nmembers:\n  dcn: {type: dcnv2}\npair: [dcn, din]\n")
    with pytest.raises(InputError, match=r"models.yaml:4: pair: found the member 'din', expected one of dcn"):
        load_models(path, DATA)


def test_further_ensembles_are_trained_in_the_way_that_their_names_begin_with(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    text = "training: {{}}\nmembers:\n  a: {{type: dcnv2}}\n  b: {{type: din}}\npair: [a, b]\nothers:\n  {}: [a, a]\n"
    for name, way in (("cetnet-paper-twins", "cetnet-paper"), ("cetnet-twins", "cetnet")):
        path.write_text(text.format(name))
        models = load_models(path, DATA)
        twins, pair = models[name], models[way]
        assert (twins.fusion, twins.collaboration) == (pair.fusion, pair.collaboration)
    path.write_text(text.format("twins"))
    with pytest.raises(
        InputError, match=r"models.yaml:7: others.twins: expected a name that begins with one"
    ):
        load_models(path, DATA)


@pytest.mark.parametrize(
    ("members", "others", "line", "where"),
    [
        (("default", "b"), "cetnet-2", 3, "members.default"),
        (("a", "cetnet-paper"), "cetnet-2", 4, "members.cetnet-paper"),
        (("a", "b"), "cetnet", 7, "others.cetnet"),
        (("a", "cetnet-2"), "cetnet-2", 7, "others.cetnet-2"),
    ],
)
def test_no_model_takes_the_name_of_another(
    members: tuple[str, str], others: str, line: int, where: str, tmp_path: Path
) -> None:
    path, (first, second) = tmp_path / "models.yaml", members
    named = f"members:\n  {first}: {{type: dcnv2}}\n  {second}: {{type: din}}\n"
    path.write_text(
        f"training: {{}}\n{named}pair: [{first}, {second}]\nothers:\n  {others}: [{first}, {second}]\n"
    )
    with pytest.raises(
        InputError, match=rf"models.yaml:{line}: {where}: found a name that another model has"
    ):
        load_models(path, DATA)


def test_what_runs_without_a_model_spec_is_measured_on_every_set() -> None:
    ours = ModelSpec.model_validate(WAYS["cetnet"])
    for name, data_set in DATA_SETS.items():
        data, found = load_data_spec(data_set.spec), OF_SETS[f"{name}-default"][1]
        assert found.model_copy(update={"members": None}) == parse_spec(ModelSpec, DEFAULT_MODEL, "default")
        assert found.members == default_members(data)
        assert (found.fusion, found.collaboration) == (ours.fusion, ours.collaboration)


def test_the_recipe_writes_out_what_runs_without_a_model_spec() -> None:
    recipe = load_model_spec(MOVIELENS / "model.yaml")
    assert OF_SETS["movielens_100k-default"][1].model_dump() == recipe.model_dump()


def test_what_is_trained_once_more_differs_in_its_penalty_alone(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    text = "training: {embedding_l2: 0.1}\nmembers:\n  a: {type: dcnv2}\n  b: {type: mlp}\npair: [a, b]\n"
    text += "lazy: [a, cetnet]\n"
    path.write_text(text)
    models = load_models(path, DATA)
    for name in ("a", "cetnet"):
        own, lazy = (models[each].model_dump() for each in (name, f"{name}-lazy"))
        assert lazy["training"] == own["training"] | {"embedding_l2_scope": "lazy"} != own["training"]
        assert lazy | {"training": None} == own | {"training": None}
    path.write_text(text.replace("cetnet]", "cetnot]"))
    with pytest.raises(
        InputError, match=r"models.yaml:6: lazy: found the model 'cetnot', expected one of a, b"
    ):
        load_models(path, DATA)
