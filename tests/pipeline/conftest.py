"""A small data set with every feature type, and real runs of the whole pipeline on it, each made once a session."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cetnet_keras  # noqa: F401  # before TensorFlow: it chooses the Keras

# isort: split
import numpy as np
import pytest
from click.testing import CliRunner, Result

from cetnet_keras.spec import DataSpec, load_data_spec

NAME = "clicks"
SAID = ("metrics.json", "report.html")  # what a run says of itself
DATA = """\
name: clicks
label: click
group: user
features:
  user: {type: categorical}
  shop: {type: categorical, dtype: int64, vocabulary: {oov_buckets: 2}}
  hour: {type: categorical, identity: 24}
  device: {type: categorical, hash_buckets: 16}
  age: {type: numeric, transform: minmax}
  visits: {type: numeric, transform: log1p}
  stay: {type: numeric, transform: log_squared}
  speed: {type: numeric, transform: none}
  seen: {type: sequence, max_length: 100, vocabulary: item}
  before: {type: sequence, of: item, by: user, time: ts, where: {click: 1}, max_length: 5, vocabulary: item}
  item: {type: categorical, role: candidate, vocabulary: {min_count: 2}}
  genres: {type: bag, role: candidate, separator: "|"}
  price: {type: numeric, role: candidate}
  score: {type: numeric, role: candidate, buckets: 4}
slices: [[], [shop], [genres]]
slice_top: 2
splits: {files: clicks.csv, by: time, column: ts, within: user, eval: 0.2, test: 0.2}
"""
MODEL = """\
members:
  - {type: din, embedding_dim: 4, hidden: [8], attention_hidden: [4]}
  - {type: dcnv2, name: cross, embedding_dim: 4, hidden: [8], cross_layers: 1}
training: {batch_size: 64, epochs: 1, learning_rate: 0.02, calibrate: false}  # confidence is that of member_ctr
serving: {table_dtype: int8, warmup_batch_sizes: [1, 30]}
"""
USERS = ["", "007", "7", "1e730941", *(f"u{n}" for n in range(16))]
ITEMS = ["007", "7", "1e730941", "i\u00e9", *(f"i{n}" for n in range(12))]
ROWS_OF_A_USER = 20  # 12 of train, then 4 of eval and 4 of test
LONG = "^".join(f"i{n % 14}" for n in range(150))
TYPED = [  # rows of the eval split: what is easily lost on the way
    {"user": "", "item": "", "seen": "", "genres": "", "device": "", "click": "0"},
    {"user": "007", "item": "007", "seen": "007^7^1e730941", "shop": "007", "click": "0"},
    {"user": "7", "item": "7", "seen": "7^007", "shop": "7", "click": "1"},
    {"user": "1e730941", "item": "1e730941", "seen": "^1e730941^^never seen^", "device": "1e730941"},
    {"user": "u0", "item": "never seen", "genres": "never seen|a", "shop": "-9", "hour": "0"},
    {"user": "u1", "seen": LONG, "genres": "|".join(["b"] * 120)},
    {"user": "u2", "shop": "", "hour": "", **dict.fromkeys(("age", "visits", "stay", "speed"), "")},
    {"user": "u3", "price": "", "score": "", "hour": "23"},
    {"user": "u4", "age": "1e6", "visits": "-1e6", "stay": "1e-30", "speed": "-3e1", "price": "-1e2"},
    {"user": "u5", "shop": "9223372036854775807", "item": "i\u00e9", "seen": "i\u00e9"},
]
Row = dict[str, str]


def rows_of(seed: int, rate: Callable[[int, int], float]) -> list[Row]:
    """Rows in random order; `rate` gives the chance of a click by the positions of user and item."""
    rng = np.random.default_rng(seed)
    rows = []
    for user, name in enumerate(USERS):
        for time in range(ROWS_OF_A_USER):
            item = int(rng.integers(len(ITEMS)))
            price, age, visits, stay, speed, score = rng.lognormal(size=6) * [9, 30, 5, 40, 1, 1]
            row = {
                "user": name,
                "ts": f"{1_700_000_000 + time * 60}",
                "item": ITEMS[item],
                "shop": f"{rng.integers(5):03d}",
                "hour": f"{rng.integers(24)}",
                "device": f"d{rng.integers(30)}",
                "price": f"{price:.3f}",
                "age": f"{age:.1f}",
                "visits": f"{visits - 5:.2f}",
                "stay": f"{stay:.2f}",
                "speed": f"{speed:.3f}",
                "score": f"{score:.3f}",
                "seen": "^".join(rng.choice(ITEMS, rng.integers(0, 6))),
                "genres": "|".join(rng.choice(list("abcd"), rng.integers(0, 3), replace=False)),
                "click": f"{int(rng.random() < rate(user, item))}",
            }
            for name_of_number in ("price", "age", "visits", "stay", "speed", "score", "shop", "hour"):
                if rng.random() < 0.1:
                    row[name_of_number] = ""
            rows.append(row)
    return [rows[position] for position in rng.permutation(len(rows))]


def with_typed(rows: list[Row]) -> list[Row]:
    """The same rows; the first ones of the eval split of some users have the values of TYPED."""
    first = f"{1_700_000_000 + 12 * 60}"
    typed = {(row["user"], first): row for row in TYPED}
    return [row | typed.get((row["user"], row["ts"]), {}) for row in rows]


def taste(user: int, item: int) -> float:
    """Everybody likes the items of even number, the more so the users of even number."""
    return (0.15 if user % 2 else 0.05) if item % 2 else (0.75 if user % 2 else 0.95)


@pytest.fixture(scope="session")
def write_csv() -> Callable[[Path, Sequence[Row]], None]:
    """(path, rows) writes rows as CSV."""
    return _write_csv


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class Ledger:
    """A database of ML Metadata in which pushes and blessings of the pipeline `clicks` are written as TFX does."""

    def __init__(self, database: Path) -> None:
        from ml_metadata.metadata_store.metadata_store import MetadataStore
        from tfx.orchestration.metadata import sqlite_metadata_connection_config

        self.database = database
        self.store = MetadataStore(sqlite_metadata_connection_config(str(database)))

    def artifact(self, kind: str, **properties: int | str) -> int:
        """The id of a new one."""
        from ml_metadata import proto

        number = self.store.put_artifact_type(proto.ArtifactType(name=kind))
        artifact = proto.Artifact(type_id=number, state=proto.Artifact.LIVE)
        for key, value in properties.items():
            setattr(
                artifact.custom_properties[key],
                "int_value" if isinstance(value, int) else "string_value",
                value,
            )
        made: int = self.store.put_artifacts([artifact])[0]
        return made

    def execution(self, node: str, taken: int, made: int) -> None:
        """Of a component that took a model and put out a blessing or a pushed model."""
        from ml_metadata import proto

        kind = self.store.put_execution_type(proto.ExecutionType(name=node))
        context = proto.Context(
            name=f"{NAME}.{node}", type_id=self.store.put_context_type(proto.ContextType(name="node"))
        )
        pairs = []
        for number, event_type, key in ((taken, "INPUT", "model"), (made, "OUTPUT", "made")):
            event = proto.Event(type=event_type)
            event.path.steps.add().key = key
            event.path.steps.add().index = 0
            pairs.append((self.store.get_artifacts_by_id([number])[0], event))
        self.store.put_execution(
            proto.Execution(type_id=kind, last_known_state=proto.Execution.COMPLETE),
            pairs,
            [context],
            reuse_context_if_already_exist=True,
        )

    def push(self, model: int, pushed: int = 1, destination: Path | None = None) -> int:
        """The id of what the Pusher put out for a model, whether it pushed it or not."""
        where = {"pushed_destination": str(destination)} if destination else {}
        made = self.artifact("PushedModel", pushed=pushed, **where)
        self.execution("Pusher", model, made)
        return made

    def is_live(self, artifact: int) -> bool:
        """Whether TFX's cache may answer with it."""
        from ml_metadata import proto

        return bool(self.store.get_artifacts_by_id([artifact])[0].state == proto.Artifact.LIVE)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty one."""
    return Ledger(tmp_path / "metadata.sqlite")


@pytest.fixture(scope="session")
def csv_rows() -> Callable[[Path], list[Row]]:
    """(path) -> the rows of a CSV file."""

    def read(path: Path) -> list[Row]:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture(scope="session")
def run_cetnet() -> Callable[..., Result]:
    """(arguments) runs `cetnet` in this process, whose TensorFlow and TFX are loaded once."""
    return _cetnet


def _cetnet(*arguments: object) -> Result:
    from cetnet_keras.cli import main

    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class Run(NamedTuple):
    """What one call of `cetnet run` left, as it was right after it."""

    folder: Path  # the data and both YAML files
    exit_code: int
    stdout: str
    stderr: str
    metrics: dict[str, Any]  # of metrics.json; empty where there is none
    versions: list[str]  # in DIR/serving/clicks

    @property
    def states(self) -> dict[str, str]:
        """What was shown of each component: "cached" or "done"."""
        found = {}
        for line in self.stdout.splitlines():
            words = line.split()
            if line.startswith("  ") and line.endswith("from the cache"):
                found[words[0]] = "cached"
            elif line.startswith("  ") and line.endswith(" s") and len(words) == 3:
                found[words[0]] = "done"
        return found

    @property
    def spec(self) -> DataSpec:
        """The data spec of the run."""
        return load_data_spec(self.folder / "data.yaml")

    @property
    def output(self) -> Path:
        """DIR."""
        return self.folder / "run"

    @property
    def serving(self) -> Path:
        """The folder whose children are the pushed versions."""
        return self.output / "serving" / NAME

    def artifact(self, node: str, key: str) -> Path:
        """The folder of what a component put out in its latest execution."""
        from pipeline.artifacts import latest_outputs

        found = latest_outputs(self.output / "tfx" / "metadata.sqlite", NAME, node)
        assert found is not None
        return found.folder(key)


def _arguments(folder: Path, *more: object) -> list[str]:
    paths = {"--data": "data.yaml", "--model": "model.yaml", "--output": "run"}
    pairs = [(option, folder / name) for option, name in paths.items()]
    return ["run", *(str(word) for pair in pairs for word in pair), *map(str, more)]


def _ended(folder: Path, exit_code: int, stdout: str, stderr: str) -> Run:
    metrics, serving = folder / "run" / "metrics.json", folder / "run" / "serving" / NAME
    document = json.loads(metrics.read_text(encoding="utf-8")) if metrics.exists() else {}
    versions = sorted(path.name for path in serving.iterdir()) if serving.exists() else []
    return Run(folder, exit_code, stdout, stderr, document, versions)


@pytest.fixture(scope="session")
def run_in() -> Callable[..., Run]:
    """(folder with the data and both YAML files, more arguments) -> Run; in this process."""

    def run(folder: Path, *more: object) -> Run:
        result = _cetnet(*_arguments(folder, *more))
        return _ended(folder, result.exit_code, result.stdout, result.stderr)

    return run


class Started:
    """A run in a process of its own, beside the tests that do not need it: runs are long, and mostly on one core."""

    def __init__(self, folder: Path, *more: object, within: Sequence[str] = (), **environment: str) -> None:
        self.folder = folder
        # where these tests run in the background Ctrl-C is ignored, and a child would inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._process = subprocess.Popen(
            [*within, sys.executable, "-m", "cetnet_keras.cli", *_arguments(folder, *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
            start_new_session=True,
        )

    def wait(self) -> Run:
        """What it left, once it has ended."""
        stdout, stderr = self._process.communicate()
        return _ended(self.folder, self._process.returncode, stdout, stderr)

    def end(self) -> None:
        """Kills it and the server that it may have started, if it still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()


@pytest.fixture(scope="session")
def start_run() -> Iterator[Callable[..., Started]]:
    """(folder, more arguments, a command that runs commands, environment variables) -> Started; ended with the tests."""
    started: list[Started] = []

    def start(folder: Path, *more: object, within: Sequence[str] = (), **environment: str) -> Started:
        started.append(Started(folder, *more, within=within, **environment))
        return started[-1]

    yield start
    for run in started:
        run.end()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(data spec, model spec) -> a new folder with the rows and both specs."""

    def make(data: str = DATA, model: str = MODEL) -> Path:
        folder = tmp_path_factory.mktemp("project")
        _write_csv(folder / "clicks.csv", with_typed(rows_of(1, taste)))
        (folder / "data.yaml").write_text(data, encoding="utf-8")
        (folder / "model.yaml").write_text(model, encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def first_run(project: Any, start_run: Any) -> Run:
    """The first run of the pipeline in its folder: nothing is cached and nothing was blessed before."""
    run: Run = start_run(project()).wait()
    assert (run.exit_code, run.stderr) == (0, ""), run.stdout
    return run


@pytest.fixture
def first_output(first_run: Run) -> Iterator[Path]:
    """DIR of the first run, for another: what the first said of itself is put back afterwards, for the other tests."""
    said = {first_run.output / name: (first_run.output / name).read_bytes() for name in SAID}
    yield first_run.output
    for path, content in said.items():
        path.write_bytes(content)
