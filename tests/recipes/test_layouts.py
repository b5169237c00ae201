"""Every recipe on rows made up in the true layout, and on samples of the real ones where they are at hand.

Every column is read as the pipeline reads it. One column of each kind goes through Transform, since those that are
described alike are transformed alike, and 26 vocabularies take a minute. What comes out is compared with the files' text.
"""

import csv
import gzip
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cetnet_keras  # noqa: F401  # before TensorFlow: it chooses the Keras

# isort: split
import apache_beam as beam
import h5py
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import yaml
from tfx_bsl.public import tfxio

from cetnet_keras import CETNet
from cetnet_keras.input_signature import example_batch
from cetnet_keras.spec import (
    ROW_KEY,
    CategoricalFeature,
    DataSpec,
    FileSplits,
    HoldOut,
    NumericFeature,
    RowSplits,
    SequenceFeature,
    TimestampFeature,
    load_data_spec,
    load_model_spec,
)
from pipeline.create_pipeline import BEAM_ARGS
from pipeline.dataset import transformed_batches
from pipeline.ingest.bad_rows import BadRows
from pipeline.ingest.checks import check_files
from pipeline.ingest.examples import example_columns, write_examples
from pipeline.ingest.files import EVAL, TEST, TRAIN, source_files
from pipeline.ingest.rows import SPLIT, RowReader
from pipeline.ingest.splits import TimeCounts
from pipeline.pretrained import pretrained_tables
from pipeline.schema import schema_of
from pipeline.trainer import optimizer_of
from pipeline.transform import preprocessing_fn, vocabulary_sizes

ROOT = Path(__file__).resolve().parents[2]
RECIPES, SAMPLES = ROOT / "recipes", ROOT.parent / "shared" / "data"
NAMES = sorted(
    path.parent.name for path in RECIPES.glob("*/data.yaml") if path.parent.name != "movielens_100k"
)
UNREAD = {"kuaivideo": ["is_like", "is_follow"], "avazu_x4": ["id"]}
ROWS = 150
Row = dict[str, str]
Columns = dict[str, list[str]]
MadeUp = Callable[[str, int], list[Row]]
WriteCsv = Callable[[Path, list[Row]], None]
Copied = Callable[[str, Path], Path]
WithRows = Callable[[str, Path, int], Path]


def read(spec: DataSpec, folder: Path) -> list[pa.RecordBatch]:
    """The typed rows of the first file of a spec: of train, where there are several."""
    reader, file = RowReader(spec), source_files(spec, folder)[0]
    cuts = None
    if isinstance(spec.splits, RowSplits) and spec.splits.by == "time":
        cuts = TimeCounts.merged(list(reader.times(file, spec.splits.column))).cuts(spec.splits)
    return list(reader.rows(file, cuts, BadRows(0)))


def rows_of(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def one_of_each(spec: DataSpec) -> DataSpec:
    """The spec with the first of those features that are described alike, and those that they are of."""
    first: dict[str, str] = {}
    for name, feature in spec.features.items():
        first.setdefault(feature.model_dump_json(), name)
    kept = {*first.values(), *(spec.owner(name) for name in first.values())}
    kept |= {feature.of for feature in spec.pretrained.values()}
    features = {name: feature for name, feature in spec.features.items() if name in kept}
    return spec.model_copy(update={"features": features, "slices": [[]]})


class Learnt(NamedTuple):
    """A recipe's training rows, as text and as a model is fed them."""

    folder: Path
    spec: DataSpec  # one column of each kind
    rows: list[Row]  # of train, without those held out
    held_out: list[Row]
    graph: tft.TFTransformOutput
    batch: dict[str, np.ndarray]  # all of train, in the order of `rows`

    def vocabulary(self, owner: str) -> list[str]:
        return [token.decode() for token in self.graph.vocabulary_by_name(owner)]


@pytest.fixture(scope="module", params=NAMES)
def recipe(
    request: pytest.FixtureRequest, with_rows: WithRows, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of a recipe with made-up files."""
    return with_rows(request.param, tmp_path_factory.mktemp("recipe") / request.param, ROWS)


@pytest.fixture(scope="module")
def learnt(recipe: Path) -> Learnt:
    """Its training rows, ingested and transformed."""
    spec = one_of_each(load_data_spec(recipe / "data.yaml"))
    splits = [recipe / split for split in ("train", "eval", "test")]
    for split in splits:
        split.mkdir()
    batches = read(spec, recipe)
    write_examples(batches, example_columns(spec), 0, [str(split) for split in splits])
    text = json.dumps(spec.model_dump(mode="json", exclude_unset=True))
    function = partial(preprocessing_fn, custom_config={"data_spec": text})
    source = tfxio.TFExampleRecord(str(splits[0] / "*"), schema=schema_of(spec))
    with beam.Pipeline(argv=BEAM_ARGS) as pipeline, tft_beam.Context(str(recipe / "temporary")):
        data = pipeline | source.BeamSource(), source.TensorAdapterConfig()
        (found, metadata), graph = data | tft_beam.AnalyzeAndTransformDataset(function)
        encoded = found | beam.Map(tft.coders.ExampleProtoCoder(metadata.schema).encode)
        _ = encoded | beam.io.WriteToTFRecord(str(recipe / "rows"), file_name_suffix=".gz")
        _ = graph | tft_beam.WriteTransformFn(str(recipe / "graph"))
    transformed = tft.TFTransformOutput(str(recipe / "graph"))
    (batch,) = transformed_batches([str(recipe / "rows*")], transformed, 10_000)
    order = np.argsort(batch[ROW_KEY])
    held_out = pa.Table.from_batches(batches)[SPLIT].to_numpy() & EVAL > 0
    rows = list(zip(rows_of(recipe / "data" / "train.csv"), held_out, strict=True))
    return Learnt(
        recipe,
        spec,
        [row for row, held in rows if not held],
        [row for row, held in rows if held],
        transformed,
        {key: value.numpy()[order] for key, value in batch.items()},
    )


def tokens_of(spec: DataSpec, name: str, row: Row) -> list[str]:
    """The tokens of a cell, as its column is described in the recipe's README."""
    if isinstance(spec.features[name], SequenceFeature):
        return [token for token in row[name].split("^") if token]
    return [row[name]] if row[name] else []


def test_every_recipe_has_a_layout_and_is_listed(layouts: Columns) -> None:
    assert sorted(layouts) == NAMES
    listed = (RECIPES / "README.md").read_text()
    assert all(f"]({name}/README.md)" in listed for name in [*NAMES, "movielens_100k"])


def assert_read(spec: DataSpec, folder: Path, rows: list[Row]) -> None:
    """Each column of the first file is that of the rows, text to the letter and numbers by value."""
    table = pa.Table.from_batches(read(spec, folder))
    assert table.num_rows == len(rows)
    assert table[spec.label].to_pylist() == [int(row[spec.label]) for row in rows]
    for name in spec.of_type(CategoricalFeature, SequenceFeature, TimestampFeature):
        assert [cell.decode() for cell in table[name].to_pylist()] == [row[name] for row in rows], name
    for name in spec.of_type(NumericFeature):
        found = [math.nan if cell is None else cell for cell in table[name].to_pylist()]
        np.testing.assert_allclose(found, [float(row[name] or "nan") for row in rows], rtol=1e-6)


def test_columns_are_those_of_the_published_files(recipe: Path) -> None:
    spec = load_data_spec(recipe / "data.yaml")
    assert spec.name == recipe.name
    assert check_files(spec, recipe) == UNREAD.get(recipe.name, [])
    assert_read(spec, recipe, rows_of(recipe / "data" / "train.csv"))


def test_ids_are_the_tokens_of_the_rows(learnt: Learnt) -> None:
    spec, sizes = learnt.spec, vocabulary_sizes(learnt.spec, learnt.graph)
    for name in spec.of_type(CategoricalFeature, SequenceFeature):
        owner = spec.owner(name)
        columns = [owner]
        if spec.vocabulary(owner).count == "all":
            columns = [column for column in spec.features if spec.owner(column) == owner]
        seen = Counter(t for row in learnt.rows for column in columns for t in tokens_of(spec, column, row))
        known = {token for token, count in seen.items() if count >= spec.vocabulary(owner).min_count}
        vocabulary = learnt.vocabulary(owner)
        assert known == set(vocabulary), f"{owner}: found {len(vocabulary)} ids, expected {len(known)}"
        assert sizes[owner] == len(known) + 1, "one id for what is out of vocabulary"
        id_of = {token: place for place, token in enumerate(vocabulary, 1)}
        expected = [[id_of.get(t, sizes[owner]) for t in tokens_of(spec, name, row)] for row in learnt.rows]
        ids = np.atleast_2d(learnt.batch[name].T).T.tolist()
        assert [[id for id in row if id] for row in ids] == expected, name


def test_what_histories_often_hold_has_an_id(learnt: Learnt) -> None:
    """Also where the candidate's own column never has it, as TaobaoAds' `btag` has no purchases."""
    spec = learnt.spec
    for name in spec.of_type(SequenceFeature):
        seen = Counter(token for row in learnt.rows for token in tokens_of(spec, name, row))
        enough = spec.vocabulary(spec.owner(name)).min_count
        often = {token for token, count in seen.items() if count >= enough}
        assert len(often) > 1 and often <= set(learnt.vocabulary(spec.owner(name))), name


def test_histories_have_their_length_and_their_candidate(learnt: Learnt) -> None:
    spec = learnt.spec
    for name in spec.of_type(SequenceFeature):
        feature, owner = spec.features[name], spec.features[spec.owner(name)]
        assert isinstance(feature, SequenceFeature) and getattr(owner, "role", None) == "candidate"
        lengths = (learnt.batch[name] > 0).sum(axis=1)
        assert {0, feature.max_length} <= set(lengths.tolist()), "the empty ones and the longest, whole"


def test_numbers_follow_their_formula(learnt: Learnt) -> None:
    for name in learnt.spec.of_type(NumericFeature):
        feature = learnt.spec.features[name]
        assert isinstance(feature, NumericFeature)
        raw = [float(row[name]) if row[name] else math.nan for row in learnt.rows]
        shaped = np.array([SHAPES[feature.transform](x) for x in raw])
        if feature.transform != "none":
            mean, deviation = np.nanmean(shaped), np.nanstd(shaped)
            shaped = (np.nan_to_num(shaped) - mean) / deviation  # a missing one is 0 before it is scaled
        np.testing.assert_allclose(learnt.batch[name], shaped, atol=1e-4, err_msg=name)
        np.testing.assert_array_equal(learnt.batch[f"{name}/missing"], np.isnan(raw).astype(float))


SHAPES: dict[str, Callable[[float], float]] = {
    "none": lambda x: x,
    "log1p": math.log1p,
    "log_squared": lambda x: math.floor(math.log(x) ** 2) if x > 2 else x,
}


def test_times_are_hours_and_days(learnt: Learnt) -> None:
    for name in learnt.spec.of_type(TimestampFeature):
        times = [datetime.strptime(row[name], "%y%m%d%H") for row in learnt.rows]
        parts = [[1 + t.hour, 25 + t.weekday(), 32 + (t.weekday() > 4)] for t in times]  # ids end to end
        assert learnt.batch[name].tolist() == parts


def test_what_stops_the_training_is_like_the_test(learnt: Learnt) -> None:
    """No test row chooses anything, and an eval split has users that train knows where the model knows its users."""
    splits, group = learnt.spec.splits, learnt.spec.group
    assert isinstance(splits, FileSplits)
    if not isinstance(splits.eval, HoldOut):
        assert not learnt.held_out and splits.eval not in (splits.train, splits.test)
        return
    assert 0.02 * ROWS < len(learnt.held_out) < 0.3 * ROWS and group is not None
    of_train, of_eval = ({row[group] for row in rows} for rows in (learnt.rows, learnt.held_out))
    assert of_eval <= of_train if group in learnt.spec.features else not of_eval & of_train


def test_its_own_model_learns(recipe: Path) -> None:
    tf.keras.utils.set_random_seed(1)
    spec, chosen = load_data_spec(recipe / "data.yaml"), load_model_spec(recipe / "model.yaml")
    model = CETNet(spec, dict.fromkeys(spec.owners, 9), chosen.members, chosen.collaboration, chosen.fusion)
    model.compile(optimizer_of(chosen.training, ROWS), run_eagerly=True)
    rng, batch = np.random.default_rng(0), {}
    for key, value in example_batch(spec, rows=32).items():
        known = rng.integers(1, 10, value.shape) if value.dtype.is_integer else rng.normal(size=value.shape)
        batch[key] = known.astype(value.dtype.as_numpy_dtype)
    steps = [model.train_on_batch(batch, np.arange(32) % 2, return_dict=True) for _ in range(5)]
    assert steps[-1]["loss_fused"] < steps[0]["loss_fused"]


def test_every_video_has_its_vector_in_every_member(tmp_path: Path, with_rows: WithRows) -> None:
    folder = with_rows("kuaivideo", tmp_path / "kuaivideo", 1)
    spec, chosen = load_data_spec(folder / "data.yaml"), load_model_spec(folder / "model.yaml")
    tokens, sizes = ["7", "0", "39"], {"user_id": 2, "item_id": 4}
    (table,) = pretrained_tables(spec, folder, lambda owner: tokens, sizes).values()
    with h5py.File(folder / "data" / "item_visual_emb_dim64.h5") as file:
        expected = [np.zeros(64), *(file["value"][int(token)] for token in tokens), np.zeros(64)]
    np.testing.assert_allclose(table, expected, rtol=1e-6)
    model = CETNet(spec, sizes, chosen.members)
    model(example_batch(spec))
    model.set_pretrained({"item_look": table})
    frozen = [weight.numpy() for weight in model.non_trainable_weights if weight.shape == table.shape]
    assert len(frozen) == 2 and all(np.array_equal(found, table) for found in frozen)


def sample(name: str, limit: int = 2000) -> list[str]:
    """The first lines of a sample of real rows."""
    found = sorted((SAMPLES / name).glob("[st][ar]*.gz"))[-1:]
    if not found:
        pytest.skip(f"{SAMPLES / name} is not there: this needs a sample of the real rows")
    with gzip.open(found[0], "rt", newline="") as file:
        return list(islice(file, limit))


def as_published(name: str, columns: list[str], lines: list[str]) -> list[Row]:
    """Rows of a sample in the layout of the published files."""
    if name == "criteo_x4":
        return [dict(zip(columns, cells, strict=True)) for cells in csv.reader(lines, delimiter="\t")]
    if name == "taobao_ads":
        return [_behaviours_joined(columns, cells) for cells in csv.reader(lines)]
    return list(csv.DictReader(lines))


def _behaviours_joined(columns: list[str], cells: list[str]) -> Row:
    """50 cells of each history become one without the zeros, as BARS has it; two masks of 50 go."""
    filled = [cell or "0" for cell in cells]
    joined = ["^".join(c for c in filled[50 * i : 50 * i + 50] if c != "0") for i in range(3)]
    return dict(zip(columns, [filled[266], *joined, *filled[250:266], "1"], strict=True))


REAL = {
    "amazon_electronics": "amazon_sports",
    "taobao_ads": "taobaoad_sample",
    "criteo_x4": "criteo_sample",
    "avazu_x4": "avazu_sample",
    "frappe_x1": "frappe_x1",
}


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_rows_fit(
    name: str, tmp_path: Path, layouts: Columns, copied: Copied, write_csv: WriteCsv
) -> None:
    rows = as_published(name, layouts[name], sample(REAL[name]))
    assert list(rows[0]) == layouts[name]
    folder = copied(name, tmp_path / name)
    for file in ("train", "valid", "test"):
        write_csv(folder / "data" / f"{file}.csv", rows)
    spec = load_data_spec(folder / "data.yaml")
    assert check_files(spec, folder) == UNREAD.get(name, []) and len(rows) >= 500
    assert_read(spec, folder, rows)
    for column in spec.of_type(SequenceFeature):
        longest = max(len(tokens_of(spec, column, row)) for row in rows)
        assert 1 < longest <= spec.features[column].max_length  # type: ignore[union-attr]


def raw_spec(name: str, folder: Path) -> DataSpec:
    """The recipe's spec with the keys in their place that its README gives for the raw files."""
    document = yaml.safe_load((folder / "data.yaml").read_text())
    readme = (folder / "README.md").read_text()
    document |= yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0])
    return DataSpec.model_validate(document)


def test_the_raw_file_of_criteo_is_read_as_its_readme_says(
    tmp_path: Path, made_up: MadeUp, copied: Copied
) -> None:
    folder, rows = copied("criteo_x4", tmp_path / "criteo_x4"), made_up("criteo_x4", 400)
    (folder / "data" / "train.txt").write_text("".join("\t".join(row.values()) + "\n" for row in rows))
    (command,) = (
        line for line in (folder / "README.md").read_text().splitlines() if line.startswith("split -n")
    )
    subprocess.run(command.replace("recipes/criteo_x4/", "").split(), cwd=folder, check=True)
    spec = raw_spec("criteo_x4", folder)
    files = source_files(spec, folder)
    assert [file.splits for file in files] == [TRAIN] * 8 + [EVAL, TEST]
    first = Path(files[0].path).read_text().count("\n")
    assert_read(spec, folder, rows[:first])


def test_the_raw_file_of_avazu_is_read_as_its_readme_says(
    tmp_path: Path, made_up: MadeUp, copied: Copied, write_csv: WriteCsv
) -> None:
    folder, rows = copied("avazu_x4", tmp_path / "avazu_x4"), made_up("avazu_x4", 400)
    write_csv(tmp_path / "train.csv", rows)
    (folder / "data" / "train.gz").write_bytes(gzip.compress((tmp_path / "train.csv").read_bytes()))
    spec = raw_spec("avazu_x4", folder)
    assert_read(spec, folder, rows)
    bits = [bit for rows_read in read(spec, folder) for bit in rows_read[SPLIT].to_pylist()]
    hours = {
        split: [row["hour"] for row, bit in zip(rows, bits, strict=True) if bit == split] for split in bits
    }
    assert max(hours[TRAIN]) < min(hours[EVAL]) and max(hours[EVAL]) < min(hours[TEST])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kuaivideo", "avazu_x4"])
def test_it_runs_through_the_whole_pipeline(name: str, tmp_path: Path, with_rows: WithRows) -> None:
    folder = with_rows(name, tmp_path / name, 400)
    text = (folder / "model.yaml").read_text().replace("epochs: 100", "epochs: 1")
    # one large step on labels without meaning would leave the bounds on calibration
    text = text.replace("learning_rate: 0.001", "learning_rate: 0.00001")
    (folder / "model.yaml").write_text(text)
    cetnet = Path(sys.executable).with_name("cetnet")
    command = f"{cetnet} run --data data.yaml --model model.yaml --output run --min-auc 0"
    ended = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    metrics: dict[str, Any] = json.loads((folder / "run" / "metrics.json").read_text())
    members = load_model_spec(folder / "model.yaml").members
    assert members is not None and set(metrics["members"]) == {member.type for member in members}
    assert metrics["fused"]["rows"] == 400 and len(list((folder / "run" / "serving" / name).iterdir())) == 1
