"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const KINDS = { input: "input, output", module: "module of the model", converted: "new module", kept: "kept whole", branch: "branch", leftover: "computes, no module", other: "moves data" };
const BOX = [170, 44];
const $ = (id) => document.getElementById(id);
const kindOf = (node) => (node.k === "output" ? "input" : node.k);
const shown = new Set(Object.keys(KINDS));
const users = data.nodes.map(() => []);
data.nodes.forEach((node, i) => node.i.forEach((j) => users[j].push(i)));
const drawingOf = (path) => data.drawings[$("plain").checked ? "all" : "tensors"][path];
let scope = "", chosen = -1, view = { x: 0, y: 0, k: 1 }, query = "";

// Everything that comes from the model goes through here: it is text, never markup.
function make(tag, properties = {}, ...children) {
  const svg = ["svg", "g", "rect", "text", "path", "title"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}
const last = (path) => path.slice(path.lastIndexOf(".") + 1);
const clip = (text, size) => (text.length > size ? text.slice(0, size - 1) + "…" : text);
const label = (node) => (node.o === "call_module" ? last(node.p) : node.o === "placeholder" || node.o === "get_attr" ? node.w : node.o === "output" || node.o === "end" ? "output" : last(node.w));
const sub = (node) => (node.o === "call_module" ? last(node.w) : node.o.replace("call_", ""));
const matches = (node) => !query || (node.n + "\n" + node.w + "\n" + node.p + "\n" + node.s + "\n" + node.t + "\n" + (data.files[node.f] || "")).toLowerCase().includes(query);

// --- the tree of scopes, opened where it is asked for ---
const children = new Map();
for (const path of Object.keys(data.drawings.all)) {
  if (path === "") continue;
  const parent = path.slice(0, Math.max(path.lastIndexOf("."), 0));
  if (!children.has(parent)) children.set(parent, []);
  children.get(parent).push(path);
}
const counts = new Map();
for (const node of data.nodes) for (let path = node.s; ; path = path.slice(0, Math.max(path.lastIndexOf("."), 0))) { counts.set(path, (counts.get(path) || 0) + 1); if (!path) break; }
const inOrder = (a, b) => a.localeCompare(b, undefined, { numeric: true });
function branch(path) {
  const below = (children.get(path) || []).sort(inOrder);
  const item = make("li");
  const twist = below.length ? make("button", { class: "twist", type: "button", "aria-expanded": "false", "aria-label": "open", onclick: () => toggle() }, "▸") : make("span", { class: "twist" });
  const list = make("ul", { hidden: "" });
  function toggle() {
    if (!list.childElementCount) list.append(...below.map(branch));
    list.hidden = !list.hidden;
    twist.textContent = list.hidden ? "▸" : "▾";
    twist.setAttribute("aria-expanded", String(!list.hidden));
  }
  item.append(make("div", { class: "row" }, twist, make("button", { class: "link", type: "button", "data-scope": path, onclick: () => enter(path) }, path ? last(path) : data.title), make("span", { style: "color:var(--dim)" }, String(counts.get(path) || 0))), list);
  if (path === "" && below.length) toggle();
  return item;
}

// --- the drawing of one scope: only what is in view is there ---
const svg = $("drawing"), layer = make("g");
svg.append(layer);
function enter(path, choose = -1) {
  // What is shown nowhere without them brings the sizes and checks with it.
  if (choose >= 0 && !drawingOf(path).items.some((item) => item[0] === choose)) $("plain").checked = true;
  scope = path;
  chosen = choose;
  document.querySelectorAll("#tree .link").forEach((link) => link.classList.toggle("current", link.dataset.scope === path));
  const crumbs = [];
  for (let at = path; ; at = at.slice(0, Math.max(at.lastIndexOf("."), 0))) { const to = at; crumbs.unshift(make("button", { class: "link", type: "button", onclick: () => enter(to) }, to ? last(to) : data.title)); if (!at) break; }
  $("crumbs").replaceChildren(...crumbs.flatMap((crumb, i) => (i ? [" › ", crumb] : [crumb])));
  fit();
  draw();
  if (choose >= 0) details(choose);
}
function fit() {
  const items = drawingOf(scope).items, size = svg.getBoundingClientRect();
  if (!items.length || !size.width) return;
  const xs = items.map((item) => item[1]), ys = items.map((item) => item[2]);
  const left = Math.min(...xs) - 110, top = Math.min(...ys) - 50, width = Math.max(...xs) - left + 110, height = Math.max(...ys) - top + 50;
  const k = Math.min(1.2, Math.max(0.35, Math.min(size.width / width, size.height / height)));
  const target = items.find((item) => item[0] === chosen);
  // What does not fit is seen from its first operation on.
  const first = items[0], wide = width * k > size.width, high = height * k > size.height;
  view = target ? { k: 1, x: size.width / 2 - target[1], y: size.height / 2 - target[2] }
    : { k, x: size.width / 2 - (wide ? first[1] : left + width / 2) * k, y: high ? 50 - first[2] * k : size.height / 2 - (top + height / 2) * k };
}
function draw() {
  layer.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`);
  const drawing = drawingOf(scope), size = svg.getBoundingClientRect();
  const left = -view.x / view.k - 200, top = -view.y / view.k - 120, right = left + size.width / view.k + 400, bottom = top + size.height / view.k + 240;
  const inView = (x, y) => x > left && x < right && y > top && y < bottom;
  const parts = [];
  for (const [x1, y1, x2, y2] of drawing.lines) {
    if (Math.max(x1, x2) < left || Math.min(x1, x2) > right || Math.max(y1, y2) < top || Math.min(y1, y2) > bottom) continue;
    parts.push(make("path", { class: "edge", d: `M${x1} ${y1}C${x1} ${(y1 + y2) / 2} ${x2} ${(y1 + y2) / 2} ${x2} ${y2}` }));
  }
  for (const [item, x, y] of drawing.items) if (inView(x, y)) parts.push(box(item, x, y));
  layer.replaceChildren(...parts);
}
function box(item, x, y) {
  const inner = typeof item === "string";
  if (inner && !item.startsWith("scope:")) return make("g", { class: "box", transform: `translate(${x - BOX[0] / 2} ${y - BOX[1] / 2})` }, make("rect", { width: BOX[0], height: BOX[1], fill: "var(--input)" }), make("text", { x: 10, y: 26 }, item === "in:" ? "from outside" : "to outside"));
  const path = inner ? item.slice(6) : "", node = inner ? null : data.nodes[item];
  const faded = inner ? false : !shown.has(kindOf(node)) || !matches(node);
  const act = inner ? () => enter(path) : () => details(item);
  return make("g", { class: `box${inner ? " scope" : ""}${faded ? " faded" : ""}${item === chosen ? " chosen" : ""}`, tabindex: 0, role: "button", "data-item": item, transform: `translate(${x - BOX[0] / 2} ${y - BOX[1] / 2})`,
    onclick: inner ? () => scopeDetails(path) : act, ondblclick: act, onkeydown: (event) => event.key === "Enter" && act() },
    make("title", {}, inner ? path : node.t), make("rect", { width: BOX[0], height: BOX[1], fill: inner ? "var(--scope)" : `var(--${kindOf(node)})` }),
    make("text", { x: 10, y: 19 }, clip(inner ? last(path) : label(node), 24)), make("text", { class: "sub", x: 10, y: 34 }, clip(inner ? `${counts.get(path) || 0} operations` : sub(node), 28)));
}
let drag = null, asked = false;
const later = () => { if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; draw(); }); } };
svg.addEventListener("pointerdown", (event) => { drag = { x: event.clientX - view.x, y: event.clientY - view.y }; });
addEventListener("pointermove", (event) => { if (drag) { view.x = event.clientX - drag.x; view.y = event.clientY - drag.y; later(); } });
addEventListener("pointerup", () => { drag = null; });
svg.addEventListener("wheel", (event) => {
  event.preventDefault();
  const at = svg.getBoundingClientRect(), x = event.clientX - at.left, y = event.clientY - at.top, k = Math.min(3, Math.max(0.08, view.k * Math.exp(-event.deltaY / 500)));
  view = { k, x: x - ((x - view.x) / view.k) * k, y: y - ((y - view.y) / view.k) * k };
  later();
}, { passive: false });
addEventListener("resize", later);

// --- the panel of details ---
function scopeDetails(path) {
  $("details").replaceChildren(make("h2", {}, path), make("p", {}, `${counts.get(path) || 0} operations. `, make("button", { class: "link", type: "button", onclick: () => enter(path) }, "Open")));
}
function link(i) { return make("button", { class: "link", type: "button", onclick: () => enter(data.nodes[i].s, i) }, data.nodes[i].n); }
function many(list) { return list.length ? list.slice(0, 50).flatMap((i, n) => (n ? [", ", link(i)] : [link(i)])) : ["–"]; }
function details(i) {
  chosen = i;
  const node = data.nodes[i], rows = [["operation", node.n], ["kind", KINDS[kindOf(node)]], [node.o === "call_module" ? "class" : "calls", node.w], ["module", node.p], ["in", node.s || data.title]];
  const list = make("dl");
  for (const [name, text] of rows) if (text) list.append(make("dt", {}, name), make("dd", {}, text));
  list.append(make("dt", {}, "reads"), make("dd", {}, ...many(node.i)), make("dt", {}, "read by"), make("dd", {}, ...many(users[i])));
  const parts = [make("h2", {}, label(node)), list, make("pre", {}, node.t)];
  if (node.f >= 0) {
    const file = data.files[node.f], code = data.code[node.f], pre = make("pre", { class: "excerpt" });
    for (let line = node.l - 3; line <= node.l + 3; ++line) if (line in code) pre.append(make("span", { class: line === node.l ? "here" : "" }, make("span", { class: "ln" }, String(line).padStart(5) + "  "), code[line] + "\n"));
    parts.push(make("a", { class: "source", href: data.links[node.f] + "#L" + node.l }, `${file}:${node.l}`), pre);
  }
  $("details").replaceChildren(...parts);
  later();
}

// --- search and filters ---
for (const [kind, name] of Object.entries(KINDS)) {
  const count = data.nodes.filter((node) => kindOf(node) === kind).length;
  if (!count) continue;
  const chip = make("button", { class: "chip", type: "button", "aria-pressed": "true", "data-kind": kind, style: `background:var(--${kind})`, onclick: () => {
    shown.has(kind) ? shown.delete(kind) : shown.add(kind);
    chip.setAttribute("aria-pressed", String(shown.has(kind)));
    search();
  } }, `${name} ${count}`);
  $("filters").append(chip, " ");
}
function search() {
  query = $("search").value.trim().toLowerCase();
  const found = [];
  if (query) data.nodes.forEach((node, i) => { if (shown.has(kindOf(node)) && matches(node)) found.push(i); });
  $("results").hidden = !query;
  $("results").querySelector("h2").textContent = `Found ${found.length}`;
  $("results").querySelector("ol").replaceChildren(...found.slice(0, 200).map((i) => make("li", {}, link(i), ` ${data.nodes[i].w} ${data.nodes[i].s ? "in " + data.nodes[i].s : ""}`)));
  draw();
}
$("plain").addEventListener("change", () => enter(scope));
let typing = 0;
$("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 120); });
$("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});

// --- the tables, filled when they are opened ---
for (const [name, text] of Object.entries(data.summary)) $("summary").append(make("div", {}, make("dt", {}, name), make("dd", {}, text)));
for (const [title, heads, rows] of data.tables) {
  const body = make("tbody"), more = make("button", { type: "button", hidden: "", onclick: () => fill() }, "more");
  const fill = () => {
    const from = body.childElementCount;
    body.append(...rows.slice(from, from + 200).map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))));
    more.hidden = body.childElementCount >= rows.length;
  };
  $("tables").append(make("details", { ontoggle: () => { if (!body.childElementCount) fill(); } }, make("summary", {}, `${title} (${rows.length})`), make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", {}, head)))), body), more));
}
$("tree").append(make("ul", {}, branch("")));
enter("");
document.documentElement.dataset.ready = "true";
