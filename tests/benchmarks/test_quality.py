"""The benchmark's statistics: DeLong's test against a bootstrap, naive ensembles by their formulas, paired tables."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import __main__ as sweep
from benchmarks.quality.__main__ import section, settings
from benchmarks.quality.claims import claims
from benchmarks.quality.data_sets import DATA_SETS, DataSet, prepared
from benchmarks.quality.models import load_models
from benchmarks.quality.paired import Difference, auc_difference, gauc_difference, log_loss_difference
from benchmarks.quality.peers import rows as peer_rows
from benchmarks.quality.record import Record
from benchmarks.quality.results import (
    NAIVE,
    Scores,
    alone,
    compared,
    log_odds,
    naive_ensembles,
    read_runs,
    sigmoid,
)
from benchmarks.quality.run_file import data_digest, is_of, settings_of_run
from benchmarks.quality.tables import MARGIN, OverSeeds, Verdict, over_seeds, verdict
from benchmarks.transformed_rows import Rows
from cetnet_keras.errors import InputError
from cetnet_keras.metrics import auc, group_auc, log_loss
from cetnet_keras.spec import ModelSpec, load_data_spec
from pipeline.groups import NO_GROUP
from pipeline.trainer import make_model


def scored(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and two scores that know something of them."""
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.4).astype(np.float64)
    common = label + rng.normal(size=rows)
    return label, common + 0.5 * rng.normal(size=rows), common + 0.8 * rng.normal(size=rows)


def test_delong_is_the_difference_and_the_error_of_a_bootstrap() -> None:
    label, first, second = scored(0)
    found = auc_difference(label, first, second)
    assert found.value == pytest.approx(auc(label, first) - auc(label, second), abs=1e-12)
    rng, draws = np.random.default_rng(1), []
    for _ in range(1000):
        own = rng.integers(0, len(label), len(label))
        draws.append(auc(label[own], first[own]) - auc(label[own], second[own]))
    assert found.error == pytest.approx(np.std(draws), rel=0.1)


def of_users(seed: int, users: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, two scores, and users of 1 to 20 rows: how often one clicks, and how each model errs, is the user's own."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, 21, users))
    label = (rng.random(len(user)) < rng.beta(1, 2, users)[user]).astype(np.float64)
    own = rng.normal(size=(2, users))[:, user] + rng.normal(size=(2, len(user)))
    return label, label + 0.5 * own[0], label + 0.8 * own[1], user


def test_errors_are_those_of_a_bootstrap_over_users() -> None:
    label, first, second, user = of_users(4)
    both = auc_difference, log_loss_difference
    rows = [np.flatnonzero(user == each) for each in range(user.max() + 1)]
    rng, draws = np.random.default_rng(5), []
    pair = sigmoid(first), sigmoid(second)
    for _ in range(1000):
        own = np.concatenate([rows[each] for each in rng.integers(0, len(rows), len(rows))])
        draws.append([difference(label[own], pair[0][own], pair[1][own]).value for difference in both])
    for difference, expected in zip(both, np.std(draws, axis=0), strict=True):
        found, of_rows = difference(label, *pair, user), difference(label, *pair)
        assert found.error == pytest.approx(expected, rel=0.1)
        assert found.value == of_rows.value and of_rows.error < 0.8 * expected


def test_groups_of_one_row_are_rows() -> None:
    label, first, second = scored(6)
    alone = np.random.default_rng(7).permutation(len(label))
    pair = sigmoid(first), sigmoid(second)
    each = -np.log(np.where(label == 1, pair[0], 1 - pair[0]) / np.where(label == 1, pair[1], 1 - pair[1]))
    for difference in (auc_difference, log_loss_difference):
        assert difference(label, *pair, alone) == pytest.approx(difference(label, *pair), abs=1e-15)
    expected = each.std(ddof=1) / np.sqrt(len(each))
    assert log_loss_difference(label, *pair).error == pytest.approx(expected, rel=1e-9)
    clicked, placements = label == 1, []
    for scores in pair:
        wins = np.sign(scores[clicked][:, None] - scores[~clicked]) / 2 + 0.5  # [clicks, others]
        placements.append((wins.mean(axis=1), wins.mean(axis=0)))
    variance = sum(np.var(one - two, ddof=1) / len(one) for one, two in zip(*placements, strict=True))
    assert auc_difference(label, *pair).error == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_a_model_does_not_differ_from_itself() -> None:
    label, first, _ = scored(2)
    group = np.arange(len(label)) % 40
    differences = (
        auc_difference(label, first, first),
        auc_difference(label, first, first, group),
        gauc_difference(label, first, first, group),
        log_loss_difference(label, sigmoid(first), sigmoid(first)),
    )
    assert all(found == (0.0, 0.0) and found.p == 1 for found in differences)


def test_group_and_loss_differences_are_those_of_the_metrics() -> None:
    label, first, second = scored(3)
    group = np.arange(len(label)) % 40
    expected = group_auc(label, first, group).weighted - group_auc(label, second, group).weighted
    assert gauc_difference(label, first, second, group).value == pytest.approx(expected, abs=1e-12)
    p, q = sigmoid(first), sigmoid(second)
    found = log_loss_difference(label, p, q)
    assert found.value == pytest.approx(log_loss(label, p) - log_loss(label, q), abs=1e-12)
    assert 0 < found.error < 0.1


def test_rows_without_a_group_are_in_no_group_auc_and_independent() -> None:
    label, first, second = scored(4)
    group = np.arange(len(label)) % 40
    known = np.arange(len(label)) >= 100
    none = np.where(known, group, NO_GROUP)
    expected = gauc_difference(label[known], first[known], second[known], group[known])
    assert gauc_difference(label, first, second, none) == expected
    nobody = np.full(len(label), NO_GROUP)
    for difference in (auc_difference, log_loss_difference):
        pair = label, sigmoid(first), sigmoid(second)
        assert difference(*pair, nobody) == difference(*pair), "such rows do not depend on each other"
    whole = Scores({"eval": first, "test": first}, None, {"eval": label, "test": label}, none)
    within = group_auc(label[known], first[known], group[known]).weighted
    assert whole.figures()["raw_gauc"] == pytest.approx(within, abs=1e-12)


FIRST, SECOND = {"type": "dcnv2", "embedding_dim": 4}, {"type": "mlp", "embedding_dim": 4}
MODELS = {
    "dcn": [FIRST],
    "dnn": [SECOND],
    "cetnet": [FIRST | {"name": "a"}, SECOND],
    "other": [FIRST, {"type": "din"}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Runs of four models, two seeds each, and one that was cut off."""
    for place, (name, members) in enumerate(MODELS.items()):
        for seed in (1, 2):
            write_run(tmp_path / name / f"{seed}.json", members, seed, place)
    (tmp_path / "dcn" / "3.npz").write_bytes(b"")
    return tmp_path


def write_run(path: Path, members: list[dict[str, Any]], seed: int, place: int) -> None:
    path.parent.mkdir(exist_ok=True)
    label, first, second = scored(10)
    noise = np.random.default_rng([seed, place]).normal(size=len(label))
    arrays = {}
    for split in ("eval", "test"):
        ctr = sigmoid(2 * ((first, second)[place % 2] + 0.1 * noise) - 1)
        arrays |= {f"{split}/ctr": ctr.astype(np.float32), f"{split}/label": label.astype(np.int8)}
        opinions = [ctr, 1 - ctr] if len(members) > 1 else [ctr]
        arrays[f"{split}/member_ctr"] = np.stack(opinions, axis=1).astype(np.float32)
    np.savez(path.with_suffix(".npz"), **arrays, **{"test/group": np.arange(len(label)) % 20})
    facts = {
        "embedding_parameters": 40 * len(members),
        "parameters": 100,
        "best_evaluation": 3,
        "evaluations": 5,
        "train_seconds": 2.0,
    }
    path.write_text(json.dumps({"seed": seed, "model": {"members": members}, "data": "today"} | facts))


def test_naive_ensembles_are_the_members_alone_put_together(folder: Path) -> None:
    runs = read_runs(folder)
    assert {name: sorted(seeds) for name, seeds in runs.items()} == {name: [1, 2] for name in MODELS}
    assert (
        alone(runs, "cetnet") == ["dcn", "dnn"]
        and alone(runs, "other") is None
        and alone(runs, "dcn") is None
    )
    naive = naive_ensembles(runs)
    assert sorted(naive) == [f"{kind}: dcn + dnn" for kind in sorted(NAIVE)]
    one, two = (runs[name][2].scores.logit["test"] for name in ("dcn", "dnn"))
    np.testing.assert_allclose(naive["naive, log odds: dcn + dnn"].scores[2].logit["test"], (one + two) / 2)
    apart = naive["apart, with disagreement: dcn + dnn"].scores[2]
    assert apart.spread is not None
    np.testing.assert_allclose(apart.spread["test"], np.abs(one - two) / 2)
    mean = (sigmoid(one) + sigmoid(two)) / 2
    np.testing.assert_allclose(
        naive["naive, probabilities: dcn + dnn"].scores[2].logit["test"], log_odds(mean), rtol=1e-9
    )


def settings_of(folder: Path) -> dict[str, Any]:
    return {name: settings_of_run(json.loads((folder / name / "1.json").read_text())) for name in MODELS}


@pytest.fixture
def record(folder: Path) -> Record:
    return Record().with_runs(read_runs(folder), settings_of(folder))


def test_the_error_of_a_difference_does_not_shrink_with_seeds_that_agree() -> None:
    once = Difference(0.2, 0.1)
    assert over_seeds([once, once]) == (*once, 0.0, 2) and over_seeds([once, once]).error == once.error
    apart = over_seeds([Difference(0.0, 0.1), Difference(1.0, 0.1)])
    assert apart == pytest.approx((0.5, 0.1, np.std([0, 1], ddof=1) / np.sqrt(2), 2))
    assert apart.error == pytest.approx(np.sqrt(apart.rows**2 + apart.seeds**2))


def test_the_section_of_a_set_has_every_model_and_claim(record: Record) -> None:
    text = section("small", record)
    assert text.startswith("## small\n") and "| dcn | 1, 2 | 0." in text and "40 / 100 | 3.0 | 2 |" in text
    assert "| (b) | cetnet | naive, log odds: dcn + dnn | 1, 2 | " in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 2, "two tables, none of them ragged"


OWN = {"members": [FIRST], "training": {"epochs": 3, "evaluations_per_epoch": 2}}
PEER = {"members": [FIRST], "training": {"early_stop_patience": 2}, "epochs": 6}


@pytest.mark.parametrize("model", [OWN, PEER], ids=["ours", "peer"])
@pytest.mark.parametrize(("evaluations", "epochs"), [(5, "3.0"), (6, "3.0 †")])
def test_a_training_that_its_limit_of_epochs_ended_is_marked(
    folder: Path, model: dict[str, Any], evaluations: int, epochs: str
) -> None:
    path = folder / "dcn" / "2.json"
    run = json.loads(path.read_text()) | {"model": model, "evaluations": evaluations}
    path.write_text(json.dumps(run))
    record = Record().with_runs(read_runs(folder), settings_of(folder) | {"dcn": settings_of_run(run)})
    (line,) = (each for each in section("small", record).splitlines() if each.startswith("| dcn |"))
    assert line.startswith("| dcn | 2 |") and f"| 40 / 100 | {epochs} | 2 |" in line


def test_comparisons_are_the_differences_of_their_sides(folder: Path, record: Record) -> None:
    runs = read_runs(folder)
    found = {(each.letter, each.first, each.second, each.seed): each for each in record.comparisons}
    best = max(("dcn", "dnn"), key=lambda name: sum(run.eval_auc for run in runs[name].values()))
    one, other = (runs[name][2].scores for name in ("cetnet", best))
    measured = found["a", "cetnet", best, 2].differences
    assert measured == {key: pytest.approx(value, abs=1e-8) for key, value in compared(one, other).items()}
    label, pair = one.label["test"], (one.calibrated(), other.calibrated())
    assert measured["auc"] == pytest.approx(auc_difference(label, *pair, one.group), abs=1e-8)
    losses = log_loss_difference(label, sigmoid(pair[0]), sigmoid(pair[1]), one.group)
    assert measured["log_loss"] == pytest.approx(losses, abs=1e-8)
    second = runs["cetnet"][1].members[1]
    np.testing.assert_allclose(
        sigmoid(second.logit["test"]), 1 - sigmoid(runs["cetnet"][1].scores.logit["test"]), atol=1e-6
    )
    turned_round = [each for each in record.comparisons if (each.letter, each.second) == ("g", "dnn")]
    assert verdict(turned_round).word == "fails"


def test_a_record_outlives_the_runs_that_it_was_made_from(
    folder: Path, record: Record, tmp_path: Path
) -> None:
    known, path = settings_of(folder), tmp_path / "kept" / "small.json"
    record.write(path)
    assert Record.read(path) == record
    assert Record.read(path).with_runs({}, known) == record
    one_seed = {"dcn": {1: read_runs(folder)["dcn"][1]}}
    assert Record.read(path).with_runs(one_seed, known) == record, "one of its runs, measured anew"
    assert Record.read(tmp_path / "none.json") == Record()


def test_a_record_forgets_what_other_settings_gave(folder: Path, record: Record) -> None:
    changed = settings_of(folder)
    changed["dnn"] = changed["dnn"] | {"model": {"members": [SECOND], "training": {"epochs": 9}}}
    left = record.with_runs({}, changed)
    assert {each.name for each in left.trainings} == {"dcn", "cetnet", "other"}, "no ensemble with dnn either"
    assert {(each.first, each.second) for each in left.comparisons} <= {
        ("cetnet", "dcn"),
        ("dcn in cetnet", "dcn"),
    }
    assert left.comparisons


def test_a_record_forgets_what_other_rows_gave(folder: Path, record: Record) -> None:
    today = {name: each | {"data": "tomorrow"} for name, each in settings_of(folder).items()}
    assert record.with_runs({}, today) == record.with_runs(read_runs(folder), today) == Record()


def test_a_run_of_other_rows_is_not_put_beside_those_of_today(folder: Path) -> None:
    known, path = settings_of(folder), folder / "dcn" / "2.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": "yesterday"}))
    arrays = dict(np.load(path.with_suffix(".npz")))
    np.savez(path.with_suffix(".npz"), **{key: array[:300] for key, array in arrays.items()})
    found = Record().with_runs(read_runs(folder), known)
    assert {each.seed for each in found.trainings if "dcn" in each.settings} == {1}
    assert {each.seed for each in found.comparisons if "dcn" in each.settings} == {1}


def test_few_seeds_need_a_larger_difference() -> None:
    assert OverSeeds(0.0, 0.1, 0.0, 3).reach == pytest.approx(0.196, abs=1e-4), (
        "rows alone: the normal quantile"
    )
    assert OverSeeds(0.0, 0.0, 0.1, 3).reach == pytest.approx(0.43027, abs=1e-5), "seeds alone: t of 2"
    # Welch and Satterthwaite: 2 * (0.02 / 0.01) ** 2 = 8 degrees, t of 8
    assert OverSeeds(0.0, 0.1, 0.1, 3).reach == pytest.approx(2.306 * np.sqrt(0.02), abs=1e-4)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
def test_equal_models_get_a_verdict_in_five_of_a_hundred_cases(seeds: int, spread: float) -> None:
    rng, draws = np.random.default_rng(11), 3000
    of_rows = rng.normal(size=(draws, 1))  # the seeds share it
    values = of_rows + spread * rng.normal(size=(draws, seeds))
    found = [over_seeds([Difference(value, 1.0) for value in each]) for each in values]
    words = [Verdict({"auc": each}, or_equal=False).word for each in found]
    assert 0.035 < np.mean([word != "open" for word in words]) < 0.075


def test_one_seed_gives_no_verdict(folder: Path) -> None:
    once = over_seeds([Difference(0.5, 0.1)])
    assert Verdict({"auc": once}, or_equal=False).word == "one seed"
    (folder / "dnn" / "2.json").unlink()
    record = Record().with_runs(read_runs(folder), settings_of(folder))
    (line,) = (each for each in section("small", record).splitlines() if "| dnn in cetnet | dnn |" in each)
    assert line.endswith("| one seed |") and "**" not in line


@pytest.mark.parametrize(
    ("gain", "error", "or_equal", "word"),
    [
        ((3, 0), 0.1, False, "holds"),
        ((3, -3), 0.1, False, "mixed"),
        ((0, -3), 0.1, False, "fails"),
        ((1, 1), 0.1, False, "open"),
        ((1, 1), 0.1, True, "open"),
        ((3, 1), 0.1, True, "open"),
        ((1, -1), MARGIN / 3, True, "holds"),
        ((1, -1), MARGIN / 2, True, "open"),
        ((3, -3), MARGIN / 9, True, "mixed"),
        ((0, -3), MARGIN / 9, True, "fails"),
    ],
)
def test_a_verdict_needs_a_difference_beyond_its_error(
    gain: tuple[float, float], error: float, or_equal: bool, word: str
) -> None:
    """Gains in errors."""
    values = {"auc": gain[0] * error, "log_loss": -gain[1] * error}
    differences = {metric: OverSeeds(value, error, 0.0, 3) for metric, value in values.items()}
    assert Verdict(differences, or_equal).word == word


def test_sides_of_unequal_size_are_no_comparison_at_equal_size(folder: Path) -> None:
    path = folder / "cetnet" / "1.json"
    path.write_text(path.read_text().replace('"embedding_parameters": 80', '"embedding_parameters": 90'))
    with pytest.raises(ValueError, match="should be of one embedding size, found 90, 80"):
        list(claims(read_runs(folder)))


def test_a_run_of_another_model_or_of_other_rows_is_not_taken_for_this_one(tmp_path: Path) -> None:
    made, other = (
        settings(ModelSpec.model_validate({"members": [FIRST], "training": {"epochs": n}})) for n in (3, 4)
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
    spec = ModelSpec.model_validate({"members": [FIRST]})
    trained = []

    def train_once(rows: Any, *of: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        trained.append(rows)
        return {"seed": 1, "model": settings(spec), "train_seconds": 1.0, "test": {}}, {}

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


OF_SETS = {
    f"{name}-{model}": (data_set.spec, spec)
    for name, data_set in DATA_SETS.items()
    for model, spec in load_models(data_set.models).items()
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
    for name in ("dcnv2-3x", "multi-embedding-3x", "cetnet-3x", "cetnet-paper-3x"):
        model = make_model(spec, sizes, OF_SETS[f"movielens_100k-{name}"][1])
        tables = [v for v in model.trainable_variables if "embeddings" in v.name]
        found.append(sum(v.shape.num_elements() for v in tables))
    assert len(set(found)) == 1


def test_copies_are_compared_with_the_multi_embedding_model_of_their_size(folder: Path) -> None:
    for name in ("cetnet-2x", "cetnet-paper-10x", "multi-embedding-2x", "multi-embedding-3x"):
        write_run(folder / name / "1.json", [FIRST, SECOND], 1, 0)
    found = [(claim.letter, claim.first.name, claim.second.name) for claim in claims(read_runs(folder))]
    assert [each for each in found if each[0] == "f"] == [("f", "cetnet-2x", "multi-embedding-2x")]


def test_models_of_unknown_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("training: {}\nmembers:\n  dcn: {type: dcnv2}\npair: [dcn, din]\n")
    with pytest.raises(InputError, match=r"models.yaml:4: pair: found the member 'din', expected one of dcn"):
        load_models(path)
