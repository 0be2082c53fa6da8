"""Measures pages in a real browser, which alone knows their layout: what is cut, and which texts overlap."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_MEASURE = """
const visible = (element) => element.checkVisibility({contentVisibilityAuto: true, opacityProperty: true})
  && element.getClientRects().length > 0;
const name = (element) => `${element.tagName.toLowerCase()}.${element.getAttribute("class") || ""} `
  + JSON.stringify((element.textContent || "").trim().slice(0, 40));
const isMarked = (area) => {
  const hint = area.parentElement.querySelector(":scope > .hint");
  return hint !== null && visible(hint) && area.tabIndex === 0;
};
function measure() {
  const found = {width: innerWidth, cut: [], unmarked: [], scrolled: [], overlaps: [], texts: 0, status: ""};
  const all = [...document.body.querySelectorAll("*")].filter((one) => !one.closest("svg.hatches") && visible(one));
  for (const one of all) {
    if (one.ownerSVGElement || one.tagName === "svg" || getComputedStyle(one).display === "inline") continue;
    if (one.scrollWidth <= one.clientWidth + 1 || one.clientWidth === 0) continue;
    if (one.classList.contains("scroll")) (isMarked(one) ? found.scrolled : found.unmarked).push(name(one));
    else found.cut.push(name(one));
  }
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) found.cut.push("the page");
  const boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || !visible(parent) || parent.closest("script, style, title, option")) continue;
    const area = parent.closest(".scroll");
    if (area && area.scrollWidth > area.clientWidth + 1) continue;
    if (parent.closest(".contents") && getComputedStyle(parent.closest(".contents")).position === "sticky") continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width < 1 || box.height < 1) continue;
      found.texts += 1;
      if (box.left < -1 || box.right > page.clientWidth + 1) found.cut.push(name(parent));
      boxes.push({left: box.left + 1, right: box.right - 1, top: box.top + 3, bottom: box.bottom - 3, node});
    }
  }
  boxes.sort((one, other) => one.top - other.top);
  boxes.forEach((one, place) => {
    for (let next = place + 1; next < boxes.length && boxes[next].top < one.bottom; next++) {
      const other = boxes[next];
      if (other.node !== one.node && other.left < one.right && one.left < other.right)
        found.overlaps.push(`${one.node.data.trim().slice(0, 40)} | ${other.node.data.trim().slice(0, 40)}`);
    }
  });
  return found;
}
"""
_FRAME = """
addEventListener("load", () => {
  ACTION
  const found = measure();
  parent.postMessage(found, "*");
});
"""
_WRAPPER = """<!DOCTYPE html><html><body>FRAMES<script>
const found = [];
addEventListener("message", (event) => {
  found.push(event.data);
  if (found.length === COUNT) {
    const text = document.createElement("pre");
    text.id = "measured";
    text.textContent = JSON.stringify(found);
    document.body.replaceChildren(text);
  }
});
</script></body></html>"""


def browser() -> str | None:
    """The browser to measure with: ACTLOC_BROWSER, or the system's Chromium; None if there is none."""
    named = os.environ.get("ACTLOC_BROWSER")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def measured(
    page: str, widths: tuple[int, ...], folder: Path, action: str = "", *, has_script: bool = True
) -> dict[int, dict[str, Any]]:  # Any: JSON values
    """What is cut and what overlaps, by the width of the window, after the script `action`.

    The page's own policy, which forbids the script that measures, is taken out; without `has_script`, its script too.
    """
    program = browser()
    assert program is not None, "the caller asks first"
    script = f"<script>{_MEASURE}{_FRAME.replace('ACTION', action)}</script>"
    text, number = _POLICY.subn("", page)
    assert number == 1, "a page has one policy"
    if not has_script:
        text = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    text = text.replace("</body>", f"{script}</body>")
    frames = [
        f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(text)}"></iframe>'
        for width in widths
    ]
    wrapper = folder / "wrapper.html"
    wrapper.write_text(_WRAPPER.replace("COUNT", str(len(widths))).replace("FRAMES", "".join(frames)))
    profile = folder / "profile"
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    words += ["--virtual-time-budget=20000", "--timeout=90000", "--window-size=1600,1000", "--dump-dom"]
    done = subprocess.run([program, *words, wrapper.as_uri()], capture_output=True, text=True, timeout=240, check=False)
    match = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, f"the browser measured nothing: {done.stderr[-2000:]}"
    return {found["width"]: found for found in json.loads(html.unescape(match[1]))}
