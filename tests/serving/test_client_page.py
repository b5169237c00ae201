"""docs/client.md: its programs and commands run as they stand, against a server of such a shop."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from click.testing import CliRunner

from cetnet_keras.cli import main
from serving.server import ModelServer

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
ROWS = pd.DataFrame(
    {
        "user": ["u1", "u2", None],
        "city": ["city1", "city2", "city3"],
        "item": ["i1", "i2", "i3"],
        "category": ["c1", "c2", "c3"],
        "price": [5.0, None, 2.5],
        "click": [1, 0, 0],
    }
)
SPEC = """
name: shop
label: click
csv: {delimiter: "\\t", columns: [user, city, item, category, price, click]}
splits: {files: day_*.tsv.gz, by: hash, column: user, eval: 0.1, test: 0.1}
features:
  user: {type: categorical, role: context}
  city: {type: categorical, role: context}
  item: {type: categorical, role: candidate}
  category: {type: categorical, role: candidate}
  price: {type: numeric, role: candidate, transform: zscore}
"""


class Shop(tf.Module):
    """ctr = sigmoid(-price / 10 + characters of user and item), a missing price is 0."""

    def serve(self, user: Any, city: Any, item: Any, category: Any, price: Any) -> Any:
        length = tf.strings.length(user) + tf.strings.length(item)
        return {
            "ctr": tf.sigmoid(tf.cast(length, tf.float32) - tf.where(tf.math.is_nan(price), 0.0, price) / 10)
        }

    def explain(self, **row: Any) -> Any:
        ctr = self.serve(**row)["ctr"]
        return {"ctr": ctr, "member_ctr": tf.stack([ctr, ctr], axis=1)}

    def rank(self, user: Any, city: Any, **candidate: Any) -> Any:
        return self.serve(user[:, None], city[:, None], **candidate)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    base, model = tmp_path_factory.mktemp("served") / "shop", Shop()
    types = {
        "user": tf.string,
        "city": tf.string,
        "item": tf.string,
        "category": tf.string,
        "price": tf.float32,
    }
    row = {name: tf.TensorSpec([None], dtype, name) for name, dtype in types.items()}
    rank = row | {n: tf.TensorSpec([None, None], types[n], n) for n in ("item", "category", "price")}
    specs = {
        "serving_default": (model.serve, row),
        "explain": (model.explain, row),
        "rank": (model.rank, rank),
    }
    signatures = {
        name: tf.function(call).get_concrete_function(**spec) for name, (call, spec) in specs.items()
    }
    tf.saved_model.save(model, str(base / "1"), signatures=signatures)
    with ModelServer(base, rest_port=0, grpc_port=0) as running:
        yield running


def blocks(language: str, server: ModelServer) -> list[str]:
    page = PAGE.read_text(encoding="utf-8").replace("localhost:8500", server.grpc_target)
    page = page.replace("localhost:8501", server.rest_target)
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def expected_ctr(length: Any, price: Any) -> np.ndarray:
    return 1 / (1 + np.exp(-(np.array(length) - np.nan_to_num(np.array(price, float)) / 10)))


def test_its_programs_run(
    shop: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ROWS.to_csv("clicks.csv", index=False)
    found: dict[str, Any] = {}
    for program in blocks("python", shop):
        exec(compile(program, PAGE, "exec"), found)
    printed = capsys.readouterr().out
    assert "[0.966" in printed.splitlines()[0] and "[[0.966" in printed.splitlines()[1]
    np.testing.assert_allclose(found["frame"]["ctr"], expected_ctr([4, 4, 2], ROWS["price"]), rtol=1e-6)
    np.testing.assert_allclose(found["items"]["ctr"], expected_ctr(4, [5.0, 8.5, 0]), rtol=1e-6)
    assert found["patient"].status()[0].state == "AVAILABLE"
    found["client"].close()
    found["patient"].close()


def test_its_commands_run(shop: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ROWS.to_csv("items.csv", index=False)
    ROWS.to_parquet("clicks.parquet")
    ROWS.to_csv("day_7.tsv.gz", index=False, header=False, sep="\t")
    Path("data.yaml").write_text(SPEC, encoding="utf-8")
    commands = "".join(blocks("sh", shop)).splitlines()
    answers = [CliRunner().invoke(main, shlex.split(line)[1:]) for line in commands]
    assert [answer.exit_code for answer in answers] == [0, 0, 0], "".join(a.output for a in answers)
    ranked = answers[0]
    assert [line.split(",")[2] for line in ranked.stdout.splitlines()] == ["item", "i2", "i3", "i1"]
    np.testing.assert_allclose(
        pd.read_parquet("scored.parquet")["ctr"], expected_ctr([4, 4, 2], ROWS["price"]), rtol=1e-6
    )
    day = pd.read_csv("scored.tsv.gz", sep="\t")
    assert day.columns.tolist() == [*ROWS.columns, "ctr"]
    np.testing.assert_allclose(day["ctr"], expected_ctr([4, 4, 2], ROWS["price"]), rtol=1e-6)
