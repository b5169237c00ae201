"""Names that Argo takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeflow.cetnet.names import KEBAB, kebab


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ExampleGen", "example-gen"),
        ("LatestBlessed-model-resolver", "latest-blessed-model-resolver"),
        ("latest_blessed_model_resolver", "latest-blessed-model-resolver"),
        ("Trainer.v2", "trainer-v2"),
        ("TFXPusher2Go", "tfx-pusher2-go"),
        ("movielens_100k", "movielens-100k"),
        ("_a__b_", "a-b"),
    ],
)
def test_words_are_kept(name: str, expected: str) -> None:
    assert kebab(name) == expected


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]*", fullmatch=True))
def test_every_id_becomes_a_name_that_stays_itself(name: str) -> None:
    assert KEBAB.fullmatch(kebab(name)) and kebab(kebab(name)) == kebab(name)
