"""Vectors from every format of file meet the ids of the vocabulary; what does not fit is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec
from pipeline.pretrained import pretrained_files, pretrained_tables

KEYS, VECTORS = ["b", "007", "7", "unseen"], np.arange(8, dtype=np.float32).reshape(4, 2)
TOKENS = ["7", "a", "b", "007"]  # ids 1 to 4; 5 is out of vocabulary


def write_npz(path: Path) -> None:
    np.savez(path, key=np.array(KEYS), value=VECTORS)


def write_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["key"], file["value"] = np.array(KEYS, "S"), VECTORS


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"item": KEYS, "vector": VECTORS.tolist()}), path)


def write_wide_parquet(path: Path) -> None:
    pq.write_table(pa.table({"item": KEYS, "x": VECTORS[:, 0], "y": VECTORS[:, 1]}), path)


def write_csv(path: Path) -> None:
    rows = [f"{key},{x:g},{y:g}" for key, (x, y) in zip(KEYS, VECTORS, strict=True)]
    path.write_text("\n".join(["item,x,y", *rows]) + "\n")


def spec_of(file: str, item: dict[str, Any] = {}) -> DataSpec:  # noqa: B006  # never changed
    vectors = {"type": "pretrained", "file": file, "dimension": 2}
    features = {
        "item": {"type": "categorical"} | item,
        "seen": {"type": "sequence", "vocabulary": "item"} | ({"dtype": "int64"} if item else {}),
        "text": vectors | {"of": "item"},
        "texts": vectors | {"of": "seen"},
    }
    return DataSpec.model_validate({"name": "small", "label": "y", "features": features})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("v.npz", write_npz),
        ("v.h5", write_h5),
        ("v.parquet", write_parquet),
        ("wide.parquet", write_wide_parquet),
        ("v.csv", write_csv),
    ],
)
def test_every_format_gives_the_vectors_in_the_order_of_ids(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / name)
    tables = pretrained_tables(spec_of(name), tmp_path, {"item": TOKENS}.__getitem__, {"item": 5})
    assert list(tables) == ["text"], "one table for both features of the file"
    expected = [[0, 0], VECTORS[2], [0, 0], VECTORS[0], VECTORS[1], [0, 0]]
    np.testing.assert_array_equal(tables["text"], np.array(expected, np.float32))


def test_whole_numbers_are_the_ids_of_an_identity(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", key=np.array([2, 0]), value=VECTORS[:2])
    spec = spec_of("v.npz", {"identity": 3})
    tables = pretrained_tables(spec, tmp_path, lambda _: ["0", "1", "2"], {"item": 4})
    np.testing.assert_array_equal(tables["text"], [[0, 0], VECTORS[1], [0, 0], VECTORS[0], [0, 0]])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (
            {"key": KEYS, "value": VECTORS[:, :1]},
            r"found an array of shape \[4, 1\], expected 4 vectors of 2",
        ),
        ({"key": KEYS[:3], "value": VECTORS}, r"found an array of shape \[4, 2\], expected 3 vectors of 2"),
        ({"key": ["b", "b"], "value": VECTORS[:2]}, "found 'b' twice, expected each id once"),
        ({"key": ["b"], "value": [[1, np.nan]]}, "found a vector of 'b' that is not finite"),
        (
            {"key": ["x", "y"], "value": VECTORS[:2]},
            "found 'x', which is no value of 'item', nor is any other",
        ),
        ({"key": [0.5], "value": VECTORS[:1]}, "its ids are float64, expected text or whole numbers"),
        ({"keys": ["b"], "value": VECTORS[:1]}, "cannot be read as vectors"),
    ],
)
def test_what_does_not_fit_is_refused(arrays: dict[str, list], says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", **{name: np.array(values) for name, values in arrays.items()})
    with pytest.raises(InputError, match=says) as refused:
        pretrained_tables(spec_of("v.npz"), tmp_path, lambda _: TOKENS, {"item": 5})
    assert str(refused.value).startswith(f"{tmp_path}/v.npz: found") or "cannot be read" in str(refused.value)
    assert "features.text.file" in str(refused.value)


def test_an_id_twice_is_found_among_many(tmp_path: Path) -> None:
    keys = np.array(
        [*map(str, range(500_000)), "499999"]
    )  # an hour, if each were compared with all before it
    np.savez(tmp_path / "v.npz", key=keys, value=np.zeros([len(keys), 2], np.float32))
    with pytest.raises(InputError, match="found '499999' twice, expected each id once"):
        pretrained_tables(spec_of("v.npz"), tmp_path, lambda _: TOKENS, {"item": 5})


def test_a_file_is_known_by_what_is_in_it_and_missed_at_once(tmp_path: Path) -> None:
    write_npz(tmp_path / "v.npz")
    spec, before = spec_of("v.npz"), pretrained_files(spec_of("v.npz"), tmp_path)
    assert list(before) == ["v.npz"]
    np.savez(tmp_path / "v.npz", key=np.array(KEYS), value=VECTORS + 1)
    assert pretrained_files(spec, tmp_path) != before
    with pytest.raises(InputError, match=r"nowhere\.npz: cannot be read \(No such file or directory\)"):
        pretrained_files(spec_of("nowhere.npz"), tmp_path)
    with pytest.raises(InputError, match=r"v\.pkl: found \.pkl, expected \.npz, \.h5, \.parquet, \.csv"):
        pretrained_files(spec_of("v.pkl"), tmp_path)
