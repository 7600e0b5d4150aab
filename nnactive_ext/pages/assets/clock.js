// How long somebody works on a task: time counts while the page is seen and was used within the last minute.
"use strict";
const clock = {
  used: performance.now(), last: performance.now(), seconds: 0,
  tick() {
    const now = performance.now();
    if (document.visibilityState === "visible" && now - this.used < 60000) this.seconds += (now - this.last) / 1000;
    this.last = now;
  },
  take() { this.tick(); const taken = this.seconds; this.seconds = 0; return taken; },
  watch(place) {
    for (const event of ["pointermove", "pointerdown", "keydown", "wheel"])
      place.addEventListener(event, () => { this.tick(); this.used = performance.now(); }, {passive: true, capture: true});
  },
};
clock.watch(document);
setInterval(() => clock.tick(), 5000);
