"""What the benchmark makes of finished runs: naive ensembles by their formulas, a record, tables and verdicts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality.__main__ import section
from benchmarks.quality.claims import claims
from benchmarks.quality.paired import Difference, auc_difference, log_loss_difference
from benchmarks.quality.record import Record
from benchmarks.quality.results import NAIVE, alone, compared, log_odds, naive_ensembles, read_runs, sigmoid
from benchmarks.quality.run_file import settings_of_run
from benchmarks.quality.tables import MARGIN, OverSeeds, Verdict, over_seeds, verdict

FIRST, SECOND = {"type": "dcnv2", "embedding_dim": 4}, {"type": "mlp", "embedding_dim": 4}
MODELS = {
    "dcn": [FIRST],
    "dnn": [SECOND],
    "cetnet": [FIRST | {"name": "a"}, SECOND],
    "other": [FIRST, {"type": "din"}],
}


@pytest.fixture
def write_run(scored: Callable[..., Any]) -> Callable[..., None]:
    """(JSON file, members, seed, place) writes a finished run; what it says of the rows differs with seed and place."""

    def write(path: Path, members: list[dict[str, Any]], seed: int, place: int) -> None:
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

    return write


@pytest.fixture
def folder(tmp_path: Path, write_run: Callable[..., None]) -> Path:
    """Runs of four models, two seeds each, and one that was cut off."""
    for place, (name, members) in enumerate(MODELS.items()):
        for seed in (1, 2):
            write_run(tmp_path / name / f"{seed}.json", members, seed, place)
    (tmp_path / "dcn" / "3.npz").write_bytes(b"")
    return tmp_path


def test_naive_ensembles_are_the_members_alone_put_together(folder: Path) -> None:
    runs = read_runs(folder)
    assert {name: sorted(seeds) for name, seeds in runs.items()} == {name: [1, 2] for name in MODELS}
    assert (
        alone(runs, "cetnet") == ["dcn", "dnn"]
        and alone(runs, "other") is None
        and alone(runs, "dcn") is None
    )
    lazy = json.loads(json.dumps(runs["dnn"][1].found))
    lazy["model"]["training"] = {"embedding_l2_scope": "lazy"}
    runs |= {"dnn-lazy": {1: runs["dnn"][1]._replace(found=lazy)}}
    assert alone(runs, "cetnet") == ["dcn", "dnn"], "of the same penalty"
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
    assert {second for letter, _, second, _ in found if letter == "a"} == {"dcn", "dnn"}
    one, other = (runs[name][2].scores for name in ("cetnet", "dcn"))
    measured = found["a", "cetnet", "dcn", 2].differences
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


def test_copies_are_compared_with_the_multi_embedding_model_and_the_wide_table_of_their_size(
    folder: Path, write_run: Callable[..., None]
) -> None:
    for name in ("cetnet-2x", "cetnet-paper-10x", "multi-embedding-2x", "multi-embedding-3x", "dcnv2-2x"):
        write_run(folder / name / "1.json", [FIRST, SECOND], 1, 0)
    found = [(claim.letter, claim.first.name, claim.second.name) for claim in claims(read_runs(folder))]
    of_size = [second for letter, first, second in found if (letter, first) == ("f", "cetnet-2x")]
    assert sorted(of_size) == ["dcnv2-2x", "multi-embedding-2x"]
    assert not any(letter == "f" and first == "cetnet-paper-10x" for letter, first, _ in found)


def test_ensembles_are_compared_where_their_members_were_not_trained_alone(
    tmp_path: Path, write_run: Callable[..., None]
) -> None:
    for name in ("cetnet-paper", "paper-without-kl", "multi-embedding"):
        write_run(tmp_path / name / "1.json", [FIRST, SECOND], 1, 0)
    found = {(claim.letter, claim.second.name) for claim in claims(read_runs(tmp_path))}
    assert found == {("d", "paper-without-kl"), ("f", "multi-embedding")}


@pytest.mark.parametrize("name", ["cetnet-3", "cetnet-20"])
def test_larger_ensembles_are_compared_with_their_members_apart(
    tmp_path: Path, write_run: Callable[..., None], name: str
) -> None:
    write_run(tmp_path / "first" / "1.json", [FIRST], 1, 0)
    write_run(tmp_path / "second" / "1.json", [SECOND], 1, 0)
    write_run(tmp_path / name / "1.json", [FIRST, SECOND], 1, 0)
    found = {(claim.letter, claim.second.name) for claim in claims(read_runs(tmp_path))}
    naive = {f"{kind}: first + second" for kind in NAIVE}
    assert found == {("a", "first"), ("a", "second"), *(("b", each) for each in naive)}


def test_a_smaller_ensemble_is_compared_with_single_models_of_twice_its_size(
    tmp_path: Path, write_run: Callable[..., None]
) -> None:
    sizes = {"cetnet-small": 80, "equal": 80, "twice": 160, "thrice": 240, "cetnet": 160}
    for name, size in sizes.items():
        path = tmp_path / name / "1.json"
        write_run(path, [FIRST, SECOND] if name.startswith("cetnet") else [FIRST], 1, 0)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"embedding_parameters": size}))
    found = [(c.letter, c.first.name, c.second.name, c.or_equal) for c in claims(read_runs(tmp_path))]
    assert found == [("f", "cetnet-small", "twice", True)]
