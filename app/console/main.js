// The frame around all views: navigation, sign-in, theme, and the state of the connection.

import { events, get, key, setKey } from "./api.js";
import { announce, h, replace } from "./dom.js";
import { button, failure, header, icon, link, loading, tray } from "./parts.js";
import { ago } from "./format.js";
import { forget } from "./play/models.js";
import { signIn } from "./signin.js";

const VIEWS = [  // [pattern, module, name of the place in the navigation]
  [/^\/?$/, "home", ""],
  [/^\/train$/, "train", "train"],
  [/^\/jobs$/, "jobs", "jobs"],
  [/^\/jobs\/([^/]+)$/, "job", "jobs"],
  [/^\/evaluations\/([^/]+)$/, "evaluation", "jobs"],
  [/^\/models$/, "models", "models"],
  [/^\/models\/([^/]+)$/, "model", "models"],
  [/^\/models\/([^/]+)\/(\d+)$/, "version", "models"],
  [/^\/play$/, "play", "play"],
  [/^\/compare$/, "compare", "compare"],
  [/^\/traffic$/, "traffic", "traffic"],
  [/^\/files$/, "files", "files"],
  [/^\/settings$/, "settings", "settings"],
];
const PLACES = [
  ["", "Home", "home"], ["train", "New training", "train"], ["jobs", "Jobs", "jobs"], ["models", "Models", "models"],
  ["play", "Playground", "play"], ["compare", "Compare", "compare"], ["traffic", "Traffic", "traffic"],
  ["files", "Files", "files"], ["settings", "Settings", "settings"],
].filter(([place]) => VIEWS.some((view) => view[2] === place));

const main = h("main", { id: "main", tabindex: "-1" });
const menu = h("nav", { "aria-label": "Views" }, h("ul", {}, PLACES.map(([place, name, symbol]) =>
  h("li", {}, h("a", { href: `#/${place}`, "data-place": place }, icon(symbol), name)))));
const connection = h("div", { class: "connection", role: "status", hidden: true });
let leaving = new AbortController();

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path, search = ""] = location.hash.replace(/^#/, "").split("?");
  const view = VIEWS.find(([pattern]) => pattern.test(path));
  mark(view?.[2]);
  document.body.classList.remove("menu-open");
  const waiting = setTimeout(() => signal.aborted || replace(main, loading()), 150);
  try {
    if (!view) throw new Error(`The page ${path} does not exist.`);
    const module = await import(`./views/${view[1]}.js`);
    const parameters = path.match(view[0]).slice(1).map(decodeURIComponent);
    const content = await module.view({ parameters, search: new URLSearchParams(search), signal, show });
    if (!signal.aborted) arrive(content);
  } catch (error) {
    if (!signal.aborted && error.name !== "AbortError" && error.status !== 401) arrive(problem(error, view?.[2]));
  } finally {
    clearTimeout(waiting);
  }
}

// The content of a view that cannot be loaded: the error, and what to do next.
function problem(error, place) {
  const [, list] = PLACES.find(([name]) => name === place) || [];
  const absent = error.status === 404 || place === undefined;
  const notice = failure(error, absent ? null : show);
  notice.querySelector("strong").remove();  // the heading of the page already says this
  return [header(absent ? "Not found" : "This page could not be loaded"), notice,
    h("p", { class: "row" }, list ? link(list, `#/${place}`) : null, link("Home", "#/"))];
}

function arrive(content) {
  replace(main, content);
  const heading = main.querySelector("h1");
  document.title = heading ? `${heading.textContent} – Ostinato` : "Ostinato";
  if (heading && document.activeElement === document.body) heading.focus({ preventScroll: true });
  announce(document.title);
  window.scrollTo(0, 0);
}

function mark(place) {
  for (const link of menu.querySelectorAll("a"))
    if (link.dataset.place === place) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
}

function theme() {
  const choices = ["auto", "light", "dark"];
  const apply = (choice) => {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    toggle.textContent = `Theme: ${choice}`;
    window.dispatchEvent(new Event("themechange"));
  };
  const toggle = button("", () => {
    const next = choices[(choices.indexOf(localStorage.getItem("ostinato.theme") || "auto") + 1) % 3];
    localStorage.setItem("ostinato.theme", next);
    apply(next);
  }, "plain small");
  apply(localStorage.getItem("ostinato.theme") || "auto");
  return toggle;
}

let lost = 0;
events.addEventListener("unreachable", () => {
  if (lost) return;
  connection.hidden = false;
  connection.textContent = "The service does not respond. Retrying…";
  lost = setInterval(async () => {
    const alive = await fetch("/livez", { cache: "no-store" }).then((reply) => reply.ok, () => false);
    if (!alive) return;
    clearInterval(lost);
    lost = 0;
    connection.hidden = true;
    if (main.querySelector(".unreachable")) show();  // only a view with a part that failed to load; other views keep what the reader has entered
  }, 1500);
});

function frame() {
  const out = button("Sign out", () => { setKey(""); forget(); location.reload(); }, "plain small");
  const toggle = h("button", { type: "button", class: "menu-button", "aria-label": "Menu", onclick: () => {
    toggle.setAttribute("aria-expanded", document.body.classList.toggle("menu-open"));
  }, "aria-expanded": "false" }, icon("menu"));
  const logo = h("a", { class: "brand", href: "#/" }, h("img", { src: new URL("logo.svg", import.meta.url).pathname, alt: "", width: 28, height: 28 }), "Ostinato");
  return [
    h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "Skip to the content"),
    h("div", { class: "side" }, h("div", { class: "top" }, logo, toggle), menu,
      h("div", { class: "foot" }, h("a", { href: "/docs", class: "small" }, "API reference"), theme(), key() ? out : null)),
    h("div", { class: "stage" }, connection, main), tray,
  ];
}

async function start() {
  try {
    await get("/version");
  } catch (error) {
    if (error.status === 401) return replace(document.body, signIn(start, key() ? error.message : ""));
  }
  replace(document.body, frame());
  await show();
}

setInterval(() => {
  for (const time of main.querySelectorAll("time[data-ago]")) time.textContent = ago(Number(time.dataset.ago));
}, 15000);

window.addEventListener("hashchange", show);
events.addEventListener("signin", () => { if (main.isConnected) { setKey(""); location.reload(); } });
start();
