// The status page: asks the node for its board several times a second, and shows it.

const PERIOD_MS = 200;
const LIMIT_MS = 1500; // An answer that takes longer counts as a lost connection.
const SILENT_S = 3; // Diagnostics come every second.
const OLD_S = 1; // of joints and pictures
const LEVELS = ["ok", "warn", "error", "stale"];
const WINDOW_S = 10;
const AHEAD_S = 2;
const LEAST_SPAN_M = 0.1;
const AXES = ["x", "y", "z"];

const $ = (id) => document.getElementById(id);
const brought = document.querySelector('meta[name="token"]').content;
let token = brought || sessionStorage.getItem("token") || "";
let heardAt = performance.now();
let needsToken = false;
const shownFrames = {};

function request(path, method = "GET") {
  return fetch(path, {
    method,
    headers: { Authorization: `Bearer ${token}` },
    cache: "no-store",
    signal: AbortSignal.timeout(method === "GET" ? LIMIT_MS : 4 * LIMIT_MS),
  });
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const age = (seconds) => (seconds === null ? "never" : `${seconds.toFixed(1)} s ago`);

// --- connection

async function poll() {
  try {
    const answer = await request("/state");
    if (answer.status === 401) {
      askForToken();
    } else if (answer.ok) {
      const board = await answer.json();
      heardAt = performance.now();
      needsToken = false;
      $("login").hidden = true;
      $("content").hidden = false;
      show(board);
      await Promise.all(board.cameras.map(showPicture));
    }
  } catch {
    // `watch` shows for how long nothing came.
  }
  setTimeout(poll, needsToken ? 5 * PERIOD_MS : PERIOD_MS);
}

function watch() {
  const silence = (performance.now() - heardAt) / 1000;
  const lost = !needsToken && silence > LIMIT_MS / 1000;
  document.body.classList.toggle("lost", lost);
  $("lost").hidden = !lost;
  if (lost) {
    $("lost-detail").textContent =
      `What you see is ${silence.toFixed(0)} s old, and the button here may not reach the arm. Use the stop at the arm.`;
    setGateway("stale", "unknown", "no connection to the dashboard");
  }
}

function askForToken() {
  if (brought) location.reload(); // The dashboard was started again, with another token.
  if (needsToken) return;
  needsToken = true;
  $("content").hidden = true;
  $("login").hidden = false;
  $("login-problem").textContent = token ? "This is not the token." : "";
  $("token").focus();
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  needsToken = false;
});

// --- buttons

async function press(button) {
  try {
    const answer = await request(`/${button}`, "POST");
    const pressed = await answer.json();
    say(pressed.done ? "ok" : "error", pressed.message);
  } catch {
    say("error", `The dashboard did not answer: "${button}" may not have reached the arm. Use the stop at the arm.`);
  }
}

function say(level, text) {
  $("answer").dataset.level = level;
  $("answer").textContent = text;
}

for (const button of ["estop", "release", "reset"]) $(button).addEventListener("click", () => press(button));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.repeat) press("estop");
});

// --- the board

function show(board) {
  document.title = `${board.robot} ${board.namespace}`;
  $("robot").textContent = board.namespace === "/" ? board.robot : `${board.robot} in ${board.namespace}`;
  $("instruction").textContent = board.instruction;
  $("problems").replaceChildren(
    ...board.problems.map((entry) => make("li", {}, `${entry.source}, ${age(entry.age_s)}: ${entry.reason}`)),
  );
  showGateway(board);
  showCameras(board.cameras);
  showMotion(board);
  showNodes(board.nodes);
  showDiagnostics(board.diagnostics);
}

function setGateway(level, state, reason) {
  $("gateway").dataset.level = level;
  $("gateway-state").textContent = state;
  $("gateway-reason").textContent = reason;
}

function showGateway(board) {
  const found = board.diagnostics.find(
    (entry) => entry.own && entry.node.endsWith("arm_gateway_node") && entry.concern === "gateway",
  );
  const silent = !found || found.age_s > SILENT_S;
  if (!found) setGateway("stale", "unknown", "nothing heard of it yet");
  else if (silent) setGateway("error", "silent", `last heard ${age(found.age_s)}`);
  else setGateway(LEVELS[found.level], found.values.state ?? "unknown", found.values.reason ?? found.message);
  const stopped = !silent && ["ESTOPPED", "FAULT"].includes(found.values.state);
  $("recovery").dataset.needed = stopped;
  const { pressed, gateway_listens: listens, other_sources: sources } = board.estop;
  const said = pressed === null ? "not pressed since this page runs" : pressed ? "pressed" : "released";
  const who = sources.length ? ` It can also be pressed by ${sources.join(", ")}: make sure that it is not.` : "";
  $("estop-line").textContent = listens
    ? `Emergency stop: ${said}.${who}`
    : "No gateway hears the emergency stop of this page. Use the stop at the arm.";
  $("estop-line").style.color = listens ? "" : "var(--bad)";
}

function showCameras(cameras) {
  for (const camera of cameras) {
    const id = `camera-${camera.name}`;
    if (!$(id)) {
      $("cameras").append(
        make(
          "figure",
          { id },
          make("img", { alt: `Camera ${camera.name}` }),
          make("figcaption", {}, make("span", {}, camera.name), make("span", { class: "age" })),
        ),
      );
    }
    const old = camera.age_s === null || camera.age_s > OLD_S || camera.problem;
    $(id).dataset.level = old ? "error" : "ok";
    $(id).querySelector(".age").textContent = camera.problem || (camera.age_s === null ? "no picture" : age(camera.age_s));
  }
}

async function showPicture(camera) {
  if (!camera.frame || shownFrames[camera.name] === camera.frame) return;
  const answer = await request(`/camera/${encodeURIComponent(camera.name)}`);
  if (!answer.ok) return;
  const picture = $(`camera-${camera.name}`).querySelector("img");
  const before = picture.src;
  picture.src = URL.createObjectURL(await answer.blob());
  if (before) URL.revokeObjectURL(before);
  shownFrames[camera.name] = camera.frame;
}

function showNodes(nodes) {
  $("nodes").replaceChildren(
    ...nodes.map(({ name, there, state }) => {
      const level = !there ? "error" : state && state !== "active" ? "warn" : "ok";
      return make("li", { "data-level": level }, name, make("strong", {}, there ? state || "running" : "gone"));
    }),
  );
}

function showDiagnostics(statuses) {
  const own = statuses.filter((entry) => entry.own);
  showStatuses($("diagnostics"), own);
  showStatuses($("foreign"), statuses.filter((entry) => !entry.own));
  $("elsewhere").hidden = own.length === statuses.length;
}

function showStatuses(place, statuses) {
  const open = new Set([...place.querySelectorAll("details[open]")].map((entry) => entry.dataset.name));
  const focused = place.contains(document.activeElement) ? document.activeElement.parentElement.dataset.name : null;
  place.replaceChildren(
    ...statuses.map((entry) => {
      const name = `${entry.node}: ${entry.concern}`;
      const silent = entry.age_s > SILENT_S;
      const level = silent ? "stale" : LEVELS[entry.level] ?? "stale";
      const rows = Object.entries(entry.values).map(([key, value]) =>
        make("tr", {}, make("th", { scope: "row" }, key), make("td", {}, value)),
      );
      const message = silent ? `silent, last ${age(entry.age_s)}: ${entry.message}` : entry.message;
      const details = make(
        "details",
        { class: "status", "data-level": level, "data-name": name },
        make("summary", {}, make("span", { class: "pill" }, level), name, make("span", { class: "message" }, message)),
        make("table", {}, make("tbody", {}, ...rows)),
      );
      details.open = open.has(name);
      return details;
    }),
  );
  if (focused) place.querySelector(`[data-name="${CSS.escape(focused)}"] summary`)?.focus();
}

// --- motion

function showMotion(board) {
  const { motion } = board;
  const errors = board.arms.map(({ name }, number) => `${name} ${(1000 * motion.largest_error_m?.[number]).toFixed(0)}`);
  $("ages").textContent = `joints ${age(board.joints_age_s)}, plan ${age(board.plan_age_s)}`;
  $("errors").textContent = motion.largest_error_m ? `off the plan by at most, mm: ${errors.join(", ")}` : "";
  $("ages").style.color = board.joints_age_s === null || board.joints_age_s > OLD_S ? "var(--bad)" : "";
  $("tools").replaceChildren(
    ...board.arms.flatMap((arm, number) => [
      toolPlot(arm, number, motion, [1, 0], "above"),
      toolPlot(arm, number, motion, [0, 2], "side"),
    ]),
  );
  $("joints").replaceChildren(...board.joints.map((joint, number) => jointPlot(joint, number, motion)));
}

function path(points) {
  return points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

// Runs of rows that have a value: where no plan was there is a gap.
function runs(rows, name) {
  const found = [[]];
  for (const row of rows) {
    if (row[name] !== null) found.at(-1).push({ time: row.time, value: row[name] });
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter((run) => run.length > 1);
}

// Executed, planned and coming lines of one quantity: "" for joints, "_tools" for tools.
function drawLines(svg, motion, quantity, place) {
  for (const [kind, rows, name] of [
    ["executed", motion.samples, `executed${quantity}`],
    ["planned", motion.samples, `planned${quantity}`],
    ["ahead", motion.ahead, `planned${quantity}`],
  ]) {
    for (const run of runs(rows, name)) svg.append(draw("path", { class: kind, d: path(run.map(place)) }));
  }
}

function plot(title, figure, svg) {
  const row = make("div", { class: "row" }, make("h3", {}, title), make("span", {}, figure));
  return make("div", { class: "plot" }, row, svg);
}

// The tool's path in two axes of the base frame, as large as it fits, and the border of the workspace where it is near.
function toolPlot(arm, number, motion, [across, up], view) {
  const size = 200;
  const tools = [
    ...motion.samples.flatMap((row) => [row.executed_tools, row.planned_tools]),
    ...motion.ahead.map((row) => row.planned_tools),
  ].flatMap((row) => (row ? [row[number]] : []));
  const [least, most] = [Math.min, Math.max].map((pick) => (axis) => pick(...tools.map((tool) => tool[axis])));
  const extents = [across, up].map((axis) => 1.15 * (most(axis) - least(axis)));
  const span = tools.length ? Math.max(LEAST_SPAN_M, ...extents) : 1;
  const centre = tools.length ? [across, up].map((axis) => (most(axis) + least(axis)) / 2) : [0, 0];
  // Seen from above, the base's x points up and its y to the left.
  const turned = across === 1 ? -1 : 1;
  const place = (tool) => [
    size / 2 + (turned * size * (tool[across] - centre[0])) / span,
    size / 2 - (size * (tool[up] - centre[1])) / span,
  ];
  const svg = draw("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `Tool of ${arm.name}, ${view}` });
  const [[x1, y1], [x2, y2]] = [place(arm.workspace_low), place(arm.workspace_high)];
  const box = { x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1) };
  svg.append(draw("rect", { class: "box", ...box }));
  drawLines(svg, motion, "_tools", (row) => place(row.value[number]));
  const now = motion.samples.at(-1)?.executed_tools[number];
  if (now) {
    const [cx, cy] = place(now);
    svg.append(draw("circle", { class: "tool", cx, cy, r: 3 }));
  }
  const label = draw("text", { x: 4, y: 11 });
  label.textContent = `${AXES[up]} ↑  ${AXES[across]} ${turned < 0 ? "←" : "→"}  width ${span.toFixed(2)} m`;
  svg.append(label);
  const figure = now ? `${AXES[across]} ${now[across].toFixed(3)}  ${AXES[up]} ${now[up].toFixed(3)} m` : "";
  return plot(`${arm.name}, ${view}`, figure, svg);
}

function jointPlot(joint, number, motion) {
  const [width, height, margin] = [180, 60, 5];
  const values = [
    ...motion.samples.flatMap((row) => [row.executed[number], row.planned?.[number] ?? row.executed[number]]),
    ...motion.ahead.map((row) => row.planned[number]),
  ];
  const least = joint.unit === "m" ? 0.005 : 0.05;
  const middle = values.length ? (Math.max(...values) + Math.min(...values)) / 2 : 0;
  const span = values.length ? Math.max(least, Math.max(...values) - Math.min(...values)) : 1;
  const x = (time) => (width * (time + WINDOW_S)) / (WINDOW_S + AHEAD_S);
  const y = (value) => height / 2 - ((height - 2 * margin) * (value - middle)) / span;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Position of ${joint.name}` });
  svg.append(draw("line", { class: "now", x1: x(0), x2: x(0), y1: 0, y2: height }));
  drawLines(svg, motion, "", (row) => [x(row.time), y(row.value[number])]);
  const newest = motion.samples.at(-1)?.executed[number];
  const figure = newest === undefined ? "" : `${newest.toFixed(3)} ${joint.unit}`;
  return plot(joint.name, figure, svg);
}

poll();
setInterval(watch, PERIOD_MS);
