"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const press = (buttons, chosen) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === chosen)));

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("segcct-theme", root.dataset.theme); } catch { /* no storage: the choice lasts until the page is left */ }
});

const toggle = (button) => {
  const shown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(shown));
  return shown ? "" : "none";
};
const goTo = (part, block, view = part) => {  // the keyboard goes there, too
  part.tabIndex = -1;
  part.focus({ preventScroll: true });
  view.scrollIntoView({ block });
};
const stepSlice = (viewer, by) => {
  const slider = viewer.querySelector("input[type=range]");
  if (!slider) return;
  slider.value = String(Number(slider.value) + by);
  slider.dispatchEvent(new Event("input"));
};

all(".viewer").forEach((viewer) => {
  const key = viewer.dataset.viewer;
  const slider = viewer.querySelector("input[type=range]");
  const slices = all("svg[data-slice]", viewer);
  slider?.addEventListener("input", () => {
    slices.forEach((svg) => { svg.style.display = svg.dataset.slice === slider.value ? "" : "none"; });
    const number = slider.dataset.slices.split(" ")[Number(slider.value)];
    viewer.querySelector(".slice-number").textContent = number;
    slider.setAttribute("aria-valuetext", number);  // what a screen reader says, instead of the position
  });
  all(".step", viewer).forEach((button) => button.addEventListener("click", () => stepSlice(viewer, Number(button.dataset.step))));
  const channels = all(".segmented button", viewer);
  channels.forEach((button) => button.addEventListener("click", () => {
    press(channels, button);
    slices.forEach((svg) => svg.querySelector(".pixels").setAttribute("href", `#${key}-${svg.dataset.stack}-${button.dataset.channel}-${svg.dataset.slice}`));
    all(".window-note", viewer).forEach((note) => { note.hidden = note.dataset.channel !== button.dataset.channel; });
  }));
  all(".legend button", viewer).forEach((button) => button.addEventListener("click", () => {
    const display = toggle(button);
    all(`path.${button.dataset.class}`, viewer).forEach((path) => { path.style.display = display; });
  }));
  all(".picture", viewer).forEach((picture) => picture.addEventListener("click", () => {
    picture.setAttribute("aria-pressed", String(picture.parentElement.classList.toggle("large")));
  }));
});

all(".toggles button").forEach((button) => button.addEventListener("click", () => {
  const display = toggle(button);
  all(`g[data-series="${button.dataset.series}"]`).forEach((group) => { group.style.display = display; });
}));

// Marks of a plot (dots, bars) are read where a pointer is near one, or one after the other by the arrow keys.
const NEAR_PX = 24;
all(".read svg").filter((svg) => svg.querySelector("title")).forEach((svg) => {
  const readout = svg.closest(".read").querySelector(".readout");
  const marks = () => all("title", svg).map((title) => title.parentElement).filter((mark) => mark.parentElement.style.display !== "none");
  // Not by their boxes: in some browsers that of the chosen one is wider, by its stroke.
  const across = (mark) => parseFloat(mark.getAttribute("cx") ?? mark.getAttribute("x"));
  const fromLeft = () => marks().sort((a, b) => across(a) - across(b));
  const distance = (mark, { clientX, clientY }) => {
    const box = mark.getBoundingClientRect();
    return Math.hypot(Math.max(box.left - clientX, 0, clientX - box.right), Math.max(box.top - clientY, 0, clientY - box.bottom));
  };
  let current;
  const choose = (mark) => {
    if (!mark || mark.classList.contains("chosen")) return;
    all(".chosen", svg.closest(".read")).forEach((one) => one.classList.remove("chosen"));
    mark.classList.add("chosen");
    current = mark;
    readout.textContent = mark.textContent;
    svg.setAttribute("aria-valuenow", fromLeft().indexOf(mark) + 1);
    svg.setAttribute("aria-valuetext", mark.textContent);
  };
  const point = (event) => {
    const near = marks().map((mark) => [distance(mark, event), mark]).filter(([px]) => px <= NEAR_PX);
    choose(near.sort(([a], [b]) => a - b)[0]?.[1]);
  };
  svg.tabIndex = 0;
  Object.entries({ role: "slider", "aria-valuemin": 1, "aria-valuemax": marks().length, "aria-valuenow": 1, "aria-valuetext": "nothing chosen" })
    .forEach(([name, value]) => svg.setAttribute(name, value));
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("keydown", (event) => {
    const shown = fromLeft(), place = shown.indexOf(current);
    const next = { ArrowRight: place + 1, ArrowUp: place + 1, ArrowLeft: place - 1, ArrowDown: place - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (next === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();  // the gallery steps through slices by the same keys
    choose(shown[Math.min(Math.max(next, 0), shown.length - 1)]);
  });
});

const table = document.getElementById("cases");
if (table) {
  const body = table.tBodies[0];
  const heads = all("thead th", table);
  const names = new Intl.Collator(undefined, { numeric: true });
  const metric = document.getElementById("metric");
  const score = (cell) => cell.dataset.scores?.split(",")[metric?.selectedIndex ?? 0];  // as it is written
  const sort = (column, direction) => {
    heads.forEach((head, index) => index === column ? head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending") : head.removeAttribute("aria-sort"));
    const value = (row) => {
      const cell = row.cells[column];
      return score(cell) ?? cell.dataset.value ?? cell.textContent;
    };
    body.append(...[...body.rows].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === "" || right === "") return (left === "") - (right === "");  // what is not defined stays last
      return direction * (column === 0 ? names.compare(left, right) : Number(left) - Number(right));
    }));
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    sort(column, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
  }));
  metric?.addEventListener("change", () => {
    const { fraction } = metric.selectedOptions[0].dataset;
    all("td[data-scores]", table).forEach((cell) => {
      const text = score(cell);
      cell.firstChild.data = text.replace("-", "−") || "–";
      if (text !== "" && fraction === "1") cell.style.setProperty("--v", text); else cell.style.removeProperty("--v");
    });
  });
  all("a[data-case]").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    const row = [...body.rows].find((one) => one.dataset.case === link.dataset.case);
    all("tr.found", table).forEach((one) => one.classList.remove("found"));
    row.classList.add("found");
    goTo(row, "center");
  }));
}

const gallery = document.querySelector(".gallery");  // cases shown one at a time
if (gallery) {
  const articles = all(".case", gallery);
  const chooser = document.getElementById("case");
  const current = () => articles.find((article) => article.classList.contains("current"));
  const choose = (article) => {
    articles.forEach((one) => one.classList.toggle("current", one === article));
    if (chooser) chooser.value = article.id;
  };
  const stepCase = (by) => choose(articles[(articles.indexOf(current()) + by + articles.length) % articles.length]);
  const onScreen = () => { const box = gallery.getBoundingClientRect(); return box.bottom > 80 && box.top < innerHeight - 80; };

  gallery.classList.add("one-at-a-time");  // without scripts all cases stand below each other
  choose(articles.find((article) => "#" + article.id === location.hash) ?? articles[0]);
  chooser?.addEventListener("change", () => choose(document.getElementById(chooser.value)));
  all(".chooser .step").forEach((button) => button.addEventListener("click", () => stepCase(Number(button.dataset.case))));
  articles.forEach((article) => {
    all(`a[href="#${article.id}"]`).forEach((link) => link.addEventListener("click", (event) => {
      event.preventDefault();
      choose(article);
      goTo(article, "start", gallery);
    }));
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("select") || !onScreen()) return;
    const slice = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const patient = { p: -1, n: 1, P: -1, N: 1 }[event.key];
    if (!slice && !patient) return;
    event.preventDefault();
    if (slice) stepSlice(current(), slice); else stepCase(patient);
  });
}
