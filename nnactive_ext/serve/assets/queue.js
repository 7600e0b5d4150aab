// Narrows the queue to what somebody looks for, and reloads it so that the states of tasks are those of now.
"use strict";
const rows = [...document.querySelectorAll("[data-task]")], wanted = document.getElementById("wanted");
const hideDone = document.getElementById("hide-done");
const show = () => {
  let shown = 0;
  for (const row of rows) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted.value.toLowerCase())
      || (hideDone.checked && row.dataset.status === "done");
    shown += !row.hidden;
  }
  document.querySelector("form.filters output").textContent = `${shown} of ${rows.length} tasks shown`;
};
document.querySelector("form.filters").addEventListener("input", show);
document.querySelector("form.filters").addEventListener("submit", event => event.preventDefault());
show();
addEventListener("pageshow", event => { if (event.persisted) location.reload(); });
