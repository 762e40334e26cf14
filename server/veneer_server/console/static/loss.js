// Draws the loss of a job beside that on rows that were not learned, and anew when the page has
// news. The table stays: it is the chart for who cannot see one.
"use strict";

const place = document.getElementById("loss");
let chart = null;
let drawn = "";

function toSeries(table, column) {
  return [...table.tBodies[0].rows].map((row) => {
    const { value } = row.cells[column].dataset;
    return value === "" ? null : Number(value);
  });
}

function make(table, data) {
  const text = getComputedStyle(document.body).color;
  const axis = { stroke: text, grid: { stroke: text, width: 0.2 }, ticks: { stroke: text, width: 0.2 } };
  const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const line = (column, more) => ({ label: titles[column], stroke: text, width: 2, spanGaps: true, ...more });
  place.replaceChildren();
  chart = new uPlot({
    width: Math.min(place.clientWidth, 900),
    height: 240,
    scales: { x: { time: false } },
    axes: [axis, { ...axis, size: 60 }],
    series: [{ label: titles[0] }, line(1), line(2, { dash: [6, 4], points: { show: true, size: 8 } })],
  }, data, place);
}

function draw(anew) {
  const table = document.getElementById("by-step");
  if (!table) return;
  const data = [0, 1, 2].map((column) => toSeries(table, column));
  const now = JSON.stringify(data);
  if (now === drawn && !anew) return;
  drawn = now;
  if (chart && !anew) chart.setData(data);
  else make(table, data);
}

draw(true);
document.addEventListener("htmx:after:swap", () => draw(false));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
