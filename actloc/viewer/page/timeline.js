// The timeline of a video: for each class a lane of true actions, and right below the predictions above the threshold.

import { MISSED, RIGHT } from "./data.js";
import { clock } from "./videos.js";

const MOST_DRAWN = 800; // predictions of a video: more would be slow, and nobody could tell them apart
const MOST_LANES = 6; // of a class's predictions that overlap
const MOST_CLASSES = 60;
const FAINTEST = 0.2; // opacity of the lowest score: still visible
const ZOOMS = [1, 2, 4, 8, 16, 32, 64, 128];
const TICK_PX = 90;
const TEXT_PX = 50;

/** What is shown of a video: true actions, and predictions that reach the threshold, each with its outcome. */
export function segmentsOf(set, outcome, state, number, segments, thresholds) {
  const video = set.videos[number];
  const truth = segments.truth.map(([label, start, end], place) => {
    const by = outcome.foundBy[video.trueFirst + place];
    const isFound = by >= 0 && set.scores[by] >= thresholds[label];
    return { side: "truth", label, start, end, kind: isFound ? RIGHT : MISSED, score: null };
  });
  const predictions = segments.predictions.flatMap(([label, start, end], place) => {
    const row = video.first + place;
    const score = set.scores[row];
    if (!(score >= thresholds[label])) return [];
    return [{ side: "predicted", label, start, end, kind: outcome ? outcome.kinds[row] : null, score }];
  });
  const isOfClass = (one) => state.label === null || one.label === state.label;
  return { truth: truth.filter(isOfClass), predictions: predictions.filter(isOfClass) };
}

/** How many segments there are of each kind. */
export function countKinds({ truth, predictions }) {
  const counts = new Array(MISSED + 1).fill(0);
  for (const one of predictions) counts[one.kind ?? RIGHT] += 1;
  for (const one of truth) counts[MISSED] += one.kind === MISSED;
  return counts;
}

/** Wrong predictions and missed actions of the kinds that are shown, in the order of time. */
export const errorsOf = (shown, kinds) =>
  [...shown.truth.filter((one) => one.kind === MISSED), ...shown.predictions.filter((one) => one.kind > RIGHT)]
    .filter((one) => kinds[one.kind])
    .sort((one, other) => one.start - other.start || one.end - other.end);

/** A segment in words. */
export function words(set, one) {
  const outcome =
    one.side === "truth" ? (one.kind === MISSED ? "missed" : "found") : one.kind === null ? "" : set.kinds[one.kind];
  const parts = [
    `${one.side === "truth" ? "true" : "predicted"} ${set.classes[one.label]}`,
    `${clock(one.start, 2)} to ${clock(one.end, 2)} (${(one.end - one.start).toFixed(2)} s)`,
    one.score === null ? "" : `score ${one.score.toPrecision(3)}`,
    outcome,
  ];
  return parts.filter(Boolean).join(", ");
}

/** Puts each segment into the first lane where it overlaps nothing; what has no lane is left out. */
function packed(segments, most) {
  const lanes = [];
  let numLeft = 0;
  for (const one of segments) {
    let lane = lanes.find((others) => others.every((other) => other.end <= one.start || one.end <= other.start));
    if (!lane && lanes.length < most) lanes.push((lane = []));
    if (lane) lane.push(one);
    else numLeft += 1;
  }
  return { lanes, numLeft };
}

/** The time from 0 to `extent` outside of the annotated intervals; without any of these, all of it is annotated. */
function gapsOf(annotated, extent) {
  if (!annotated.length) return [];
  const borders = [0, ...annotated.flat().map((time) => Math.min(Math.max(time, 0), extent)), extent];
  const gaps = [];
  for (let place = 0; place < borders.length; place += 2) gaps.push([borders[place], borders[place + 1]]);
  return gaps.filter(([start, end]) => end > start);
}

const element = (tag, className, text = "") =>
  Object.assign(document.createElement(tag), { className, textContent: text });

function mark(kind) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#mark-${kind}`);
  svg.append(use);
  return svg;
}
export { mark };

/** Draws into `area` and tells where one clicks. */
export class Timeline {
  constructor(area, notes, detail, { seek, choose }) {
    this.area = area;
    this.inner = area.querySelector(".inner");
    this.notes = notes;
    this.detail = detail;
    this.seek = seek;
    this.choose = choose;
    this.zoom = 0;
    this.extent = 1;
    this.at = 0;
    this.set = null;
    this.gaps = []; // when it is not known what happens
    this.buttons = []; // rows of buttons, from top to bottom, each in the order of time
    area.addEventListener("keydown", (event) => this.move(event));
    area.addEventListener("click", (event) => this.seekAt(event));
    new ResizeObserver(() => this.drawTicks()).observe(area);
  }

  /** Draws a video; `kinds` says which outcomes are shown, and `annotated` when the true ones are known, if not always. */
  draw(set, shown, kinds, duration, annotated) {
    Object.assign(this, { set, shown, buttons: [] });
    const ends = [...shown.truth, ...shown.predictions].reduce((most, one) => Math.max(most, one.end), 0);
    const trueEnds = shown.truth.reduce((most, one) => Math.max(most, one.end), 0);
    this.extent = Math.max(duration ?? 0, duration ? trueEnds : ends) || 1; // predictions past the end are cut off
    this.gaps = gapsOf(annotated, this.extent);
    const best = shown.predictions
      .filter((one) => one.kind === null || kinds[one.kind])
      .sort((one, other) => other.score - one.score);
    const drawn = best.slice(0, MOST_DRAWN);
    const truth = shown.truth.filter((one) => one.kind !== MISSED || kinds[MISSED]);
    const labels = [...new Set([...truth, ...drawn].sort((a, b) => a.start - b.start).map((one) => one.label))];
    labels.sort((a, b) => truth.some((one) => one.label === b) - truth.some((one) => one.label === a));
    let numLeft = best.length - drawn.length;
    const rows = labels.slice(0, MOST_CLASSES).map((label) => {
      const isOf = (one) => one.label === label;
      const row = this.row(label, truth.filter(isOf), drawn.filter(isOf));
      numLeft += row.numLeft;
      return row.element;
    });
    this.axis = element("div", "axis");
    this.axis.setAttribute("aria-hidden", "true");
    this.playhead = element("div", "playhead");
    this.inner.replaceChildren(this.axis, ...rows, this.playhead);
    this.notes.textContent = [
      labels.length ? "" : "Nothing to show at this threshold and with these filters.",
      numLeft ? `${numLeft} predictions of lower scores are not drawn: raise the threshold, or choose a class.` : "",
      labels.length > MOST_CLASSES ? `${labels.length - MOST_CLASSES} more classes are not drawn: choose one.` : "",
    ].join(" ");
    this.setZoom(this.zoom);
    this.moveTo(this.at);
    this.first(this.buttons[0]?.[0]);
  }

  row(label, truth, drawn) {
    const group = element("div", "row");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", this.set.classes[label]);
    const name = element("p", "label");
    const found = truth.filter((one) => one.kind === RIGHT).length;
    const wrong = drawn.filter((one) => one.kind > RIGHT).length;
    const facts = this.set.hasTruth
      ? [truth.length ? `${found} of ${truth.length} found` : "no true actions", wrong ? `${wrong} wrong` : ""]
      : [`${drawn.length} found`];
    name.append(element("b", "", this.set.classes[label]), element("small", "", facts.filter(Boolean).join(", ")));
    group.append(name);
    const predicted = packed(drawn, MOST_LANES);
    if (this.set.hasTruth) group.append(this.track("true", packed(truth, MOST_LANES).lanes));
    group.append(this.track("predicted", predicted.lanes));
    return { element: group, numLeft: predicted.numLeft };
  }

  track(side, lanes) {
    const track = element("div", `track ${side}`);
    track.append(element("span", "side", side));
    const plot = element("div", "plot");
    plot.style.setProperty("--lanes", Math.max(1, lanes.length));
    const buttons = lanes.flatMap((lane, place) => lane.map((one) => this.segment(one, place)));
    buttons.sort((one, other) => one.segment.start - other.segment.start);
    if (buttons.length) this.buttons.push(buttons);
    const shades = this.gaps.map(([start, end]) => {
      const shade = element("div", "unannotated");
      shade.style.left = `${(100 * start) / this.extent}%`;
      shade.style.width = `${(100 * (end - start)) / this.extent}%`;
      shade.title = "not annotated";
      return shade;
    });
    plot.append(...shades, ...buttons);
    track.append(plot);
    return track;
  }

  segment(one, lane) {
    const button = element("button", `segment kind-${one.kind ?? "none"} ${one.side}`);
    const { lowest, highest } = this.set;
    const share = one.score === null || highest === lowest ? 1 : (one.score - lowest) / (highest - lowest);
    const percent = (time) => Math.min(Math.max(time / this.extent, 0), 1) * 100;
    button.type = "button";
    button.tabIndex = -1;
    button.segment = one;
    one.button = button;
    button.style.setProperty("--lane", lane);
    button.style.setProperty("--score", FAINTEST + (1 - FAINTEST) * share);
    button.style.left = `${percent(one.start)}%`;
    button.style.width = `${percent(one.end) - percent(one.start)}%`;
    button.title = words(this.set, one);
    button.setAttribute("aria-label", button.title);
    if (one.kind !== null && (one.side === "predicted" || one.kind === MISSED)) button.append(mark(one.kind));
    button.addEventListener("focus", () => this.first(button));
    button.addEventListener("click", () => this.select(one));
    return button;
  }

  /** Makes a segment the one that the Tab key reaches, and says what it is. */
  first(button) {
    if (this.reached) this.reached.tabIndex = -1;
    this.reached = button;
    if (button) button.tabIndex = 0;
    if (button && document.activeElement === button) this.detail.textContent = button.title;
  }

  /** Seeks to a segment, marks it and says what it is. */
  select(one) {
    this.inner.querySelector(".segment.chosen")?.classList.remove("chosen");
    one.button?.classList.add("chosen");
    if (one.button) this.first(one.button);
    this.detail.textContent = words(this.set, one);
    this.choose(one);
    this.seek(one.start);
    this.reveal(one.start);
  }

  /** Arrow keys: along a lane, or to the nearest segment of the lane above or below. */
  move(event) {
    const row = this.buttons.findIndex((buttons) => buttons.includes(document.activeElement));
    if (row < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const place = this.buttons[row].indexOf(document.activeElement);
    const beside = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: this.buttons[row].length - 1 };
    const lane = { ArrowUp: row - 1, ArrowDown: row + 1 };
    let next;
    if (event.key in beside) next = this.buttons[row][beside[event.key]];
    else if (event.key in lane) {
      const start = document.activeElement.segment.start;
      const far = (button) => Math.abs(button.segment.start - start);
      next = this.buttons[lane[event.key]]?.reduce((one, other) => (far(other) < far(one) ? other : one));
    } else return;
    event.preventDefault();
    event.stopPropagation();
    next?.focus();
    next?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** A click beside segments seeks to that time. */
  seekAt(event) {
    const plot = event.target.closest(".plot, .axis");
    if (!plot || event.target.closest(".segment")) return;
    const box = plot.getBoundingClientRect();
    this.seek((Math.min(Math.max(event.clientX - box.left, 0), box.width) / box.width) * this.extent);
  }

  /** Puts the playhead at a time. */
  moveTo(time) {
    this.at = time;
    this.playhead?.style.setProperty("--at", Math.min(time / this.extent, 1));
  }

  /** Scrolls a magnified timeline so that a time is visible. */
  reveal(time) {
    if (!this.zoom || !this.axis) return;
    const [plot, view] = [this.axis.getBoundingClientRect(), this.area.getBoundingClientRect()];
    const x = plot.left + (time / this.extent) * plot.width - view.left;
    const gutter = plot.left + this.area.scrollLeft - view.left;
    if (x < gutter || x > view.width) this.area.scrollLeft += x - gutter - (view.width - gutter) / 3;
  }

  setZoom(zoom) {
    this.zoom = Math.min(Math.max(zoom, 0), ZOOMS.length - 1);
    this.inner.style.setProperty("--zoom", ZOOMS[this.zoom]);
    this.drawTicks();
  }

  zoomBy(steps) {
    this.setZoom(this.zoom + steps);
    this.reveal(this.at);
  }

  /** Ticks at round times, as many as there is room for. */
  drawTicks() {
    const width = this.axis?.clientWidth;
    if (!width) return;
    const least = (this.extent * TICK_PX) / width;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((one) => one >= least) ?? 7200;
    const ticks = [];
    const last = this.extent * (1 - TEXT_PX / width); // a text after it would be cut off
    for (let number = 0; number * step <= last; number++) {
      const tick = element("span", "tick", clock(number * step + 1e-9, step < 1 ? 1 : 0));
      tick.style.left = `${((100 * number * step) / this.extent).toFixed(4)}%`;
      ticks.push(tick);
    }
    this.axis.replaceChildren(...ticks);
  }
}
