// Keeps the queue as it is now without a reload: tasks, answers of others, training; narrows it to what somebody looks for.
"use strict";
(() => {
  const EVERY = 3000, $ = id => document.getElementById(id), main = document.querySelector("main");
  const filters = document.querySelector("form.filters");
  const shown = {};  // as the server sent it: the browser's own text of a part may differ
  let stamp = main.dataset.stamp, asking = null, timer = 0;
  const say = text => { if ($("said").textContent !== text) $("said").textContent = text; };

  const filter = () => {
    const rows = [...document.querySelectorAll("[data-task]")], wanted = $("wanted").value.toLowerCase();
    let number = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted) || ($("hide-done").checked && row.dataset.status === "done");
      number += !row.hidden;
    }
    filters.querySelector("output").textContent = `${number} of ${rows.length} tasks shown`;
  };
  const replace = (id, html) => {
    if (shown[id] === html) return;
    const part = $(id), task = document.activeElement.closest?.("[data-task]")?.dataset.task;
    const details = part.querySelector("details")?.open;
    part.innerHTML = shown[id] = html;
    if (details && part.querySelector("details")) part.querySelector("details").open = true;
    if (id !== "tasks") return;
    filter();
    if (task) document.querySelector(`[data-task="${CSS.escape(task)}"] a.annotate`)?.focus({preventScroll: true});
  };
  const look = async () => {
    const reply = await fetch(`/now?seen=${stamp}`), now = await reply.json();
    if (!reply.ok) throw new Error(now.error);
    for (const [id, html] of Object.entries(now.parts)) replace(id, html);
    document.querySelector("h1").textContent = now.title;
    stamp = now.stamp;
  };
  const refresh = () => {
    clearTimeout(timer);
    asking ??= look().then(() => { if ($("said").dataset.kind !== "refused") say(""); }, error => {
      $("said").dataset.kind = "";
      say(error instanceof TypeError ? "The server does not answer. It may have been stopped; nothing that was handed in is lost." : error.message);
    }).finally(() => { asking = null; timer = setTimeout(tick, EVERY); });
    return asking;
  };
  const tick = () => document.hidden ? timer = setTimeout(tick, EVERY) : refresh();

  document.addEventListener("submit", async event => {
    const form = event.target;
    if (form === filters) return event.preventDefault();
    if (!form.closest("#training")) return;
    event.preventDefault();
    for (const button of document.querySelectorAll("#training button")) button.disabled = true;
    shown.training = null;  // the buttons come back with the reply
    let refusal = "";
    try {
      const reply = await fetch(form.action, {method: "POST", body: new URLSearchParams(new FormData(form))});
      if (!reply.ok) refusal = (await reply.json()).error;
    } catch { refusal = "The server does not answer. Nothing was started."; }
    $("said").dataset.kind = refusal && "refused";
    say(refusal);
    await asking;  // which may have looked before
    refresh();
  });
  filters.addEventListener("input", filter);
  addEventListener("pageshow", event => { if (event.persisted) refresh(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  filter();
  timer = setTimeout(tick, EVERY);
})();
