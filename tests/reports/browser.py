"""Measures pages in a real browser, which alone knows their layout: what is cut, and which texts overlap."""

import re
from pathlib import Path
from typing import Any

from tests import chromium

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


def measured(
    page: str, widths: tuple[int, ...], folder: Path, action: str = "", *, has_script: bool = True
) -> dict[int, dict[str, Any]]:  # Any: JSON values
    """What is cut and what overlaps, by the width of the window, after the script `action`.

    Without `has_script`, the page's own script is taken out.
    """
    text = page if has_script else re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    file = folder / "page.html"
    file.write_text(text)
    found = {}
    with chromium.launched() as browser:
        for width in widths:
            opened = browser.new_page(viewport={"width": width, "height": 900})
            opened.goto(file.as_uri())
            found[width] = opened.evaluate(f"() => {{ {_MEASURE}\n{action}\nreturn measure(); }}")
            opened.close()
    return found
