// Where a task's page from disk gets its crop and leaves its work: in the page, in the browser, in a download.
"use strict";
const home = (() => {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const {id, case: whole, key, index, next} = read("settings"), crop = read("crop"), place = "nnactive " + key;
  let revision = 0;
  // Seconds of work on this task in this browser; the name lets an import of several saves count each second once.
  let work = {page: Math.random().toString(36).slice(2, 10), seconds: 0};
  const bytes = text => {
    const binary = atob(text), found = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) found[i] = binary.charCodeAt(i);
    return found;
  };
  const text = content => {
    let binary = "";
    for (let i = 0; i < content.length; i += 0x8000) binary += String.fromCharCode(...content.subarray(i, i + 0x8000));
    return btoa(binary);
  };
  // What the browser keeps of this task; some browsers keep nothing of pages from disk.
  const kept = () => { try { return JSON.parse(localStorage.getItem(place)); } catch { return null; } };
  const keep = (labels, state) => {
    const record = {revision: revision + 1, state, label_version: crop.label_version, work, labels: text(labels)};
    const write = () => { localStorage.setItem(place, JSON.stringify(record)); return kept()?.revision === record.revision; };
    let done = false;
    try { done = write(); } catch { try { makeRoom(); done = write(); } catch { done = false; } }
    if (done) revision = record.revision;
    return done;
  };
  // Answers that were saved are files; drafts are not.
  const makeRoom = () => {
    for (const name of Object.keys(localStorage)) {
      if (!name.startsWith("nnactive ") || name === place) continue;
      if (JSON.parse(localStorage.getItem(name)).state === "saved") localStorage.removeItem(name);
    }
  };
  const usable = record => record && record.labels && record.label_version === crop.label_version;
  // The free text of the NIfTI header tells the import with which classes it was painted, and how long it took.
  const noted = async labels => {
    const content = new Uint8Array(await unpacked(labels)), seconds = Math.max(1, Math.round(work.seconds));
    const note = `nnactive labels=${crop.label_version} seconds=${seconds} page=${work.page}`;
    content.fill(0, 148, 228).set(new TextEncoder().encode(note), 148);
    return packed(content);
  };
  const now = () => new Date().toISOString().replace(/[-:]|\.\d+/g, "");  // browsers rename a second file of one name in different ways
  const plain = text => /^[=+\-@\t\r]/.test(text) && !/^[-+][\d.,\s%±e+-]*$/.test(text) ? `'${text}` : text;  // no formula
  const cell = text => /[",\n]/.test(text) ? `"${plain(text).replaceAll('"', '""')}"` : plain(text);
  // The last verdict that was given here: in words, and whether it is about the patch or the case.
  const kept_verdict = () => { try { return JSON.parse(localStorage.getItem(`${place} verdict`)) || {}; } catch { return {}; } };
  const judged = () => kept_verdict().verdict || "";
  const download = (content, name, type = "application/gzip") => {
    const link = document.createElement("a"), url = URL.createObjectURL(new Blob([content], {type}));
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  };
  return {
    queue: index,
    end: index ? "This was the last task of the folder." : "",
    hint: " Done saves a file in your browser's downloads: send it back.",
    advice: "open the task in a viewer",
    async crop() {
      if (typeof niivue === "undefined")
        throw new Error("The file niivue.js is missing: it belongs beside index.html, one folder above this page. Copy the whole " +
          "folder of the tasks, or ask for a page that was made with nnactive_annotate export --single.");
      const record = kept(), mine = usable(record);
      revision = record ? record.revision : 0;
      work = record?.work || work;
      return {
        ...crop, others: [], next, draft: mine && record.state === "draft", outdated_draft: Boolean(record) && !mine,
        ...(judged() || mine && record.state === "saved" ? {status: "saved", badge: "● saved"} : {}),
      };
    },
    image: channel => bytes(crop.images[channel]),
    label() { const record = kept(); return bytes(usable(record) ? record.labels : crop.labels); },
    async draft(labels, seconds, force) {
      if (!labels.length) { work.seconds += seconds; return {others: []}; }
      const record = kept();
      if (record && record.revision !== revision && !force)
        throw Object.assign(new Error("Another tab kept a draft of this task after this page was opened. Reload to go on from " +
          "that one, or keep what this page shows."), {status: 409});
      if (record) revision = record.revision;
      work.seconds += seconds;
      if (keep(labels, "draft")) return {others: [], kept: "Draft kept in this browser at " + new Date().toLocaleTimeString()};
      return {others: [], lost: true, kept: "This browser keeps no drafts here: press Done before you close the page."};
    },
    async answer(labels, seconds, undecided) {
      if (undecided) throw new Error("The whole patch is ignore: nothing is annotated yet, so nothing was saved.");
      if (judged()) throw new Error("You called this irrelevant. Say Relevant after all first (Not one of ours), then Done.");
      const name = `${id}_${now()}.nii.gz`;
      work.seconds += seconds;
      download(await noted(labels), name);
      revision = kept()?.revision || 0;
      keep(labels, "saved");
      return {
        taken: true, status: "saved", badge: "● saved", next,
        text: `${name}, in your browser's downloads. Send it back, or import it (the command is in Keys)`,
      };
    },
    judged, about: () => kept_verdict().about,
    // As index.html saves ticks; both may be sent back.
    async verdict({verdict, about, why}) {
      const name = `verdicts_${now()}.csv`, against = verdict === "irrelevant";
      const of = against ? about : kept_verdict().about || about, subject = of === "case" ? whole : id;
      const rows = [["task_or_case", "verdict", "why"], [subject, verdict, against ? why : ""]];
      download(rows.map(row => row.map(cell).join(",")).join("\n") + "\n", name, "text/csv");
      const said = against ? `The ${of} is irrelevant${why ? `: ${why}` : ""}` : "", record = kept();
      try { localStorage.setItem(`${place} verdict`, JSON.stringify({state: "saved", verdict: said, about: of})); } catch { /* kept nowhere */ }
      const done = against || usable(record) && record.state === "saved" ? {status: "saved", badge: "● saved"} : {status: "open", badge: "○ open"};
      return {text: `${name} is in your browser's downloads. Send it back`, verdict: said, ...done, next};
    },
    async here() { return []; },
    left() {},
  };
})();
