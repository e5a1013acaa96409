// Keeps the page fresh. Without it the page shows the moment at which it was loaded, and every form works.
"use strict";

(() => {
  const PANELS_MS = 3000;
  const LINES_MS = 2000;
  const MOST_LINES = 500;
  const base = "/_local/console/";
  const byId = (id) => document.getElementById(id);
  const live = byId("live"), liveText = byId("live-text");
  const form = byId("log-form"), input = byId("log-filter"), pause = byId("log-pause"), lines = byId("log-lines");
  let filter = input.value;
  let searched = ""; // up to when the log was searched in vain

  const heard = byId("heard");
  let toldAt = 0;
  // The one place that readers of the screen hear from: seldom, and only what matters.
  const tell = (text) => { toldAt = Date.now(); heard.textContent = text; };
  const SELDOM_MS = 20000;

  const show = (state, text) => {
    if (live.dataset.state !== state && state === "lost") tell("The local cloud is not reachable.");
    live.dataset.state = state; liveText.textContent = text;
  };

  async function parsed(path) {
    const answer = await fetch(path, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(String(answer.status));
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  // What the reader has opened, focused or scrolled survives an exchange of its panel.
  function exchange(before, after) {
    for (const opened of before.querySelectorAll("details[open]")) {
      const same = opened.id && after.querySelector("#" + CSS.escape(opened.id));
      if (same) same.open = true;
    }
    if (before.outerHTML === after.outerHTML) return;
    const selection = document.getSelection();
    if (!selection.isCollapsed && before.contains(selection.anchorNode)) return;
    const focusable = "a, button, summary, [tabindex]";
    const at = before.contains(document.activeElement)
      ? [...before.querySelectorAll(focusable)].indexOf(document.activeElement) : -1;
    const scrolled = [...before.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    before.replaceWith(after);
    after.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = scrolled[index] || 0; });
    if (at >= 0) [...after.querySelectorAll(focusable)][at]?.focus({ preventScroll: true });
  }

  async function panels() {
    const fresh = await parsed(base + "panels.html");
    const wrong = fresh.getElementById("glance")?.dataset.wrong, known = byId("glance")?.dataset.wrong;
    if (wrong !== known) tell(wrong === "0" ? "Nothing is wrong any more." : wrong + " to look at: see At a glance.");
    for (const after of fresh.querySelectorAll("[data-panel]")) {
      const before = byId(after.id);
      if (before) exchange(before, document.adoptNode(after));
    }
  }

  async function tail() {
    if (pause.getAttribute("aria-pressed") === "true") return;
    const asked = filter;
    const newest = lines.querySelector("li")?.dataset.at || "";
    const began = new Date(Date.now() - 10000).toISOString();
    const query = new URLSearchParams({ filter: asked, since: newest || searched });
    const fresh = await parsed(base + "logs.html?" + query);
    if (asked !== filter) return;
    searched = began;
    const list = lines.querySelector("ol"), arrived = fresh.querySelector("ol");
    if (!list || !newest || fresh.querySelector(".problem")?.textContent) {
      if (lines.textContent.trim() !== fresh.body.textContent.trim()) lines.replaceChildren(...fresh.body.childNodes);
      return;
    }
    if (!arrived) return;
    const known = new Set([...list.children].map((each) => each.dataset.id));
    const added = [...arrived.children].filter((each) => !known.has(each.dataset.id));
    for (const each of added) each.classList.add("fresh");
    const height = lines.scrollHeight;
    const errors = added.filter((each) => /s-(error|critical|alert|emergency)/.test(each.className)).length;
    if (errors && Date.now() - toldAt > SELDOM_MS) tell(errors === 1 ? "A new error in the log." : errors + " new errors in the log.");
    list.prepend(...added);
    if (lines.scrollTop > 0) lines.scrollTop += lines.scrollHeight - height;
    while (list.children.length > MOST_LINES) list.lastElementChild.remove();
  }

  function every(pauseMs, work) {
    let last = 0;
    const turn = async () => {
      if (!document.hidden) {
        try {
          await work();
          show("on", "live");
        } catch {
          show("lost", "not reachable");
        }
      }
      last = setTimeout(turn, pauseMs);
    };
    last = setTimeout(turn, pauseMs);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) { clearTimeout(last); last = setTimeout(turn, 0); }
    });
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    filter = input.value;
    searched = "";
    const query = new URLSearchParams({ filter });
    history.replaceState(null, "", filter ? "/?" + query + "#logs" : "/#logs");
    try {
      lines.replaceChildren(...(await parsed(base + "logs.html?" + query)).body.childNodes);
      lines.scrollTop = 0;
      const found = lines.querySelectorAll("li").length;
      tell(byId("log-problem")?.textContent || (found ? found + " entries match." : "No entry matches."));
    } catch {
      show("lost", "not reachable");
    }
  });

  pause.hidden = false;
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest("input, textarea, select")) {
      event.preventDefault();
      input.focus();
      input.select();
    } else if (event.key === "Escape" && event.target === input) {
      input.blur();
    }
  });

  // what was said once is not said again by a reload
  if (location.search.includes("said=")) history.replaceState(null, "", "/" + location.hash);

  show("on", "live");
  every(PANELS_MS, panels);
  every(LINES_MS, tail);
})();
