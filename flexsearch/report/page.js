// Marks of the chart, rows, strips and schedules belong together by their trial's number.
(() => {
  "use strict";
  const one = (selector, inside = document) => inside.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const strip = (number) => document.getElementById("trial-" + number);
  let pins = [];

  function made(tag, text, attributes = {}) {
    const element = document.createElement(tag);
    element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }
  function copied(element) {
    const copy = element.cloneNode(true);
    copy.removeAttribute("id");
    return copy;
  }
  // A trial's strip, and that of the dense base at the nearest time.
  function sideBySide(number) {
    const found = [strip(number), strip(strip(number)?.dataset.beside)].filter(Boolean);
    const [own, ...beside] = found.map(copied);
    beside.forEach((base) => one("b", base).prepend("dense at the nearest time: "));
    return own ? [own, ...beside] : [];
  }
  function light(number) {
    all(".lit").forEach((element) => element.classList.remove("lit"));
    if (number !== undefined) all(`[data-trial="${number}"]`).forEach((element) => element.classList.add("lit"));
  }
  function preview(number, mark) {
    const box = one("#preview");
    light(number);
    box.hidden = number === undefined || !strip(number);
    if (box.hidden) return;
    if (box.dataset.of !== number) box.replaceChildren(...sideBySide(number));
    box.dataset.of = number;
    const at = mark.getBoundingClientRect(), size = box.getBoundingClientRect();
    const left = at.right + 16 + size.width < innerWidth ? at.right + 16 : at.left - 16 - size.width;
    const top = at.top + at.height / 2 - size.height / 2;
    box.style.left = Math.max(8, Math.min(left, innerWidth - size.width - 8)) + "px";
    box.style.top = Math.max(8, Math.min(top, innerHeight - size.height - 8)) + "px";
  }
  function drawPins() {
    pins = pins.filter(strip);
    one("#pins").replaceChildren(...pins.map((number) => {
      const box = made("div", "", { class: "pin", role: "group", "aria-label": "pinned trial " + number });
      const schedule = one(`#schedule-${number} svg`), links = made("div", "", { class: "links" });
      box.append(...sideBySide(number));
      if (schedule) {
        const drawn = made("div", "", { class: "schedule" });
        drawn.append(copied(schedule));
        box.append(drawn);
      }
      for (const [place, text] of [["row", "its row"], ["schedule", "its schedule"]]) {
        if (document.getElementById(`${place}-${number}`)) links.append(made("a", text, { href: `#${place}-${number}` }));
      }
      links.append(made("button", "unpin", { "data-pin": number, "aria-label": "unpin trial " + number }));
      box.append(links);
      return box;
    }));
    all(".mark, td button").forEach((element) => {
      const isPinned = pins.includes(element.dataset.trial ?? element.dataset.pin);
      element.classList.toggle("pinned", isPinned);
      if (element.hasAttribute("role") || element.tagName === "BUTTON") element.setAttribute("aria-pressed", isPinned);
    });
    one("#versus").textContent = pins.length === 2 ? versus(...pins) : "";
  }
  function versus(first, second) {
    const [a, b] = [first, second].map((number) => strip(number).dataset), margin = Number(one("#pins").dataset.margin);
    const times = b.latency / a.latency, apart = a.quality - b.quality;
    const faster = times >= 1 ? `${times.toFixed(2)}x as fast as` : `${(1 / times).toFixed(2)}x slower than`;
    const noise = Math.abs(apart) < margin ? ", which may be noise" : "";
    const worse = a.images === b.images ? `its distance is ${Math.abs(apart).toPrecision(3)} ${apart > 0 ? "higher" : "lower"}${noise}`
      : "their distances are of unlike numbers of images and do not compare";
    return `Trial ${first} is ${faster} trial ${second}; ${worse}.`;
  }
  // The trials whose distances compare, best first: each distance is a place of the slider.
  function byQuality() {
    const trials = all("#all-trials .trial").map(({ dataset }) => dataset), counts = new Map();
    trials.forEach(({ images }) => counts.set(images, (counts.get(images) ?? 0) + 1));
    const [most] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [];
    return trials.filter(({ images }) => images === most).sort((a, b) => a.quality - b.quality);
  }
  // The fastest trial within a quality budget, and its images.
  function within() {
    const box = one("#budgets-of-quality"), slider = one("#budget"), known = byQuality();
    box.hidden = known.length < 2;
    if (box.hidden) return;
    slider.max = known.length - 1;
    const limit = known[slider.value], there = known.slice(0, Number(slider.value) + 1);
    const fastest = there.reduce((best, next) => (Number(next.latency) < Number(best.latency) ? next : best));
    one("output", box).textContent = Number(limit.quality).toPrecision(3);
    slider.setAttribute("aria-valuetext", Number(limit.quality).toPrecision(3));
    one("p", box).textContent = `Trial ${fastest.trial} is the fastest: ${Number(fastest.latency).toPrecision(3)} ms per image` +
      (fastest === known[0] ? ". Its distance is the best of all." : `. Trial ${known[0].trial} has the best distance of all, at ${Number(known[0].latency).toPrecision(3)} ms.`);
    one(".within", box).replaceChildren(...sideBySide(fastest.trial));
  }
  function toggle(number) {
    if (!strip(number)) return;
    const isPinned = pins.includes(number);
    pins = isPinned ? pins.filter((other) => other !== number) : [...pins.slice(-1), number];
    drawPins();
    one("#told").textContent = `Trial ${number} ${isPinned ? "unpinned" : "pinned below the chart"}.`;
    if (!isPinned) one("#pins").scrollIntoView({ block: "nearest" });
  }
  function nearest(event, chart) {
    const away = (mark) => {
      const at = mark.getBoundingClientRect();
      return Math.hypot(event.clientX - at.left - at.width / 2, event.clientY - at.top - at.height / 2);
    };
    const marks = all(".mark", chart).map((mark) => [away(mark), mark]);
    const [distance, mark] = marks.reduce((best, next) => (next[0] < best[0] ? next : best), [Infinity]);
    return distance < 20 ? mark : undefined;
  }
  // One mark of a chart is in the order of the Tab key; arrows go to the next slower and faster one.
  function inOrder(chart) {
    const left = (mark) => mark.getBoundingClientRect().left;
    return all(".mark[role]", chart).sort((a, b) => left(a) - left(b));
  }
  function start() {
    all(".chart svg").forEach((chart) => inOrder(chart)[0]?.setAttribute("tabindex", "0"));
    all(".code").forEach((box) => box.append(made("button", "copy", { "data-copy": "", type: "button" })));
    drawPins();
    const slider = one("#budget");
    slider.max = Math.max(0, byQuality().length - 1);
    slider.value = Math.round(slider.max / 2);
    within();
  }

  document.addEventListener("input", ({ target }) => { if (target.id === "budget") within(); });
  document.addEventListener("pointermove", (event) => {
    const chart = event.target.closest?.(".chart svg");
    if (event.pointerType === "touch") return;
    const mark = chart && nearest(event, chart);
    if (mark) preview(mark.dataset.trial, mark);
    else preview(undefined), light(event.target.closest?.("[data-trial]")?.dataset.trial);
    if (chart) chart.style.cursor = mark ? "pointer" : "";
  });
  document.addEventListener("focusin", ({ target }) => {
    const mark = target.closest(".mark");
    preview(mark?.dataset.trial, mark);
    if (!mark) light(target.closest("[data-trial]")?.dataset.trial);
  });
  document.addEventListener("click", (event) => {
    const { target } = event, chart = target.closest(".chart svg"), mark = chart && nearest(event, chart);
    if (mark) preview(undefined), toggle(mark.dataset.trial);
    else if (target.matches("[data-pin]")) toggle(target.dataset.pin);
    else if (target.matches("[data-copy]")) {
      navigator.clipboard.writeText(one("pre", target.parentElement).textContent).then(() => {
        target.textContent = "copied";
        setTimeout(() => { target.textContent = "copy"; }, 1500);
      });
    }
  });
  document.addEventListener("keydown", (event) => {
    const mark = event.target.closest?.(".mark");
    if (event.key === "Escape") preview(undefined);
    if (!mark) return;
    const order = inOrder(mark.closest("svg")), at = order.indexOf(mark);
    const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: order.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") toggle(mark.dataset.trial);
    else if (next === undefined) return;
    else if (order[next]) {
      mark.setAttribute("tabindex", "-1");
      order[next].setAttribute("tabindex", "0");
      order[next].focus();
    }
    event.preventDefault();
  });
  addEventListener("scroll", () => { one("#preview").hidden = true; }, { passive: true });
  start();

  // A page that is served asks whether there is another version; pins, and what is unfolded, stay.
  async function refresh() {
    const { body } = document, answer = await fetch(location.pathname, { cache: "no-store", headers: { "If-None-Match": `"${body.dataset.of}"` } });
    if (answer.status !== 200) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = all("details[open]").map((element) => element.id), limit = one("#budget").value;
    for (const name of ["header", "main", "footer"]) one(name).replaceWith(one(name, fresh));
    document.title = fresh.title;
    body.dataset.of = fresh.body.dataset.of;
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    start();
    one("#budget").value = limit;
    within();
  }
  const every = Number(document.body.dataset.every);
  if (every) setInterval(() => refresh().catch(() => {}), 1000 * every); // a server that has gone leaves the page as it is
})();
