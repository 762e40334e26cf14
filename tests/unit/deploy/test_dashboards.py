"""Dashboards and alerts as files: complete, readable, and with a page to turn to."""

import json
import re
from typing import Any

import pytest
import yaml

from support.places import REPOSITORY

GRAFANA = REPOSITORY / "deploy" / "grafana"
BOARDS = {f.stem: json.loads(f.read_text()) for f in (GRAFANA / "dashboards").glob("*.json")}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]


def test_there_are_five_dashboards_that_link_to_each_other() -> None:
    assert set(BOARDS) == {"overview", "variants", "tenants", "background", "engine"}
    for board in BOARDS.values():
        assert board["uid"].startswith("veneer-")
        assert [link["tags"] for link in board["links"]] == [board["tags"]]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_an_explanation_a_unit_and_bounded_series(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["type"] == "table" or "unit" in defaults
    for target in panel["targets"]:
        many = "(adapter)" in target["expr"] and panel["type"] != "table"
        assert not many or target["expr"].startswith("topk($top, ")


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_lies_on_another(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_alert_has_a_section_in_the_runbook() -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    sections = set(re.findall(r"^### (Veneer\w+)$", page, re.MULTILINE))
    groups = yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "alerts.yaml").read_text())
    alerts = [r for group in groups["groups"] for r in group["rules"] if "alert" in r]
    assert {alert["alert"] for alert in alerts} == sections
    for alert in alerts:
        anchor = alert["alert"].lower()
        assert alert["annotations"]["runbook"] == f"docs/operations.md#{anchor}"
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
