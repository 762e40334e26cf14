"""The three forms of a result: a table, Markdown for the log, JSON."""

import json
import math
from io import StringIO

from rich.console import Console

from veneer_server.bench.goals.verdicts import Found, Goal, rows
from veneer_server.bench.peers.peers import Name
from veneer_server.bench.report.tables import markdown, spread, table, to_json

MET = Goal("G1", "ours / theirs", (Name.VENEER, "ms"), (Name.DEFAULT, "ms"), True, 0.25, 0.1)
LOST = Goal("G8", "cold | hot", (Name.VENEER_ONE, "s"), None, True, 2)
MISSING = Goal("G9", "equal", (Name.VENEER_FP32, "equal"), None, False, 1.0)
CONDITIONS = {"date": "2026-11-22 06:00 UTC", "hardware": "2 CPUs"}


def result() -> tuple[list, Found]:  # type: ignore[type-arg]  # rows of three kinds
    found = Found()
    for turn, value in enumerate([10, 20, 24]):
        found.add(Name.VENEER, turn, {"ms": value})
        found.add(Name.DEFAULT, turn, {"ms": 100})
    found.add(Name.VENEER_ONE, 0, {"s": math.inf})
    return rows(found, [MET, LOST, MISSING], {}, "only without --quick"), found


def test_the_median_is_shown_with_its_spread() -> None:
    assert spread([30.0, 10.0, 20.0]) == "20.0 (10.0-30.0)"
    assert spread([4.0, 2.0]) == "3.00 (2.00-4.00)"
    assert spread([0.5]) == "0.500"
    assert spread([math.inf]) == "never"
    assert spread([]) == ""


def test_the_table_has_a_row_and_a_verdict_for_each_goal() -> None:
    shown = StringIO()
    Console(file=shown, width=140).print(table(result()[0]))
    lines = [line for line in shown.getvalue().splitlines() if "│ G" in line]
    assert ["met" in lines[0], "MISSED" in lines[1], "not measured" in lines[2]] == [True] * 3


def test_markdown_holds_conditions_ratios_reasons_and_the_figures_behind() -> None:
    made, found = result()
    text = markdown(made, found, CONDITIONS)
    assert text.startswith("## 2026-11-22 06:00 UTC: goals\n\n- hardware: 2 CPUs\n")
    assert "| G1 | ours / theirs | 0.200 (0.100-0.240) | 3 | <= 0.25 (0.1) | met |" in text
    assert "| G8 | cold / hot | never | 1 | <= 2 | MISSED |" in text
    assert "- not measured: G9: only without --quick" in text
    assert "| Veneer | ms | 20.0 (10.0-24.0) |" in text


def test_json_holds_every_round_and_stays_json_when_something_never_ended() -> None:
    made, found = result()
    document = json.loads(to_json(made, found, CONDITIONS), parse_constant=_refuse)
    assert document["goals"][0]["values"] == [0.1, 0.2, 0.24]
    assert document["goals"][1]["values"] == [None]
    assert document["figures"][0]["rounds"].keys() >= {"0"}
    assert document["conditions"] == CONDITIONS


def _refuse(constant: str) -> None:
    raise ValueError(constant)
