"""The page: what it says, what it escapes, and that it needs nothing else to be viewed."""

import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cetnet_keras.errors import InputError, WorkFailed
from cetnet_keras.spec import ModelSpec
from pipeline.gates import Gates
from pipeline.report.data import Metrics, ReportData
from pipeline.report.figures import eval_figures
from pipeline.report.page import render, write_page
from pipeline.report.tables import auc_error, fusion_sentence, gate_rows, slice_rows, training_sentence
from pipeline.served_model import Latency, ServedModel

EVIL = "<script>alert('$x^2$')</script> & \"quotes\" \u202e"


class Page(HTMLParser):
    """The elements and the text of a page; an end tag that fits no start tag is an error."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", list[str]()
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "svg"} & set(self._open):
            self.text += f"{data} "

    def words(self) -> str:
        """The text, with a space wherever there is any."""
        return " ".join(self.text.split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def sound(scored: Any, report_of: Any, slice_of: Callable[..., Any]) -> ReportData:
    """Of a blessed run with two members and slices, none of them in order."""
    rows = scored()
    data = report_of(rows)
    slices = [
        slice_of({"shop": "1"}, 900, 300, 0.8),
        slice_of({"shop": "2"}, 90, 30, 0.6),
        slice_of({"shop": "3"}, 4, 0, None),
        slice_of({"hour": "9", "shop": "1"}, 50, 20, 0.7),
    ]
    return report_of(rows, metrics=data.metrics.model_copy(update={"slices": slices}))


@pytest.fixture(scope="module")
def page(sound: ReportData) -> Page:
    """Its page."""
    return Page(render(sound))


def test_the_verdict_comes_first_and_the_reasons_of_a_refusal_with_it(
    scored: Any, report_of: Any, run_of: Any, page: Page
) -> None:
    assert page.words().index("Blessed and pushed") < page.words().index("Metrics")
    assert "was pushed to run/serving/clicks/7" in page.words()
    rows = scored()
    reasons = ["auc 0.7 is below 0.9 on the whole", "parity: gRPC explain ctr: row 3 of file 1 is off by 0.1"]
    metrics = report_of(rows).metrics.model_copy(update={"blessed": False, "reasons": reasons})
    run = run_of(["dhen", "dcnv2"], pushed=None, gates=Gates(min_auc=0.9))
    words = Page(render(report_of(rows, metrics=metrics, run=run))).words()
    assert "Not blessed, not pushed" in words and all(reason in words for reason in reasons)
    assert "was pushed" not in words


def test_metrics_are_those_of_metrics_json_fused_and_by_member(page: Page, scored: Any) -> None:
    rows = scored()
    for name, ctr in rows.ctr.items():
        assert f"{name} {roc_auc_score(rows.label, ctr):.4f}" in page.words()
    assert f"{len(rows.label):,} rows, {rows.label.sum():,} of them clicked" in page.words()
    assert "gAUC" not in page.words(), "there is no group"


def test_with_a_group_there_is_its_auc(scored: Any, report_of: Any, run_of: Any) -> None:
    rows = scored()
    data = report_of(rows)
    fused = data.metrics.fused.model_copy(update={"gauc": 0.6543})
    run = run_of(
        ["dhen", "dcnv2"], data_text=data.run.data_text.replace("features:", "group: user\nfeatures:")
    )
    metrics = data.metrics.model_copy(update={"fused": fused})
    words = Page(render(report_of(rows, metrics=metrics, run=run))).words()
    assert f"fused {fused.auc:.4f} 0.6543 n/a" in words and "the same within each user" in words


def test_slices_are_shown_worst_first_and_those_without_an_auc_last(sound: ReportData, page: Page) -> None:
    names = ["shop = 2", "hour = 9, shop = 1", "shop = 1", "shop = 3"]
    assert [row.name for row in slice_rows(sound)] == names
    places = [
        page.words().index(f"{name} {rows}") for name, rows in zip(names, (90, 50, 900, 4), strict=True)
    ]
    assert places == sorted(places)
    assert "The worst slice is shop = 2: AUC 0.6000 on 90 rows." in page.words()


def test_the_standard_error_of_an_auc_is_that_of_drawing_the_rows_again() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(400) < 120
    drawn = [roc_auc_score(label, rng.normal(label * 1.0, 1)) for _ in range(2000)]
    found = auc_error(Metrics(rows=400, clicks=120, auc=float(np.mean(drawn))))
    assert found == pytest.approx(np.std(drawn), rel=0.1)
    assert auc_error(Metrics(rows=4, clicks=0)) is None


def test_a_gate_passes_on_its_bound_and_fails_where_nothing_was_measured(
    scored: Any, report_of: Any, run_of: Any
) -> None:
    rows = scored()
    data = report_of(rows)
    gates = Gates(min_auc=data.metrics.fused.auc, max_log_loss=0.01, max_auc_drop=0.1, max_log_loss_rise=0.0)
    baseline = Metrics(
        rows=10, clicks=5, auc=data.metrics.fused.auc + 0.2, log_loss=data.metrics.fused.log_loss
    )
    metrics = data.metrics.model_copy(
        update={"baseline": baseline, "reasons": ["parity: REST explain: other"]}
    )
    found = list(gate_rows(report_of(rows, metrics=metrics, run=run_of(["dhen", "dcnv2"], gates=gates))))
    assert [(row.what.split()[0], row.passed) for row in found] == [
        ("AUC", True), ("log", False), ("calibration", True), ("AUC", False), ("log", True), ("a", False),
    ]  # fmt: skip
    nothing = data.metrics.model_copy(update={"fused": Metrics(rows=4, calibration=math.nan)})
    found = list(gate_rows(report_of(rows, metrics=nothing)))
    assert [(row.found, row.passed) for row in found][:2] == [("n/a", False)] * 2


def test_bounds_on_serving_are_gates_where_they_are_given(scored: Any, report_of: Any, run_of: Any) -> None:
    rows, latency = scored(), Latency(p50=1.0, p99=3.0)
    served = ServedModel(
        rows=9,
        largest_difference={"gRPC serving_default": 2e-7},
        latency_ms={"gRPC serving_default": latency},
        model_mb=5.0,
        memory_mb=700.0,
    )
    metrics = report_of(rows).metrics.model_copy(update={"served": served})
    gates = Gates(max_latency_ms=2.0, max_memory_mb=700.0)
    data = report_of(rows, metrics=metrics, run=run_of(["dhen", "dcnv2"], gates=gates))
    found = [(row.what, row.found, row.passed) for row in gate_rows(data)][-2:]
    assert found == [
        ("p99 of a gRPC request of one row, ms", "3.0000", False),
        ("memory of its server, MB", "700.0000", True),
    ]
    assert "2e-07" in render(data) and "700 MB at most" in render(data)


def test_what_was_run_is_there_in_full(sound: ReportData, page: Page) -> None:
    assert all(text in page.text for text in (sound.run.data_text, sound.run.model_text, sound.run.code))
    for words in (
        "seed 1234",
        "tfx 1.16.0",
        "Trainer 12.3",
        "ExampleGen from the cache",
        "2026-01-02 03:04:05 UTC",
    ):
        assert words in page.words()


def test_training_embeddings_and_data_are_there(page: Page) -> None:
    for words in (
        "Training made 2 passes over 7,700 rows and was measured 4 times; the weights after pass 1.5 were kept "
        "(AUC 0.7500 on the eval split).",
        "dhen user 10 16 3.25 32.5% 0.200 0.100 to 0.300 12.5%",
        "user categorical context 9 2.0% 6.2%",
        "price numeric candidate 3.5 -1 to 7 25.0%",
        "The data have no anomalies",
    ):
        assert words in page.words()


def test_anomalies_are_listed(scored: Any, report_of: Any) -> None:
    splits = [
        {"split": "eval", "rows": 3, "click_rate": None, "anomalies": ["price: out of range", "hour: new"]}
    ]
    words = Page(render(report_of(scored(), splits=splits))).words()
    assert (
        "The data have 2 anomalies" in words and "Anomalies in eval: price: out of range hour: new" in words
    )
    assert "eval 3 n/a 2" in words


def test_nothing_that_a_user_typed_becomes_markup(
    scored: Any, report_of: Any, run_of: Any, slice_of: Any
) -> None:
    rows = scored((EVIL, "_x"))
    data_text = f"{DATA_OF_EVIL}# {EVIL}\n"
    run = run_of([EVIL, "_x"], data_text=data_text, model_text=f"# {EVIL}", machine=EVIL, pushed=EVIL)
    data = report_of(rows, run=run)
    metrics = data.metrics.model_copy(
        update={"slices": [slice_of({EVIL: EVIL}, 9, 3, 0.5)], "reasons": [EVIL]}
    )
    table = data.training.tables[0].model_copy(update={"feature": EVIL})
    splits = [data.splits[0].model_copy(update={"anomalies": [EVIL]})]
    for blessed in (True, False):
        evil = data.model_copy(
            update={
                "metrics": metrics.model_copy(update={"blessed": blessed}),
                "training": data.training.model_copy(update={"tables": [table]}),
                "splits": splits,
            }
        )
        html = render(evil)
        page = Page(html)
        assert not {"script", "img"} & {tag for tag, _ in page.elements} and "<script" not in html
        assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
        assert page.text.count(EVIL) >= 10
        assert f"{EVIL} = {EVIL}" in page.text and data_text in page.text
        assert {figure["aria-label"] for figure in page.all("div") if figure.get("role") == "img"}


DATA_OF_EVIL = """\
name: clicks
label: click
group: "<img src=x onerror=alert(1)>"
features:
  user: {type: categorical}
splits: {train: a.csv, eval: b.csv, test: c.csv}
"""


def test_the_page_refers_to_nothing_outside_of_it(sound: ReportData, page: Page) -> None:
    html = render(sound)
    assert set(re.findall(r"https?://[^\"' <]*", html)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }, "the names of SVG, which nobody fetches"
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "img", "object"}
    assert "url(" not in re.sub(r"url\(#", "", html) and "@import" not in html
    for attributes in (a for _, a in page.elements):
        for key in ("href", "src", "xlink:href"):
            assert (attributes.get(key) or "#").startswith("#")
    assert len(html.encode()) < 3_000_000


def test_every_heading_has_an_anchor_and_every_link_a_target(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids)), "the figures' own ids are among them"
    assert all(heading["id"] for tag in ("h2", "h3") for heading in page.all(tag))
    links = {(link["href"] or "")[1:] for link in page.all("a")}
    assert links <= set(ids) and {"metrics", "slices", "run", "data-yaml"} <= links


def test_every_figure_says_what_it_shows_of_which_rows(sound: ReportData, page: Page) -> None:
    shown = [div["aria-label"] for div in page.all("div") if div.get("role") == "img"]
    assert len(shown) == len(page.all("figure")) == 7
    assert f"area under each: fused {sound.metrics.fused.auc:.4f}" in str(shown[0])
    for words in ("ROC, test split, 5,000 rows", "Reliability, test split, 5,000 rows in 10 bins",
                  "AUC on the eval split, 1,100 rows", "train split, 7,700 rows"):  # fmt: skip
        assert words in page.words()


def test_one_member_alone_is_not_compared_with_itself(scored: Any, report_of: Any) -> None:
    page = Page(render(report_of(scored(("din",)))))
    assert "There is one member, din" in page.words() and len(page.all("figure")) == 5
    assert "best member" not in page.words()


def test_one_class_in_the_test_split_has_no_curve_and_says_so(scored: Any, report_of: Any) -> None:
    rows = scored()
    rows = rows._replace(label=np.zeros_like(rows.label))
    page = Page(render(report_of(rows)))
    assert "There is no ROC curve" in page.words() and len(page.all("figure")) == 6
    assert "AUC n/a" not in page.words() and "fused n/a" in page.words()


def test_a_test_split_without_rows_has_a_page_too(scored: Any, report_of: Any) -> None:
    rows = scored()
    nothing = {"rows": 0, "fused": {}, "members": {}, "slices": [], "blessed": False, "reasons": ["no rows"]}
    page = Page(render(report_of(rows, metrics=nothing, curves={})))
    assert "no rows" in page.words() and "There is no ROC curve" in page.words()


def test_predictions_that_are_no_numbers_have_a_page_too(scored: Any, report_of: Any) -> None:
    data = report_of(scored())
    history = {key: [math.nan] * 4 for key in data.training.history}
    training = data.training.model_dump() | {"history": history, "ensemble": None}
    words = Page(render(report_of(scored(), training=training))).words()
    assert "a prediction on the eval split is not a number" in words


def test_the_data_of_a_report_are_read_as_they_were_written(sound: ReportData, tmp_path: Any) -> None:
    (tmp_path / "tfx").mkdir()
    sound.write(tmp_path)
    assert render(ReportData.read(tmp_path)) == render(sound), "and are drawn the same, byte for byte"


def test_a_report_that_cannot_be_read_or_written_says_why(
    sound: ReportData, tmp_path: Any, run_cetnet: Any
) -> None:
    result = run_cetnet("report", tmp_path)
    assert result.exit_code == 2
    assert "report.json: cannot be read (No such file" in result.stderr and "cetnet run" in result.stderr
    (tmp_path / "tfx").mkdir()
    (tmp_path / "tfx" / "report.json").write_text('{"run": {}}')
    with pytest.raises(
        InputError, match=r"report\.json: run\.name: field required; .* run `cetnet run` again"
    ):
        ReportData.read(tmp_path)
    sound.write(tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(WorkFailed, match=r"report\.html: cannot be written \(Is a directory\)"):
        write_page(sound, tmp_path)
    (tmp_path / "report.html").rmdir()
    result = run_cetnet("report", tmp_path)
    assert result.exit_code == 0 and result.stdout == f"report   {tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(sound)


@pytest.mark.parametrize(
    ("fusion", "said"),
    [
        ("paper", "by how sure it is"),
        ("logit_mixture", "by how sure it is"),
        ("mean", "all members alike"),
        ("gate", "as it has learned to"),
    ],
)
def test_it_says_what_the_weights_are(fusion: str, said: str) -> None:
    assert said in fusion_sentence(ModelSpec.model_validate({"fusion": {"type": fusion}}))


def test_it_says_which_weights_each_member_has(sound: ReportData) -> None:
    assert "after pass" in training_sentence(sound) and "by itself" not in training_sentence(sound)
    training = sound.training.model_copy(
        update={"own_best": {"dhen": 1, "dcnv2": 3}, "evaluations_per_epoch": 2}
    )
    said = training_sentence(sound.model_copy(update={"training": training}))
    assert "each member was kept as it did best by itself, after pass dhen 1, dcnv2 2, " in said


def test_its_figures_are_of_the_weights_that_each_member_has(sound: ReportData) -> None:
    history = {
        "eval_auc": [0.5, 0.7, 0.6, 0.4],
        "eval_dhen_auc": [0.1, 0.9, 0.2, 0.3],
        "eval_dcnv2_auc": [0.1, 0.2, 0.3, 0.8],
    }
    update = {"history": history, "monitored": "eval_auc", "best": 1, "evaluations_per_epoch": 2}
    for own, said in (
        ({"dhen": 1, "dcnv2": 3}, "each member's own that was kept: fused 0.7000, dhen 0.9000, dcnv2 0.8000"),
        ({}, "at the weights that were kept: fused 0.7000, dhen 0.9000, dcnv2 0.2000"),
    ):
        training = sound.training.model_copy(update=update | {"own_best": own})
        figure = eval_figures(sound.model_copy(update={"training": training}))[0]
        assert said in figure.alt
