// Counts what is right, wrong and missed at a score threshold. A prediction's outcome does not depend on the threshold,
// because predictions are matched best first: those that the slider takes away were matched after all others.

import { RIGHT } from "./data.js";

/** The threshold of each class: one for all, or each class's own, and what has none never counts. */
export const thresholdsOf = (set, state) =>
  set.classes.map((_, label) => (state.own ? set.thresholds[label] ?? Infinity : state.threshold));

const none = () => ({ right: 0, wrong: 0, missed: 0 });

/** The counts of every video, and of all together: of one class if the state has one. */
export function countAll(set, outcome, state) {
  const thresholds = thresholdsOf(set, state);
  const all = none();
  const each = set.videos.map((video) => {
    const count = countOne(set, outcome, state, video, thresholds);
    for (const key in all) all[key] += count[key];
    return count;
  });
  return { all, each };
}

/** The counts of one video. */
function countOne(set, outcome, state, video, thresholds) {
  const count = none();
  for (let row = video.first; row < video.last; row++) {
    const label = set.labels[row];
    if ((state.label !== null && label !== state.label) || !(set.scores[row] >= thresholds[label])) continue;
    if (outcome?.kinds[row] === RIGHT) count.right += 1;
    else count.wrong += 1;
  }
  for (let row = video.trueFirst; outcome && row < video.trueLast; row++) {
    const label = set.trueLabels[row];
    if (state.label !== null && label !== state.label) continue;
    const by = outcome.foundBy[row];
    if (by < 0 || !(set.scores[by] >= thresholds[label])) count.missed += 1;
  }
  return count;
}

/** Precision, recall and F1 of counts; null where nothing is divided. */
export function rates({ right, wrong, missed }) {
  const share = (part, whole) => (whole ? part / whole : null);
  return {
    precision: share(right, right + wrong),
    recall: share(right, right + missed),
    f1: share(2 * right, 2 * right + wrong + missed),
  };
}

/** The threshold at which the predictions of all videos, or of one class in them, have the best F1; null without any. */
export function bestThreshold(set, outcome, label) {
  const rows = [];
  for (let row = 0; row < set.scores.length; row++) if (label === null || set.labels[row] === label) rows.push(row);
  rows.sort((one, other) => set.scores[other] - set.scores[one]);
  const truths = label === null ? set.trueLabels.length : set.trueLabels.filter((one) => one === label).length;
  let [right, best, threshold] = [0, 0, null];
  rows.forEach((row, place) => {
    right += outcome.kinds[row] === RIGHT;
    const isLast = place + 1 === rows.length || set.scores[rows[place + 1]] !== set.scores[row];
    const f1 = (2 * right) / (place + 1 + truths);
    if (isLast && f1 > best) [best, threshold] = [f1, set.scores[row]];
  });
  return threshold;
}
