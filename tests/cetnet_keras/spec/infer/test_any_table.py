"""Whatever a table of text holds, it is refused by InputError or gives a sound spec, whose types its ids survive."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cetnet_keras.errors import InputError
from cetnet_keras.spec import DataSpec, NumericFeature, parse_spec
from cetnet_keras.spec.infer import infer

quick = settings(deadline=None, max_examples=40, database=None, suppress_health_check=list(HealthCheck))

names = st.sampled_from(
    [
        *(
            "label",
            "click",
            "user_id",
            "item_id",
            "price",
            "count",
            "history",
            "tags",
            "timestamp",
            "hour",
            "id",
        ),
        *(
            "is_like",
            "cate_his",
            "cate_id",
            "mask",
            "vec",
            "x y",
            "",
            "self",
            "ctr_id",
            "cetnet_row",
            "1e3",
            "yes",
        ),
        *("User_id", "weight", "sample_weight", "I1", "I2", "I3", "\u2028", "naïve", "a\nb", "#", "- x"),
    ]
) | st.text(max_size=4)
cells = st.sampled_from(
    [
        *(
            "0",
            "1",
            "",
            "007",
            "7",
            "1.5",
            "-3",
            "1e5",
            "nan",
            "inf",
            "68fd1e64",
            "10000169349117863715",
            "a b",
            "a|b",
        ),
        *(
            "1^2^3",
            "0^0^7",
            "2024-05-31",
            "2024-05-31T10:00:00",
            "1717171717",
            "14102100",
            "0.1 0.2 0.3",
            "[1, 2]",
        ),
        *("9" * 400, "1e999", '"', "'", "\x00", "\u2028"),
    ]
)
columns = st.one_of(
    st.lists(st.sampled_from(["0", "1"]), min_size=8, max_size=8),
    st.lists(cells, min_size=8, max_size=8),
    st.lists(st.integers(-5, 10**9).map(str), min_size=8, max_size=8),
    st.lists(st.text(max_size=6), min_size=8, max_size=8),
)
labels = st.lists(st.sampled_from(["0", "1"]), min_size=8, max_size=8)
tables = st.lists(st.tuples(names, columns), max_size=6).flatmap(
    lambda others: st.tuples(st.just("label") | names, labels | columns).map(lambda first: [first, *others])
)


def written(table: Sequence[tuple[str, Sequence[str]]], header: bool, delimiter: str, folder: Path) -> Path:
    rows = [[name for name, _ in table]] if header else []
    rows += zip(*(column for _, column in table), strict=True)
    lines = [delimiter.join(map(quoted, row)) for row in rows]  # csv.writer refuses a null character
    path = folder / "rows.csv"
    path.write_bytes("\r\n".join(lines).encode("utf-8", "surrogatepass"))
    return path


def quoted(cell: str) -> str:
    return cell if cell.isalnum() else '"' + cell.replace('"', '""') + '"'


def infers_or_is_refused(path: Path, columns: str | None = None, label: str | None = None) -> DataSpec | None:
    try:
        text = infer([str(path)], path.parent, columns, label)
    except InputError as error:
        message = str(error)
        assert message.isprintable() and len(message) < 2000
        assert message.startswith((str(path), "--columns"))
        return None
    spec = parse_spec(DataSpec, text, "data.yaml")  # as `cetnet spec check` reads it
    assert spec.splits is not None
    return spec


@quick
@given(tables, st.booleans(), st.sampled_from(",\t;|"), st.none() | names)
def test_any_table_gives_a_sound_spec_or_is_refused(
    table: list[tuple[str, list[str]]], header: bool, delimiter: str, label: str | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(table, header, delimiter, Path(folder))
        infers_or_is_refused(path, label=label)
        infers_or_is_refused(path, ",".join(name for name, _ in table), label)


@quick
@given(st.binary(max_size=300), st.sampled_from(["rows.csv", "rows.csv.gz", "rows.parquet"]))
def test_any_bytes_give_a_sound_spec_or_are_refused(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        infers_or_is_refused(path)


ids = st.one_of(
    st.integers(0, 999).map("{:03d}".format),
    st.integers(10**9, 2**64 - 1).map(str),
    st.integers(0, 2**32 - 1).map("{:08x}".format),
    st.integers(1, 10**6).map(str),
)


@quick
@given(st.sampled_from(["f", "C14", "item_id", "code", "user"]), st.data())
def test_ids_are_never_numbers(name: str, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([ids, st.integers(0, 99).map("{:03d}".format)]))
    values = data.draw(st.lists(kind, min_size=30, max_size=60))
    table = [
        ("label", [str(n % 2) for n in range(len(values))]),
        (name, values),
        ("b", ["x", "y"] * len(values)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        spec = infers_or_is_refused(
            written([(n, v[: len(values)]) for n, v in table], True, ",", Path(folder))
        )
    assert spec is not None
    assert not isinstance(spec.features.get(name), NumericFeature)
    assert getattr(spec.features.get(name), "dtype", "string") == "string"


@quick
@given(st.permutations(range(40)))
def test_the_order_of_the_rows_changes_no_type(order: list[int]) -> None:
    rows = [
        (
            str(n % 2),
            f"u{n % 7}",
            f"{n:03d}",
            f"{n / 4:.2f}",
            "^".join(map(str, range(n % 5))),
            "a|b" if n % 3 else "c",
        )
        for n in range(40)
    ]
    header = ("label", "user_id", "code", "price", "item_history", "genres")
    kinds = []
    with tempfile.TemporaryDirectory() as folder:
        for arrangement in (range(40), order):
            columns = zip(*(rows[n] for n in arrangement), strict=True)
            spec = infers_or_is_refused(
                written(list(zip(header, columns, strict=True)), True, ",", Path(folder))
            )
            assert spec is not None
            kinds.append({name: feature.type for name, feature in spec.features.items()})
    assert kinds[0] == kinds[1]
    assert kinds[0] == dict(
        user_id="categorical", code="categorical", price="numeric", item_history="sequence", genres="bag"
    )
