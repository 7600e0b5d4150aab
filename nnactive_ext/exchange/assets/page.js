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
