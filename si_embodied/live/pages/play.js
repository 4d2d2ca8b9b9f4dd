// The play page: commands to the world. What it shows is page.js's.

import { el } from "./drawing.js";
import { showFrame, view } from "./page.js";

const $ = (id) => document.getElementById(id);
const TOOLS = { navigation: ["goto"], manipulation: ["pick", "place", "push"], rearrangement: ["goto", "pick", "place", "open", "close"] };
const DRIVES = {
  ArrowUp: { skill: "forward", centimetres: 25 },
  ArrowLeft: { skill: "turn", degrees: 15 },
  ArrowRight: { skill: "turn", degrees: -15 },
  PageUp: { skill: "look", direction: "up" },
  PageDown: { skill: "look", direction: "down" },
};
let state = null;
let tool = "";
let pushFrom = null;

// --- commands ---------------------------------------------------------------------------------------------------------

function say(text, bad = false) {
  $("say").textContent = text;
  $("say").classList.toggle("bad", bad);
}

async function command(body) {
  let reply;
  try {
    const response = await fetch("do", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    reply = await response.json();
  } catch (error) {
    reply = { error: `the world does not answer (${error.message}); is the command still running?` };
  }
  if (reply.error) say(reply.error, true);
  else if (body.do !== "ask") say(reply.said);
  return reply;
}

const act = (subgoal) => command({ do: "act", subgoal });

// --- instruction and wheel --------------------------------------------------------------------------------------------

$("instruct").addEventListener("submit", (event) => {
  event.preventDefault();
  command({ do: "instruct", instruction: $("text").value, by_hand: byHand() });
});
$("stop").addEventListener("click", () => command({ do: "stop" }));
const byHand = () => $("by-hand").getAttribute("aria-pressed") === "true";
for (const [id, value] of [["by-model", false], ["by-hand", true]]) {
  $(id).addEventListener("click", () => command({ do: "hand", by_hand: value }));
}
$("done").addEventListener("click", () => act(null));
$("home").addEventListener("click", () => act({ skill: "home" }));
$("explore").addEventListener("click", () => act({ skill: "explore" }));
$("around").addEventListener("click", () => act({ skill: "look_around" }));
document.querySelectorAll("[data-key]").forEach((button) => button.addEventListener("click", () => act(DRIVES[button.dataset.key])));
document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement?.tagName);
  if (typing || $("drive").hidden || !(event.key in DRIVES)) return;
  event.preventDefault();
  if (!event.repeat) act(DRIVES[event.key]);
});

// --- pointing ---------------------------------------------------------------------------------------------------------

function chooseTool(name) {
  tool = tool === name ? "" : name;
  pushFrom = null;
  for (const button of $("tools").children) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  $("aim-help").hidden = tool === "";
  $("aim-help").textContent = tool === "push" ? "Click the object to push, then where to." : `Click in the picture: ${tool} there.`;
  view.aim = tool === "" ? null : aimed;
  if (view.frame) showFrame(view.frame);
}

function aimed(index, x, y) {
  const point = [x, y].map((share) => Math.min(1000, Math.max(0, Math.round(1000 * share))));
  const subgoal = { skill: tool, object: $("name").value.trim().toLowerCase() || "object", view: index, point };
  if (tool === "push") {
    if (!pushFrom || pushFrom.view !== index) {
      pushFrom = subgoal;
      say("now click where to push it");
      return;
    }
    act({ ...pushFrom, to: point });
  } else act(subgoal);
  chooseTool(tool);
}

// --- questions --------------------------------------------------------------------------------------------------------

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const region = event.submitter?.value === "where";
  $("answer").textContent = "asking";
  const reply = await command({ do: "ask", question: $("question").value, camera: $("camera").value, region });
  $("answer").textContent = reply.error ? "" : reply.said;
  if (reply.error || !view.frame || !reply.answer.point) return;
  $("answer").textContent = `${reply.answer.camera}: ${reply.answer.position}`;
  const [px, py] = reply.answer.point;
  const found = { label: $("question").value, x: px, y: py, executed: true, to: null };
  const pictures = view.frame.pictures.map((each) => (each.caption === reply.answer.camera ? { ...each, marks: [...each.marks, found] } : each));
  showFrame({ ...view.frame, pictures });
});

// --- scene ------------------------------------------------------------------------------------------------------------

$("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  say("drawing the scene");
  command({ do: "begin", seed: Number($("seed").value), task: $("task").value || null });
});
document.querySelectorAll("[data-move]").forEach((button) => button.addEventListener("click", () => {
  const [x, y] = button.dataset.move.split(",").map((step) => Number(step) * Number($("distance").value));
  command({ do: "move", name: $("thing").value, x_m: x, y_m: y });
}));
$("thing").addEventListener("change", () => choose($("thing").value));
$("save").addEventListener("click", () => command({ do: "save", success: $("succeeded").checked }));

function choose(name) {
  view.chosen = $("thing").value = name;
  if (view.frame) showFrame(view.frame);
}

// --- what the world says ----------------------------------------------------------------------------------------------

function fill(select, values, texts = values) {
  const now = [...select.options].map((option) => option.value).join("\n");
  if (now === values.join("\n")) return;
  const before = select.value;
  select.replaceChildren(...values.map((value, index) => el("option", { value }, texts[index])));
  if (values.includes(before)) select.value = before;
}

view.choose = choose;
let news = "";

// Says what is new; what was said in between, as a command's answer, stays until there is more to say.
function tell(now) {
  if (now.news === news) return;
  if (now.news || $("say").textContent === news) say(now.news, now.news !== "" && now.status !== "succeeded");
  news = now.news;
}

view.onState = (now) => {
  tell(now);
  const scene = state === null || state.seed !== now.seed || state.task !== now.task;
  state = now;
  const acting = now.status === "acting" || now.status === "your turn";
  $("stop").disabled = !acting;
  $("by-model").setAttribute("aria-pressed", String(!now.by_hand));
  $("by-hand").setAttribute("aria-pressed", String(now.by_hand));
  $("drive").hidden = now.kind !== "navigation";
  $("home").hidden = now.kind !== "manipulation";
  $("save").disabled = !now.can_save;
  $("own-verdict").hidden = now.measured || !now.can_save;
  $("moving").hidden = now.movable.length === 0;
  for (const id of ["ask-words", "ask-where"]) $(id).disabled = !now.can_ask;
  $("ask-note").textContent = now.ask_note;
  fill($("thing"), now.movable);
  const steps = now.kind === "navigation" ? [["0.25", "25 cm"], ["0.5", "50 cm"], ["1", "1 m"]] : [["0.05", "5 cm"], ["0.1", "10 cm"], ["0.2", "20 cm"]];
  fill($("distance"), steps.map(([value]) => value), steps.map(([, text]) => text));
  fill($("task"), now.tasks);
  fill($("camera"), ["", ...now.cameras], ["all", ...now.cameras]);
  $("suggestions").replaceChildren(...now.suggestions.map((value) => el("option", { value })));
  if ([...$("tools").children].map((each) => each.dataset.tool).join() !== TOOLS[now.kind].join()) {
    $("tools").replaceChildren(...TOOLS[now.kind].map((name) => {
      const button = el("button", { "data-tool": name, "aria-pressed": "false", type: "button" }, name);
      button.addEventListener("click", () => chooseTool(name));
      return button;
    }));
  }
  if (scene) {
    $("task").value = now.task;
    $("seed").value = now.seed;
    $("text").value = now.instruction;
  }
};
