// Lets a slider choose the score threshold and shows what it does. Without it, the table below has nine thresholds.
(() => {
  const shown = (value) => (value === null ? "\u2013" : `${(100 * value).toFixed(2)} %`);
  for (const area of document.querySelectorAll(".slider")) {
    const slider = area.querySelector("input"), choice = area.querySelector("select");
    const axis = JSON.parse(area.dataset.axis), cursor = area.parentElement.querySelector(".cursor");
    const write = (name, text) => { area.querySelector(`.at-${name}`).textContent = text; };
    const update = () => {
      const place = Number(slider.value), data = choice.selectedOptions[0].dataset;
      const kept = JSON.parse(data.kept)[place], right = JSON.parse(data.right)[place], truths = Number(data.truths);
      const threshold = String(Number(axis[place].toPrecision(4)));
      write("threshold", threshold);
      write("precision", shown(kept ? right / kept : null));
      write("recall", shown(right / truths));
      write("f1", shown((2 * right) / (kept + truths)));
      write("counts", `${kept} count: ${right} right, ${kept - right} wrong; ${truths - right} of ${truths} actions missed`);
      slider.setAttribute("aria-valuetext", threshold);
      const x = Number(cursor.dataset.left) + (Number(cursor.dataset.width) * place) / (axis.length - 1);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
    };
    slider.addEventListener("input", update);
    choice.addEventListener("change", update);
    area.hidden = false;
    update();
  }
})();
