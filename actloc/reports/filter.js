// Filters videos and rows of classes by name, and says which tables continue sideways. Without it, all is shown.
(() => {
  const box = document.getElementById("filter");
  const input = box.querySelector("input"), status = box.querySelector("output");
  const items = [...document.querySelectorAll(".findable")].map((element) => ({
    element,
    words: [...element.querySelectorAll(".find")].map((part) => part.textContent.toLowerCase()),
  }));
  const folded = [...document.querySelectorAll("details.more")];
  const apply = () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const { element, words } of items) {
      element.hidden = !words.some((word) => word.includes(wanted));
      shown += element.hidden ? 0 : 1;
    }
    for (const one of folded) one.open = wanted !== "" && one.querySelector(".findable:not([hidden])") !== null;
    status.textContent = wanted === "" ? "" : `${shown} of ${items.length} shown`;
  };
  const hint = () => {
    for (const area of document.querySelectorAll(".scroll")) {
      const text = area.parentElement.querySelector(":scope > .hint");
      if (text) text.style.display = area.scrollWidth > area.clientWidth ? "block" : "none";
    }
  };
  if (items.length > 1) {
    box.hidden = false;
    input.addEventListener("input", apply);
    apply();
  }
  window.addEventListener("resize", hint);
  hint();
})();
