// The page of the network. DATA: people [{id, label, x, y, community, lines, betweenness, pagerank}], ties [kind, a, b, episode, count],
// where ties are some of all: strengths [[kind, person, episode, count]] of all and carried {pairs, all};
// episodes [[season, episode]], weights {kind: number}, shown, options (of vis-network), palettes {light, dark}.
"use strict";
const KINDS = ["speaks", "together", "mentions"];
const NARROW = 480, FEW = 16; // pixels of a picture that starts with so many people, as more names find no room
const MOST_EDGES = 4000; // more lines than that show nothing, and take a second to draw
const $ = id => document.getElementById(id);
const seasons = [...new Set(DATA.episodes.map(place => place[0]))].sort((a, b) => a - b);
const labels = DATA.episodes.map(([season, episode]) => `S${String(season).padStart(2, "0")}E${String(episode).padStart(2, "0")}`);
const byLabel = new Map(DATA.people.map(person => [person.label.toLowerCase(), person.id]));
const nodes = new vis.DataSet([]), edges = new vis.DataSet([]);
let view = { strengths: new Map(), pairs: [] }, selected = null, named = [], namesDrawn = -1, labelStyle = {};

// Each tie at both of its ends: what people are strong by.
const ends = DATA.strengths || DATA.ties.flatMap(([kind, a, b, at, count]) => [[kind, a, at, count], [kind, b, at, count]]);

const short = name => name.length > 26 ? name.slice(0, 25) + "…" : name;

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
const isDark = () => document.documentElement.dataset.theme === "dark";
const colour = community => {
  const palette = DATA.palettes[isDark() ? "dark" : "light"];
  return community < 0 || community >= palette.length - 1 ? palette[palette.length - 1] : palette[community];
};
const factor = kind => { const wanted = $("kind").value; return wanted === "all" ? DATA.weights[kind] : Number(kind === wanted); };
const isTall = () => $("graph").clientHeight > $("graph").clientWidth; // then the picture is turned
const startsWith = () => Math.min(DATA.shown, DATA.people.length, $("graph").clientWidth < NARROW ? FEW : Infinity);
const isDirected = () => ["speaks", "mentions"].includes($("kind").value);

// Weights of pairs and strengths of people, for the kind and season chosen.
function compute() {
  const season = Number($("season").value), pairs = new Map(), strengths = new Map();
  for (const [kind, a, b, at, count] of DATA.ties) {
    const weight = count * factor(KINDS[kind]);
    if (!weight || (season && DATA.episodes[at][0] !== seasons[season - 1])) continue;
    const turned = !isDirected() && a > b, key = turned ? b * 100000 + a : a * 100000 + b;
    const pair = pairs.get(key) || { a: turned ? b : a, b: turned ? a : b, weight: 0 };
    pair.weight += weight;
    pairs.set(key, pair);
  }
  for (const [kind, who, at, count] of ends) {
    const weight = count * factor(KINDS[kind]);
    if (weight && !(season && DATA.episodes[at][0] !== seasons[season - 1])) strengths.set(who, (strengths.get(who) || 0) + weight);
  }
  view = { strengths, pairs: [...pairs.values()].sort((x, y) => y.weight - x.weight) };
}

function draw() {
  compute();
  const order = DATA.people.map(person => person.id).sort((x, y) => (view.strengths.get(y) || 0) - (view.strengths.get(x) || 0));
  const shown = new Set(order.slice(0, Number($("top").value)).filter(id => view.strengths.get(id)));
  const most = Math.max(1, ...view.strengths.values());
  const tall = isTall();
  const text = isDark() ? "#e8ebee" : "#1c2127", ground = isDark() ? "#14181d" : "#ffffff";
  nodes.clear(); edges.clear();
  nodes.add(DATA.people.filter(person => shown.has(person.id)).map(person => {
    const size = 7 + 27 * Math.sqrt(view.strengths.get(person.id) / most);
    return { ...person, x: tall ? person.y : person.x, y: tall ? person.x : person.y, label: undefined, title: person.label, size, shape: "dot", color: { background: colour(person.community), border: ground,
      highlight: { background: colour(person.community), border: text } }, borderWidth: 1.5 };
  }));
  named = order.filter(id => shown.has(id)).map(id => ({ id, label: short(DATA.people[id].label), size: nodes.get(id).size,
    share: view.strengths.get(id) / most }));
  labelStyle = { text, ground };
  const lines = view.pairs.filter(pair => shown.has(pair.a) && shown.has(pair.b)).slice(0, MOST_EDGES);
  const heaviest = lines.length ? lines[0].weight : 1;
  const arrows = isDirected() ? { to: { enabled: true, scaleFactor: .5 } } : undefined;
  edges.add(lines.map((pair, at) => ({ id: at, from: pair.a, to: pair.b, width: .5 + 9 * pair.weight / heaviest, arrows,
    title: `${DATA.people[pair.a].label} ${isDirected() ? "→" : "–"} ${DATA.people[pair.b].label}: ${Math.round(pair.weight * 10) / 10}`,
    color: { color: isDark() ? "#7d8894" : "#8d97a1", opacity: .18 + .6 * Math.sqrt(pair.weight / heaviest), highlight: isDark() ? "#e69f00" : "#d55e00" } })));
  $("top-value").textContent = `${shown.size} of ${DATA.people.length}`;
  const season = Number($("season").value);
  $("season-value").textContent = season ? seasons[season - 1] : "all";
  const ties = DATA.carried ? `${view.pairs.length} ties on this page` : `${view.pairs.length} ties`;
  $("summary").textContent = `${DATA.people.length} people, ${ties}, ${DATA.episodes.length} episodes. ${DATA.note}`;
  if (selected !== null && !shown.has(selected)) selected = null;
  about(); central(); tellShown();
}

// What the picture leaves out, and how to see it.
function tellShown() {
  const start = startsWith() < Math.min(DATA.shown, DATA.people.length) && Number($("top").value) === startsWith();
  const people = start ? `A narrow screen starts with the ${named.length} strongest of ${DATA.people.length} people: the slider shows more. ` : "";
  const names = namesDrawn >= 0 && namesDrawn < named.length ? `${namesDrawn} of ${named.length} names find room: zoom in for the others.` : "";
  $("shown").textContent = people + names;
}

function personLink(id) {
  const link = element("button", short(DATA.people[id].label), { class: "link", type: "button", title: DATA.people[id].label });
  link.onclick = () => choose(id, true);
  return link;
}
function about() {
  const box = $("about");
  box.replaceChildren();
  $("chosen").textContent = selected === null ? "Communities" : DATA.people[selected].label;
  selected === null ? legend(box) : portrait(box, DATA.people[selected]);
}
function legend(box) {
  const groups = new Map();
  for (const node of nodes.get()) groups.set(node.community, [...(groups.get(node.community) || []), node]);
  for (const [community, members] of [...groups].sort((x, y) => (x[0] < 0) - (y[0] < 0) || x[0] - y[0])) {
    members.sort((x, y) => view.strengths.get(y.id) - view.strengths.get(x.id));
    const line = element("p", undefined, { class: "group" });
    const dot = element("span", undefined, { class: "dot" });
    dot.style.background = colour(community);
    line.append(dot);
    members.slice(0, 8).forEach((member, at) => line.append(at ? ", " : "", personLink(member.id)));
    if (members.length > 8) line.append(` and ${members.length - 8} more`);
    box.append(line);
  }
}
function portrait(box, person) {
  const table = element("table");
  const rows = [["Lines", person.lines], ["Strength", Math.round(view.strengths.get(person.id) || 0)],
    ["Betweenness", person.betweenness.toFixed(3)], ["PageRank", person.pagerank.toFixed(3)]];
  const near = view.pairs.filter(pair => pair.a === person.id || pair.b === person.id).slice(0, 10);
  for (const [name, value] of rows) table.append(row([name], value));
  for (const pair of near) {
    const other = pair.a === person.id ? pair.b : pair.a;
    table.append(row([isDirected() ? (pair.a === person.id ? "to " : "from ") : "with ", personLink(other)], Math.round(pair.weight * 10) / 10));
  }
  const back = element("button", "All communities", { type: "button" });
  back.onclick = () => choose(null);
  box.append(table, back);
}
function row(name, value) {
  const line = element("tr"), head = element("th");
  head.append(...name);
  line.append(head, element("td", value, { class: "number" }));
  return line;
}
function choose(id, move = false) {
  selected = id;
  if (id === null) network.unselectAll();
  else {
    if (!nodes.get(id)) { $("top").value = DATA.people.length; draw(); selected = nodes.get(id) ? id : null; }
    if (selected !== null) {
      network.selectNodes([id]);
      if (move) network.focus(id, { scale: Math.max(.8, network.getScale()), animation: { duration: 250 } });
      pickPair(id, Number($("first").value) === id ? Number($("second").value) : Number($("first").value));
    }
  }
  about();
}
function pickPair(first, second) {
  $("first").value = first; $("second").value = second;
  timeline();
}

function timeline() {
  const pair = [Number($("first").value), Number($("second").value)];
  const counts = labels.map(() => [0, 0, 0]);
  for (const [kind, a, b, at, count] of DATA.ties) if (pair.includes(a) && pair.includes(b) && a !== b) counts[at][kind] += count;
  const left = DATA.carried && !counts.flat().some(Boolean); // it may be in the files only
  $("pair-note").textContent = left ? `This page carries no tie of these two: it has ${DATA.carried.pairs} of ${DATA.carried.all}.` : "";
  const most = Math.max(1, ...counts.flat()), width = Math.max(280, $("timeline").clientWidth || 960), height = 190, low = 150, step = (width - 40) / labels.length;
  const parts = [`<line x1="36" y1="${low}" x2="${width}" y2="${low}" stroke="var(--line)"/>`,
    `<text x="30" y="16" text-anchor="end">${most}</text><text x="30" y="${low}" text-anchor="end">0</text>`];
  const bar = Math.min(18, step / 4), every = Math.ceil(labels.length * 58 / width);
  counts.forEach((three, at) => {
    const start = 40 + at * step + (step - 3 * bar) / 2;
    three.forEach((count, kind) => {
      const tall = (low - 10) * count / most;
      parts.push(`<rect x="${start + kind * bar}" y="${low - tall}" width="${bar * .9}" height="${tall}" fill="var(--${KINDS[kind]})"><title>${labels[at]} ${KINDS[kind]}: ${count}</title></rect>`);
    });
    if (at % every === 0) parts.push(`<text x="${40 + (at + .5) * step}" y="${low + 18}" text-anchor="middle">${labels[at]}</text>`);
  });
  $("timeline").innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="counts by episode">${parts.join("")}</svg>`;
}

function central() {
  const totals = labels.map(() => 0), mine = new Map();
  for (const [kind, who, at, count] of ends) {
    const weight = count * factor(KINDS[kind]);
    if (!mine.has(who)) mine.set(who, labels.map(() => 0));
    mine.get(who)[at] += weight; totals[at] += weight;
  }
  const sum = list => list.reduce((x, y) => x + y, 0);
  const first = [...mine].sort((x, y) => sum(y[1]) - sum(x[1])).slice(0, 12);
  const table = element("table"), head = element("tr");
  head.append(element("th", ""), ...labels.map(label => element("th", label)));
  table.append(head);
  const most = Math.max(.01, ...first.flatMap(([, list]) => list.map((value, at) => totals[at] ? value / totals[at] : 0)));
  for (const [who, list] of first) {
    const line = element("tr"), name = element("th");
    name.append(personLink(who));
    line.append(name);
    list.forEach((value, at) => {
      const share = totals[at] ? value / totals[at] : 0;
      const cell = element("td", share >= .005 ? Math.round(share * 100) : share ? "·" : "", { class: "cell", title: `${DATA.people[who].label}, ${labels[at]}: ${(share * 100).toFixed(1)} %` });
      const depth = share / most;
      cell.style.background = `rgba(var(--heat), ${(.85 * depth).toFixed(2)})`;
      if (depth > .55) cell.style.color = isDark() ? "#10151a" : "#ffffff";
      line.append(cell);
    });
    table.append(line);
  }
  $("central").replaceChildren(table);
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").textContent = dark ? "Light" : "Dark";
  draw();
}

$("top").max = DATA.people.length;
$("top").value = startsWith();
$("season").max = seasons.length;
if (seasons.length < 2) $("season").disabled = true;
for (const person of [...DATA.people].sort((x, y) => x.label.localeCompare(y.label))) {
  $("names").append(element("option", undefined, { value: person.label }));
  for (const id of ["first", "second"]) $(id).append(element("option", person.label, { value: person.id }));
}
const network = new vis.Network($("graph"), { nodes, edges }, DATA.options);
network.on("click", event => {
  if (event.nodes.length) choose(event.nodes[0]);
  else if (event.edges.length) { const edge = edges.get(event.edges[0]); pickPair(edge.from, edge.to); }
  else choose(null);
});
network.on("afterDrawing", context => {
  const drawn = drawLabels(context, network, named, labelStyle);
  if (drawn !== namesDrawn) { namesDrawn = drawn; tellShown(); }
});
for (const id of ["kind", "top", "season"]) $(id).addEventListener("input", draw);
$("top").addEventListener("input", () => network.fit());
for (const id of ["first", "second"]) $(id).addEventListener("input", timeline);
let wasTall = isTall();
window.addEventListener("resize", () => {
  timeline();
  if (isTall() !== wasTall) { wasTall = isTall(); draw(); network.fit(); }
});
$("search").addEventListener("input", event => { const id = byLabel.get(event.target.value.trim().toLowerCase()); if (id !== undefined) choose(id, true); });
$("theme").onclick = () => setTheme(!isDark());
setTheme(window.matchMedia("(prefers-color-scheme: dark)").matches);
network.fit();
const strongest = view.pairs[0];
if (strongest) pickPair(strongest.a, strongest.b);
