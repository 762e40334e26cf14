// Asks several variants the same, and shows their answers side by side while they come. Every text
// of an answer goes into the page as text, never as HTML.
"use strict";

const form = document.getElementById("ask");
const stop = document.getElementById("stop");
const told = document.getElementById("told");
const wrong = document.getElementById("wrong");
const differences = document.getElementById("differences");
const answers = document.getElementById("answers");
const MOST_WORDS = 1500; // the comparison of words takes the square of this
let columns = [];
let running = null;

function make(tag, text = "", kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function fill(body, name, parse = Number) {
  const text = form.elements[name].value.trim();
  if (text) body[name] = parse(text);
}

function toBody() {
  const models = [...form.elements.model].map((field) => field.value.trim()).filter(Boolean);
  if (models.length < 2) throw new Error("Please name at least two variants.");
  const messages = [{ role: "user", content: form.elements.prompt.value }];
  const system = form.elements.system.value.trim();
  if (system) messages.unshift({ role: "system", content: system });
  const body = { models, messages, stream: true };
  for (const name of ["seed", "temperature", "max_tokens"]) fill(body, name);
  fill(body, "tools", JSON.parse);
  const schema = form.elements.schema.value.trim();
  if (schema) {
    const json_schema = { name: "answer", schema: JSON.parse(schema) };
    body.response_format = { type: "json_schema", json_schema };
  }
  return body;
}

function toCurl(body) {
  const quoted = `'${JSON.stringify(body).replaceAll("'", "'\\''")}'`;
  const key = "withKey" in form.dataset ? ' -H "Authorization: Bearer $OPENAI_API_KEY"' : "";
  const kind = "-H 'Content-Type: application/json'";
  return `curl -N ${form.dataset.address}${key} ${kind} -d ${quoted}`;
}

function toColumn(model) {
  const section = make("section");
  const heading = make("h2", model, "name");
  const adapter = make("p", "waits", "quiet");
  const output = make("pre", "", "answer");
  const text = document.createTextNode("");
  const figures = make("p", "", "quiet");
  output.append(text);
  section.setAttribute("aria-label", model);
  section.append(heading, adapter, output, figures);
  answers.append(section);
  return { model, section, adapter, output, text, figures, said: "", isVotable: true };
}

function onChunk(column, chunk) {
  for (const choice of chunk.choices) {
    const delta = choice.delta;
    column.text.appendData(delta.reasoning_content ?? "");
    column.text.appendData(delta.content ?? "");
    column.said += delta.content ?? "";
    for (const call of delta.tool_calls ?? []) {
      column.isVotable = false; // a row of votes has answers of text
      column.text.appendData(call.function?.name ? `${call.function.name} ` : "");
      column.text.appendData(call.function?.arguments ?? "");
    }
  }
}

function toFigures({ timing, usage, finish_reason }) {
  const parts = [];
  if (timing.ttft_ms !== null) parts.push(`first token ${timing.ttft_ms} ms`);
  const writing_s = (timing.duration_ms - timing.ttft_ms) / 1000;
  if (usage && writing_s > 0) {
    parts.push(`${((usage.completion_tokens - 1) / writing_s).toFixed(1)} tokens/s`);
  }
  if (usage) parts.push(`${usage.prompt_tokens} tokens in, ${usage.completion_tokens} out`);
  if (timing.cold_start_ms) parts.push(`cold start ${timing.cold_start_ms} ms`);
  parts.push(`ended by ${finish_reason}`);
  return parts.join(" · ");
}

const ON = {
  "variant.started": (column, event) => {
    column.adapter.textContent = event.adapter ?? "the base model";
  },
  "variant.chunk": (column, event) => onChunk(column, event.chunk),
  "variant.completed": (column, event) => {
    column.figures.textContent = toFigures(event);
    told.textContent = `The answer of ${column.model} is complete.`;
  },
  "variant.failed": (column, event) => {
    column.isVotable = false;
    column.adapter.textContent = "";
    column.figures.className = "notice wrong";
    column.figures.textContent = event.error.message;
    told.textContent = `${column.model} failed.`;
  },
};

function onEvent(block) {
  const data = block.split("\n").filter((line) => line.startsWith("data: "));
  if (!data.length) return false;
  const event = JSON.parse(data.map((line) => line.slice(6)).join("\n"));
  if (event.error && !event.type) throw new Error(event.error.message);
  if (event.type === "compare.completed") return true;
  ON[event.type]?.(columns[event.variant], event);
  return false;
}

async function read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let whole = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) whole = onEvent(block) || whole;
  }
  if (!whole) throw new Error("The connection ended before all answers were complete.");
}

async function ask() {
  const body = toBody();
  document.getElementById("compare-curl").textContent = toCurl(body);
  answers.replaceChildren();
  columns = body.models.map(toColumn);
  running = new AbortController();
  const response = await fetch(form.dataset.to, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: running.signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  await read(response);
  told.textContent = "All answers are complete.";
  form.dispatchEvent(new CustomEvent("answered", { detail: { body, columns } }));
}

function onWrong(error) {
  if (error.name === "AbortError") {
    told.textContent = "Stopped.";
    return;
  }
  told.textContent = "";
  wrong.hidden = false;
  wrong.textContent = error.message;
}

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  running?.abort();
  wrong.hidden = true;
  differences.checked = false;
  differences.disabled = true;
  stop.disabled = false;
  told.textContent = "Asked.";
  try {
    await ask();
    differences.disabled = false;
  } catch (error) {
    onWrong(error);
  } finally {
    stop.disabled = true;
  }
});

stop.addEventListener("click", () => running?.abort());

// Words, and the space between them, so that both texts can be put together again.
function toWords(text) {
  return text.split(/(\s+)/).filter(Boolean);
}

function toDifferences(before, after) {
  const rows = before.length + 1;
  const table = Array.from({ length: rows }, () => new Uint16Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      table[i][j] = before[i] === after[j]
        ? table[i + 1][j + 1] + 1
        : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      found.push(["same", after[j]]);
      i += 1;
      j += 1;
    } else if (j < after.length && (i === before.length || table[i][j + 1] >= table[i + 1][j])) {
      found.push(["ins", after[j]]);
      j += 1;
    } else {
      found.push(["del", before[i]]);
      i += 1;
    }
  }
  return found;
}

function mark(column, first) {
  const [before, after] = [toWords(first.text.data), toWords(column.text.data)];
  if (Math.max(before.length, after.length) > MOST_WORDS) {
    told.textContent = `${column.model}: too long to mark every word.`;
    return;
  }
  const parts = toDifferences(before, after).map(([kind, text]) =>
    kind === "same" ? document.createTextNode(text) : make(kind, text));
  column.output.replaceChildren(...parts);
}

differences.addEventListener("change", () => {
  for (const column of columns.slice(1)) {
    if (differences.checked) mark(column, columns[0]);
    else column.output.replaceChildren(column.text);
  }
});
