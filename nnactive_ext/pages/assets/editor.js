// niivue with a label map that can be painted in one box only: three planes, the acquired one largest, and the crop in 3D.
"use strict";

const AXIAL = 0, CORONAL = 1, SAGITTAL = 2, RENDER = 4;
const THICK = 2;  // an axis more than this many times as coarse as the others is across the acquired slices
const UNDO = 64;
const SLOW = 60;  // milliseconds a picture, from which the 3D view is left out: it is what takes longest

const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;  // they draw without a graphics card
const rendererOf = gl => {
  const known = gl.getExtension("WEBGL_debug_renderer_info");
  return String(gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
};

const unpacked = async buffer =>
  new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
const packed = async bytes =>
  new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer());

class Viewer {
  constructor(canvas, overlay) {
    this.canvas = canvas;
    this.overlay = overlay;
    this.frame = null;  // [[first, behind last] of x, y, z] in RAS voxels
    this.marks = [];    // {frac, colour, name}
    this.solid = true;  // whether the 3D view is shown
    this.held = false;  // whether nothing is drawn, because more is about to change
    this.nv = new niivue.Niivue({
      logLevel: "error", dragAndDropEnabled: false, isRadiologicalConvention: true, sagittalNoseLeft: true, isSliceMM: false,
      isNearestInterpolation: true, showLegend: false, tileMargin: 0, backColor: [0.04, 0.04, 0.05, 1],
      crosshairColor: [0.35, 0.75, 1, 0.55], crosshairWidth: 0.15, crosshairWidthUnit: "percent", crosshairGap: 2,
      show3Dcrosshair: false, fontColor: [1, 1, 1, 1], fontMinPx: 12, maxDrawUndoBitmaps: UNDO, clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "", viewModeHotKey: "", isResizeCanvas: true,
    });
  }

  async start() {
    const {nv} = this, wheel = nv.wheelListener.bind(nv);
    nv.wheelListener = event => {  // it turns slices with the wand, too, where niivue would change the wand's range
      const wand = nv.opts.clickToSegment;
      this.forget();
      nv.opts.clickToSegment = false;
      try { wheel(event); } finally { nv.opts.clickToSegment = wand; }
    };
    await this.nv.attachToCanvas(this.canvas, false);
    this.solid = !SOFTWARE.test(rendererOf(this.nv.gl));
    const drawScene = this.nv.drawScene.bind(this.nv);
    this.nv.drawScene = (...given) => { if (this.held) return ""; const drawn = drawScene(...given); this.drawOver(); return drawn; };
  }

  // `url`: an address, or the bytes of the file.
  async show(url, window) {
    const volume = await niivue.NVImage.loadFromUrl({
      url, name: "image.nii.gz", colormap: "gray", cal_min: window[0], cal_max: window[1], trustCalMinMax: true,
    });
    while (this.nv.volumes.length) this.nv.removeVolume(this.nv.volumes[0]);
    this.mm = volume.pixDimsRAS.slice(1, 4).map(Math.abs);
    this.arrange();  // before niivue first draws the image, in the layout that it would choose
    this.nv.addVolume(volume);
    this.judge();
  }

  window(low, high) {
    const volume = this.nv.volumes[0];
    volume.cal_min = low;
    volume.cal_max = high;
    this.nv.updateGLVolume();
  }

  // The plane in which thick slices were acquired is the largest; else the axial one.
  arrange() {
    const {mm} = this, order = [SAGITTAL, CORONAL, AXIAL];
    const [second, first] = [...mm].sort((a, b) => a - b).slice(1);
    const large = first > THICK * second * 1.001 ? order[mm.indexOf(first)] : AXIAL;
    const small = [AXIAL, CORONAL, SAGITTAL].filter(plane => plane !== large);
    this.large = large;
    const height = this.solid ? 0.33 : 0.4975;
    this.nv.setCustomLayout([
      {sliceType: large, position: [0, 0, 0.64, 1]},
      {sliceType: small[0], position: [0.645, 0, 0.355, height]},
      {sliceType: small[1], position: [0.645, height + 0.005, 0.355, height]},
      ...(this.solid ? [{sliceType: RENDER, position: [0.645, 0.67, 0.355, 0.33]}] : []),
    ]);
  }

  // With a weak graphics card the 3D view would make painting slow.
  judge() {
    if (!this.solid || this.held) return;
    const pixel = new Uint8Array(4), gl = this.nv.gl, began = performance.now();
    this.nv.drawScene();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);  // waits until it is drawn
    if (performance.now() - began > SLOW) this.show3D(false);
  }

  // Until `release` nothing is drawn: without a graphics card each picture takes a tenth of a second.
  hold() { this.held = true; }

  release() {
    this.held = false;
    this.nv.drawScene();
    this.judge();
  }

  show3D(on) {
    this.solid = on;
    this.arrange();
  }

  // What the wand would paint is shown while the mouse is there, and is not painted.
  forget() {
    if (!this.nv.clickToSegmentIsGrowing) return;
    this.nv.clickToSegmentIsGrowing = false;
    this.nv.refreshDrawing(true);
  }

  get dims() { return this.nv.back.dims.slice(1, 4); }

  look(frac) {
    this.nv.scene.crosshairPos = frac;
    this.nv.drawScene();
    this.nv.createOnLocationChange();
  }

  // Around the cross, so that what is looked at stays where it is.
  zoom(factor) {
    const scene = this.nv.scene, before = scene.pan2Dxyzmm[3], after = Math.min(20, Math.max(0.5, before * factor));
    const mm = this.nv.frac2mm(scene.crosshairPos);
    const pan = [0, 1, 2].map(axis => scene.pan2Dxyzmm[axis] + (before - after) * mm[axis]);
    this.nv.setPan2Dxyzmm([...pan, after]);
  }

  // Where a point is drawn in one tile, in CSS pixels.
  place(tile, frac) {
    const mm = this.nv.frac2mm(frac);
    const [a, b] = {[AXIAL]: [0, 1], [CORONAL]: [0, 2], [SAGITTAL]: [1, 2]}[tile.axCorSag].map(axis => mm[axis]);
    let [left, top, width, height] = tile.leftTopWidthHeight;
    let across = (a - tile.leftTopMM[0]) / tile.fovMM[0];
    if (width < 0) { left += width; width = -width; across = 1 - across; }
    const down = 1 - (b - tile.leftTopMM[1]) / tile.fovMM[1], scale = this.nv.uiData.dpr || 1;
    return [(left + across * width) / scale, (top + down * height) / scale];
  }

  bounds(tile) {
    const scale = this.nv.uiData.dpr || 1;
    let [left, top, width, height] = tile.leftTopWidthHeight;
    if (width < 0) { left += width; width = -width; }
    return [left / scale, top / scale, width / scale, height / scale];
  }

  // Outside of the frame the image is dimmed; the frame is drawn where the slice goes through the patch.
  drawOver() {
    const {overlay, canvas} = this, context = overlay.getContext("2d"), scale = window.devicePixelRatio || 1;
    if (overlay.width !== Math.round(canvas.clientWidth * scale) || overlay.height !== Math.round(canvas.clientHeight * scale)) {
      overlay.width = Math.round(canvas.clientWidth * scale);
      overlay.height = Math.round(canvas.clientHeight * scale);
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    if (!this.nv.back) return;
    for (const tile of this.nv.screenSlices) {
      if (tile.axCorSag > SAGITTAL || !tile.leftTopMM) continue;
      const axis = 2 - tile.axCorSag, cross = [...this.nv.scene.crosshairPos], [x, y, width, height] = this.bounds(tile);
      context.save();
      context.beginPath();
      context.rect(x, y, width, height);
      context.clip();
      if (this.frame) {
        const dims = this.dims, voxel = Math.min(dims[axis] - 1, Math.floor(cross[axis] * dims[axis]));
        const through = voxel >= this.frame[axis][0] && voxel < this.frame[axis][1];
        const corner = side => cross.map((at, other) => other === axis ? at : this.frame[other][side] / dims[other]);
        const [x0, y0] = this.place(tile, corner(0)), [x1, y1] = this.place(tile, corner(1));
        const box = [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)];
        context.fillStyle = "rgba(0,0,0,0.45)";
        context.beginPath();
        context.rect(x, y, width, height);
        if (through) context.rect(...box);
        context.fill("evenodd");
        context.lineWidth = 3;
        context.setLineDash(through ? [] : [6, 6]);
        context.strokeStyle = "rgba(0,0,0,0.8)";
        context.strokeRect(...box);
        context.lineWidth = 1.5;
        context.strokeStyle = "rgb(255,140,0)";
        context.strokeRect(...box);
      }
      for (const mark of this.marks) this.drawMark(context, tile, axis, cross, mark);
      context.restore();
    }
  }

  drawMark(context, tile, axis, cross, mark) {
    const away = Math.abs(mark.frac[axis] - cross[axis]) * this.dims[axis];
    if (away > 3) return;
    const [x, y] = this.place(tile, mark.frac);
    context.globalAlpha = away < 1 ? 1 : 0.45;
    context.lineWidth = 2;
    context.fillStyle = context.strokeStyle = `rgb(${mark.colour.join(",")})`;
    context.beginPath();
    context.arc(x, y, 6, 0, 2 * Math.PI);
    context.stroke();
    context.fillRect(x - 1, y - 1, 2, 2);
    context.font = "12px sans-serif";
    context.fillText(mark.name, x + 9, y + 4);
    context.globalAlpha = 1;
  }
}

class Editor extends Viewer {
  constructor(canvas, overlay, ignore) {
    super(canvas, overlay);
    this.ignore = ignore;
    this.locked = new Set();
    this.changed = () => {};
    this.tool = "look";
    this.label = 1;
    this.width = 3;
    this.share = 0.15;
  }

  // `box`: start and size (z, y, x) in the file's order. What lies outside is kept as 0 here, and written as `ignore`.
  async open(url, window, labels, box, colours) {
    this.nv.setDrawColormap(colours);
    await this.show(url, window);
    const nv = this.nv, volume = nv.volumes[0], hdr = volume.hdr;
    const [nx, ny] = hdr.dims.slice(1, 3), mask = new Uint8Array(hdr.dims[1] * hdr.dims[2] * hdr.dims[3]);
    const [z0, y0, x0] = box.start, [nz, height, width] = box.size;
    for (let z = z0; z < z0 + nz; z++) for (let y = y0; y < y0 + height; y++)
      mask.fill(1, x0 + nx * (y + ny * z), x0 + width + nx * (y + ny * z));
    nv.loadDrawing({hdr, img: mask, permRAS: volume.permRAS});  // niivue itself turns it as it turns labels
    this.box = nv.drawBitmap.slice();
    this.places = Uint32Array.from(this.indices());
    this.frame = this.extent();
    const drawing = await niivue.NVImage.loadFromUrl({url: labels, name: "labels.nii.gz"});
    const values = Uint8Array.from(drawing.img);
    nv.loadDrawing({hdr: drawing.hdr, img: values.map((value, i) => mask[i] ? value : 0), permRAS: drawing.permRAS});
    this.kept = nv.drawBitmap.slice();
    this.confine();
    nv.opts.drawingEnabled = true;
    this.choose("pen");
    this.middle();
  }

  indices() {
    const found = [];
    this.box.forEach((inside, i) => { if (inside) found.push(i); });
    return found;
  }

  extent() {
    const [nx, ny] = this.dims, low = [Infinity, Infinity, Infinity], high = [0, 0, 0];
    for (const i of this.places) [i % nx, Math.floor(i / nx) % ny, Math.floor(i / (nx * ny))].forEach((at, axis) => {
      low[axis] = Math.min(low[axis], at);
      high[axis] = Math.max(high[axis], at + 1);
    });
    return low.map((at, axis) => [at, high[axis]]);
  }

  middle() {
    const middle = this.frame.map(([first, last], axis) => (Math.floor((first + last) / 2) + 0.5) / this.dims[axis]);
    this.look(middle);
    const room = this.frame.map(([first, last], axis) => 0.7 * this.dims[axis] / (last - first));
    const zoom = Math.min(6, Math.max(1, Math.min(...room))), place = this.nv.frac2mm(middle);
    const centre = this.nv.frac2mm([0.5, 0.5, 0.5]);  // a patch at the border of the image is brought to the middle, too
    this.nv.setPan2Dxyzmm([...[0, 1, 2].map(axis => centre[axis] - zoom * place[axis]), zoom]);
  }

  // niivue has no mask: before anything is shown or kept for undo, what may not change is put back.
  confine() {
    const nv = this.nv, refresh = nv.refreshDrawing.bind(nv), add = nv.drawAddUndoBitmap.bind(nv), undo = nv.drawUndo.bind(nv);
    const line = nv.drawPenLine.bind(nv);
    nv.drawPenLine = (to, from, value) => { line(to, from, value); nv.drawPt(...to, value); };  // niivue leaves the end out
    // The wand's range is a share of the grey window: niivue's share of the value itself means nothing in Hounsfield units.
    const wand = nv.doClickToSegment.bind(nv);
    nv.doClickToSegment = given => {
      const frac = nv.screenXY2TextureFrac(...nv.clickToSegmentXY, given.tileIndex, false);
      if (frac[0] < 0) return undefined;
      const value = nv.back.getValue(...nv.frac2vox(frac)), half = this.share * (nv.back.cal_max - nv.back.cal_min);
      nv.opts.clickToSegmentIntensityMin = value - half;
      nv.opts.clickToSegmentIntensityMax = value + half;
      return wand(given);
    };
    let restoring = false;
    nv.refreshDrawing = (...given) => {
      if (!restoring) {
        this.guard(nv.drawBitmap);
        if (given[1] && nv.clickToSegmentGrowingBitmap) this.guard(nv.clickToSegmentGrowingBitmap);
      }
      return refresh(...given);
    };
    nv.drawAddUndoBitmap = (...given) => {
      this.guard(nv.drawBitmap);
      const done = add(...given);
      const other = this.places.some(i => nv.drawBitmap[i] !== this.kept[i]);
      this.kept = nv.drawBitmap.slice();
      if (other) { this.steps = Math.min(UNDO - 1, (this.steps || 0) + 1); this.changed(); }
      return done;
    };
    // Whoever releases the button elsewhere, or leaves the picture while it is pressed, has ended a stroke too.
    for (const [target, event] of [[window, "mouseup"], [this.canvas, "mouseleave"]])
      target.addEventListener(event, () => { if (this.places.some(i => nv.drawBitmap[i] !== this.kept[i])) nv.drawAddUndoBitmap(); });
    nv.drawUndo = () => {
      if (!this.steps) return;
      restoring = true;
      try { undo(); } finally { restoring = false; }
      this.steps--;
      this.kept = nv.drawBitmap.slice();
      this.changed();
    };
  }

  guard(bitmap) {
    if (!bitmap || !this.kept) return;
    const value = this.nv.opts.penValue, {kept, locked} = this, allowed = [];
    for (const i of this.places) if (bitmap[i] !== kept[i] && !locked.has(kept[i])) allowed.push(i);
    bitmap.set(kept);
    for (const i of allowed) bitmap[i] = value;
  }

  choose(tool) {
    const nv = this.nv;
    this.tool = tool;
    this.forget();
    nv.opts.drawingEnabled = tool !== "look";
    nv.opts.clickToSegment = tool === "wand";
    nv.clickToSegmentGrowingBitmap = tool === "wand" ? nv.drawBitmap.slice() : null;
    nv.opts.clickToSegmentIs2D = true;
    nv.opts.penSize = tool === "outline" ? 1 : this.width;  // an outline ends where it was drawn
    nv.setPenValue(tool === "eraser" ? 0 : this.label, tool === "outline");
    this.canvas.style.cursor = tool === "look" ? "default" : "crosshair";
  }

  paint(label) {
    this.label = label;
    this.choose(this.tool === "eraser" || this.tool === "look" ? "pen" : this.tool);
  }

  size(voxels) {
    this.width = voxels;
    this.choose(this.tool);
  }

  reach(percent) { this.share = percent / 100; }

  undo() { this.nv.drawUndo(); }

  clear() {
    const before = this.nv.opts.penValue;
    this.nv.opts.penValue = 0;
    for (const i of this.places) this.nv.drawBitmap[i] = 0;
    this.nv.drawAddUndoBitmap();
    this.nv.refreshDrawing(true);
    this.nv.opts.penValue = before;
  }

  count() {
    const counts = new Map();
    for (const i of this.places) counts.set(this.nv.drawBitmap[i], (counts.get(this.nv.drawBitmap[i]) || 0) + 1);
    return {counts, total: this.places.length};
  }

  // Whether nothing would be known of the patch, as it would be saved.
  undecided(unsure = false) {
    return this.places.every(i => this.nv.drawBitmap[i] === this.ignore || unsure && this.nv.drawBitmap[i] === 0);
  }

  // The label map as a packed NIfTI file. `unsure`: what is background becomes `ignore`.
  async save(unsure = false) {
    const nv = this.nv, shown = nv.drawBitmap, written = new Uint8Array(shown.length).fill(this.ignore);
    for (const i of this.places) written[i] = unsure && shown[i] === 0 ? this.ignore : shown[i];
    nv.drawBitmap = written;
    let saving;
    try { saving = nv.saveImage({filename: "", isSaveDrawing: true}); } finally { nv.drawBitmap = shown; }
    return packed(await saving);
  }
}
