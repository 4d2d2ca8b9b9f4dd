// The cards that both pages show, and the stream of news that fills them.

import { el, intervalBar, milliseconds, showLatency, showMap, showPictures, svg } from "./drawing.js";

const $ = (id) => document.getElementById(id);
const RUN_ENDED_S = 4;
const SILENT_S = 10;  // a large model may plan for so long; then the page says how old it is

function card(id, title, ...children) {
  return el("section", { class: "card", id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), ...children);
}

function legend() {
  const entry = (name, text) => el("span", {}, el("span", { class: `swatch key-${name}` }), text);
  return el("p", { class: "legend" }, el("span", {}, el("span", { class: "swatch key-robot" }), el("span", { id: "robot-key" }, "robot and its path")), entry("goal", "goal of the plan"), entry("known", "known object"), entry("view", "remembered view"), entry("floor", "known floor"));
}

// Fills the columns of the page. A card that the page has in its own place is left out of them.
function build() {
  const none = (text) => el("p", { class: "faded" }, text);
  const cards = {
    now: () => card("now-card", "What the robot sees", el("div", { class: "pictures", id: "now" })),
    map: () => card("map-card", "Map", svg("svg", { class: "map", id: "map", role: "img", "aria-label": "map from above" }), legend()),
    plan: () => card("plan-card", "Latest decision", el("div", { id: "plan" }, none("none yet"))),
    seen: () => card("seen-card", "What it was made from", el("div", { class: "pictures", id: "seen" })),
    latency: () => card("latency-card", "Latency of the latest decision", el("div", { id: "latency" }, none("none yet"))),
    runs: () => card("runs-card", "Success so far", el("div", { id: "runs" }, none("no episode has ended yet"))),
    plans: () => card("plans-card", "Decisions of this episode", el("div", { class: "scroll", id: "plans", tabindex: "0" }, none("none yet"))),
    memory: () => card("memory-card", "What the planner remembers", el("pre", { id: "memory", tabindex: "0" }, "(nothing yet)")),
    prompt: () => card("prompt-card", "Prompt, as the model saw it", el("div", { class: "prompt scroll", id: "prompt", tabindex: "0" }, none("none yet"))),
  };
  document.querySelectorAll("[data-cards]").forEach((column) => {
    column.append(...column.dataset.cards.split(" ").map((name) => cards[name]()));
  });
}

// --- one frame --------------------------------------------------------------------------------------------------------

let shownPlan = "";
export const view = { frame: null, aim: null, chosen: "", choose: null, listeners: [] };

// A robot's clock counts from 1970, a simulated one from its start.
const time = (stamp_s) => stamp_s > 1e8 ? new Date(1000 * stamp_s).toLocaleTimeString() : `${stamp_s.toFixed(1)} s simulated`;

export function showFrame(frame) {
  view.frame = frame;
  $("title").textContent = frame.title + (frame.seed === null ? "" : `, seed ${frame.seed}`);
  if ($("instruction")) $("instruction").textContent = frame.instruction;
  const good = frame.status.startsWith("succeeded"), bad = frame.status.startsWith("failed");
  $("progress").replaceChildren(
    el("span", { class: `chip ${good ? "good" : bad ? "bad" : ""}`, id: "status" }, frame.status),
    ` ${frame.seed === null ? "plan" : "step"} ${frame.step}, ${time(frame.stamp_s)}${frame.doing ? `; now: ${frame.doing}` : ""}`,
  );
  showPictures($("now"), frame.pictures, view.aim);
  showMap($("map"), frame.map, { chosen: view.chosen, choose: view.choose });
  if (frame.map) $("robot-key").textContent = `${frame.map.robot_name} and its path`;
  $("memory").textContent = frame.attempts || "(this policy remembers nothing)";
  showPlans(frame.plans);
  const plan = frame.plan, now = plan ? `${frame.seed} ${frame.instruction} ${plan.number}` : "";
  if (now !== shownPlan) {
    shownPlan = now;
    showPlan(plan);
    showPrompt(frame.prompt);
  }
  view.listeners.forEach((listener) => listener(frame));
}

function showPlan(plan) {
  if (!plan) {
    $("plan").replaceChildren(el("p", { class: "faded" }, "none yet"));
    $("latency").replaceChildren(el("p", { class: "faded" }, "none yet"));
    showPictures($("seen"), []);
    return;
  }
  const held = plan.verdict === "hold";
  const steps = plan.steps.map((text) => el("li", {}, text));
  const goals = plan.goals.map((text) => el("li", {}, text));
  $("plan").replaceChildren(...[
    el("p", {}, el("span", { class: `chip ${held ? "bad" : "good"}`, id: "verdict" }, held ? `hold: ${plan.code_name} (${plan.code})` : "execute"), ` decision ${plan.number}`),
    held || plan.message ? el("p", { class: held ? "why" : "small faded", id: "why" }, plan.message) : null,
    steps.length ? el("ol", { id: "steps" }, ...steps) : null,
    goals.length ? el("details", { open: "" }, el("summary", { class: "small faded" }, "goals"), el("ul", { class: "small" }, ...goals)) : null,
    ...plan.thoughts.map((text) => el("details", {}, el("summary", { class: "small faded" }, "thoughts"), el("pre", { tabindex: "0" }, text))),
    ...plan.answers.map((text) => el("pre", { tabindex: "0" }, text)),
    el("p", { class: "small faded" }, `${plan.model}; prompt ${plan.prompt_version}; ${plan.tokens[0]} tokens in, ${plan.tokens[1]} out` + (plan.probability === null ? "" : `; probability ${plan.probability.toFixed(2)}`)),
  ].filter((each) => each !== null));
  showPictures($("seen"), plan.pictures);
  showLatency($("latency"), plan.latency_s);
}

function showPrompt(prompt) {
  if (!prompt) {
    $("prompt").replaceChildren(el("p", { class: "faded" }, "None: this policy asks no model here, or a planning server makes its prompts."));
    return;
  }
  const parts = prompt.parts.map((part) => {
    if (typeof part === "string") return el("span", { class: "text" }, part);
    const image = prompt.images[part];
    return el("img", { src: image.data, alt: image.caption, title: `${image.caption}: ${image.width} x ${image.height} pixels`, width: image.width, height: image.height });
  });
  $("prompt").replaceChildren(el("p", { class: "small faded" }, prompt.version), ...(prompt.system ? [el("p", { class: "text faded" }, prompt.system)] : []), el("div", {}, ...parts));
}

function showPlans(plans) {
  if (!plans.length) {
    $("plans").replaceChildren(el("p", { class: "faded" }, "none yet"));
    return;
  }
  const rows = [...plans].reverse().map((plan) => el("tr", {},
    el("td", { class: "number" }, String(plan.number)),
    el("td", {}, plan.verdict === "hold" ? el("span", { class: "why" }, `hold ${plan.code_name}: ${plan.words}`) : plan.words),
    el("td", { class: "number" }, milliseconds(plan.total_s))));
  $("plans").replaceChildren(el("table", {}, el("tbody", {}, ...rows)));
}

// --- success so far ---------------------------------------------------------------------------------------------------

function showRuns(runs) {
  if (!$("runs") || !runs.some((run) => run.episodes)) return;
  const percent = (share) => `${(100 * share).toFixed(0)}%`;
  $("runs").replaceChildren(...runs.flatMap((run) => {
    const rate = run.episodes ? run.successes / run.episodes : 0;
    const holds = Object.entries(run.holds).map(([name, count]) => `${name} ${count}`).join(", ");
    const rows = [...run.latest].reverse().map((each) => el("tr", {},
      el("td", { class: "number" }, String(each.seed)),
      el("td", {}, el("span", { class: `chip ${each.success ? "good" : "bad"}` }, each.success ? "success" : "failure")),
      el("td", {}, each.instruction),
      el("td", { class: "number" }, `${each.steps} steps`)));
    return [
      el("p", {}, el("strong", {}, `${run.successes} of ${run.episodes}`), ` succeeded: ${percent(rate)}, 95% interval ${percent(run.interval[0])} to ${percent(run.interval[1])}`),
      run.episodes ? intervalBar(run.interval, rate) : null,
      el("p", { class: "small faded" }, run.name + (run.plan_s ? `; a plan takes ${milliseconds(run.plan_s[0])} in the median, ${milliseconds(run.plan_s[1])} at the 99th percentile` : "") + (holds ? `; holds: ${holds}` : "")),
      rows.length ? el("table", {}, el("tbody", {}, ...rows)) : null,
    ].filter((each) => each !== null);
  }));
}

// --- the stream -------------------------------------------------------------------------------------------------------

const frames = new Map();  // by process
let chosenWorker = "";

function onFrame(data) {
  if (!("worker" in data)) {
    showFrame(data);
    return;
  }
  frames.set(data.worker, { frame: data.frame, at: Date.now() });
  const select = $("worker");
  if (![...select.options].some((option) => option.value === data.worker)) {
    select.append(el("option", { value: data.worker }, data.worker));
    $("workers").hidden = select.options.length < 2;
  }
  // Follow one process until it is silent; then the next that shows something.
  const current = frames.get(chosenWorker);
  if (!current || (data.worker !== chosenWorker && Date.now() - current.at > RUN_ENDED_S * 1000)) {
    chosenWorker = select.value = data.worker;
  }
  if (data.worker === chosenWorker) showFrame(data.frame);
}

let connected = false;
let acting = null;  // processes that play episodes; null if nobody tells
let shownAt = 0;

// What the corner says: whether what the page shows goes on.
function showConnection() {
  const silent_s = shownAt ? (Date.now() - shownAt) / 1000 : 0, watching = document.body.dataset.page === "watch";
  const [state, text] = !connected ? ["lost", "not connected: the run or its page server has ended"]
    : acting === 0 ? ["idle", shownAt ? "the run has ended or was interrupted" : "no run is going on here now"]
    : watching && silent_s >= SILENT_S ? ["idle", `the latest image is ${silent_s.toFixed(0)} s old`]
    : ["live", "live"];
  $("connection").dataset.state = state;
  if ($("connection").textContent !== text) $("connection").textContent = text;
  if (acting === 0 && $("status")?.textContent === "acting") $("status").textContent = "interrupted";
}

function connect() {
  const stream = new EventSource("events");
  stream.onopen = () => { connected = true; showConnection(); };
  stream.onerror = () => { connected = false; showConnection(); };
  stream.addEventListener("frame", (event) => { shownAt = Date.now(); onFrame(JSON.parse(event.data)); showConnection(); });
  stream.addEventListener("runs", (event) => showRuns(JSON.parse(event.data)));
  stream.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    if ("acting" in state) acting = state.acting;
    showConnection();
    view.onState?.(state);
  });
  setInterval(showConnection, 1000);
}

build();
$("worker")?.addEventListener("change", (event) => {
  chosenWorker = event.target.value;
  const chosen = frames.get(chosenWorker);
  if (chosen) showFrame(chosen.frame);
});
connect();
