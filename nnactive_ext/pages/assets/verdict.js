// The dialog "Not one of ours" of all editors: tells the server, or the page from disk, whose own script goes on from there.
"use strict";
(() => {
  const {id} = JSON.parse(document.getElementById("settings").textContent), dialog = document.getElementById("verdict");
  const find = selector => dialog.querySelector(selector);
  const disk = typeof home !== "undefined" && home.verdict ? home : null;
  const send = async said => {
    let answer;
    try { answer = await fetch(`/tasks/${encodeURIComponent(id)}/verdict`, {method: "POST", body: new URLSearchParams(said)}); }
    catch { throw new Error("The server does not answer. Is it still running?"); }
    const reply = await answer.json();
    if (!answer.ok) throw new Error(reply.error);
    return reply;
  };
  const show = verdict => {
    find("#verdict-now").textContent = verdict && verdict + ".";
    find("#verdict-now").hidden = find("[data-verdict=relevant]").hidden = !verdict;
  };
  const give = async verdict => {
    const said = {verdict, about: find("[name=about]:checked").value, why: find("[name=why]").value.trim()};
    find("#verdict-said").textContent = "";
    let reply;
    try { reply = await (disk ? disk.verdict(said) : send(said)); }
    catch (error) { find("#verdict-said").textContent = error.message; return; }
    show(reply.verdict);
    dialog.close();
    document.dispatchEvent(new CustomEvent("verdict", {detail: reply}));
  };
  for (const button of dialog.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => give(button.dataset.verdict));
  document.getElementById("ask-verdict").addEventListener("click", event => { event.currentTarget.blur(); dialog.showModal(); });
  if (disk) show(disk.judged());
  const about = disk && disk.about() && find(`[name=about][value=${disk.about()}]`);
  if (about) about.checked = true;
  if (location.hash === "#verdict") dialog.showModal();  // from the queue
})();
