"""`rank` of every client: one user or several, candidates in every form, in one request or many."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cetnet_keras.errors import InputError
from serving.client import AsyncGrpcClient, AsyncRestClient, BadAnswer, GrpcClient, RestClient
from serving.metadata import ModelMetadata, Signature, TensorInfo
from serving.ranking import rank_features, rank_request
from serving.server import ModelServer

ITEMS = [3, -1, 2, 0, 1]  # as the test model reads -1, nothing is known
ROWS = [{"item": item if item != -1 else None, "title": f"item {item}"} for item in ITEMS]


def ctr(user: str, items: list[int]) -> np.ndarray:
    return 1 / (1 + np.exp(-(len(user) + np.array(items, np.float64))))


@pytest.fixture(params=[RestClient, GrpcClient, AsyncRestClient, AsyncGrpcClient])
def client(request: pytest.FixtureRequest, server: ModelServer, open_client: Callable[..., Any]) -> Any:
    rest = "Rest" in request.param.__name__
    return open_client(request.param, server.rest_target if rest else server.grpc_target, "clicks")


@pytest.mark.parametrize("batch_size", [1, 2, 5, 1024, None])
@pytest.mark.parametrize(
    "candidates",
    [ROWS, {"item": ITEMS}, pd.DataFrame(ROWS), pa.Table.from_pylist(ROWS)],
    ids=["rows", "columns", "frame", "table"],
)
def test_one_user_ranks_candidates_in_every_form(
    client: Any, candidates: Any, batch_size: int | None
) -> None:
    found = client.rank({"user": "ab"}, candidates, batch_size=batch_size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, ctr("ab", ITEMS), rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 7, None])
@pytest.mark.parametrize(
    "users", [[{"user": "ab"}, {"user": ""}, {"user": "c"}], {"user": ["ab", None, "c"]}]
)
@pytest.mark.parametrize(
    "candidates",
    [
        {"item": np.array([ITEMS, ITEMS[::-1], ITEMS])},
        {"item": [ITEMS, ITEMS[::-1], ITEMS]},
        [ROWS, pd.DataFrame(ROWS[::-1]), {"item": ITEMS}],
    ],
    ids=["array", "lists", "tables"],
)
def test_several_users_rank_candidates_of_their_own(
    client: Any, users: Any, candidates: Any, batch_size: int | None
) -> None:
    found = client.rank(users, candidates, batch_size=batch_size)
    wanted = [ctr("ab", ITEMS), ctr("", ITEMS[::-1]), ctr("c", ITEMS)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_no_candidates_give_no_ctr(client: Any) -> None:
    assert client.rank({"user": "a"}, []).shape == (0,)
    assert client.rank({"user": ["a", "b"]}, {"item": np.zeros((2, 0), np.int64)}).shape == (2, 0)


@pytest.mark.parametrize(
    ("context", "candidates", "message"),
    [
        ({"usr": "a"}, ROWS, "the context of signature rank takes user; missing: user, unknown: usr"),
        ({"user": 7}, ROWS, r"input user, row 1: found 7 \(int\), the signature takes string"),
        ({"user": "a"}, [{"item": 1}, {}], "the candidates of signature rank, row 2: item is missing"),
        ({"user": "a"}, [{"item": 1}, {"item": 0.5}], "input item, row 2: found 0.5"),
        ({"user": ["a", "b"]}, {"item": [[1], [1, 2]]}, "item has 1 to 2 values a row; rank has as many"),
        ({"user": ["a", "b"]}, [[{"item": 1}], [{}]], "signature rank, row 2, row 1: item is missing"),
        (
            {"user": ["a", "b"]},
            [ROWS],
            r"takes context \[B\] and candidates \[B,N\]; found user \[2\], item \[1,5\]",
        ),
        (
            {"user": ["a", "b"]},
            pd.DataFrame(ROWS),
            "found DataFrame; for several users give a dict of columns",
        ),
    ],
)
def test_what_cannot_be_ranked_is_one_error(client: Any, context: Any, candidates: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        client.rank(context, candidates)


LISTS = {
    "user": TensorInfo("string", (-1,)),
    "history": TensorInfo("string", (-1, -1)),
    "item": TensorInfo("int64", (-1,)),
    "tags": TensorInfo("string", (-1, -1)),
}
RANK = {
    name: info._replace(shape=(-1, *(info.shape or ())))
    for name, info in LISTS.items()
    if name in ("item", "tags")
}
METADATA = ModelMetadata(
    "m", 1, {"serving_default": Signature(LISTS, {}), "rank": Signature(LISTS | RANK, {})}
)


def test_a_candidates_features_are_those_with_a_dimension_more() -> None:
    context, candidate = rank_features(METADATA)
    assert (list(context), list(candidate)) == (["user", "history"], ["item", "tags"])
    with pytest.raises(InputError, match="model m has no signature rank; it has serving_default"):
        rank_features(METADATA._replace(signatures={"serving_default": Signature(LISTS, {})}))


def test_lists_of_one_user_and_of_candidates_are_filled_up() -> None:
    candidates = [{"item": 1, "tags": ["x"]}, {"item": 2, "tags": None}, {"item": 3, "tags": ["y", "z"]}]
    request = rank_request({"user": "a", "history": ["p", "q"]}, candidates, METADATA)
    assert request.alone and request.context["history"].tolist() == [[b"p", b"q"]]
    assert request.candidate["tags"].tolist() == [[[b"x", b""], [b"", b""], [b"y", b"z"]]]
    several = rank_request({"user": ["a"], "history": [[]]}, [candidates], METADATA)
    assert not several.alone and several.context["history"].shape == (1, 0)
    np.testing.assert_array_equal(several.candidate["tags"], request.candidate["tags"])


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 40), st.booleans())
def test_parts_are_no_larger_than_asked_and_come_together_again(
    users: int, count: int, batch_size: int, alone: bool
) -> None:
    users = 1 if alone else users
    numbers = np.arange(users * count).reshape(users, count)
    names = [f"u{row}" for row in range(users)]
    context = {"user": names[0], "history": []} if alone else {"user": names, "history": [[]] * users}
    tags = np.full((users, count, 1), "t", object)
    items = {"item": numbers, "tags": tags}
    request = rank_request(context, {n: v[0] for n, v in items.items()} if alone else items, METADATA)
    parts = list(request.parts(batch_size))
    assert all(part["item"].size <= max(batch_size, 1) for part in parts)
    assert all(len(part["user"]) == len(part["item"]) for part in parts)
    found = request.joined([{"ctr": part["item"].astype(np.float32)} for part in parts], batch_size)
    np.testing.assert_array_equal(found, numbers[0] if alone else numbers)


def test_an_answer_of_another_shape_is_not_spread_over_the_candidates() -> None:
    request = rank_request({"user": "a", "history": []}, {"item": [1, 2], "tags": [["x"], ["y"]]}, METADATA)
    with pytest.raises(BadAnswer, match=r"signature rank: expected ctr \[1,2\], found ctr \[1,1\]"):
        request.joined([{"ctr": np.zeros((1, 1), np.float32)}], None)
