"use strict";
// What can be read can be read without this: it opens the dialogs of the buttons, sends forms without leaving the page and refreshes what is
// live when events come.
(() => {
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const notice = document.getElementById("notice");
  const say = (text) => { notice.textContent = text; notice.hidden = !text; };

  // take puts parts of another version of this page in the place of ours. What is selected, open or focused stays so.
  function take(other, selector) {
    const focused = document.activeElement && document.activeElement.id;
    for (const mine of $$(selector)) {
      const theirs = other.getElementById(mine.id);
      if (!theirs || mine.innerHTML === theirs.innerHTML) continue;
      if (mine.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox])")) continue; // somebody writes there
      const chosen = new Set($$("input[type=checkbox]:checked", mine).map((box) => box.value));
      const open = $$("details", mine).map((d) => d.open);
      const fresh = document.importNode(theirs, true);
      mine.replaceWith(fresh);
      for (const box of $$("input[type=checkbox]", fresh)) box.checked = chosen.has(box.value) && !box.disabled;
      $$("details", fresh).forEach((d, i) => { d.open = open[i] || false; });
    }
    if (focused && document.activeElement.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true });
    count();
  }

  async function load(url, options) {
    const answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin", ...options });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (answer.url.includes("/console/login")) location.assign(answer.url);
    if (!answer.ok) throw new Error(page.getElementById("problem")?.textContent || "The server answered " + answer.status + ".");
    return { page, url: answer.url };
  }

  // One refresh at a time, and one more when something happened meanwhile.
  let running = false, again = false;
  async function refresh() {
    if (running) { again = true; return; }
    running = true;
    try {
      do {
        again = false;
        const where = location.href;
        const { page } = await load(where);
        if (where === location.href) take(page, "[data-live]");
        await new Promise((done) => setTimeout(done, 250)); // a burst of events is one refresh
      } while (again);
      say("");
    } catch (err) {
      say("This page could not be refreshed: " + err.message);
    } finally {
      running = false;
    }
  }

  const live = document.getElementById("live");
  if (document.body.dataset.events && document.querySelector("[data-live]")) {
    const events = new EventSource(document.body.dataset.events);
    events.onopen = () => { live.textContent = "live"; live.className = "live on"; refresh(); };
    events.onerror = () => { live.textContent = "reconnecting"; live.className = "live"; };
    for (const name of document.body.dataset.eventTypes.split(" ")) events.addEventListener(name, refresh);
    // Relative times go on; and what no event tells of, such as a declaration, shows within as many seconds as the page says.
    const every = 1000 * (document.querySelector("[data-every]")?.dataset.every || 30);
    setInterval(() => { if (!document.hidden) refresh(); }, every);
  } else if (live) live.hidden = true;

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-send]")) return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    for (const button of $$("button", form)) button.inert = true;
    try {
      const { page, url } = await load(form.action, { method: "POST", body });
      say("");
      if (new URL(url).pathname === location.pathname) history.replaceState(null, "", url);
      for (const box of $$("input[type=checkbox]:checked", form)) box.checked = false;
      form.closest("dialog")?.close();
      $$("dialog[open]", form).forEach((d) => d.close());
      take(page, "[data-live],[data-region]");
      if (tabs.length) choose(document.getElementById("tab-Commands"));
      refresh();
    } catch (err) {
      form.closest("dialog")?.close();
      $$("dialog[open]", form).forEach((d) => d.close());
      say(err.message);
    } finally {
      for (const button of $$("button", form)) button.inert = false;
    }
  });

  // ask opens the dialog of a button. One that serves many rows is filled with what its button says: texts, and what the form sends.
  function ask(opener) {
    const dialog = document.getElementById(opener.dataset.dialog);
    const form = dialog.querySelector("form");
    for (const el of $$("[data-fill]", dialog)) el.textContent = opener.dataset[el.dataset.fill];
    for (const field of $$("input[type=hidden]", dialog)) if (field.name in opener.dataset) field.value = opener.dataset[field.name];
    if (opener.dataset.action) form.action = opener.dataset.action;
    // The button may have been replaced meanwhile, and then the browser does not find it again.
    dialog.onclose = () => document.getElementById(opener.id)?.focus({ preventScroll: true });
    dialog.showModal();
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) ask(opener);
    if (event.target.closest("[data-close]")) event.target.closest("dialog").close();
  });

  function count() {
    const open = document.getElementById("bulk-open");
    if (!open) return;
    const n = $$("input[name=id]:checked").length;
    for (const el of $$("[data-count]")) el.textContent = n;
    open.disabled = n === 0;
    open.title = n === 0 ? "Select leases first" : "";
  }
  document.addEventListener("change", count);

  // On a phone the tab of this page may be beyond the edge.
  document.querySelector(".bar [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });

  // Tabs. Without this script all panels are shown one below the other.
  const tabs = $$("[role=tab]");
  function choose(tab) {
    for (const t of tabs) {
      const on = t === tab;
      t.setAttribute("aria-selected", on);
      t.tabIndex = on ? 0 : -1;
      document.getElementById(t.getAttribute("aria-controls")).hidden = !on;
    }
  }
  if (tabs.length) {
    document.querySelector(".tabs").hidden = false;
    for (const panel of $$(".panel")) panel.setAttribute("role", "tabpanel");
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = tabs[(i + step + tabs.length) % tabs.length];
        choose(next);
        next.focus();
      });
    });
    choose(tabs.find((t) => "#" + t.getAttribute("aria-controls") === location.hash) || (location.search.includes("command=") ? tabs[2] : tabs[0]));
  }
})();
