// The dialog "Not one of ours" of both editors: tells the server, and then the page, whose own script goes on from there.
"use strict";
(() => {
  const {id} = JSON.parse(document.getElementById("settings").textContent), dialog = document.getElementById("verdict");
  const find = selector => dialog.querySelector(selector);
  const give = async verdict => {
    const about = find("[name=about]:checked").value, why = find("[name=why]").value.trim();
    find("#verdict-said").textContent = "";
    let reply;
    try {
      const answer = await fetch(`/tasks/${encodeURIComponent(id)}/verdict`, {method: "POST", body: new URLSearchParams({verdict, about, why})});
      reply = await answer.json();
      if (!answer.ok) throw new Error(reply.error);
    } catch (error) {
      find("#verdict-said").textContent = error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message;
      return;
    }
    find("#verdict-now").textContent = reply.verdict && reply.verdict + ".";
    find("#verdict-now").hidden = find("[data-verdict=relevant]").hidden = !reply.verdict;
    dialog.close();
    document.dispatchEvent(new CustomEvent("verdict", {detail: reply}));
  };
  for (const button of dialog.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => give(button.dataset.verdict));
  document.getElementById("ask-verdict").addEventListener("click", event => { event.currentTarget.blur(); dialog.showModal(); });
  if (location.hash === "#verdict") dialog.showModal();  // from the queue
})();
