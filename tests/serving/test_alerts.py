"""The alerts on a stock TensorFlow Serving: of metrics that it has, and firing when they should."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "serving/manifests/kubernetes/alerts.yaml").read_text(encoding="utf-8"))[
    "spec"
]
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
METRICS = yaml.safe_load((Path(__file__).parent / "model_server.yaml").read_text(encoding="utf-8"))["metrics"]
OTHERS = {  # kube-state-metrics and Prometheus itself
    "kube_deployment_status_replicas_available": ["namespace", "deployment"],
    "up": [],
}
FROM_SCRAPING = {"namespace", "pod", "job"}  # labels that Prometheus adds to each of the server's metrics
SERVED = 'namespace="ads", pod="p", job="cetnet-serving"'


def counted(status: str, values: str) -> tuple[str, str]:
    return f':tensorflow:serving:request_count{{{SERVED}, model_name="m", status="{status}"}}', values


def answered(limit: str, values: str, api: str = "Predict") -> tuple[str, str]:
    labels = f'{SERVED}, model_name="m", API="{api}", entrypoint="GRPC", le="{limit}"'
    return f":tensorflow:serving:request_latency_bucket{{{labels}}}", values


def loaded(status: str, version: int, values: str) -> tuple[str, str]:
    labels = f'{SERVED}, model_path="/models/m/{version}", status="{status}"'
    return f":tensorflow:cc:saved_model:load_attempt_count{{{labels}}}", values


def warmed_up(version: int, values: str) -> tuple[str, str]:
    labels = f'{SERVED}, model_path="/models/m/{version}", status="OK"'
    return f":tensorflow:serving:model_warmup_latency_count{{{labels}}}", values


AVAILABLE = 'kube_deployment_status_replicas_available{namespace="ads", deployment="cetnet-serving"}'
UP = f"up{{{SERVED}}}"
# what a quiet half hour looks like, with a pod that is scraped in the background
QUIET = [(AVAILABLE, "2x30"), (UP, "1x30")]
FIRING: dict[str, list[tuple[str, str]]] = {
    "CetnetServingNotReady": [(AVAILABLE, "0x30"), (UP, "1x30")],
    "CetnetServingErrors": [*QUIET, counted("OK", "0+980x30"), counted("UNAVAILABLE", "0+20x30")],
    "CetnetServingRefusals": [*QUIET, counted("OK", "0+90x30"), counted("INVALID_ARGUMENT", "0+10x30")],
    "CetnetServingSlow": [
        *QUIET,
        answered("36417.2", "0+98x30"),
        answered("65551", "0+100x30"),
        answered("+Inf", "0+100x30"),
    ],
    "CetnetServingVersionFails": [*QUIET, loaded("success", 1, "1x30"), loaded("fail", 2, "6x30")],
    "CetnetServingUnseen": [(AVAILABLE, "2x30"), (UP, "0x30")],
}
CALM: dict[str, list[tuple[str, str]]] = {  # near to it, and not to be woken up for
    "CetnetServingNotReady": [(AVAILABLE, "1x30"), (UP, "1x30")],
    "CetnetServingErrors": [
        *QUIET,
        counted("OK", "0+995x30"),
        counted("UNAVAILABLE", "0+5x30"),
        counted("INVALID_ARGUMENT", "0+30x30"),
    ],
    "CetnetServingRefusals": [
        *QUIET,
        counted("OK", "0+960x30"),
        counted("INVALID_ARGUMENT", "0+4x30"),
        counted("UNAVAILABLE", "0+1x30"),
    ],
    "CetnetServingSlow": [
        *QUIET,
        answered("36417.2", "0+100x30"),
        answered("+Inf", "0+100x30"),
        answered("36417.2", "0x30", ""),
        answered("+Inf", "0+9x30", ""),
    ],
    "CetnetServingVersionFails": [*QUIET, loaded("fail", 2, "1x30"), loaded("success", 2, "1x30")],
    "CetnetServingUnseen": QUIET,
}
FAILS = "CetnetServingVersionFails"
# what a pod counts of a version that is pushed, and which alerts fire after 25 minutes
VERSIONS: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "loads fail": ([loaded("fail", 2, "_x5 2 6x24")], [FAILS]),
    "loads fail, and the pod is replaced": ([loaded("fail", 2, "6x10 stale")], []),
    "warm-ups fail": ([loaded("success", 2, "_x5 2 6x24")], [FAILS]),
    "two loads fail, then warm-ups": ([loaded("fail", 2, "2x30"), loaded("success", 2, "4x30")], [FAILS]),
    "a warm-up passes": ([loaded("success", 2, "1x30"), warmed_up(2, "1x30")], []),
    "the last warm-up passes": ([loaded("success", 2, "1 6x29"), warmed_up(2, "_ 1x29")], []),
    "no warm-up": ([loaded("success", 2, "1x30")], []),
    "no warm-up, unloaded and loaded again": ([loaded("success", 2, "1x10 2x20")], []),
    "no warm-up after two loads that fail": ([loaded("fail", 2, "2x30"), loaded("success", 2, "1x30")], []),
}


def selectors(node: Any) -> list[Any]:
    """The metrics that an expression reads, each with its matchers."""
    if isinstance(node, promql_parser.VectorSelector):
        return [node]
    inner = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    return [
        found
        for child in [*inner, *getattr(node, "args", [])]
        if child is not None
        for found in selectors(child)
    ]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_reads_metrics_and_labels_that_there_are(alert: str) -> None:
    read = selectors(promql_parser.parse(ALERTS[alert]["expr"]))
    assert read, "the walk finds nothing"
    for selector in read:
        labels = (METRICS | OTHERS)[selector.name]
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= set(labels) | FROM_SCRAPING
    grouped = re.findall(r"(?:by|on) \(([^)]*)\)", ALERTS[alert]["expr"])
    known = {label for selector in read for label in (METRICS | OTHERS)[selector.name]} | FROM_SCRAPING
    assert {label for group in grouped for label in group.split(", ")} <= known


def test_a_misspelt_metric_would_be_seen() -> None:
    (selector,) = selectors(promql_parser.parse("sum(rate(:tensorflow:serving:requests[5m])) > 0"))
    assert selector.name not in METRICS


@pytest.mark.parametrize("alert", ALERTS)
def test_the_runbook_says_what_to_look_at(alert: str) -> None:
    path, _, anchor = ALERTS[alert]["annotations"]["runbook"].partition("#")
    assert anchor == alert.lower()
    assert re.search(rf"^#+ {alert}$", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The rules as a file of Prometheus."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(RULES))
    return path


def test_prometheus_takes_the_rules(rules: Path) -> None:
    subprocess.run(["promtool", "check", "rules", str(rules)], check=True)


def check_that_fire(rules: Path, cases: list[tuple[list[tuple[str, str]], list[str]]]) -> None:
    """By Prometheus' own rule tests: after 25 minutes of the series, these alerts and no others, each once."""
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in given],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "25m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in expected],
                }
            ],
        }
        for given, expected in cases
    ]
    file = rules.with_name("test.yaml")
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_alone_and_only_when_it_should(rules: Path, alert: str) -> None:
    check_that_fire(rules, [(FIRING[alert], [alert]), (CALM[alert], [])])


@pytest.mark.parametrize("case", VERSIONS)
def test_a_version_that_no_pod_serves_is_told_from_one_that_serves(rules: Path, case: str) -> None:
    counts, alerts = VERSIONS[case]
    before = [loaded("success", 1, "1x30"), warmed_up(1, "1x30")]
    check_that_fire(rules, [([*QUIET, *before, *counts], alerts)])


def test_a_failed_warm_up_is_known_by_the_last_attempt_that_the_server_makes() -> None:
    arguments = (ROOT / "serving/manifests/kubernetes/deployment.yaml").read_text(encoding="utf-8")
    (retries,) = re.findall(r"--max_num_load_retries=(\d+)", arguments)
    (attempts,) = re.findall(r">= (\d+)", ALERTS[FAILS]["expr"])
    assert int(attempts) == 1 + int(retries)
