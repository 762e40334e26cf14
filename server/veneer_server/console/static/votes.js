// Votes for the best answer, as rows for training by preferences. They are kept in this browser, in
// a place for each tenant or key: a list of votes, each a list of rows.
const votes = document.getElementById("votes");
const told = document.getElementById("votes-told");
const [download, undo, forget] = ["download", "undo", "forget"].map((name) =>
  document.getElementById(`votes-${name}`));
const start = document.querySelector("#votes-start form");
const { whose } = votes.dataset;
const [LEAST, MOST] = [votes.dataset.least, votes.dataset.most].map(Number);
const PLACE = `veneer votes of ${whose}`;

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch (error) {
    told.textContent = `The votes of this browser cannot be read: ${error.message}`;
    return [];
  }
}

function keep(kept) {
  try {
    localStorage.setItem(PLACE, JSON.stringify(kept));
  } catch (error) {
    told.textContent = `This browser keeps no more votes: ${error.message}`;
    return false;
  }
  show(kept);
  return true;
}

function show(kept) {
  const rows = kept.flat().length;
  const of = `${rows} ${rows === 1 ? "row" : "rows"} of ${kept.length} ${kept.length === 1 ? "vote" : "votes"}.`;
  const missing = rows < LEAST ? ` A job needs ${LEAST} rows: ${LEAST - rows} more.` : " Enough for a job.";
  told.textContent = rows ? of + missing : `No votes yet. A job needs ${LEAST} rows.`;
  for (const button of [download, undo, forget]) button.disabled = !rows;
  if (start) start.querySelector("button").disabled = rows < LEAST;
}

function toFile() {
  const lines = load().flat().map((row) => `${JSON.stringify(row)}\n`);
  return new File(lines, "votes.jsonl", { type: "application/jsonl" });
}

function toRows({ messages, tools }, best, others) {
  const said = (column) => [{ role: "assistant", content: column.said }];
  return others.filter((other) => other.said !== best.said).map((other) => ({
    input: tools ? { messages, tools } : { messages },
    preferred_output: said(best),
    non_preferred_output: said(other),
  }));
}

function vote(body, best, columns, buttons) {
  const kept = load();
  const rows = toRows(body, best, columns.filter((column) => column !== best));
  if (kept.flat().length + rows.length > MOST) {
    told.textContent = `No more than ${MOST} rows are kept: download them, then forget them.`;
    return;
  }
  if (!keep([...kept, rows])) return;
  for (const button of buttons) button.remove();
  const mark = document.createElement("p");
  mark.textContent = "Voted best.";
  best.section.append(mark);
}

document.getElementById("ask").addEventListener("answered", ({ detail: { body, columns } }) => {
  const votable = columns.filter((column) => column.isVotable && column.said);
  if (new Set(votable.map((column) => column.said)).size < 2) return;
  const buttons = votable.map((column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = "This one is best";
    button.setAttribute("aria-label", `This one is best: ${column.model}`);
    button.addEventListener("click", () => vote(body, column, votable, buttons));
    column.section.append(button);
    return button;
  });
});

download.addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(toFile());
  link.download = "votes.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it after the click
});
undo.addEventListener("click", () => keep(load().slice(0, -1)));
forget.addEventListener("click", () => keep([]));
start?.addEventListener("submit", () => {
  const file = new DataTransfer();
  file.items.add(toFile());
  start.elements.file.files = file.files;
});
window.addEventListener("storage", (event) => {
  if (event.key === PLACE) show(load());
});
show(load());
