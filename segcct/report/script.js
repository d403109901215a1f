"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const press = (buttons, chosen) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === chosen)));

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("segcct-theme", root.dataset.theme); } catch { /* no storage: the choice lasts until the page is left */ }
});

all(".viewer").forEach((viewer) => {
  const key = viewer.dataset.viewer;
  const slider = viewer.querySelector("input[type=range]");
  const number = viewer.querySelector(".slice-number");
  const ids = slider ? slider.dataset.slices?.split(" ") : null;
  slider?.addEventListener("input", () => {
    all("svg[data-slice]", viewer).forEach((svg) => { svg.style.display = svg.dataset.slice === slider.value ? "" : "none"; });
    if (ids) number.textContent = ids[Number(slider.value)];
  });
  const channels = all(".segmented button", viewer);
  channels.forEach((button) => button.addEventListener("click", () => {
    press(channels, button);
    all("svg[data-slice]", viewer).forEach((svg) => svg.querySelector(".pixels").setAttribute("href", `#${key}-${button.dataset.channel}-${svg.dataset.slice}`));
    all(".window-note", viewer).forEach((note) => { note.hidden = note.dataset.channel !== button.dataset.channel; });
  }));
  all(".legend button", viewer).forEach((button) => button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(shown));
    all(`path.${button.dataset.class}`, viewer).forEach((path) => { path.style.display = shown ? "" : "none"; });
  }));
  all(".picture", viewer).forEach((picture) => picture.addEventListener("click", () => picture.parentElement.classList.toggle("large")));
});

all(".toggles button").forEach((button) => button.addEventListener("click", () => {
  const shown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(shown));
  all(`g[data-series="${button.dataset.series}"]`).forEach((group) => { group.style.display = shown ? "" : "none"; });
}));

const table = document.getElementById("cases");
if (table) {
  const body = table.tBodies[0];
  const heads = all("thead th", table);
  const names = new Intl.Collator(undefined, { numeric: true });
  const sort = (column, direction) => {
    heads.forEach((head, index) => index === column ? head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending") : head.removeAttribute("aria-sort"));
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    body.append(...[...body.rows].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === "" || right === "") return (left === "") - (right === "");  // what is not defined stays last
      return direction * (column === 0 ? names.compare(left, right) : Number(left) - Number(right));
    }));
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    sort(column, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
  }));
  const metric = document.getElementById("metric");
  metric?.addEventListener("change", () => {
    const { digits, share } = metric.selectedOptions[0].dataset;
    all("td[data-status]", table).forEach((cell) => {
      const raw = cell.getAttribute("data-" + metric.value.replaceAll("_", "-"));
      cell.dataset.value = raw;
      cell.querySelector(".cell").textContent = raw === "" ? "–" : Number(raw).toFixed(Number(digits)).replace("-", "−");
      if (raw !== "" && share === "1") cell.style.setProperty("--v", raw); else cell.style.removeProperty("--v");
    });
  });
  all("a[data-case]").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    const row = [...body.rows].find((one) => one.dataset.case === link.dataset.case);
    all("tr.found", table).forEach((one) => one.classList.remove("found"));
    row.classList.add("found");
    row.scrollIntoView({ block: "center", behavior: "smooth" });
  }));
}
