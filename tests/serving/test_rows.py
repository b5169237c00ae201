"""Columns of predictions are called after the members where the model tells them."""

import io
from pathlib import Path

import pytest

from cetnet_keras.errors import InputError
from cetnet_keras.spec import CsvFormat
from serving.csv_rows import CsvRows
from serving.metadata import TensorInfo
from serving.model import Model
from serving.rows import PredictionWriter, RowInputs


@pytest.fixture
def rows(tmp_path: Path) -> CsvRows:
    path = tmp_path / "rows.csv"
    path.write_text("user,item,price\na,1,1\nbc,2,\n")
    return CsvRows(path, CsvFormat())


def test_members_are_found_by_their_values(rows: CsvRows, saved_model: Path) -> None:
    model, out = Model(saved_model), io.StringIO()
    with rows:
        (batch,) = rows.batches(10)
        known = model.metadata().signatures["explain_by_name"]
        inputs = RowInputs(rows.path, rows.columns, known.inputs).arrays(batch)
        PredictionWriter(out, rows).write(batch, model.predict(inputs, "explain_by_name"))
    header = out.getvalue().splitlines()[0].split(",")
    assert header[3:6] == ["ctr", "ctr_din", "ctr_mlp"]
    assert header[6:] == ["fusion_weight_din", "fusion_weight_mlp", "confidence_din", "confidence_mlp"]
    model.close()


def test_a_model_without_ctr_is_refused(rows: CsvRows, saved_model: Path) -> None:
    model = Model(saved_model)
    with rows, pytest.raises(InputError, match="gives id; expected ctr"):
        (batch,) = rows.batches(10)
        PredictionWriter(io.StringIO(), rows).write(batch, model.predict({"key": ["a", "b"]}, "look_up"))
    model.close()


@pytest.mark.parametrize("info", [TensorInfo("string", (-1, -1)), TensorInfo("bool", (-1,))])
def test_an_input_that_no_cell_can_fill_is_refused(rows: CsvRows, info: TensorInfo) -> None:
    with rows, pytest.raises(InputError, match="fill string, float and integer inputs of shape"):
        RowInputs(rows.path, rows.columns, {"user": info})
