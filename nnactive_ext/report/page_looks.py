"""How the report looks: on a wide screen, on a phone, on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light; --line: #d5dae1; --soft: #55606e; --accent: #0b57a4; --ink: #16202c; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: #f4f6f8; color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; }
h2 { margin: 0 0 .8rem; font-size: 1.3rem; line-height: 1.3; }
h3 { margin: 1.4rem 0 .3rem; font-size: 1.05rem; }
a { color: var(--accent); }
p { margin: 0 0 .8rem; max-width: 62rem; }
dl, dd, ul, figure { margin: 0; padding: 0; }
ul.legend, ul.gallery, ul.choices { list-style: none; }
code { font: .88em ui-monospace, Consolas, "DejaVu Sans Mono", monospace; background: #e9edf2; padding: .1em .3em;
  border-radius: 3px; }
pre { margin: .3rem 0 .9rem; padding: .6rem .8rem; background: #e9edf2; border-radius: 5px; white-space: pre-wrap;
  font-size: .9rem; line-height: 1.45; }
pre code { background: none; padding: 0; font-size: .92em; }
header, section, nav { margin-bottom: 1.2rem; }
header p { margin: .4rem 0 0; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 1.1rem 1.3rem;
  scroll-margin-top: 1rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; list-style: none; }
.answers { margin-top: .8rem; padding: .7rem 1rem; background: #fff; border: 1px solid var(--line);
  border-left: 5px solid var(--accent); border-radius: 6px; }
.answers div { display: flex; gap: .3rem .8rem; padding: .15rem 0; }
.answers dt { flex: 0 0 8.5rem; color: var(--soft); }
.answers dd { flex: 1; }
.hint, .caption, figcaption, .value { color: var(--soft); }
.hint { font-size: .92rem; }
.note { padding: .4rem .7rem; border-left: 4px solid #f0a202; background: #fff7e3; }
.lead { font-size: 1.1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .7rem; margin-bottom: 1rem; }
.tiles div { padding: .6rem .9rem; background: #f4f6f8; border-radius: 6px; break-inside: avoid; }
.tiles dt { color: var(--soft); font-size: .9rem; }
.tiles b { display: block; font-size: 1.6rem; line-height: 1.25; font-weight: 650; }
.tiles span { font-size: .88rem; color: var(--soft); }
.facts div { display: flex; gap: .2rem 1rem; padding: .12rem 0; }
.facts dt { flex: 0 0 13rem; color: var(--soft); }
.table { margin: .2rem 0 1.1rem; }
.scroll { overflow-x: auto; max-width: 100%;
  background: linear-gradient(90deg, #fff 1rem, #fff0) left / 2rem 100% no-repeat local,
  linear-gradient(270deg, #fff 1rem, #fff0) right / 2rem 100% no-repeat local,
  linear-gradient(90deg, #16202c33, #16202c00) left / .7rem 100% no-repeat scroll,
  linear-gradient(270deg, #16202c33, #16202c00) right / .7rem 100% no-repeat scroll; }
.caption { margin: 0 0 .25rem; font-size: .92rem; }
table { border-collapse: collapse; font-size: .93rem; }
th, td { padding: .22rem .8rem .22rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e6eaef;
  overflow-wrap: normal; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; border-bottom: 1px solid #aab3be; }
tbody th { font-weight: 500; padding-right: 1.2rem; }
table.numbers td, table.numbers th + th { text-align: right; padding-left: .5rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
table.numbers thead th + th { white-space: normal; max-width: 8.5rem; }
.bar { position: relative; display: inline-block; min-width: 5.2rem; padding: 0 .3rem; }
.bar::before { content: ""; position: absolute; inset: .1rem auto .1rem 0; width: var(--share); background: #cfe0f2;
  border-radius: 2px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bar span { position: relative; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem;
  margin-bottom: 1rem; }
.bodies { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 14rem), 1fr)); gap: 1rem; max-width: 62rem; }
.chart { break-inside: avoid; max-width: 30rem; }
.chart svg:not(.sample):not(.sign) { display: block; width: 100%; height: auto; }
.chart figcaption { margin-bottom: .3rem; color: var(--ink); font-size: .95rem; font-weight: 600; line-height: 1.3; }
svg text { font: 12px system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; fill: var(--ink); }
svg .grid { stroke: #e1e6ec; fill: none; }
svg .axis, svg .frame { stroke: #8792a0; fill: none; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin-bottom: .5rem; font-size: .92rem; }
.sample { width: 26px; height: 14px; vertical-align: -2px; }
.sign { width: 14px; height: 14px; vertical-align: -2px; }
.swatch { display: inline-block; width: .85em; height: .85em; vertical-align: -.05em; border: 1px solid #0007;
  border-radius: 2px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--accent); font-weight: 600; padding: .2rem 0; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1.2rem 1rem;
  margin-top: .6rem; }
.gallery li { break-inside: avoid; }
.gallery img { display: block; max-width: 100%; height: auto; border-radius: 3px; background: #0e0e0e; }
.choices { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin-bottom: .6rem; }
.choices a { margin-left: .5rem; font-size: .9rem; }
button.enlarge { display: block; margin: 0; padding: 0; border: 0; background: none; cursor: zoom-in; }
dialog { max-width: 96vw; max-height: 96vh; padding: 0; border: 0; background: #0e0e0e; overflow: auto; cursor: zoom-out; }
dialog::backdrop { background: #000b; }
dialog img { display: block; width: 60rem; height: auto; }
figcaption { font-size: .88rem; line-height: 1.4; padding-top: .25rem; }
figcaption b { color: var(--ink); }
button { font: inherit; margin-bottom: .4rem; padding: .3rem .9rem; border: 1px solid var(--accent); border-radius: 6px;
  background: #fff; color: var(--accent); cursor: pointer; }
button[aria-pressed="true"] { background: var(--accent); color: #fff; }
:focus-visible { outline: 3px solid #f0a202; outline-offset: 2px; }
.viewer { margin-bottom: 1rem; }
.canvas { width: 100%; height: 26rem; border-radius: 6px; overflow: hidden; background: #0e0e0e; }
.canvas canvas { display: block; outline-offset: -3px; }
.layers { display: flex; flex-wrap: wrap; gap: .3rem 1.5rem; align-items: center; margin-bottom: .5rem; }
.layers label { display: inline-flex; gap: .5rem; align-items: center; }
.layers input { width: 7rem; }
.layers output { color: var(--soft); font-size: .92rem; }
[hidden] { display: none !important; }
.advice { border-left: 5px solid #f0a202; }
.advice li { margin: .35rem 0 .35rem 1.2rem; }
.tag { display: inline-block; padding: 0 .6rem; border: 1px solid #8a4b00; border-radius: 1rem; color: #8a4b00;
  font-size: .9rem; font-weight: 600; white-space: nowrap; vertical-align: .12em; }
footer { color: var(--soft); font-size: .9rem; }
@media (max-width: 40rem) {
  body { padding: .7rem; }
  section { padding: .8rem; }
  .tiles { grid-template-columns: 1fr 1fr; gap: .5rem; }
  .tiles div { padding: .5rem .6rem; }
  .tiles b { font-size: 1.25rem; }
  .facts div, .answers div { display: block; padding: .25rem 0; }
  .facts dt, .answers dt { font-size: .9rem; }
  .canvas { height: 22rem; }
  .bar { min-width: 3.8rem; }
  th, td { padding-right: .5rem; }
}
@media print {
  @page { margin: 14mm 12mm; }
  body { background: #fff; padding: 0; font-size: 10pt; max-width: none; }
  nav, button:not(.enlarge), .screen { display: none !important; }
  .viewer { position: absolute; width: 40rem; height: 0; margin: 0; overflow: hidden; visibility: hidden; } /* keeps its size */
  .instead { display: inline !important; }
  section { border: 0; border-top: 1px solid #999; border-radius: 0; padding: .8rem 0; }
  h2, h3, summary, .caption { break-after: avoid; }
  tr, figure, .note, .tiles, .answers { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: .8rem; }
  table.numbers td, table.numbers th + th { padding-left: .2rem; padding-right: .5rem; }
  .charts { grid-template-columns: repeat(2, 1fr); }
  .bodies { grid-template-columns: repeat(3, 1fr); }
  .gallery { grid-template-columns: repeat(3, 1fr); gap: .6rem; }
  .gallery img { max-height: 22cm; width: auto; }
  details::details-content { content-visibility: visible; display: block; }
  summary { list-style: none; color: inherit; }
}
"""
