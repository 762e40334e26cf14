"""Draw what the dashboards show, from the data of a Prometheus and without Grafana.

    python deploy/grafana/preview.py URL FOLDER [--seconds 180]

There is one picture for each dashboard. It shows whether the data is there and how the panels
are arranged. It is only a preview: Grafana draws better.
"""

import argparse
import io
import json
import math
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

DASHBOARDS = Path(__file__).parent / "dashboards"
VARIABLES = {"$job": "veneer", "$instance": ".*", "$adapter": ".*", "$top": "8"} | {
    "$__rate_interval": "20s"
}
CELL_IN, ROW_IN = 0.62, 0.32
"""Width and height of one cell of Grafana's grid, in inches."""
UNITS = {"s": "s", "percentunit": "share", "reqps": "req/s", "ops": "1/s", "bytes": "bytes"}


class Prometheus:
    """Reads the last ``seconds`` of a Prometheus."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._seconds = url, seconds
        self._now = time.time()

    def series(self, expr: str) -> list[tuple[dict[str, str], list[float], list[float]]]:
        """Return the labels, the times (seconds ago, negative) and the values of each series."""
        for name, value in VARIABLES.items():
            expr = expr.replace(name, value)
        step = self._seconds / 120
        given = {"query": expr, "start": self._now - self._seconds, "end": self._now, "step": step}
        url = f"{self._url}/api/v1/query_range?{urllib.parse.urlencode(given)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the operator's own
            found = json.load(answer)["data"]["result"]
        return [(one["metric"], *self._on_grid(one["values"], step)) for one in found]

    def _on_grid(self, values: list[Any], step: float) -> tuple[list[float], list[float]]:
        """Return a value for each step; it is NaN where there is none, so that lines have gaps."""
        known = {round((at - self._now + self._seconds) / step): float(v) for at, v in values}
        steps = range(round(self._seconds / step) + 1)
        return [n * step - self._seconds for n in steps], [known.get(n, math.nan) for n in steps]


def draw(board: dict[str, Any], source: Prometheus) -> Figure:
    """Return the picture of one dashboard."""
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
    figure = plt.figure(figsize=(24 * CELL_IN, rows * ROW_IN + 0.6), dpi=72)
    figure.suptitle(f"{board['title']}: a preview drawn without Grafana", fontsize=12)
    for panel in board["panels"]:
        place = panel["gridPos"]
        if panel["type"] == "row":
            y = 1 - (place["y"] + 0.8) / (rows + 2)
            figure.text(0.01, y - 1.2 / (rows + 2), panel["title"], fontsize=11, weight="bold")
            continue
        box = (
            (place["x"] + 0.9) / 24,
            1 - (place["y"] + place["h"] + 0.9) / (rows + 2),
            (place["w"] - 1.2) / 24,
            (place["h"] - 2.2) / (rows + 2),
        )
        axes = figure.add_axes(box)
        axes.set_title(panel["title"], fontsize=9)
        {"stat": _stat, "table": _table, "timeseries": _lines}[panel["type"]](axes, panel, source)
    return figure


def _lines(axes: Any, panel: dict[str, Any], source: Prometheus) -> None:
    for target in panel["targets"]:
        for labels, times, values in source.series(target["expr"]):
            legend = target["legendFormat"]
            for name, value in labels.items():
                legend = legend.replace("{{" + name + "}}", value)
            axes.plot(times, values, linewidth=1, label=legend)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=6)
    axes.set_ylabel(UNITS.get(panel["fieldConfig"]["defaults"]["unit"], ""), fontsize=6)
    if axes.lines:
        axes.legend(fontsize=5, loc="upper left", ncols=3, framealpha=0.5)


def _stat(axes: Any, panel: dict[str, Any], source: Prometheus) -> None:
    found = source.series(panel["targets"][0]["expr"])
    shown = f"{found[0][2][-1]:.3g}" if found else "no data"
    axes.axis("off")
    axes.text(0.5, 0.4, shown, ha="center", va="center", fontsize=15)


def _table(axes: Any, panel: dict[str, Any], source: Prometheus) -> None:
    columns: dict[str, dict[str, float]] = {}
    headings = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
    for heading, target in zip(headings, panel["targets"], strict=False):
        for labels, _, values in source.series(target["expr"]):
            columns.setdefault(labels["adapter"], {})[heading] = values[-1]
    headings = headings[: len(panel["targets"])]
    busiest = sorted(columns, key=lambda name: -columns[name].get(headings[0], 0))[:10]
    cells = [
        [name, *(_shown(columns[name].get(heading)) for heading in headings)] for name in busiest
    ]
    axes.axis("off")
    drawn = axes.table(cellText=cells, colLabels=["Adapter", *headings], loc="upper center")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)


def _shown(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3g}"


def save(figure: Figure, path: Path) -> None:
    """Write the picture with few colours: a small file, because it goes into the repository."""
    drawn = io.BytesIO()
    figure.savefig(drawn)
    Image.open(drawn).convert("RGB").quantize(48).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("url", help="URL of the Prometheus")
    parser.add_argument("folder", type=Path, help="folder for the pictures")
    parser.add_argument("--seconds", type=float, default=180, help="how far to look back")
    asked = parser.parse_args()
    source = Prometheus(asked.url, asked.seconds)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(DASHBOARDS.glob("*.json")):
        figure = draw(json.loads(file.read_text()), source)
        save(figure, asked.folder / f"preview-{file.stem}.png")
        plt.close(figure)


if __name__ == "__main__":
    main()
