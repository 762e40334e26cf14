"""The alerts, as Prometheus's own tool reads and tries them."""

import subprocess
from typing import Any

import pytest
import yaml

from support.places import REPOSITORY
from support.scraping import program

pytestmark = pytest.mark.services

RULES = REPOSITORY / "deploy" / "prometheus"


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RULES / name).read_text())
    return found


def test_prometheus_accepts_the_configuration_and_its_rules() -> None:
    promtool("check", "config", str(RULES / "prometheus.yml"))
    promtool("check", "rules", str(RULES / "alerts.yaml"))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", str(RULES / "alerts_test.yaml"))


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    groups = read("alerts.yaml")["groups"]
    alerts = {r["alert"] for group in groups for r in group["rules"] if "alert" in r}
    cases = [case for test in read("alerts_test.yaml")["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
