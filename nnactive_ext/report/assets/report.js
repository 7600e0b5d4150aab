// Opens what is folded before printing, enlarges pictures, and starts the 3D viewer when it is looked at.
"use strict";
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach(element => { element.open = true; });
});
addEventListener("afterprint", () => opened.forEach(element => { element.open = false; }));

const large = document.querySelector("dialog");
document.addEventListener("click", event => {
  const button = event.target.closest("button.enlarge");
  if (button) {
    large.querySelector("img").src = button.querySelector("img").src;
    large.querySelector("img").alt = button.querySelector("img").alt;
    large.showModal();
  } else if (event.target.closest("dialog")) large.close();
});

const viewer = document.querySelector("#viewer .viewer");
if (viewer) {
  const status = viewer.querySelector("output"), canvas = viewer.querySelector("canvas");
  const buttons = [...document.querySelectorAll("#viewer [data-crop]")];
  const sliders = [...viewer.querySelectorAll("input[type=range]")];
  const settings = JSON.parse(document.getElementById("viewer-settings").textContent);
  const able = (() => {
    try { return Boolean(document.createElement("canvas").getContext("webgl2")); } catch { return false; }
  })();
  let nv = null, running = Promise.resolve(), wanted = null, layers = {};

  const library = () => {
    if (!window.niivue) {
      const script = document.createElement("script");
      script.textContent = document.getElementById("niivue-source").textContent;
      document.head.append(script);
    }
    return window.niivue;
  };
  const start = async () => {
    const {Niivue, SHOW_RENDER} = library();
    nv = new Niivue({
      logLevel: "error", dragAndDropEnabled: false, isRadiologicalConvention: true, sagittalNoseLeft: true, isSliceMM: true,
      isNearestInterpolation: true, isAntiAlias: true, scrollRequiresFocus: true, showLegend: false, tileMargin: 4,
      multiplanarShowRender: SHOW_RENDER.ALWAYS, meshThicknessOn2D: Infinity, backColor: [0.05, 0.05, 0.05, 1],
      crosshairColor: [1, 1, 1, 0.6], crosshairWidth: 0.4, crosshairWidthUnit: "percent", crosshairGap: 0,
      fontColor: [1, 1, 1, 1], fontMinPx: 11,
    });
    await nv.attachToCanvas(canvas, true);
  };
  const opacity = name => {
    const slider = sliders.find(one => one.name === name);
    return slider ? slider.value / 100 : 1;
  };
  const show = async id => {
    if (!nv) await start();
    const crop = JSON.parse(document.getElementById(id).textContent);
    const annotation = sliders.find(slider => slider.name === "annotation");
    if (!crop.volumes.prediction && annotation.value === "0") annotation.value = 50;
    while (nv.meshes.length) nv.removeMesh(nv.meshes[0]);
    while (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    layers = {};
    for (const [name, base64] of Object.entries(crop.volumes)) {
      const given = {base64, name: name + ".nii.gz", opacity: opacity(name), colormap: "gray"};
      if (name === "image") [given.cal_min, given.cal_max] = crop.window;
      if (name === "uncertainty") Object.assign(given, {colormap: "inferno", cal_min: 0.02, cal_max: settings.unsure});
      const volume = await window.niivue.NVImage.loadFromBase64(given);
      if (name === "prediction" || name === "annotation") volume.setColormapLabel(settings.labels);
      nv.addVolume(volume);
      layers[name] = nv.volumes.length - 1;
    }
    nv.addMesh(nv.loadConnectomeAsMesh(crop.frame));
    nv.scene.crosshairPos = nv.mm2frac(crop.middle);
    nv.updateGLVolume();
    for (const slider of sliders) slider.closest("label").hidden = !(slider.name in layers);
    viewer.dataset.shown = id;
  };
  const ask = id => {
    if (wanted === id) return;
    wanted = id;
    buttons.forEach(button => button.setAttribute("aria-pressed", String(button.dataset.crop === id)));
    status.textContent = "Loading …";
    running = running.then(async () => {
      if (wanted !== id) return;
      await show(id);
      const button = buttons.find(one => one.dataset.crop === id);
      status.textContent = "Shown: " + button.dataset.title;
    }).catch(error => { status.textContent = "The viewer failed: " + error.message; });
  };
  if (able) {
    viewer.hidden = false;
    for (const button of buttons) {
      button.hidden = false;
      button.nextElementSibling.hidden = true;
      button.addEventListener("click", () => {
        ask(button.dataset.crop);
        viewer.scrollIntoView({block: "nearest"});
      });
    }
    for (const slider of sliders) slider.addEventListener("input", () => {
      if (slider.name in layers) nv.setOpacity(layers[slider.name], slider.value / 100);
    });
    new IntersectionObserver((entries, observer) => {
      if (entries.some(entry => entry.isIntersecting)) { observer.disconnect(); ask(buttons[0].dataset.crop); }
    }, {rootMargin: "200px"}).observe(viewer);
  } else {
    document.querySelector("#viewer .unable").hidden = false;
  }
}
