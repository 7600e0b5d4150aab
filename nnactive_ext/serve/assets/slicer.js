// The page around 3D Slicer's editor: starts it, keeps drafts, hands in.
"use strict";
(() => {
  const settings = JSON.parse(document.getElementById("settings").textContent), $ = id => document.getElementById(id);
  const task = "/tasks/" + encodeURIComponent(settings.id), here = `${task}/slicer`, tab = "slicer";
  const say = (text, kind = "") => { $("said").textContent = text; $("said").className = kind; };
  const ask = async (url, given = {}) => {
    let reply;
    try { reply = await fetch(url, {method: "POST", ...given}); }
    catch { throw new Error("The server does not answer. Is it still running?"); }
    const type = reply.headers.get("content-type") || "", content = type.includes("json") ? await reply.json() : await reply.text();
    if (!reply.ok) throw new Error(content.error || content);
    return content;
  };
  let following = "/", used = false, ready = false, waiting = 0, saving = Promise.resolve();

  const showOthers = others => {
    $("others").hidden = !others.length;
    $("others").textContent = `${others.join(", ")}: this task is open there, too. Each of you may answer.`;
  };
  const enable = on => {
    for (const button of document.querySelectorAll("button[data-do=done], button[data-do=unsure]")) button.disabled = !on;
  };

  const draft = () => saving = saving.then(async () => {
    const seconds = clock.take();
    if (!ready || !used && seconds < 1) return;
    const before = used;
    used = false;
    try {
      const reply = await ask(`${here}/draft?${new URLSearchParams({seconds})}`);
      showOthers(reply.others);
      if (reply.changed) $("kept").textContent = "Draft kept at " + new Date().toLocaleTimeString();
    } catch (error) {
      clock.seconds += seconds;
      used = before;
      say(error.message, "error");
    }
  });
  const answer = unsure => saving = saving.then(async () => {
    say("Saving …");
    enable(false);
    const seconds = clock.take();
    try {
      const reply = await ask(`${here}/answer?${new URLSearchParams({seconds, ...(unsure ? {unsure: 1} : {})})}`);
      used = false;
      $("status").textContent = reply.badge;
      document.body.dataset.status = reply.status;
      following = reply.next || "/";
      $("kept").textContent = "";
      say(`${reply.taken ? "Saved" : "Nothing new"}: ${reply.text}. ${reply.next ? "Press Next for the next task." : "No task is left."}`, "good");
    } catch (error) {
      clock.seconds += seconds;
      say(error.message, "error");
    }
    enable(true);
  });
  const next = async () => {
    await draft();
    if (used && !confirm("The draft could not be kept. Leave this task anyway?")) return;
    location.href = following;
  };
  document.addEventListener("verdict", ({detail}) => {
    $("status").textContent = detail.badge;
    document.body.dataset.status = detail.status;
    following = detail.next ? `${detail.next}/slicer` : "/";
    say(`${detail.text}. ${detail.next ? "Press Next for the next task." : "No task is left."}`, "good");
  });
  const press = {done: () => answer(false), unsure: () => answer(true), next};
  document.addEventListener("click", event => {
    const button = event.target.closest("button[data-do]");
    if (button) press[button.dataset.do]();
  });
  $("channel").addEventListener("change", event => {
    ask(`${here}/channel?number=${event.target.value}`).catch(error => say(error.message, "error"));
  });

  const locks = [...document.querySelectorAll("input[name=lock]")];
  const lock = async () => {
    const query = new URLSearchParams(locks.filter(box => box.checked).map(box => ["label", box.value]));
    try { await ask(`${here}/lock?${query}`); } catch (error) { say(error.message, "error"); }
  };
  for (const box of locks) box.addEventListener("change", lock);

  const start = async () => {
    const crop = await ask(`${here}/open`);
    following = crop.next || "/";
    $("extent").textContent = ` (${crop.voxels.join(" × ")} voxels, ${crop.size})`;
    const against = !$("verdict-now").hidden && $("verdict-now").textContent;
    $("start").textContent = crop.draft ? "Your unfinished work was loaded."
      : crop.status !== "open" && !against ? "The answer so far was loaded."
      : crop.predicted ? "It starts with what the model predicts: correct it." : "It starts blank.";
    if (against) $("start").textContent += ` ${against}`;
    if (crop.start) $("start").textContent += ` Classes that start blank: ${crop.start}.`;
    $("channel").replaceChildren(...crop.channels.map((name, i) => new Option(name, i)));
    $("channels").hidden = crop.channels.length < 2;
    showOthers(crop.others);
    const frame = document.createElement("iframe");
    frame.title = "3D Slicer's segment editor";
    frame.addEventListener("load", () => {
      clock.watch(frame.contentWindow);
      // What was painted shows only in the process; a pointer or a key may have changed it.
      for (const event of ["pointerup", "keyup"])
        frame.contentWindow.addEventListener(event, () => {
          used = true;
          clearTimeout(waiting);
          waiting = setTimeout(draft, 10000);
        }, {capture: true});
    });
    frame.src = "/slicer/index.html";
    $("frame").replaceChildren(frame);
    ready = true;
    enable(true);
    for (const box of locks) [box.checked, box.disabled] = [false, false];  // a reload keeps boxes checked
    setInterval(draft, 60000);
    setInterval(() => ask(`${task}/here?tab=${tab}`).then(reply => showOthers(reply.others)).catch(() => {}), 30000);
    document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") draft(); });
    addEventListener("pagehide", () => {
      navigator.sendBeacon(`${here}/draft?${new URLSearchParams({seconds: clock.take()})}`);
      navigator.sendBeacon(`${task}/left?tab=${tab}`);
    });
    await ask(`${task}/here?tab=${tab}`);
    say("Choose a label on the left, then a tool.");
    document.body.dataset.ready = "yes";
    window.annotation = {draft};
  };
  start().catch(error => { document.body.dataset.ready = "failed"; $("waiting").hidden = true; say(error.message, "error"); });
})();
