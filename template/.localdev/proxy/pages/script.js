/* eslint-disable -- not yours to lint; updates bring it */
"use strict";
// One script for all pages: each part looks for what it works on. What it writes into a page is text, never markup.

const $ = (selector) => document.querySelector(selector);
const $$ = (selector) => [...document.querySelectorAll(selector)];

// say TEXT: in the page's live region; nothing when it stands there, for screen readers would read it again
function say(text) {
  if ($("#news").textContent !== text) $("#news").textContent = text;
}

// ask PATH ACCEPT: what the proxy answers; throws when there is no proxy
async function ask(path, accept) {
  const options = { headers: { Accept: accept }, cache: "no-store", signal: AbortSignal.timeout(20000) };
  return (await fetch(path, options)).text();
}

// repeat SECONDS TASK: runs TASK every so often while the page is in sight, until it returns true
async function repeat(seconds, task) {
  do {
    await new Promise((done) => setTimeout(done, seconds * 1000));
    if (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
  } while (!(await task()));
}

// Down: waits until the service is back.
function wait({ service, reason, method }) {
  const byItself = method === "GET";
  const waiting = byItself
    ? `This page loads again by itself as soon as ${service} answers.`
    : `Your browser sent a ${method} request, so this page does not load again by itself.`;
  // Where only this one request was not answered, loading again as long as others are would never end.
  let wasDown = reason !== "closed";

  say(waiting);
  $("#again").hidden = byItself && wasDown;
  $("#again").addEventListener("click", () => location.reload());
  repeat(1, async () => {
    const state = await ask(`/__localdev/up/${service}`, "text/plain").catch(() => "gone");
    if (state === "gone") {
      say("The proxy itself does not answer. To start it: make dev-up");
    } else if (state === "down") {
      wasDown = true;
      say(waiting);
    } else if (!wasDown) {
      say(`${service} answers, but not this request.`);
    } else if (!byItself) {
      say(`${service} answers again. Your browser asks before it sends the same once more.`);
    } else {
      say(`${service} answers. The page loads again ...`);
      location.reload();
      return true;
    }
  });
}

// Dashboard: keeps the states up to date.
function watch() {
  const elements = $$(".state");
  const show = (element, state) => {
    element.textContent = state;
    element.className = `state ${state}`;
  };
  for (const element of elements) show(element, element.textContent);

  let routes;
  repeat(3, async () => {
    let now;
    try {
      now = JSON.parse(await ask("/__localdev/", "application/json"));
    } catch {
      for (const element of elements) show(element, "unknown");
      $("#news").className = "problem";
      say("The proxy does not answer, so nothing is known. To start it: make dev-up");
      return false;
    }
    // Other routes are another page. JSON has what the page has, in the same order.
    const rows = [...now.services, ...now.databases];
    const before = routes;
    routes = JSON.stringify(rows, (key, value) => (key === "state" ? undefined : value));
    if ((before && routes !== before) || rows.some(({ name }, i) => elements[i]?.dataset.name !== name)) {
      location.reload();
      return true;
    }
    const changes = rows.map(({ name, state }, i) => ({ name, state, element: elements[i] }));
    const changed = changes.filter(({ state, element }) => element.textContent !== state);
    for (const { state, element } of changed) show(element, state);
    $("#news").className = "unseen";
    if (changed.length) {
      say(changed.map(({ name, state }) => `${name} is ${state}.`).join(" "));
      if ($("#wanted")) filter();
    }
  });
}

// No route: says for which host and path, and how the line for them would begin.
function locate({ domain }) {
  const { host, hostname, pathname } = location;
  const code = document.createElement("code");
  code.textContent = host + pathname;
  $("#here").replaceChildren(code);

  let where = "";
  if (hostname === domain) [where] = /^\/[A-Za-z0-9._~-]*/.exec(pathname);
  else if (hostname.endsWith(`.${domain}`)) where = hostname.slice(0, -domain.length);
  else if (/^[a-z0-9-]+(\.[a-z0-9-]+)+$/.test(hostname)) where = hostname;
  if (where && where !== "/__localdev") $("#example").textContent = `my-service  4000  ${where}`;
}

// A box that leaves only the rows with what is typed into it; for a short list there is none.
function filter() {
  const wanted = $("#wanted").value.trim().toLowerCase();
  const rows = $$("#filter + .list > li");
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  $("#found").textContent = wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
}

if ($("#filter") && $("#filter + .list").children.length > 10) {
  $("#filter").hidden = false;
  $("#wanted").addEventListener("input", filter);
  // Enter goes to the first one that is left.
  $("#wanted").addEventListener("keydown", (event) => {
    if (event.key === "Enter") $("#filter + .list > li:not([hidden]) a")?.focus();
  });
}

// A button beside what one may want to copy; browsers allow that on secure pages only.
if (navigator.clipboard) {
  for (const code of $$(".copy")) {
    const button = document.createElement("button");
    const name = (word) => {
      button.textContent = word;
      button.setAttribute("aria-label", `${word} ${code.textContent}`);
    };
    button.type = "button";
    button.className = "copier";
    name("Copy");
    button.addEventListener("click", () => navigator.clipboard.writeText(code.textContent).then(() => name("Copied")));
    code.after(button);
  }
}

const { dataset } = document.body;
if ("service" in dataset) wait(dataset);
else if ("dashboard" in dataset) watch();
else locate(dataset);
