// Points, scribbles and lassos for the user's own nnInteractive server; a result is one undo step, in the patch only.
"use strict";
(() => {
  const TOOLS = ["point", "scribble", "lasso"], KEYS = {a: "point", s: "scribble", d: "lasso"};
  const OBJECT = 1, DRAWN = 2;  // bits of a voxel in what is sent, as serve/prompts.py has them
  const SHADES = {1: [90, 220, 120], 0: [255, 110, 95]};
  const settings = JSON.parse(document.getElementById("settings").textContent), $ = id => document.getElementById(id);
  const here = "/tasks/" + encodeURIComponent(settings.id), panel = $("prompts");
  const tell = (text, kind = "") => { $("said").textContent = text; $("said").className = kind; };
  const nameOf = value => Object.keys(settings.names).find(name => settings.names[name] === value);
  let editor, nv, order, stroke = null, pending = null, used = false;
  const earlier = new Map();  // by class: what is painted of it and belongs to objects before the present one
  let results = [];    // the last two: {number, label, channel, earlier, under, shown, marks}

  // For each voxel in the order of the file: its place in niivue's, which is RAS.
  const placed = () => {
    const {hdr, permRAS} = nv.volumes[0], dims = hdr.dims.slice(1, 4), steps = [], turned = [];
    let step = 1, at = 0;
    for (const signed of permRAS) {
      const axis = Math.abs(signed) - 1;
      [steps[axis], turned[axis]] = [step, signed < 0];
      step *= dims[axis];
    }
    const along = axis => Array.from({length: dims[axis]}, (_, i) => steps[axis] * (turned[axis] ? dims[axis] - 1 - i : i));
    const [xs, ys, zs] = [0, 1, 2].map(along), places = new Uint32Array(step);
    for (const z of zs) for (const y of ys) for (const x of xs) places[at++] = x + y + z;
    return places;
  };

  // Where the mouse is: a voxel of the slice that a plane shows.
  const voxelAt = event => {
    const {left, top} = editor.canvas.getBoundingClientRect(), scale = nv.uiData.dpr || 1;
    const [x, y] = [(event.clientX - left) * scale, (event.clientY - top) * scale], tile = nv.tileIndex(x, y);
    if (tile < 0 || nv.screenSlices[tile].axCorSag > SAGITTAL) return null;
    const frac = nv.screenXY2TextureFrac(x, y, tile, false), axis = 2 - nv.screenSlices[tile].axCorSag, dims = editor.dims;
    frac[axis] = nv.scene.crosshairPos[axis];
    const voxel = dims.map((n, i) => Math.floor(Math.min(frac[i], 1 - 1e-6) * n));
    return dims.some((n, i) => frac[i] < 0 || frac[i] > 1 || voxel[i] >= n) ? null : {tile, axis, voxel};
  };
  const index = ([x, y, z]) => x + editor.dims[0] * (y + editor.dims[1] * z);
  const fraction = voxel => voxel.map((at, axis) => (at + 0.5) / editor.dims[axis]);

  const line = (from, to) => {
    const count = Math.max(1, ...from.map((at, i) => Math.abs(to[i] - at)));
    return Array.from({length: count + 1}, (_, n) => from.map((at, i) => Math.round(at + (to[i] - at) * n / count)));
  };
  // The voxels of what was drawn.
  const drawn = ({kind, axis, path}) => {
    if (kind === "point") return [path[0]];
    const closed = kind === "lasso" ? [...path, path[0]] : path;
    const voxels = path.length < 2 ? [...path] : closed.slice(1).flatMap((to, i) => line(closed[i], to));
    return kind === "lasso" ? [...voxels, ...inside(path, axis)] : voxels.flatMap(voxel => thick(voxel, axis));
  };
  const thick = (voxel, axis) => {
    const wide = Number(panel.dataset.thickness), from = -Math.floor((wide - 1) / 2), found = [];
    const [a, b] = [0, 1, 2].filter(other => other !== axis);
    for (let i = from; i < from + wide; i++) for (let j = from; j < from + wide; j++) {
      const near = [...voxel];
      near[a] += i;
      near[b] += j;
      if (near.every((at, other) => at >= 0 && at < editor.dims[other])) found.push(near);
    }
    return found;
  };
  // Even-odd, at the middle of each voxel.
  const inside = (path, axis) => {
    const [a, b] = [0, 1, 2].filter(other => other !== axis), found = [];
    for (let row = Math.min(...path.map(p => p[b])); row <= Math.max(...path.map(p => p[b])); row++) {
      const cuts = [];
      path.forEach((p, i) => {
        const q = path[(i + 1) % path.length];
        if (p[b] <= row !== q[b] <= row) cuts.push(p[a] + (row - p[b]) * (q[a] - p[a]) / (q[b] - p[b]));
      });
      cuts.sort((one, other) => one - other);
      for (let i = 0; i + 1 < cuts.length; i += 2)
        for (let at = Math.ceil(cuts[i]); at <= cuts[i + 1]; at++) {
          const voxel = [...path[0]];
          [voxel[a], voxel[b]] = [at, row];
          found.push(voxel);
        }
    }
    return found;
  };

  const alike = (one, other) => { for (const i of editor.places) if (one[i] !== other[i]) return false; return true; };
  const channel = () => Number($("channel").value || 0);
  // The result that the page still shows as it came: prompts go on from it. Otherwise from what is painted.
  const shownNow = (label = editor.label) => results.findLast(result => result.label === label && result.channel === channel() &&
    result.earlier === earlier.get(label) && alike(result.shown, nv.drawBitmap));
  const include = () => Number(document.querySelector("input[name=sign]:checked").value);

  const send = async made => {
    const label = editor.label, old = earlier.get(label), last = shownNow(), bitmap = nv.drawBitmap, object = new Uint8Array(bitmap.length);
    for (const i of editor.places) object[i] = bitmap[i] === label && !(old && old[i]) ? OBJECT : 0;
    const under = last ? last.under : bitmap.map((value, i) => object[i] ? 0 : value);
    const sent = object.slice(), sign = include();
    for (const voxel of drawn(made)) sent[index(voxel)] |= DRAWN;
    const mark = {frac: fraction(made.path[0]), colour: SHADES[sign], name: sign ? "+" : "\u2212"};
    const marks = [...(last ? last.marks : []), mark], begun = performance.now(), stop = new AbortController();
    pending = {stop, marks};
    used = true;
    document.body.dataset.prompting = "yes";
    show();
    const wait = () => pending.pressed ? busy()
      : tell(`nnInteractive computes: ${Math.round((performance.now() - begun) / 1000)} s. Esc stops waiting.`, "waiting");
    const clock = setInterval(wait, 1000);
    wait();
    try {
      const query = new URLSearchParams({kind: made.kind, include: sign, channel: channel(), after: last ? last.number : 0});
      const body = await packed(Uint8Array.from(order, place => sent[place]));
      const answer = await asked(`${here}/prompt?${query}`, {method: "POST", body, signal: stop.signal});
      const flat = new Uint8Array(await unpacked(Uint8Array.from(atob(answer.object), one => one.charCodeAt(0))));
      if (flat.length !== order.length) throw new Error("The result has another size than the crop. Nothing was changed.");
      panel.dataset.thickness = answer.thickness;
      $("terms").textContent = answer.terms;
      $("terms").hidden = !answer.terms;
      const found = new Uint8Array(flat.length);
      order.forEach((place, i) => { found[place] = flat[i]; });
      tell(apply(found, object, under, label));
      results = [...results.slice(-1), {number: answer.number, label, channel: channel(), earlier: old, under, shown: nv.drawBitmap.slice(), marks}];
    } catch (error) {
      if (error.name === "AbortError") tell("Stopped waiting. Nothing was changed.");
      else tell(error.message, "error");
    } finally {
      clearInterval(clock);
      pending = null;
      document.body.dataset.prompting = "";
      show();
    }
  };
  const asked = async (url, given) => {
    let reply;
    try { reply = await fetch(url, given); } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer. Is it still running?");
    }
    const type = reply.headers.get("content-type") || "", content = type.includes("json") ? await reply.json() : await reply.text();
    if (!reply.ok) throw new Error(content.error || content);
    return content;
  };

  // What the result changes in the patch: voxels that became part of the object, and voxels that no longer are, which get back
  // what was there before the object. What was painted by hand meanwhile stays. Returns what to say.
  const apply = (found, object, under, label) => {
    const bitmap = nv.drawBitmap;
    let more = 0, less = 0, locked = 0, beyond = 0;
    found.forEach((value, i) => { if (value && !editor.box[i]) beyond++; });
    for (const i of editor.places) {
      const now = bitmap[i], add = found[i] && !object[i] && now !== label, remove = !found[i] && object[i] && now === label;
      if (!add && !remove) continue;
      if (editor.locked.has(now)) { locked++; continue; }
      bitmap[i] = add ? label : under[i];
      if (add) more++; else less++;
    }
    if (more || less) {
      editor.guard = () => {};  // it knows one value to a step, and what it keeps out was kept out above
      try {
        nv.drawAddUndoBitmap();
        nv.refreshDrawing(true);
      } finally { delete editor.guard; }
    }
    const left = [...(locked ? [`${locked} locked`] : []), ...(beyond ? [`${beyond} outside the frame`] : [])].join(", ");
    if (!more && !less && !left) return `${nameOf(label)}: nothing changed.`;
    return `${nameOf(label)}: ${more} voxels added, ${less} removed${left ? `; left out: ${left}` : ""}.`;
  };

  // The prompts of the object, and the line that is being drawn.
  const show = () => {
    const result = pending ? null : shownNow();
    editor.marks = pending ? pending.marks : result ? result.marks : [];
    editor.drawOver();
  };
  const drawStroke = () => {
    if (!stroke) return;
    const tile = nv.screenSlices[stroke.tile], context = editor.overlay.getContext("2d");
    if (!tile) return;
    context.beginPath();
    for (const voxel of stroke.path) context.lineTo(...editor.place(tile, fraction(voxel)));
    if (stroke.kind === "lasso") context.closePath();
    context.lineWidth = 2;
    context.strokeStyle = `rgb(${SHADES[include()].join(",")})`;
    context.stroke();
  };

  const busy = () => {
    pending.pressed = true;
    tell("nnInteractive still computes. Wait for its result, or press Esc to do without it.", "error");
  };
  const sign = () => {
    const other = document.querySelector("input[name=sign]:not(:checked)");
    other.checked = true;
  };
  const another = () => {
    const label = editor.label;
    earlier.set(label, nv.drawBitmap.map(value => value === label ? 1 : 0));
    tell(`The next prompt begins a new object of ${nameOf(label)}. What is painted stays.`);
    show();
  };

  const begin = () => {
    editor = window.annotation.editor;
    nv = editor.nv;
    order = placed();
    const choose = editor.choose.bind(editor), drawOver = editor.drawOver.bind(editor), changed = editor.changed;
    editor.choose = tool => {
      choose(TOOLS.includes(tool) ? "look" : tool);
      editor.tool = tool;
      if (TOOLS.includes(tool)) editor.canvas.style.cursor = "crosshair";
    };
    editor.drawOver = () => { drawOver(); drawStroke(); };
    editor.changed = () => { changed(); show(); };
    const paint = editor.paint.bind(editor);
    editor.paint = label => { paint(label); show(); };

    editor.canvas.parentElement.addEventListener("mousedown", event => {
      if (event.button || !TOOLS.includes(editor.tool)) return;
      event.stopPropagation();  // niivue would move the cross
      event.preventDefault();
      document.activeElement.blur();
      const at = voxelAt(event);
      if (pending) busy();
      else if (at) stroke = {kind: editor.tool, tile: at.tile, axis: at.axis, path: [at.voxel]};
      drawStroke();
    }, true);
    addEventListener("mousemove", event => {
      if (!stroke) return;
      event.stopPropagation();
      const at = voxelAt(event), last = stroke.path[stroke.path.length - 1];
      if (stroke.kind === "point" || !at || at.tile !== stroke.tile || at.voxel.every((one, i) => one === last[i])) return;
      stroke.path.push(at.voxel);
      editor.drawOver();
    }, true);
    addEventListener("mouseup", event => {
      if (!stroke || event.button) return;
      const made = stroke;
      stroke = null;
      if (made.kind === "point") editor.look(fraction(made.path[0]));
      send(made);
    }, true);
    addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (event.target.matches("input[type=number], textarea, select")) return;
      if (event.key === "Escape" && stroke) { stroke = null; editor.drawOver(); }
      else if (event.key === "Escape" && pending) pending.stop.abort();
      else if (event.key === " " && pending) busy();
      else if (event.key in KEYS) panel.querySelector(`input[value=${KEYS[event.key]}]`).click();
      else if (event.key === "f") sign();
      else if (event.key === "n") another();
      else return;
      event.preventDefault();
      event.stopPropagation();
    }, true);
    // What is handed in is what the page shows; whoever has asked for more waits for it.
    addEventListener("click", event => {
      const button = event.target.closest("button[data-do=done], button[data-do=unsure], button[data-do=next]");
      if (!button || !pending) return;
      event.stopPropagation();
      busy();
    }, true);
    $("new-object").addEventListener("click", event => { event.currentTarget.blur(); another(); });
    addEventListener("pagehide", () => { if (used) navigator.sendBeacon(`${here}/prompt/left`); });
  };
  new MutationObserver((_, watching) => {
    if (document.body.dataset.ready !== "yes") return;
    watching.disconnect();
    begin();
  }).observe(document.body, {attributes: true, attributeFilter: ["data-ready"]});
})();
