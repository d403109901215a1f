const gallery = document.querySelector(".gallery");
const articles = all(".case", gallery);
const chooser = document.getElementById("case");
const current = () => articles.find((article) => article.classList.contains("current"));
const choose = (article) => {
  articles.forEach((one) => one.classList.toggle("current", one === article));
  if (chooser) chooser.value = article.id;
};
const stepSlice = (article, by) => {
  const slider = article.querySelector("input[type=range]");
  if (!slider) return;
  slider.value = String(Number(slider.value) + by);
  slider.dispatchEvent(new Event("input"));
};
const stepCase = (by) => choose(articles[(articles.indexOf(current()) + by + articles.length) % articles.length]);
const onScreen = () => { const box = gallery.getBoundingClientRect(); return box.bottom > 80 && box.top < innerHeight - 80; };

gallery.classList.add("one-at-a-time");  // without scripts all cases stand below each other
choose(articles.find((article) => "#" + article.id === location.hash) ?? articles[0]);
chooser?.addEventListener("change", () => choose(document.getElementById(chooser.value)));
all(".chooser .step").forEach((button) => button.addEventListener("click", () => stepCase(Number(button.dataset.case))));
articles.forEach((article) => {
  all(".step", article).forEach((button) => button.addEventListener("click", () => stepSlice(article, Number(button.dataset.step))));
  all(".segmented button", article).forEach((button) => button.addEventListener("click", () => {
    const key = article.querySelector(".viewer").dataset.viewer;
    all("svg[data-stack]", article).forEach((svg) => svg.querySelector(".pixels").setAttribute("href", `#${key}-${svg.dataset.stack}-${button.dataset.channel}-${svg.dataset.slice}`));
  }));
  all(`a[href="#${article.id}"]`).forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    choose(article);
    gallery.scrollIntoView({ block: "start", behavior: "smooth" });
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
