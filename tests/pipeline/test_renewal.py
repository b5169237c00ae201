"""What the next run does not take from the cache: a refusal by the parity gate, and a push that is not served by now."""

import shutil
from pathlib import Path
from typing import Any

from pipeline.renewal import renew


def version(folder: Path, number: int) -> Path:
    """A pushed version, as far as its last file."""
    path = folder / str(number)
    path.mkdir()
    (path / "saved_model.pb").touch()
    return path


def test_nothing_is_done_where_nothing_was_run(tmp_path: Path, ledger: Any) -> None:
    renew(tmp_path / "none.sqlite", "clicks")
    assert not (tmp_path / "none.sqlite").exists()
    renew(ledger.database, "clicks")


def test_what_the_parity_gate_refused_is_asked_again_and_what_it_blessed_is_not(ledger: Any) -> None:
    model = ledger.artifact("Model")
    blessings = [ledger.artifact("InfraBlessing", blessed=blessed) for blessed in (1, 0, 1)]
    for blessing in blessings:
        ledger.execution("ParityGate", model, blessing)
    renew(ledger.database, "another")
    assert all(map(ledger.is_live, blessings))
    renew(ledger.database, "clicks")
    assert [ledger.is_live(blessing) for blessing in blessings] == [True, False, True]
    assert ledger.is_live(model)


def test_a_version_that_is_gone_is_pushed_again(tmp_path: Path, ledger: Any) -> None:
    model, destination = ledger.artifact("Model"), version(tmp_path, 1)
    push, refused = ledger.push(model, destination=destination), ledger.push(model, pushed=0)
    renew(ledger.database, "clicks")
    assert ledger.is_live(push)
    shutil.rmtree(destination)
    renew(ledger.database, "clicks")
    assert not ledger.is_live(push) and ledger.is_live(refused)


def test_a_version_behind_one_of_another_model_is_pushed_again(tmp_path: Path, ledger: Any) -> None:
    model, other = ledger.artifact("Model"), ledger.artifact("Model")
    pushes = [
        ledger.push(each, destination=version(tmp_path, n)) for n, each in enumerate((model, other, other))
    ]
    renew(ledger.database, "clicks")
    assert [ledger.is_live(push) for push in pushes] == [False, True, True]
