"""Grafana's panels as plain dicts: how each kind is written, and its place on the page."""

from collections.abc import Iterable, Sequence
from typing import Any

Panel = dict[str, Any]
Query = tuple[str, str]
"""An expression, and the legend of its series."""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
"""Columns of Grafana's grid."""
GREEN, YELLOW, RED = "green", "#EAB839", "red"


def _panel(
    kind: str, title: str, about: str, queries: Iterable[Query], size: tuple[int, int]
) -> Panel:
    targets = [
        {"refId": chr(ord("A") + index), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
        for index, (expr, legend) in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "targets": targets,
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {},
    }


def _limits(steps: Sequence[float], *, low_is_bad: bool = False) -> dict[str, Any]:
    colors = [RED, YELLOW, GREEN] if low_is_bad else [GREEN, YELLOW, RED]
    if len(steps) == 1:
        colors = [colors[0], colors[2]]
    return {
        "mode": "absolute",
        "steps": [
            {"color": color, "value": value}
            for color, value in zip(colors, [None, *steps], strict=True)
        ],
    }


def stat(
    title: str,
    about: str,
    expr: str,
    unit: str,
    *,
    limits: Sequence[float] = (),
    low_is_bad: bool = False,
) -> Panel:
    """Return a panel of one number.

    It is green, and turns yellow and then red at the two ``limits``. With one limit it turns red
    there. With ``low_is_bad`` it is red below the first limit and green above the last.
    """
    panel = _panel("stat", title, about, [(expr, "")], (3, 4))
    panel["fieldConfig"]["defaults"] = {"unit": unit}
    if limits:
        panel["fieldConfig"]["defaults"]["thresholds"] = _limits(limits, low_is_bad=low_is_bad)
    panel["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area"}
    return panel


def graph(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    limits: Sequence[float] = (),
    width: int = 8,
) -> Panel:
    """Return a panel of lines over time; Grafana draws ``limits`` as dashed lines."""
    panel = _panel("timeseries", title, about, queries, (width, 8))
    custom: dict[str, Any] = {"fillOpacity": 30 if stacked else 8, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal"}
    defaults = {"unit": unit, "min": 0, "custom": custom}
    if limits:
        defaults["thresholds"] = _limits(limits)
        custom["thresholdsStyle"] = {"mode": "dashed"}
    panel["fieldConfig"]["defaults"] = defaults
    panel["options"] = {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel


def table(
    title: str,
    about: str,
    columns: Sequence[tuple[str, str, str, Sequence[float]]],
    *,
    by: str = "adapter",
) -> Panel:
    """Return a table with one row for each value of the label ``by``.

    A column is a tuple of its heading, expression, unit and limits.
    """
    queries = [(expr, "") for _, expr, _, _ in columns]
    panel = _panel("table", title, about, queries, (WIDTH, 10))
    for target in panel["targets"]:
        target |= {"format": "table", "instant": True}
    letters = [target["refId"] for target in panel["targets"]]
    names = {
        f"Value #{letter}": heading for letter, (heading, *_) in zip(letters, columns, strict=True)
    }
    organize = {"excludeByName": {"Time": True}, "renameByName": {by: by.capitalize(), **names}}
    panel["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": organize},
        {"id": "sortBy", "options": {"sort": [{"field": columns[0][0], "desc": True}]}},
    ]
    panel["fieldConfig"]["overrides"] = [
        _column(heading, unit, limits) for heading, _, unit, limits in columns
    ]
    if by == "adapter":
        panel["fieldConfig"]["overrides"].append(_link_to_itself())
    return panel


def _column(heading: str, unit: str, limits: Sequence[float]) -> dict[str, Any]:
    properties: list[dict[str, Any]] = [{"id": "unit", "value": unit}]
    if limits:
        properties.append({"id": "thresholds", "value": _limits(limits)})
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    return {"matcher": {"id": "byName", "options": heading}, "properties": properties}


def _link_to_itself() -> dict[str, Any]:
    kept = "${__url_time_range}&${datasource:queryparam}"
    url = f"/d/veneer-variants?var-adapter=${{__value.raw}}&{kept}"
    link = {"title": "Only this adapter", "url": url}
    return {
        "matcher": {"id": "byName", "options": "Adapter"},
        "properties": [{"id": "links", "value": [link]}],
    }


def row(title: str) -> Panel:
    """Return a heading; the panels after it belong to it."""
    return {"type": "row", "title": title, "collapsed": False, "gridPos": {"w": WIDTH, "h": 1}}


def arranged(panels: Iterable[Panel]) -> list[Panel]:
    """Return the panels with a number and a place each.

    They stand from left to right; a panel that does not fit begins a new line.
    """
    placed: list[Panel] = []
    x = y = height = 0
    for number, panel in enumerate(panels, start=1):
        size = panel["gridPos"]
        if x + size["w"] > WIDTH:
            x, y, height = 0, y + height, 0
        placed.append({"id": number, **panel, "gridPos": {**size, "x": x, "y": y}})
        x, height = x + size["w"], max(height, size["h"])
    return placed
