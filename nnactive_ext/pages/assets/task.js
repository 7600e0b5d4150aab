// The page of one task: tools and keys, drafts, answers. `home` is where crops come from and work goes: server.js, disk.js.
"use strict";
(() => {
  const settings = JSON.parse(document.getElementById("settings").textContent), $ = id => document.getElementById(id);
  const say = (text, kind = "") => { $("said").textContent = text; $("said").className = kind; };
  let editor = null, crop = null, dirty = false, saving = Promise.resolve(), following = home.queue, keepMine = false;

  const radio = name => document.querySelector(`input[name=${name}]:checked`);
  const colours = () => {
    const table = {R: [], G: [], B: [], A: [], I: [], labels: []};
    for (let value = 0; value < 256; value++) {
      const name = Object.keys(settings.names).find(key => settings.names[key] === value), colour = settings.colours[name] || [0, 0, 0];
      [table.R[value], table.G[value], table.B[value]] = colour;
      table.A[value] = value === 0 || name === undefined ? 0 : 255;
      table.I[value] = value;
      table.labels[value] = "";
    }
    return table;
  };

  const shares = () => {
    const {counts, total} = editor.count();
    for (const output of document.querySelectorAll("output[data-value]")) {
      const part = 100 * (counts.get(Number(output.dataset.value)) || 0) / total;
      output.textContent = part ? (part < 1 ? "<1" : Math.round(part)) + " %" : "";
    }
  };
  const choose = tool => {
    editor.choose(tool);
    document.querySelector(`input[name=tool][value=${tool}]`).checked = true;
  };
  const paint = value => {
    editor.paint(value);
    document.querySelector(`input[name=label][value="${value}"]`).checked = true;
    document.querySelector(`input[name=tool][value=${editor.tool}]`).checked = true;
  };
  const size = by => {
    const input = $("size");
    input.value = Math.min(input.max, Math.max(input.min, Number(input.value) + by));
    editor.size(Number(input.value));
    $("size-now").textContent = input.value;
  };
  const lock = (value, on) => { if (on) editor.locked.add(value); else editor.locked.delete(value); };

  const showOthers = others => {
    $("others").hidden = !others.length;
    const people = others.filter(name => name !== settings.who);
    $("others").textContent = people.length ? `${people.join(", ")}: this task is open there, too. Each of you may answer.`
      : "You have this task open in another tab, too.";
  };
  const showChannel = async number => {
    const window_ = crop.windows[number];
    await editor.show(await home.image(number), window_);
    showWindow(...window_);
    editor.nv.refreshDrawing(true);
  };
  const setWindow = (low, high) => {
    editor.window(low, high);
    showWindow(low, high);
  };
  const showWindow = (low, high) => {
    $("low").value = Number(low.toPrecision(5));
    $("high").value = Number(high.toPrecision(5));
  };

  const draft = (force = false) => saving = saving.then(async () => {
    const work = dirty || force, seconds = clock.take();
    if (!work && seconds < 1) return;
    dirty = false;
    const body = work ? await editor.save() : new Uint8Array();
    try {
      const reply = await home.draft(body, seconds, keepMine);
      keepMine = false;
      showOthers(reply.others);
      if (work) $("kept").textContent = reply.kept;
      if (reply.lost) dirty = true;
    } catch (error) {
      clock.seconds += seconds;
      dirty = dirty || work;
      if (error.status === 409) $("overtaken").hidden = false;
      say(error.message, "error");
    }
  });

  const answer = unsure => saving = saving.then(async () => {
    say("Saving …");
    const seconds = clock.take();
    dirty = false;  // what is painted from now on is not in this answer
    try {
      const body = await editor.save(unsure);
      const reply = await home.answer(body, seconds, editor.undecided(unsure));
      $("status").textContent = reply.badge;
      document.body.dataset.status = reply.status;
      following = reply.next || home.queue;
      $("kept").textContent = "";
      say(`${reply.taken ? "Saved" : "Nothing new"}: ${reply.text}. ${reply.next ? "Press space for the next task." : home.end}`, "good");
    } catch (error) {
      clock.seconds += seconds;
      dirty = true;
      say(error.message, "error");
    }
  });
  const next = async () => {
    if (!following) return;
    if (editor) await draft();
    if (dirty && !confirm("The draft could not be kept. Leave this task anyway?")) return;
    dirty = false;
    location.href = following;
  };

  const keys = {
    "[": () => size(-1), "]": () => size(1), z: () => editor.undo(), x: () => choose("eraser"), i: () => paint(settings.ignore),
    p: () => choose("pen"), o: () => choose("outline"), w: () => choose("wand"), v: () => choose("look"), " ": next,
    "?": () => $("help").showModal(), "+": () => editor.zoom(1.25), "-": () => editor.zoom(0.8), c: () => editor.middle(),
  };
  const key = event => {
    if (!editor || event.ctrlKey && event.key !== "z" || event.metaKey || event.altKey) return;
    if (event.target.matches("input[type=number], textarea, select") || document.querySelector("dialog[open]")) return;
    if (/^[1-9]$/.test(event.key)) {
      const labels = Object.values(settings.names).filter(value => value !== 0 && value !== settings.ignore);
      if (Number(event.key) > labels.length) return;
      paint(labels[event.key - 1]);
    } else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation();  // niivue has keys of its own
  };

  const wire = () => {
    document.addEventListener("keydown", key, true);
    document.addEventListener("change", event => {
      const {name, value, checked} = event.target;
      if (name === "tool") choose(value);
      if (name === "label") paint(Number(value));
      if (name === "lock") lock(Number(value), checked);
      if (name === "channel") showChannel(Number(value)).catch(error => say(error.message, "error"));
      if (name === "preset" && value) setWindow(...value.split(",").map(Number));
      if (name === "solid") editor.show3D(checked);
      if (name === "low" || name === "high") editor.window(Number($("low").value), Number($("high").value));
      if (event.target.matches("input[type=radio], select, input[type=checkbox]")) event.target.blur();
    });
    $("size").addEventListener("input", () => size(0));
    $("reach").addEventListener("input", event => editor.reach(Number(event.target.value)));
    $("opacity").addEventListener("input", event => editor.nv.setDrawOpacity(event.target.value / 100));
    const press = {
      undo: () => editor.undo(), clear: () => editor.clear(), done: () => answer(false), unsure: () => answer(true), next,
      larger: () => editor.zoom(1.25), smaller: () => editor.zoom(0.8), middle: () => editor.middle(),
      ask: () => $("help").showModal(), mine: () => { keepMine = true; $("overtaken").hidden = true; draft(true); },
      reload: () => { dirty = false; location.reload(); },
    };
    document.addEventListener("click", event => {
      const button = event.target.closest("button[data-do]");
      if (button) { button.blur(); press[button.dataset.do](); }
    });
    editor.nv.onIntensityChange = volume => {
      $("low").value = Number(volume.cal_min.toPrecision(5));
      $("high").value = Number(volume.cal_max.toPrecision(5));
    };
    document.addEventListener("verdict", ({detail}) => {
      $("status").textContent = detail.badge;
      document.body.dataset.status = detail.status;
      following = detail.next || home.queue;
      say(`${detail.text}. ${detail.next ? "Press space for the next task." : home.end}`, "good");
    });
    let waiting = 0;
    editor.changed = () => {
      dirty = true;
      shares();
      clearTimeout(waiting);
      waiting = setTimeout(draft, 5000);
    };
    setInterval(draft, 60000);
    setInterval(() => home.here().then(showOthers).catch(() => {}), 30000);
    document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") draft(); });
    addEventListener("pagehide", () => home.left());
    addEventListener("beforeunload", event => { if (dirty) { draft(); event.preventDefault(); } });
  };

  const start = async () => {
    if (!document.createElement("canvas").getContext("webgl2"))
      throw new Error("This browser offers no WebGL2, which the editor needs. Use a current Firefox, Chrome or Edge, or " + home.advice + ".");
    say("Reading the image …");
    const opened = async () => {
      const made = new Editor($("image"), $("over"), settings.ignore);
      await made.start();
      return made;
    };
    const [found, made] = await Promise.all([home.crop(), opened()]);  // what the first one lacks is said first
    crop = found;
    following = crop.next || home.queue;
    if (crop.badge) $("status").textContent = crop.badge;
    const [image, label] = await Promise.all([home.image(0), home.label()]);
    made.hold();
    await made.open(image, crop.windows[0], label, crop.box, colours());
    editor = made;
    editor.nv.setDrawOpacity($("opacity").value / 100);
    showWindow(...crop.windows[0]);
    $("solid").checked = editor.solid;
    $("channel").replaceChildren(...crop.channels.map((name, i) => new Option(name, i)));
    $("channel").closest("label").hidden = crop.channels.length < 2;
    $("presets").hidden = !crop.ct.some(Boolean);
    $("extent").textContent = `${crop.voxels.join(" × ")} voxels, ${crop.size}`;
    const against = $("verdict-now")?.hidden === false && $("verdict-now").textContent;
    $("start").textContent = crop.draft ? "Your unfinished work was loaded."
      : crop.status !== "open" && !against ? "The answer so far was loaded."
      : crop.predicted ? "It starts with what the model predicts: correct it." : "It starts blank.";
    if (against) $("start").textContent += ` ${against}`;
    if (crop.start) $("start").textContent += ` Classes that start blank: ${crop.start}.`;
    if (crop.outdated_draft) $("start").textContent += " Unfinished work of yours was painted before the classes were changed and is not shown.";
    showOthers(crop.others);
    wire();
    size(0);
    editor.reach(Number($("reach").value));
    paint(Number(radio("label").value));
    shares();
    made.release();
    home.here().then(showOthers).catch(() => {});
    say("Ready. Paint inside the orange frame." + home.hint);
    document.body.dataset.ready = "yes";
    window.annotation = {editor, draft, clock};
  };
  start().catch(error => { document.body.dataset.ready = "failed"; say(error.message, "error"); });
})();
