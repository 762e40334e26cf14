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
  const slider = event.target.closest("input[type=range]");
  if (slider) document.querySelector(`output[for="${slider.id}"]`).textContent = slider.value;
});
