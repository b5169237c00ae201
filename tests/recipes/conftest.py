"""Rows made up in the layouts that the publishers of the recipes' data sets have."""

import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

import cetnet_keras  # noqa: F401  # before TensorFlow: it chooses the Keras
from cetnet_keras.spec import FileSplits, load_data_spec

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
NUMBERS, IDS = [f"I{i}" for i in range(1, 14)], [f"C{i}" for i in range(1, 27)]
TAOBAO = (
    "clk,btag_his,cate_his,brand_his,userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,"
    "shopping_level,occupation,new_user_class_level,adgroup_id,cate_id,campaign_id,customer,brand,price,pid,btag"
)
AVAZU = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,"
    "device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)
LAYOUTS = {  # header lines
    "amazon_electronics": "label,user_id,item_id,cate_id,item_history,cate_history",
    "taobao_ads": TAOBAO,
    "kuaivideo": "timestamp,user_id,item_id,is_click,is_like,is_follow,pos_items,neg_items",
    "criteo_x1": ",".join(["label", *NUMBERS, *IDS]),
    "criteo_x4": ",".join(["Label", *NUMBERS, *IDS]),
    "avazu_x1": ",".join(["label", *(f"feat_{i}" for i in range(1, 23))]),
    "avazu_x4": AVAZU,
    "frappe_x1": "label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city",
}
BEHAVIOURS = {  # histories in step with one another
    "amazon_electronics": [["item_history", "cate_history"]],
    "taobao_ads": [["btag_his", "cate_his", "brand_his"]],
    "kuaivideo": [["pos_items"], ["neg_items"]],
}
Row = dict[str, str]


@pytest.fixture(scope="session")
def layouts() -> dict[str, list[str]]:
    """The columns of each data set, as its publisher has them."""
    return {name: header.split(",") for name, header in LAYOUTS.items()}


@pytest.fixture(scope="session")
def made_up() -> Callable[[str, int], list[Row]]:
    """(data set, number) -> rows as they look in its files."""
    return lambda name, count: _made_up(name, np.random.default_rng(0), count)


def _made_up(name: str, rng: np.random.Generator, count: int) -> list[Row]:
    columns = LAYOUTS[name].split(",")
    return [
        {column: _cell(name, column, number, rng) for column in columns} | _histories(name, rng)
        for number in range(count)
    ]


def _cell(name: str, column: str, number: int, rng: np.random.Generator) -> str:
    if column in ("label", "Label", "clk", "is_click", "click", "is_like", "is_follow"):
        return str(rng.integers(0, 2))
    if column in NUMBERS:
        if name == "criteo_x1":
            return f"{rng.random():.6f}"
        return str(rng.choice(["", "-2", "0", "1", "2", "3", "17", "40000"]))
    if name == "criteo_x4":
        return str(rng.choice(["", *(f"{number:08x}" for number in range(0x0E00, 0x0E0C))]))
    special = {
        "hour": f"1410{rng.integers(21, 31)}{rng.integers(0, 24):02}",
        "id": f"1000{number:016}",
        "user_id": str(number % 15 if name == "kuaivideo" else number // 3),
        "timestamp": str(5_000_000 + number // 2),
        "price": f"{rng.lognormal(5):.2f}",
        "pid": str(rng.choice(["430539_1007", "430548_1007"])),
        "btag": "1",
    }
    return special.get(column, str(rng.integers(0, 12)))


def _histories(name: str, rng: np.random.Generator) -> Row:
    """Tokens joined by ^; some histories are empty and some of full length."""
    found = {}
    for columns in BEHAVIOURS.get(name, []):
        length = int(rng.choice([0, 1, 7, 50 if name == "taobao_ads" else 100]))
        for column in columns:
            tokens = rng.integers(1, 5 if column == "btag_his" else 12, length)
            found[column] = "^".join(map(str, tokens))
    return found


@pytest.fixture(scope="session")
def write_csv() -> Callable[[Path, Sequence[Row]], None]:
    """(path, rows) writes rows as CSV."""
    return _write_csv


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def copied() -> Callable[[str, Path], Path]:
    """(recipe, folder) -> the folder, in it a copy of the recipe without its data."""
    return _copied


def _copied(name: str, folder: Path) -> Path:
    shutil.copytree(RECIPES / name, folder, ignore=shutil.ignore_patterns("data"))
    (folder / "data").mkdir()
    return folder


@pytest.fixture(scope="session")
def with_rows() -> Callable[[str, Path, int], Path]:
    """(recipe, folder, rows a file) -> the folder, in it a copy of the recipe and made-up files."""
    return _with_rows


def _with_rows(name: str, folder: Path, count: int) -> Path:
    _copied(name, folder)
    rng = np.random.default_rng(0)
    splits = load_data_spec(folder / "data.yaml").splits
    assert isinstance(splits, FileSplits)
    for file in (splits.train, splits.eval, splits.test):
        if isinstance(file, str):
            _write_csv(folder / file, _made_up(name, rng, count))
    if name == "kuaivideo":  # keys are whole numbers from 0 on, of more videos than the rows have
        with h5py.File(folder / "data" / "item_visual_emb_dim64.h5", "w") as file:
            file["key"], file["value"] = np.arange(40), rng.normal(size=(40, 64)) / 8  # of about unit length
    return folder
