"""How the index page looks, and the script of its filters; without a script the page shows everything."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light; --line: #d5dae1; --soft: #55606e; --accent: #0b57a4; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: #f4f6f8; color: #16202c;
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; }
h2 { margin: 0 0 .4rem; font-size: 1.1rem; }
a { color: var(--accent); }
code { font: .88em ui-monospace, Consolas, "DejaVu Sans Mono", monospace; background: #e9edf2; padding: .1em .3em;
  border-radius: 3px; }
code.command { display: block; margin: .2rem 0; padding: .4rem .6rem; user-select: all; }
dl, ul, ol, p, figure { margin: 0; }
header, section, .filters { margin-bottom: 1.2rem; }
.counts { font-size: 1.1rem; }
header .facts { display: flex; flex-wrap: wrap; gap: .1rem 1.6rem; color: var(--soft); }
header .facts div { display: flex; gap: .4rem; }
header dd { margin: 0; color: #16202c; }
.next { display: inline-block; margin-top: .7rem; padding: .45rem .9rem; border-radius: 6px; background: var(--accent);
  color: #fff; text-decoration: none; }
section, article { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.2rem; }
.how li { margin: .25rem 0; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; padding: 0; list-style: none; }
.swatch { display: inline-block; width: .85em; height: .85em; margin-right: .35em; vertical-align: -.05em;
  border: 1px solid #0007; border-radius: 2px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.swatch.none { background: #fff; }
.value, .hint, .case, figcaption { color: var(--soft); }
.hint { margin-top: .5rem; font-size: .9rem; max-width: 62rem; }
.filters { display: flex; flex-wrap: wrap; gap: .6rem 1.4rem; align-items: center; }
.filters[hidden] { display: none; }
.filters label { display: inline-flex; gap: .4rem; align-items: center; max-width: 100%; }
select, button { font: inherit; padding: .25rem .5rem; max-width: 100%; min-width: 0; }
:focus-visible { outline: 3px solid #f0a202; outline-offset: 2px; }
article { margin-bottom: 1.2rem; scroll-margin-top: 1rem; }
article[hidden] { display: none; }
.head { display: flex; flex-wrap: wrap; gap: .1rem .9rem; align-items: baseline; margin-bottom: .6rem; }
.head h2 { margin: 0; }
.status { padding: 0 .6rem; border: 1px solid currentColor; border-radius: 1rem; font-size: .9rem; white-space: nowrap; }
[data-status="open"] .status { color: #8a4b00; }
[data-status="partial"] .status { color: var(--accent); }
[data-status="done"] .status { color: #1c6b35; }
.body { display: flex; gap: 1.4rem; align-items: flex-start; }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem; flex: none; max-width: 100%; }
.pictures img { display: block; max-width: 100%; height: auto; border-radius: 3px; background: #000; }
figcaption { font-size: .84rem; line-height: 1.35; padding-top: .25rem; }
figcaption b { color: #16202c; }
article .facts { flex: 1; min-width: 13rem; }
article dt { color: var(--soft); font-size: .84rem; }
article dd { margin: 0 0 .5rem; }
article dd span { white-space: nowrap; }
.note { margin-bottom: .6rem; padding: .4rem .6rem; border-left: 4px solid #f0a202; background: #fff7e3; }
.links a { margin-right: 1rem; }
details { margin-top: .4rem; }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 75rem) { .body { display: block; } .pictures { margin-bottom: .8rem; } }
@media (max-width: 40rem) {
  body { padding: .8rem; }
  section, article { padding: .8rem; }
  .pictures { display: grid; grid-template-columns: 1fr 1fr; align-items: start; }
  .axial { grid-column: 1 / -1; justify-self: center; }
  .how ul, .how ol { padding-left: 1.1rem; }
}
@media print {
  body { background: #fff; padding: 0; font-size: 10pt; max-width: none; }
  .filters, .next, .links, details { display: none !important; }
  section, article { break-inside: avoid; border-color: #999; }
  .body { display: block; }
  .pictures { flex-wrap: nowrap; }
  figure { flex: 0 1 auto; min-width: 0; }
}
"""

SCRIPT = """
"use strict";
const form = document.querySelector("form.filters"), [byCase, byClass, hideDone] =
  ["by-case", "by-class", "hide-done"].map(id => document.getElementById(id));
const cards = [...document.querySelectorAll("article")].map(element => (
  {element, case: element.dataset.case, status: element.dataset.status, classes: JSON.parse(element.dataset.classes)}));
const fill = (select, values) => [...new Set(values)].sort((a, b) => a.localeCompare(b, "en", {numeric: true}))
  .forEach(value => select.add(new Option(value, "=" + value)));
fill(byCase, cards.map(card => card.case));
fill(byClass, cards.flatMap(card => card.classes));
byClass.add(new Option("(none)", "none"));
const show = () => {
  let shown = 0;
  for (const card of cards) {
    const wanted = (!byCase.value || byCase.value === "=" + card.case)
      && (!byClass.value || (byClass.value === "none" ? !card.classes.length
        : card.classes.some(name => byClass.value === "=" + name)))
      && !(hideDone.checked && card.status === "done");
    card.element.hidden = !wanted;
    shown += wanted;
  }
  form.querySelector("output").textContent = shown + " of " + cards.length + " tasks shown";
};
form.addEventListener("change", show);
form.addEventListener("reset", () => setTimeout(show));
form.addEventListener("submit", event => event.preventDefault());
form.hidden = false;
show();
"""
