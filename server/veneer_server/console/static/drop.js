// Takes a folder, or its two files, from wherever they are dropped on the page, and sends the form
// with progress. Without this script the form still sends what was chosen in it.
"use strict";

const form = document.getElementById("drop");
const chosen = document.getElementById("drop-files");
const bar = document.getElementById("drop-progress");
const told = document.getElementById("drop-told");
const wrong = document.getElementById("drop-wrong");
const WANTED = ["adapter_config.json", "adapter_model.safetensors"];

function say(text) {
  told.textContent = text;
  wrong.hidden = true;
}

function complain(text) {
  told.textContent = "";
  wrong.textContent = text;
  wrong.hidden = false;
}

function toFile(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

async function inFolder(entry) {
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader gives at most a hundred entries at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    found.push(...some);
  }
}

async function toFiles(entries) {
  const inside = await Promise.all(entries.map((e) => (e.isDirectory ? inFolder(e) : [e])));
  const wanted = inside.flat().filter((e) => e.isFile && WANTED.includes(e.name));
  return Promise.all(wanted.map(toFile));
}

// Why these files cannot be an adapter, or nothing.
function fault(files) {
  const names = files.map((file) => file.name).sort();
  if (names.join() !== WANTED.join()) {
    return `An adapter is one folder with ${WANTED.join(" and ")}, not in a folder below it.`;
  }
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  const most = Number(form.dataset.mostBytes);
  if (bytes > most) return `The files have ${bytes} bytes, and the server takes ${most} (sources.max_bytes).`;
  return "";
}

async function take(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const files = await toFiles(entries);
  const why = fault(files);
  if (why) {
    complain(why);
    return;
  }
  const kept = new DataTransfer();
  files.forEach((file) => kept.items.add(file));
  chosen.files = kept.files;
  const name = form.elements.name;
  const folder = entries.find((entry) => entry.isDirectory);
  if (!name.value && folder) name.value = folder.name;
  say("Both files are there: press Upload.");
  (name.value ? form.querySelector("button") : name).focus();
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // or the browser would open the file instead of the page
    form.classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer).catch((error) => complain(error.message));
  });
}

// The answer to a form is a page: the one of the adapter, or one that says what is wrong.
function read(request) {
  if (request.status === 200) {
    location.assign(request.responseURL);
    return;
  }
  if (request.status === 401) {
    location.reload();
    return;
  }
  const page = new DOMParser().parseFromString(request.responseText, "text/html");
  const parts = [...page.querySelectorAll("[role=alert], .advice")].map((part) => part.textContent);
  complain(parts.join(" ") || `The server answered ${request.status}.`);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const why = fault([...chosen.files]);
  if (why) {
    complain(why);
    return;
  }
  const button = form.querySelector("button");
  const request = new XMLHttpRequest(); // fetch does not say how much was sent
  request.upload.addEventListener("progress", (sent) => { bar.value = sent.loaded / sent.total; });
  request.upload.addEventListener("load", () => say("Sent. It is verified and proved now."));
  request.addEventListener("load", () => read(request));
  request.addEventListener("error", () => complain("The connection ended before the server answered."));
  request.addEventListener("loadend", () => {
    bar.hidden = true;
    button.disabled = false;
  });
  bar.hidden = false;
  bar.value = 0;
  button.disabled = true;
  say("Sending.");
  request.open("POST", form.action);
  request.send(new FormData(form));
});
