"""Every recipe on rows made up in the true layout: columns are read as they are meant, and its model learns."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from cetnet_keras import CETNet, LazyAdam
from cetnet_keras.cetnet import example_batch
from cetnet_keras.spec import CategoricalFeature, SequenceFeature, load_data_spec, load_model_spec
from pipeline.ingest.bad_rows import BadRows
from pipeline.ingest.checks import check_files
from pipeline.ingest.files import source_files
from pipeline.ingest.rows import RowReader

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
NUMBERS, IDS = [f"I{i}" for i in range(1, 14)], [f"C{i}" for i in range(1, 27)]
AVAZU = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,"
    "device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)
TAOBAO = (
    "clk,btag_his,cate_his,brand_his,userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,"
    "shopping_level,occupation,new_user_class_level,adgroup_id,cate_id,campaign_id,customer,brand,price,pid,btag"
)
HEADERS = {  # as the publishers have them
    "amazon_electronics": "label,user_id,item_id,cate_id,item_history,cate_history",
    "taobao_ads": TAOBAO,
    "kuaivideo": "timestamp,user_id,item_id,is_click,is_like,is_follow,pos_items,neg_items",
    "criteo_x1": ",".join(["label", *NUMBERS, *IDS]),
    "criteo_x4": ",".join(["Label", *NUMBERS, *IDS]),
    "avazu_x1": ",".join(["label", *(f"feat_{i}" for i in range(1, 23))]),
    "avazu_x4": AVAZU,
    "frappe_x1": "label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city",
}
UNREAD = {"kuaivideo": ["timestamp", "is_like", "is_follow"], "avazu_x4": ["id"]}
FILES = ("train", "valid", "test")
ROWS = 60


def cell(column: str, raw_number: bool, rng: np.random.Generator) -> str:
    """A cell as it looks in the published file of this column."""
    if column in ("label", "Label", "clk", "is_click", "click", "is_like", "is_follow"):
        return str(rng.integers(0, 2))
    if column.endswith(("_history", "_his", "_items")):
        return "^".join(map(str, rng.integers(1, 30, rng.integers(0, 6))))
    if column == "hour" and not raw_number:
        return f"1410{rng.integers(21, 31)}{rng.integers(0, 24):02}"
    if column in NUMBERS:
        return f"{rng.random():.6f}" if raw_number else rng.choice(["", "0", "-1", "17", "40000"])
    if column == "price":
        return f"{rng.exponential(100):.1f}"
    return str(rng.integers(1, 30))


@pytest.fixture(params=sorted(HEADERS))
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a recipe with data in the true layout."""
    name, rng = request.param, np.random.default_rng(0)
    folder = tmp_path / name
    shutil.copytree(RECIPES / name, folder, ignore=shutil.ignore_patterns("data"))
    write_data(folder, HEADERS[name].split(","), rng)
    return folder


def write_data(folder: Path, header: list[str], rng: np.random.Generator, rows: int = ROWS) -> None:
    (folder / "data").mkdir()
    for file in FILES:
        with (folder / "data" / f"{file}.csv").open("w", newline="") as text:
            lines = [
                [cell(column, folder.name == "criteo_x1", rng) for column in header] for _ in range(rows)
            ]
            csv.writer(text).writerows([header, *lines])
    if folder.name == "kuaivideo":
        with h5py.File(folder / "data" / "item_visual_emb_dim64.h5", "w") as file:
            file["key"] = np.arange(1, 30)
            file["value"] = rng.normal(size=(29, 64)).astype(np.float32)


def test_every_recipe_is_here() -> None:
    assert sorted(HEADERS) == sorted(
        path.name for path in RECIPES.iterdir() if path.is_dir() and path.name != "movielens_100k"
    )


def test_its_columns_are_read_as_they_are_meant(recipe: Path) -> None:
    spec = load_data_spec(recipe / "data.yaml")
    assert spec.name == recipe.name
    assert check_files(spec, recipe) == UNREAD.get(recipe.name, [])
    (train,) = (file for file in source_files(spec, recipe) if file.path.endswith("train.csv"))
    read = pa.Table.from_batches(list(RowReader(spec).rows(train, None, BadRows(0))))
    with (recipe / "data" / "train.csv").open(newline="") as text:
        cells = list(csv.DictReader(text))
    assert read.num_rows == len(cells) == ROWS
    for name, feature in spec.features.items():
        if isinstance(feature, CategoricalFeature):
            assert read[name].to_pylist() == [[row[name].encode()] if row[name] else [] for row in cells] or (
                read[name].to_pylist() == [row[name].encode() for row in cells]
            )


def test_its_model_learns_from_its_features(recipe: Path) -> None:
    spec, model_spec = load_data_spec(recipe / "data.yaml"), load_model_spec(recipe / "model.yaml")
    sizes = dict.fromkeys(spec.owners, 9)
    model = CETNet(spec, sizes, model_spec.members, model_spec.collaboration, model_spec.fusion)
    model.compile(LazyAdam(0.001), run_eagerly=True)
    rng, batch = np.random.default_rng(0), {}
    for key, value in example_batch(spec, rows=8).items():
        known = rng.integers(1, 10, value.shape) if value.dtype.is_integer else rng.normal(size=value.shape)
        batch[key] = known.astype(value.dtype.as_numpy_dtype)
    label = np.arange(8) % 2
    losses = [float(model.train_on_batch(batch, label, return_dict=True)["loss"]) for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_histories_pair_with_what_they_are_about(recipe: Path) -> None:
    spec = load_data_spec(recipe / "data.yaml")
    for name in spec.of_type(SequenceFeature):
        owner: Any = spec.features[spec.owner(name)]
        assert owner.role == "candidate" or spec.owner(name) == "btag", name


@pytest.mark.slow
def test_the_one_with_vectors_runs_through_the_whole_pipeline(tmp_path: Path) -> None:
    folder = tmp_path / "kuaivideo"
    shutil.copytree(RECIPES / "kuaivideo", folder, ignore=shutil.ignore_patterns("data"))
    write_data(folder, HEADERS["kuaivideo"].split(","), np.random.default_rng(1), rows=400)
    text = (folder / "model.yaml").read_text().replace("epochs: 100", "epochs: 1")
    (folder / "model.yaml").write_text(text)
    cetnet = Path(sys.executable).with_name("cetnet")
    command = f"{cetnet} run --data data.yaml --model model.yaml --output run --min-auc 0"
    ended = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert set(metrics["members"]) == {"interformer", "dhen"} and metrics["fused"]["rows"] == 400
