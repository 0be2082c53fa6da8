// The video above the timeline: plays the file or its converted copy, or says why there is none.

import { media, playing } from "./data.js";

const POLL_MS = 500;
const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0)} GB`;
const find = (id) => document.getElementById(id);

/** Tells `onTime` where the player is, several times a second while it plays. */
export class Player {
  constructor(cache, onTime, onDuration) {
    this.video = find("video");
    this.cache = cache;
    this.onTime = onTime;
    this.onDuration = onDuration;
    this.number = null;
    this.offset = 0;
    this.time = 0;
    this.isPlayable = false;
    for (const name of ["timeupdate", "seeking", "seeked"]) this.video.addEventListener(name, () => this.tick());
    this.video.addEventListener("play", () => this.follow());
    this.video.addEventListener("error", () => this.refused());
    this.video.addEventListener("loadedmetadata", () => this.video.videoWidth || this.refused());
    find("convert").addEventListener("click", () => this.ask("POST"));
    find("conversion-stop").addEventListener("click", () => this.ask("DELETE"));
  }

  /** Shows a video; the one before stops. */
  async open(number) {
    Object.assign(this, { number, time: 0, offset: 0, isPlayable: false, wasRefused: false });
    clearTimeout(this.timer);
    this.unload();
    this.say("Opening the video …");
    await this.ask("GET");
  }

  unload() {
    this.video.pause();
    this.video.hidden = true;
    find("without").hidden = false;
    if (this.video.hasAttribute("src")) {
      this.video.removeAttribute("src");
      this.video.load();
    }
  }

  async ask(method) {
    const { number } = this;
    const facts = await playing(number, method);
    if (number === this.number) this.show(facts);
  }

  show(facts) {
    clearTimeout(this.timer);
    this.facts = facts;
    this.offset = facts.offset;
    if (facts.duration) this.onDuration(facts.duration);
    if (facts.state === "plays" && (facts.isCopy || !this.wasRefused)) {
      this.load(facts);
      return;
    }
    const conversion = facts.conversion;
    const isAtWork = conversion?.state === "running" || conversion?.state === "waiting";
    const failure = conversion?.state === "failed" ? conversion.reason : "";
    const reason = this.wasRefused ? "This browser cannot play this file." : facts.reason;
    const rest = " The timeline works without it.";
    this.say([failure || reason, isAtWork ? "" : rest].join(""));
    find("convert").hidden = facts.state === "none" || isAtWork;
    find("conversion").hidden = !isAtWork;
    find("cache-note").hidden = facts.state === "none";
    find("cache-note").textContent =
      `Copies are kept in ${this.cache.folder}, at most ${gigabytes(this.cache.mostBytes)}; the oldest are deleted.`;
    if (isAtWork) {
      find("conversion-bar").value = conversion.share;
      const percent = `${Math.floor(100 * conversion.share)} %`;
      find("conversion-words").textContent = conversion.state === "waiting" ? "Waiting for another" : `Converting: ${percent}`;
      this.timer = setTimeout(() => this.ask("GET"), POLL_MS);
    }
  }

  load(facts) {
    find("without").hidden = true;
    this.video.hidden = false;
    this.isPlayable = true;
    this.video.src = media(this.number, facts.isCopy);
    this.video.title = facts.isCopy ? "A converted copy, at most 1280 pixels wide or high" : "";
    if (this.time) this.video.currentTime = this.time + this.offset;
  }

  /** The browser cannot play what it was given. */
  refused() {
    if (!this.isPlayable) return; // the source was taken away
    this.isPlayable = false;
    this.wasRefused = true;
    const wasCopy = this.facts.isCopy;
    this.unload();
    if (wasCopy) this.say("This browser cannot play H.264, or the copy is damaged. The timeline works without it.");
    else this.show({ ...this.facts, state: "converts" });
  }

  say(text) {
    find("without-reason").textContent = text;
    for (const id of ["convert", "conversion", "cache-note"]) find(id).hidden = true;
  }

  /** Goes to a time of the timeline, whether a video plays or not. */
  seek(time) {
    this.time = Math.max(0, time);
    if (this.isPlayable) this.video.currentTime = this.time + this.offset;
    this.onTime(this.time, false);
  }

  toggle() {
    if (!this.isPlayable) return;
    if (this.video.paused) this.video.play().catch(() => {}); // it says by itself what is wrong
    else this.video.pause();
  }

  tick() {
    if (!this.isPlayable) return;
    this.time = Math.max(0, this.video.currentTime - this.offset);
    this.onTime(this.time, !this.video.paused);
  }

  follow() {
    this.tick();
    if (!this.video.paused) requestAnimationFrame(() => this.follow());
  }
}
