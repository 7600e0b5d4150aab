// Ticks for patches and cases that do not belong, saved as verdicts_TIME.csv for nnactive_annotate import.
"use strict";
(() => {
  const save = document.getElementById("save-verdicts"), said = document.getElementById("verdicts-saved");
  const boxes = [...document.querySelectorAll(".verdict")].map(element => ({
    element, task: element.dataset.task, case: element.dataset.case, patch: element.querySelector("[name=patch]"),
    all: element.querySelector("[name=case]"), why: element.querySelector("[name=why]"),
  }));
  const ticked = new Set();  // what was ticked in this page at any time: unticked after it was saved, it is relevant again
  let unsaved = false;
  const plain = text => /^[=+\-@\t\r]/.test(text) && !/^[-+][\d.,\s%±e+-]*$/.test(text) ? `'${text}` : text;  // no formula
  const cell = text => /[",\n]/.test(text) ? `"${plain(text).replaceAll('"', '""')}"` : plain(text);
  const rows = () => {
    const cases = new Map(), tasks = new Map();
    for (const box of boxes) {
      if (box.all.checked) cases.set(box.case, cases.get(box.case) || box.why.value);
      if (box.patch.checked) tasks.set(box.task, box.why.value);
    }
    const irrelevant = new Map([...cases, ...tasks]);
    const back = [...ticked].filter(name => !irrelevant.has(name));
    return [...[...irrelevant].map(([name, why]) => [name, "irrelevant", why.trim()]), ...back.map(name => [name, "relevant", ""])];
  };
  const changed = event => {
    const mine = boxes.find(box => box.element.contains(event.target));
    if (event.target === mine.all)
      for (const box of boxes) if (box.case === mine.case) box.all.checked = mine.all.checked;
    for (const box of boxes) box.element.closest("article").classList.toggle("irrelevant", box.patch.checked || box.all.checked);
    unsaved = rows().length > 0;
    save.disabled = !unsaved;
    said.textContent = "";
  };
  save.addEventListener("click", () => {
    const found = rows(), name = `verdicts_${new Date().toISOString().replace(/[-:]|\.\d+/g, "")}.csv`;
    const text = [["task_or_case", "verdict", "why"], ...found].map(row => row.map(cell).join(",")).join("\n") + "\n";
    const link = document.createElement("a"), url = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
    for (const [task] of found) ticked.add(task);
    unsaved = false;
    said.textContent = `${name} is in your downloads.`;
  });
  for (const box of boxes) {
    box.element.hidden = false;
    box.element.addEventListener("input", changed);
  }
  addEventListener("beforeunload", event => { if (unsaved) event.preventDefault(); });
})();
