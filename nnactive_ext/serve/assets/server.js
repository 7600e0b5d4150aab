// Where a task's page gets its crop and leaves its work: at the server. disk.js does the same for a page from disk.
"use strict";
const home = (() => {
  const {id} = JSON.parse(document.getElementById("settings").textContent);
  const here = "/tasks/" + encodeURIComponent(id), tab = crypto.randomUUID();
  let revision = 0, version = 0;
  const ask = async (url, given = {}) => {
    let reply;
    try { reply = await fetch(url, given); } catch { throw new Error("The server does not answer. Is it still running?"); }
    const type = reply.headers.get("content-type") || "";
    const content = await (type.includes("json") ? reply.json() : type.includes("gzip") ? reply.arrayBuffer() : reply.text());
    if (!reply.ok) throw Object.assign(new Error(content.error || content), {status: reply.status});
    return content;
  };
  // The image is under way while the page's other scripts are read.
  const first = ask(`${here}/image/0`).catch(() => null);
  return {
    queue: "/",
    end: "No task is left.",
    hint: "",
    advice: "export the tasks",
    async crop() {
      const crop = await ask(`${here}/crop`);
      [revision, version] = [crop.revision, crop.label_version];
      return crop;
    },
    image: async channel => channel === 0 && await first || `${here}/image/${channel}`,
    label: () => ask(`${here}/label?${Date.now()}`),
    // `labels`: a packed NIfTI file, empty where nothing was painted; `force`: over the draft of another tab.
    async draft(labels, seconds, force) {
      const query = new URLSearchParams({label_version: version, seconds, revision, tab});
      if (force) query.set("force", "1");
      const reply = await ask(`${here}/draft?${query}`, {method: "PUT", body: labels});
      revision = reply.revision;
      return {others: reply.others, kept: "Draft kept at " + new Date().toLocaleTimeString()};
    },
    async answer(labels, seconds) {
      const query = new URLSearchParams({label_version: version, seconds});
      const reply = await ask(`${here}?${query}`, {method: "PUT", body: labels});
      revision = 0;
      return reply;
    },
    // Who else has the task open.
    async here() { return (await ask(`${here}/here?tab=${tab}`, {method: "POST"})).others; },
    left() { navigator.sendBeacon(`${here}/left?tab=${tab}`); },
  };
})();
