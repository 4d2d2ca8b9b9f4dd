// Pictures with marks, the map, and the bars. Text from outside is set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((each) => each !== null && each !== undefined));
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// --- pictures ---------------------------------------------------------------------------------------------------------

// Shows pictures in a container. Images are kept and given a new source, so that they do not flicker.
export function showPictures(container, pictures, aim = null) {
  while (container.children.length > pictures.length) container.lastChild.remove();
  pictures.forEach((picture, index) => {
    let figure = container.children[index];
    if (!figure) {
      const shot = el("div", { class: "shot" }, el("img", { alt: "" }), svg("svg", { "aria-hidden": "true" }));
      figure = el("figure", {}, shot, el("figcaption"));
      container.append(figure);
    }
    const image = figure.querySelector("img");
    if (image.getAttribute("src") !== picture.data) image.src = picture.data;
    image.width = picture.width;
    image.height = picture.height;
    const labels = picture.marks.map((mark) => mark.label).join(", ");
    image.alt = `camera ${picture.caption}${labels ? `, marked: ${labels}` : ""}`;
    figure.querySelector("figcaption").textContent = picture.caption;
    const overlay = figure.querySelector("svg");
    overlay.setAttribute("viewBox", `0 0 ${picture.width} ${picture.height}`);
    overlay.replaceChildren(...picture.marks.flatMap((mark) => marked(mark, picture)));
    const shot = figure.querySelector(".shot");
    shot.classList.toggle("aim", aim !== null);
    shot.onclick = aim === null ? null : (event) => {
      const box = shot.getBoundingClientRect();
      aim(index, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    };
  });
}

function marked(mark, picture) {
  const { width, height } = picture;
  const x = mark.x * width, y = mark.y * height, radius = width / 32, size = width / 18;
  const group = svg("g", { class: mark.executed ? "mark" : "mark refused" });
  group.append(svg("circle", { cx: x, cy: y, r: radius, class: "halo" }), svg("circle", { cx: x, cy: y, r: radius }));
  if (mark.to) group.append(svg("line", { x1: x, y1: y, x2: mark.to[0] * width, y2: mark.to[1] * height }));
  // The label is above the ring, or below it at the top of the picture, and never leaves the picture at its sides.
  const wide = Math.min(mark.label.length * size * 0.56, width - 4);
  const text = svg("text", {
    x: Math.min(Math.max(x - wide / 2, 2), width - wide - 2),
    y: y - radius - size * 0.5 > size ? y - radius - size * 0.5 : y + radius + size * 1.2,
    "font-size": size,
  });
  text.textContent = mark.label;
  if (mark.label.length * size * 0.56 > width - 4) {
    text.setAttribute("textLength", wide);
    text.setAttribute("lengthAdjust", "spacingAndGlyphs");
  }
  group.append(text);
  return [group];
}

// --- the map ----------------------------------------------------------------------------------------------------------

export function showMap(box, map, { chosen = "", choose = null } = {}) {
  if (!map) {
    box.replaceChildren();
    return;
  }
  const bounds = boundsOf(map);
  const [x0, y0, x1, y1] = bounds;
  const span = Math.max(x1 - x0, y1 - y0), size = span / 36;
  box.setAttribute("viewBox", `${x0} ${-y1} ${x1 - x0} ${y1 - y0}`);
  const parts = [];
  if (map.grid) {
    const { x, y, width, height, data } = map.grid;
    parts.push(svg("image", { href: data, x, y: -(y + height), width, height, preserveAspectRatio: "none" }));
  }
  for (const each of map.outlines) parts.push(outline(each, each.label === chosen, choose));
  if (map.trail.length > 1) {
    parts.push(svg("polyline", { class: "trail", points: map.trail.map(([x, y]) => `${x},${-y}`).join(" ") }));
  }
  for (const [x, y, yaw] of map.keyframes) parts.push(wedge(x, y, yaw, size));
  for (const each of map.objects) {
    const half = size * 0.45;
    parts.push(svg("rect", { class: "known", x: each.x - half, y: -each.y - half, width: 2 * half, height: 2 * half }));
    parts.push(label(each.label, each.x, each.y, size, bounds));
  }
  for (const each of map.goals) {
    parts.push(svg("circle", { class: "goal", cx: each.x, cy: -each.y, r: size * 0.9 }));
    if (!map.objects.some((other) => Math.hypot(other.x - each.x, other.y - each.y) < size)) {
      parts.push(label(each.label, each.x, each.y, size, bounds));
    }
  }
  if (map.robot) {
    const [x, y, yaw] = map.robot, r = Math.max(map.radius_m, span / 80);
    parts.push(svg("line", { class: "nose", x1: x, y1: -y, x2: x + 1.9 * r * Math.cos(yaw), y2: -(y + 1.9 * r * Math.sin(yaw)) }));
    const dot = svg("circle", { class: "robot", cx: x, cy: -y, r }), title = svg("title");
    title.textContent = map.robot_name;
    dot.append(title);
    parts.push(dot);
  }
  box.replaceChildren(...parts);
}

function outline(each, isChosen, choose) {
  const coloured = each.colour !== "";
  const names = ["outline", coloured ? "coloured" : "", each.movable ? "movable" : "", isChosen ? "chosen" : ""];
  const attributes = { class: names.filter(Boolean).join(" ") };
  if (coloured) attributes.fill = each.colour;
  const node = each.round
    ? svg("ellipse", { ...attributes, cx: each.x, cy: -each.y, rx: each.width / 2, ry: each.height / 2 })
    : svg("rect", { ...attributes, x: each.x - each.width / 2, y: -each.y - each.height / 2, width: each.width, height: each.height });
  if (coloured) node.style.fill = each.colour;
  const title = svg("title");
  title.textContent = each.label;
  node.append(title);
  if (choose && each.movable) node.addEventListener("click", () => choose(each.label));
  return node;
}

function wedge(x, y, yaw, size) {
  const tip = (turn, length) => `${x + length * Math.cos(yaw + turn)},${-(y + length * Math.sin(yaw + turn))}`;
  return svg("polygon", { class: "view", points: `${x},${-y} ${tip(0.4, 1.3 * size)} ${tip(-0.4, 1.3 * size)}` });
}

function label(text, x, y, size, [x0, , x1]) {
  const node = svg("text", { x: x > (x0 + x1) / 2 ? x - size : x + size, y: -y + size * 0.3, "font-size": size, "text-anchor": x > (x0 + x1) / 2 ? "end" : "start" });
  node.textContent = text;
  return node;
}

function boundsOf(map) {
  const xs = [], ys = [];
  const add = (x, y) => { xs.push(x); ys.push(y); };
  if (map.robot) add(map.robot[0], map.robot[1]);
  map.trail.forEach(([x, y]) => add(x, y));
  map.goals.forEach((each) => add(each.x, each.y));
  map.objects.forEach((each) => add(each.x, each.y));
  if (map.grid) { add(map.grid.x, map.grid.y); add(map.grid.x + map.grid.width, map.grid.y + map.grid.height); }
  for (const each of map.outlines) { add(each.x - each.width / 2, each.y - each.height / 2); add(each.x + each.width / 2, each.y + each.height / 2); }
  if (!xs.length) return [-1, -1, 1, 1];
  const low = [Math.min(...xs), Math.min(...ys)], high = [Math.max(...xs), Math.max(...ys)];
  const margin = 0.05 * Math.max(high[0] - low[0], high[1] - low[1]) + 0.1;
  return [low[0] - margin, low[1] - margin, high[0] + margin, high[1] + margin];
}

// --- latency and intervals --------------------------------------------------------------------------------------------

const PARTS = ["queue", "render", "vision", "prefill", "think", "decode", "model, rest", "parse", "ground", "guard", "other"];
const COLOURS = ["#7a869a", "#4c9be8", "#1f5fbf", "#6f4fc4", "#b356c8", "#d9539a", "#e0704a", "#c9a227", "#5fa83c", "#2e9a87", "#9aa3b2"];

// The parts of a plan's time that add up to its total: the model's own parts are within `generate`.
export function latencyParts(latency) {
  const total = latency.total ?? 0;
  const inside = ["queue", "vision", "prefill", "think", "decode"].reduce((sum, name) => sum + (latency[name] ?? 0), 0);
  const parts = { ...latency };
  delete parts.total;
  delete parts.generate;
  if (latency.generate) parts["model, rest"] = Math.max(0, latency.generate - inside);
  const known = Object.values(parts).reduce((sum, value) => sum + value, 0);
  parts.other = Math.max(0, total - known);
  return { total, parts: PARTS.filter((name) => parts[name] > 0).map((name) => ({ name, seconds: parts[name], colour: COLOURS[PARTS.indexOf(name)] })) };
}

export function showLatency(box, latency) {
  const { total, parts } = latencyParts(latency);
  const sum = parts.reduce((all, part) => all + part.seconds, 0) || 1;
  const bar = svg("svg", { class: "bar", viewBox: "0 0 100 1", preserveAspectRatio: "none", role: "img", "aria-label": `${milliseconds(total)} in all` });
  let x = 0;
  for (const part of parts) {
    const width = (100 * part.seconds) / sum;
    bar.append(svg("rect", { x, y: 0, width, height: 1, fill: part.colour }));
    x += width;
  }
  const rows = parts.map((part) => {
    const swatch = el("span", { class: "swatch" });
    swatch.style.background = part.colour;
    return el("tr", {}, el("td", {}, swatch, part.name), el("td", { class: "number" }, milliseconds(part.seconds)));
  });
  rows.push(el("tr", {}, el("th", { scope: "row" }, "total"), el("th", { class: "number" }, milliseconds(total))));
  box.replaceChildren(bar, el("table", {}, el("tbody", {}, ...rows)));
}

export function milliseconds(seconds) {
  const value = 1000 * seconds;
  return value >= 1000 ? `${seconds.toFixed(2)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

export function intervalBar([low, high], rate) {
  return svg("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { x: 100 * low, y: 2, width: Math.max(100 * (high - low), 0.5), height: 6, fill: "#1f5fbf", opacity: 0.4 }),
    svg("rect", { x: Math.max(0, 100 * rate - 0.5), y: 0, width: 1, height: 10, fill: "#1f5fbf" }));
}
