// Every page works without this. With it, instants are shown in the reader's own time, and what a page marks with
// `data-live` (and an id) follows the federation: the server says that something changed, the page is asked for again, and
// the parts that differ are put in place.

const root = document.documentElement;
const language = root.lang;
const line = document.getElementById("liveness");

// Days stay what they are: a date of birth is none of anybody's hours.
export function localTimes(within) {
  const form = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
  for (const one of within.querySelectorAll('time[datetime*="T"]')) {
    const at = new Date(one.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    if (!one.title) one.title = one.textContent.trim();
    one.textContent = form.format(at);
  }
}

let stream = null;
let every = 0;
const slowest = 5000; // milliseconds between two looks at figures; what changes a state is looked at once
let asked = 0;
let timer = null;
let asking = false;

async function refresh() {
  timer = null;
  if (asking) return plan(500);
  asking = true;
  asked = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) return over();
    if (answer.ok) place(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The stream says by itself when the broker is out of reach.
  } finally {
    asking = false;
  }
}

function place(fresh) {
  localTimes(fresh);
  for (const next of fresh.querySelectorAll("[data-live][id]")) {
    const there = document.getElementById(next.id);
    if (!there || there.isEqualNode(next)) continue;
    const focused = there.contains(document.activeElement) ? document.activeElement.id : "";
    if (there.contains(document.activeElement) && !focused) continue; // nothing is taken from under a reader's hands
    there.replaceWith(document.adoptNode(next));
    if (focused) document.getElementById(focused)?.focus();
  }
}

function plan(wait) {
  if (timer !== null) clearTimeout(timer);
  timer = setTimeout(refresh, wait);
}

function live(on) {
  line.hidden = false;
  line.classList.toggle("still", !on);
  const said = on ? line.dataset.on : line.dataset.off;
  if (line.textContent !== said) line.textContent = said;
}

// Whoever was signed out is told so, and not signed in again unasked.
function over() {
  stream?.close();
  clearInterval(every);
  live(false);
}

function follow() {
  const topics = document.body.querySelector("[data-follow]")?.dataset.follow.split(" ");
  if (!topics) return;
  stream = new EventSource("/console/events");
  stream.addEventListener("open", () => {
    live(true);
    plan(0); // what changed before the stream began, or while it was broken
  });
  stream.addEventListener("error", () => live(false));
  for (const topic of topics) {
    stream.addEventListener(topic, (event) => {
      const urgent = JSON.parse(event.data).urgent;
      if (urgent) plan(0);
      else if (timer === null) plan(Math.max(0, asked + slowest - Date.now()));
    });
  }
  const seconds = Number(document.body.querySelector("[data-every]")?.dataset.every ?? 0);
  if (seconds) every = setInterval(() => document.hidden || timer !== null || plan(0), seconds * 1000);
  addEventListener("pagehide", () => stream.close());
}

localTimes(document);
follow();
