// Draws the table of days. The table stays: it is the chart for who cannot see one.
"use strict";

const place = document.getElementById("chart");
const table = document.getElementById("by-day");

const DAY_S = 86400;
const DAYS = [1, 2, 7, 14];

// A day is a date, never an hour of it.
function toDate(at) {
  return new Date(at * 1000).toISOString().slice(5, 10);
}

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
    legend: { live: false },
    cursor: { show: false },
    height: 240,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    axes: [
      { ...axis, incrs: DAYS.map((days) => days * DAY_S), values: (_, days) => days.map(toDate) },
      { ...axis, size: 90, label: "Tokens", values: (_, counts) => counts.map((n) => n.toLocaleString("en")) },
    ],
    series: [{ label: "Day, in UTC" }, line(2), line(4, [6, 4])],
  }, [toSeries(0), toSeries(2), toSeries(4)], place);
}

if (place && table) {
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
