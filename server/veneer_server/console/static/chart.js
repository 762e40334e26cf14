// Draws the table of days. The table stays: it is the chart for who cannot see one.
"use strict";

const place = document.getElementById("chart");
const table = document.getElementById("by-day");

function toSeries(column) {
  return [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value));
}

function draw() {
  const text = getComputedStyle(document.body).color;
  const axis = { stroke: text, grid: { stroke: text, width: 0.2 }, ticks: { stroke: text, width: 0.2 } };
  const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const line = (column, dash) => ({ label: titles[column], stroke: text, width: 2, dash });
  place.replaceChildren();
  new uPlot({
    width: Math.min(place.clientWidth, 900),
    height: 240,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    axes: [axis, { ...axis, size: 80 }],
    series: [{ label: titles[0] }, line(2), line(4, [6, 4])],
  }, [toSeries(0), toSeries(2), toSeries(4)], place);
}

if (place && table) {
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
