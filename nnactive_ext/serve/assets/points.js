// Marks structures in whole images, and sends the places in RAS mm with their classes.
"use strict";
(() => {
  const settings = JSON.parse(document.getElementById("settings").textContent), $ = id => document.getElementById(id);
  const marks = [];
  let viewer = null, shown = "", loading = Promise.resolve();
  const say = (text, kind = "") => { $("said").textContent = text; $("said").className = kind; };
  const ask = async (url, given = {}) => {
    const reply = await fetch(url, given), content = await reply.json();
    if (!reply.ok) throw new Error(content.error);
    return content;
  };
  const label = () => document.querySelector("input[name=label]:checked").value;

  const list = () => {
    $("marks").replaceChildren(...marks.map((mark, i) => {
      const row = document.createElement("li"), text = document.createElement("span"), go = document.createElement("button");
      const remove = document.createElement("button");
      text.textContent = `${mark.class} in ${mark.case}`;
      go.textContent = "Show";
      go.onclick = async () => { await show(mark.case); viewer.look(mark.frac); };
      remove.textContent = "Remove";
      remove.onclick = () => { marks.splice(i, 1); list(); };
      row.append(text, go, remove);
      return row;
    }));
    viewer.marks = marks.filter(mark => mark.case === shown)
      .map(mark => ({frac: mark.frac, name: mark.class, colour: settings.colours[mark.class]}));
    viewer.drawOver();
  };
  const setWindow = (low, high) => {
    viewer.window(low, high);
    $("low").value = Number(low.toPrecision(5));
    $("high").value = Number(high.toPrecision(5));
  };
  const show = name => loading = loading.then(async () => {
    if (shown === name) return;
    say("Reading the image …");
    document.body.dataset.ready = "";
    const place = "/points/" + encodeURIComponent(name), facts = await ask(`${place}/facts`);
    await viewer.show(`${place}/image`, facts.window);
    setWindow(...facts.window);
    $("preset").hidden = !facts.ct;
    viewer.nv.setPan2Dxyzmm([0, 0, 0, 1]);
    shown = $("case").value = name;
    viewer.look([0.5, 0.5, 0.5]);
    list();
    say("Click a structure.");
    document.body.dataset.ready = "yes";
  }).catch(error => { document.body.dataset.ready = "failed"; say(error.message, "error"); });

  const mark = () => {
    const nv = viewer.nv, voxel = nv.frac2vox(nv.scene.crosshairPos), dims = viewer.dims;
    const frac = voxel.map((at, axis) => (at + 0.5) / dims[axis]);
    marks.push({case: shown, class: label(), ras: Array.from(nv.vox2mm(voxel, nv.back.matRAS)), frac});
    list();
    say(`Marked: ${label()} in ${shown}.`);
  };
  const add = async () => {
    try {
      const points = marks.map(({case: name, class: label, ras}) => ({case: name, class: label, ras}));
      const reply = await ask("/points", {method: "POST", body: JSON.stringify(points)});
      marks.length = 0;
      list();
      for (const output of document.querySelectorAll("output[data-goal]")) {
        const goal = reply.goals[output.dataset.goal];
        output.textContent = goal ? `${goal[0]} of ${goal[1]}` : "";
      }
      say(reply.text, "good");
    } catch (error) { say(error.message, "error"); }
  };
  const start = async () => {
    if (!document.createElement("canvas").getContext("webgl2"))
      throw new Error("This browser offers no WebGL2, which this page needs. Use a current Firefox, Chrome or Edge.");
    viewer = new Viewer($("image"), $("over"));
    await viewer.start();
    $("case").onchange = () => { $("case").blur(); show($("case").value); };
    $("mark").onclick = mark;
    $("add").onclick = add;
    $("larger").onclick = () => viewer.zoom(1.25);
    $("smaller").onclick = () => viewer.zoom(0.8);
    $("low").onchange = $("high").onchange = () => viewer.window(Number($("low").value), Number($("high").value));
    $("preset").onchange = () => { if ($("preset").value) setWindow(...$("preset").value.split(",").map(Number)); };
    addEventListener("beforeunload", event => { if (marks.length) event.preventDefault(); });
    document.addEventListener("keydown", event => {
      if (event.target.matches("input[type=number], select") || event.ctrlKey || event.metaKey || event.altKey) return;
      const radios = document.querySelectorAll("input[name=label]");
      if (event.key === "m") mark();
      else if (/^[1-9]$/.test(event.key) && radios[event.key - 1]) radios[event.key - 1].checked = true;
      else return;
      event.preventDefault();
      event.stopPropagation();
    }, true);
    window.marking = {viewer, marks};
    if (settings.cases.length) await show(settings.cases[0]);
    else say("There are no cases.");
  };
  start().catch(error => { document.body.dataset.ready = "failed"; say(error.message, "error"); });
})();
