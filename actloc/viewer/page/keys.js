// Keys that work everywhere but where one types, and the dialog that lists them.

/** `actions`: [keys, what they do, function] in the order of the dialog. */
export function listenToKeys(actions, dialog, opener) {
  const byKey = new Map();
  const list = dialog.querySelector("dl");
  for (const [keys, text, act] of actions) {
    const term = document.createElement("dt");
    keys.forEach((key, place) => {
      byKey.set(key, act);
      const shown = { " ": "Space", ArrowLeft: "←", ArrowRight: "→" }[key] ?? key;
      const cap = Object.assign(document.createElement("kbd"), { textContent: shown });
      term.append(...(place ? [" ", cap] : [cap]));
    });
    list.append(term, Object.assign(document.createElement("dd"), { textContent: text }));
  }
  const open = () => dialog.open || dialog.showModal();
  opener.addEventListener("click", open);
  byKey.set("?", open);
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    const target = event.target;
    const isTyping = target.matches("input:not([type=checkbox]), select, textarea");
    // Space and arrows belong to what is focused, such as a button or the video's own controls
    const isOwn = event.key.length > 1 || event.key === " " ? target.closest("button, summary, video, input, a") : null;
    const act = isTyping || isOwn ? null : byKey.get(event.key);
    if (!act) return;
    event.preventDefault();
    act();
  });
}
