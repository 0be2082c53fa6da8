// The page as a whole: what is chosen, and what is drawn anew when that changes.

import { bestThreshold, countAll, rates, thresholdsOf } from "./counts.js";
import { MISSED, loadOutcomes, loadSet, loadVideo } from "./data.js";
import { listenToKeys } from "./keys.js";
import { Player } from "./player.js";
import { Timeline, countKinds, errorsOf, mark, segmentsOf } from "./timeline.js";
import { ORDERS, clock, drawList, filtered, ordered, percent } from "./videos.js";

const SKIP_S = 5;
const find = (id) => document.getElementById(id);
const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });

function fail(error) {
  find("failure").hidden = false;
  find("failure").textContent = `${error.message}. Is actloc view still running? Start it again, then open its address.`;
}
addEventListener("unhandledrejection", (event) => fail(event.reason));

const set = await loadSet().catch((error) => {
  fail(error);
  throw error;
});
const state = {
  number: 0, // of the video
  tiou: set.tious.includes("0.5") ? "0.5" : set.tious[0],
  threshold: set.lowest,
  own: !set.hasTruth && set.thresholds !== null, // what predict showed
  label: null, // the class; null: all
  kinds: new Array(MISSED + 1).fill(true),
  order: set.hasTruth ? "worst" : "name",
  chosen: null, // the segment that was clicked
};
let outcome = await loadOutcomes(set, state.tiou);
let segments = { truth: [], predictions: [] };
let shown = segments;
let counts = null;
let numbers = []; // of the videos in the list

const player = new Player(set.cache, onTime, onDuration);
const timeline = new Timeline(find("timeline"), find("notes"), find("detail"), {
  seek: (time) => player.seek(time),
  choose: (one) => (state.chosen = one),
});

function onTime(time, isPlaying) {
  timeline.moveTo(time);
  if (isPlaying) timeline.reveal(time);
}

/** The file says how long it is where nothing else does. */
function onDuration(seconds) {
  const video = set.videos[state.number];
  if (video.duration) return;
  video.duration = seconds;
  drawVideo();
}

function drawNumbers() {
  counts = countAll(set, outcome, state);
  const fill = (row, count) => {
    const { precision, recall, f1 } = rates(count);
    const texts = set.hasTruth
      ? [...[precision, recall, f1].map(percent), count.right, count.wrong, count.missed]
      : ["–", "–", "–", "–", "–", "–"];
    [...row.cells].slice(1).forEach((cell, place) => (cell.textContent = texts[place]));
  };
  fill(find("numbers-all"), counts.all);
  fill(find("numbers-video"), counts.each[state.number]);
  const what = state.label === null ? "all classes" : set.classes[state.label];
  const found = counts.each.reduce((sum, count) => sum + count.right + count.wrong, 0);
  find("numbers-scope").textContent = set.hasTruth
    ? `Percent, at tIoU ${state.tiou}, ${what}`
    : `${found} predictions shown. Without truth there is no precision and recall: --annotations FILE adds it.`;
  const isOne = !state.own;
  for (const id of ["slider", "threshold"]) find(id).disabled = !isOne;
  find("best").disabled = !isOne || !set.hasTruth;
  find("slider").value = state.threshold;
  if (document.activeElement !== find("threshold")) find("threshold").value = Number(state.threshold.toPrecision(4));
  find("slider").setAttribute("aria-valuetext", state.threshold.toPrecision(3));
}

function drawKinds() {
  const many = countKinds(shown);
  for (const button of find("kinds").querySelectorAll("button")) {
    const kind = Number(button.dataset.kind);
    button.querySelector("b").textContent = many[kind];
    button.setAttribute("aria-pressed", state.kinds[kind]);
  }
  const hasErrors = errorsOf(shown, state.kinds).length > 0;
  find("previous-error").disabled = find("next-error").disabled = !hasErrors;
}

function drawVideo() {
  const video = set.videos[state.number];
  const thresholds = thresholdsOf(set, state);
  shown = segmentsOf(set, outcome, state, state.number, segments, thresholds);
  find("video-name").textContent = video.id;
  find("video-facts").textContent = [
    video.duration ? clock(video.duration) : "",
    set.hasTruth ? `${video.truths} true` : "",
    `${shown.predictions.length} of ${video.predictions} predictions at this threshold`,
  ]
    .filter(Boolean)
    .join(" · ");
  timeline.draw(set, shown, state.kinds, video.duration, segments.annotated);
  find("unannotated").hidden = timeline.gaps.length === 0;
  drawKinds();
}

function drawVideos() {
  numbers = filtered(set, ordered(set, counts.each, state.order), find("find").value);
  drawList(find("videos"), find("videos-more"), set, counts.each, numbers, state.number, (number) => open(number));
}

/** Draws what a new threshold or filter changes; the order of videos stays while a slider moves. */
function redraw(isMoving = false) {
  drawNumbers();
  drawVideo();
  if (!isMoving) drawVideos();
}

async function open(number) {
  Object.assign(state, { number, chosen: null });
  history.replaceState(null, "", `#${number}`);
  const loaded = await loadVideo(number);
  if (state.number !== number) return; // another one was chosen meanwhile
  segments = loaded;
  timeline.moveTo(0);
  find("detail").textContent = "";
  drawNumbers();
  drawVideo();
  for (const button of find("videos").querySelectorAll("button")) {
    if (Number(button.dataset.number) === number) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  document.title = `${set.videos[number].id} – ${set.title}`;
  await player.open(number);
}

function stepVideo(by) {
  const place = numbers.indexOf(state.number) + by;
  if (numbers[place] === undefined) return;
  open(numbers[place]).then(() => find("videos").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" }));
}

/** The error after, or before, the one that was chosen last; else after, or before, the playhead. */
function stepError(by) {
  const errors = errorsOf(shown, state.kinds);
  if (!errors.length) return;
  const same = (one) => state.chosen && ["side", "label", "start", "end", "score"].every((key) => one[key] === state.chosen[key]);
  let place = errors.findIndex(same);
  if (place >= 0) place += by;
  else if (by > 0) place = errors.findIndex((one) => one.start >= player.time);
  else place = errors.findLastIndex((one) => one.start < player.time);
  const next = errors[(place + errors.length) % errors.length] ?? errors[by > 0 ? 0 : errors.length - 1];
  timeline.select(next);
  next.button?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

async function setTiou(tiou) {
  const loaded = await loadOutcomes(set, tiou);
  state.tiou = tiou;
  outcome = loaded;
  redraw();
}

function setThreshold(threshold, isMoving) {
  if (Number.isFinite(threshold)) state.threshold = threshold;
  redraw(isMoving);
}

function setBest() {
  const best = bestThreshold(set, outcome, state.label);
  setThreshold(best ?? set.lowest, false);
}

function setUp() {
  find("title").textContent = set.title;
  for (const [name, value] of set.facts) {
    find("facts").querySelector("dl").append(
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    );
  }
  find("facts").hidden = !set.facts.length;
  Object.assign(find("slider"), { min: set.lowest, max: set.highest });
  find("tiou").append(...set.tious.map((tiou) => option(tiou, tiou)));
  find("tiou").value = state.tiou;
  find("tiou").disabled = !set.hasTruth;
  find("class").append(option("", "all"), ...set.classes.map((label, number) => option(number, label)));
  find("own-label").hidden = !set.thresholds;
  find("own").checked = state.own;
  const orders = Object.entries(ORDERS).filter(([name]) => set.hasTruth || name === "name" || name === "longest");
  find("order").append(...orders.map(([name, text]) => option(name, text)));
  find("order").value = state.order;
  for (const [kind, name] of [...set.kinds.entries(), [MISSED, "missed"]]) {
    if (!set.hasTruth) break;
    const button = Object.assign(document.createElement("button"), { type: "button", className: `chip kind-${kind}` });
    button.dataset.kind = kind;
    button.append(mark(kind), document.createElement("b"), ` ${name}`);
    button.addEventListener("click", () => {
      state.kinds[kind] = !state.kinds[kind];
      drawVideo();
    });
    find("kinds").append(button);
  }
  find("kinds").hidden = !set.hasTruth;

  find("slider").addEventListener("input", (event) => setThreshold(Number(event.target.value), true));
  find("slider").addEventListener("change", () => drawVideos());
  find("threshold").addEventListener("change", (event) => setThreshold(event.target.valueAsNumber, false));
  find("best").addEventListener("click", setBest);
  find("own").addEventListener("change", (event) => {
    state.own = event.target.checked;
    redraw();
  });
  find("tiou").addEventListener("change", (event) => setTiou(event.target.value));
  find("class").addEventListener("change", (event) => {
    state.label = event.target.value === "" ? null : Number(event.target.value);
    redraw();
  });
  find("find").addEventListener("input", drawVideos);
  find("order").addEventListener("change", (event) => {
    state.order = event.target.value;
    drawVideos();
  });
  const clicks = {
    "previous-video": () => stepVideo(-1),
    "next-video": () => stepVideo(1),
    "previous-error": () => stepError(-1),
    "next-error": () => stepError(1),
    "zoom-out": () => timeline.zoomBy(-1),
    "zoom-in": () => timeline.zoomBy(1),
  };
  for (const [id, act] of Object.entries(clicks)) find(id).addEventListener("click", act);
  listenToKeys(
    [
      [["n"], "next error", () => stepError(1)],
      [["p"], "previous error", () => stepError(-1)],
      [[" ", "k"], "play, pause", () => player.toggle()],
      [["ArrowLeft"], `${SKIP_S} seconds back`, () => player.seek(player.time - SKIP_S)],
      [["ArrowRight"], `${SKIP_S} seconds on`, () => player.seek(player.time + SKIP_S)],
      [["]", "j"], "next video of the list", () => stepVideo(1)],
      [["[", "h"], "previous video of the list", () => stepVideo(-1)],
      [["+", "="], "zoom in", () => timeline.zoomBy(1)],
      [["-"], "zoom out", () => timeline.zoomBy(-1)],
      [["b"], "threshold with the best F1", () => find("best").disabled || setBest()],
      [["/"], "filter videos by name", () => find("find").focus()],
    ],
    find("help"),
    find("help-open"),
  );
}

setUp();
if (set.videos.length) {
  if (set.hasTruth) state.threshold = bestThreshold(set, outcome, null) ?? set.lowest;
  drawNumbers();
  drawVideos();
  const asked = Number(location.hash.slice(1) || NaN);
  await open(set.videos[asked] ? asked : numbers[0]);
}
