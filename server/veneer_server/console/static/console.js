// What the console needs beside htmx: no page asks for news while nobody looks at it, and a text
// can be copied.
"use strict";

document.addEventListener("htmx:config:request", (event) => {
  if (document.hidden) event.preventDefault();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  await navigator.clipboard.writeText(text);
  button.textContent = "Copied";
});

document.addEventListener("input", (event) => {
  const slider = event.target.closest("input[data-number]");
  if (slider) document.getElementById(slider.dataset.number).value = slider.value;
  const twin = event.target.id && document.querySelector(`input[data-number="${CSS.escape(event.target.id)}"]`);
  if (twin) twin.value = event.target.value;
});

// A slider only writes into the number beside it, so without this script there is none.
for (const slider of document.querySelectorAll("input[data-number]")) slider.hidden = false;
