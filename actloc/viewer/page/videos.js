// The list of videos: filtered by name, worst first.

import { rates } from "./counts.js";

const MOST_LISTED = 500;
export const ORDERS = {
  worst: "Worst first",
  mistakes: "Most mistakes first",
  name: "By name",
  longest: "Longest first",
};

/** Percent without decimals would hide much, and two decimals say more than there is. */
export const percent = (share) => (share === null ? "–" : (100 * share).toFixed(1));

/** Minutes and seconds; hours where there are some. */
export function clock(seconds, digits = 0) {
  const whole = Math.floor(seconds);
  const rest = digits ? (seconds - whole).toFixed(digits).slice(1) : "";
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return (h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`) + rest;
}

/** The numbers of videos in the chosen order; without truth, as they come. */
export function ordered(set, counts, order) {
  const numbers = set.videos.map((_, number) => number);
  const mistakes = (number) => counts[number].wrong + counts[number].missed;
  const f1 = (number) => rates(counts[number]).f1 ?? 2; // nothing to find and nothing found: last
  const by = {
    worst: (one, other) => f1(one) - f1(other) || mistakes(other) - mistakes(one),
    mistakes: (one, other) => mistakes(other) - mistakes(one),
    name: (one, other) => set.videos[one].id.localeCompare(set.videos[other].id, undefined, { numeric: true }),
    longest: (one, other) => (set.videos[other].duration ?? 0) - (set.videos[one].duration ?? 0),
  };
  return numbers.sort((one, other) => by[order](one, other) || one - other);
}

/** The videos whose name has the words. */
export function filtered(set, numbers, words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  return numbers.filter((number) => wanted.every((word) => set.videos[number].id.toLowerCase().includes(word)));
}

/** Draws the list; a click chooses. */
export function drawList(list, more, set, counts, numbers, chosen, choose) {
  list.replaceChildren(
    ...numbers.slice(0, MOST_LISTED).map((number) => {
      const video = set.videos[number];
      const { f1 } = rates(counts[number]);
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.number = number;
      if (number === chosen) button.setAttribute("aria-current", "true");
      const name = Object.assign(document.createElement("span"), { className: "name", textContent: video.id });
      const words = set.hasTruth ? `F1 ${percent(f1)}` : `${counts[number].wrong} found`;
      const about = [words, video.duration ? clock(video.duration) : "", video.hasFile ? "" : "no file"];
      const facts = Object.assign(document.createElement("small"), {
        textContent: about.filter(Boolean).join(" · "),
      });
      button.append(name, facts);
      if (set.hasTruth) {
        const meter = document.createElement("span");
        meter.className = "meter";
        meter.style.setProperty("--share", f1 ?? 0);
        button.append(meter);
      }
      button.addEventListener("click", () => choose(number));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
  const left = numbers.length - MOST_LISTED;
  more.textContent = !numbers.length ? "No video has this name." : left > 0 ? `${left} more: filter by name.` : "";
}
