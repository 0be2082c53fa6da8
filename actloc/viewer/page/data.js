// What the server knows: the set, columns of numbers for all videos, outcomes at a tIoU, the segments of one video.

export const RIGHT = 0; // the kinds of predictions are numbered as in judging.py
export const MISSED = 6; // a true action that no shown prediction finds; the shape #mark-6
const VIDEOS_KEPT = 20;

async function answer(address, options) {
  const response = await fetch(address, options);
  if (!response.ok) throw new Error(`The viewer answered ${response.status} (${response.statusText}) to ${address}`);
  return response;
}

/** The set with its columns: scores and labels of all predictions, labels of all true actions, video after video. */
export async function loadSet() {
  const [set, bytes] = await Promise.all([
    answer("set.json").then((response) => response.json()),
    answer("columns").then((response) => response.arrayBuffer()),
  ]);
  const [predictions, truths] = new Uint32Array(bytes, 0, 2);
  set.scores = new Float64Array(bytes, 8, predictions);
  set.labels = new Uint16Array(bytes, 8 + 8 * predictions, predictions);
  set.trueLabels = new Uint16Array(bytes, 8 + 10 * predictions, truths);
  let first = 0;
  let trueFirst = 0;
  for (const video of set.videos) {
    Object.assign(video, { first, last: first + video.predictions, trueFirst, trueLast: trueFirst + video.truths });
    first = video.last;
    trueFirst = video.trueLast;
  }
  set.lowest = set.scores.reduce((one, other) => Math.min(one, other), Infinity);
  set.highest = set.scores.reduce((one, other) => Math.max(one, other), -Infinity);
  if (!predictions) [set.lowest, set.highest] = [0, 1];
  return set;
}

const outcomes = new Map();

/** At a tIoU: `foundBy`, the prediction that finds each true action or -1, and `kinds` of the predictions. */
export async function loadOutcomes(set, tiou) {
  if (!set.hasTruth) return null;
  if (!outcomes.has(tiou)) {
    const bytes = await answer(`outcomes/${tiou}`).then((response) => response.arrayBuffer());
    const truths = set.trueLabels.length;
    outcomes.set(tiou, { foundBy: new Int32Array(bytes, 0, truths), kinds: new Uint8Array(bytes, 4 * truths) });
  }
  return outcomes.get(tiou);
}

const videos = new Map();

/** The segments of a video: [class, start, end] of true actions and predictions; the last few videos are kept. */
export async function loadVideo(number) {
  if (!videos.has(number)) videos.set(number, await answer(`videos/${number}`).then((response) => response.json()));
  const oldest = videos.keys().next().value;
  if (videos.size > VIDEOS_KEPT && oldest !== number) videos.delete(oldest);
  return videos.get(number);
}

/** Whether a video plays in the browser, and how far its conversion is; POST asks for one, DELETE ends it. */
export const playing = (number, method = "GET") =>
  answer(`videos/${number}/playing`, { method }).then((response) => response.json());

/** The address of the video's bytes. */
export const media = (number, isCopy) => `videos/${number}/media${isCopy ? "?copy" : ""}`;
