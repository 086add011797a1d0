"use strict";
// The page without scripts has every figure, number and table. This adds: pointing at a figure, the panel of a run,
// sorting, filtering, files. Texts from the study are set as text, never as markup.
(() => {
  const study = JSON.parse(document.getElementById("study").textContent);

  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  };

  const save = (name, text, type) => {
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    URL.revokeObjectURL(link.href);
  };

  // -- pointing -----------------------------------------------------------------------------------------------------

  const tip = make("div", { class: "tip", role: "status", hidden: "" });
  document.body.append(tip);

  const REACH = 16, TOGETHER = 4; // pixels around the pointer, and around a mark whose others are told with it

  const centre = (mark) => {
    const box = mark.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  const within = (marks, [x, y], reach) => marks
    .map((mark) => [Math.hypot(...centre(mark).map((at, axis) => at - [x, y][axis])), mark])
    .filter(([away]) => away <= reach).sort(([a], [b]) => a - b).map(([, mark]) => mark);
  const runs = (marks) => [...new Set(marks.flatMap((mark) => (mark.dataset.runs ?? mark.hash?.slice(1) ?? "").split(" ")))]
    .filter((anchor) => study.runs[anchor]);

  let pointed = null;
  const point = (mark, marks = []) => {
    pointed?.classList.remove("chosen");
    pointed = mark;
    tip.hidden = !mark;
    if (!mark) return;
    mark.classList.add("chosen");
    const more = within(marks, centre(mark), TOGETHER).length - 1;
    tip.textContent = mark.getAttribute("aria-label") + (more > 0 ? ` (and ${more} more here)` : "")
      + (runs([mark]).length ? " – click or Enter: the run" : mark.hash ? " – click or Enter: its row" : "");
    const [middle, height] = centre(mark), wide = tip.offsetWidth;
    const above = height - tip.offsetHeight - 14;
    tip.style.left = `${Math.max(8, Math.min(middle - wide / 2, innerWidth - wide - 8))}px`;
    tip.style.top = `${above > 8 ? above : height + 14}px`;
  };
  addEventListener("scroll", () => pointed && point(pointed), { passive: true, capture: true });

  // One stop of the tab key a figure; the arrows walk to the nearest mark in their direction.
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const neighbor = (marks, from, [right, down]) => {
    const place = (mark) => [parseFloat(mark.style.left), parseFloat(mark.style.top)];
    const [x, y] = place(from);
    let best = null, least = Infinity;
    for (const mark of marks) {
      const [u, v] = place(mark);
      const ahead = right * (u - x) + down * (v - y), aside = right ? Math.abs(v - y) : Math.abs(u - x);
      if (mark !== from && ahead > 0 && ahead + 2 * aside < least) [best, least] = [mark, ahead + 2 * aside];
    }
    return best;
  };

  for (const group of document.querySelectorAll(".marks")) {
    const marks = [...group.querySelectorAll("a, span")];
    if (!marks.length) continue;
    for (const mark of marks) mark.removeAttribute("title"); // the browser's own tip would stand beside ours
    marks[0].tabIndex = 0;
    const plot = group.parentElement, nearest = (event) => within(marks, [event.clientX, event.clientY], REACH)[0] ?? null;
    plot.addEventListener("pointermove", (event) => point(nearest(event), marks));
    plot.addEventListener("pointerleave", () => point(null));
    plot.addEventListener("click", (event) => {
      const mark = event.detail ? nearest(event) : event.target; // no detail: the Enter key on a focused mark
      if (mark?.hash && !runs([mark]).length) { // a placed model: its row, whatever lies beside it
        location.hash = mark.hash;
        return;
      }
      const found = mark && runs(within(marks, centre(mark), TOGETHER));
      if (!found?.length) return;
      event.preventDefault();
      event.stopPropagation();
      point(null);
      show(found[0], found);
    });
    group.addEventListener("focusin", (event) => {
      for (const mark of marks) mark.tabIndex = mark === event.target ? 0 : -1;
      point(event.target, marks);
    });
    group.addEventListener("focusout", () => point(null));
    group.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      neighbor(marks, event.target, step)?.focus();
    });
  }

  // -- the panel of a run -------------------------------------------------------------------------------------------

  const panel = make("dialog", { "aria-label": "Run" });
  document.body.append(panel);
  panel.addEventListener("click", (event) => event.target === panel && panel.close());

  const configuration = (run) => {
    const whole = structuredClone(study.configuration);
    for (const [path, ...values] of run.differs) {
      const names = [...path], last = names.pop();
      const section = names.reduce((found, name) => found[name], whole);
      // Defined, not assigned: a study's key may have any name, as __proto__.
      if (values.length) Object.defineProperty(section, last, { value: values[0], enumerable: true, configurable: true, writable: true });
      else delete section[last];
    }
    return JSON.stringify(whole, null, 2);
  };

  const evaluations = (run) => {
    const cell = (tag, value) => make(tag, {}, value === null ? "–" : String(value));
    const head = make("tr", {}, ...study.columns.map((name) => cell("th", name)));
    const rows = run.evaluations.map((row) => make("tr", {}, ...row.map((value) => cell("td", value))));
    return make("div", { class: "scroll", tabindex: "0", "aria-label": "evaluations" },
      make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  };

  const show = (anchor, all) => {
    const run = study.runs[anchor], at = all.indexOf(anchor);
    const go = (step) => show(all[(at + step + all.length) % all.length], all);
    const steps = all.length < 2 ? [] : [
      make("button", { onclick: () => go(-1) }, "‹ previous"),
      make("span", {}, `${at + 1} of ${all.length} runs`),
      make("button", { onclick: () => go(1) }, "next ›"),
    ];
    const facts = run.facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    const images = run.images
      ? [make("h3", {}, "Samples (above) and the training image nearest to each (below)"),
         make("img", { class: "pixels", src: run.images, alt: run.images_said }), make("p", { class: "note" }, run.images_said)]
      : [make("p", { class: "note" }, "No samples of this run are in the page.")];
    const file = `${anchor.slice("run-".length)}.yaml`, text = run.differs && configuration(run);
    const repeat = text
      ? [make("p", {}, "Repeat it: save its configuration, then ", make("code", {}, `python -m scaling.train --config ${file}`)),
         make("div", { class: "tools" },
           make("button", { onclick: () => save(file, text + "\n", "application/yaml") }, `save ${file}`)),
         make("details", {}, make("summary", {}, "configuration"), make("pre", {}, make("code", {}, text)))]
      : [make("p", { class: "note" }, "Its records hold no configuration, so no command repeats it.")];
    panel.replaceChildren(
      make("div", { class: "head" }, make("h2", {}, `Run ${run.name}`),
        make("span", { class: "tools" }, ...steps, make("button", { onclick: () => panel.close(), autofocus: "" }, "close"))),
      make("dl", {}, ...facts), ...images, make("h3", {}, "Evaluations"), evaluations(run), make("h3", {}, "Origin"), ...repeat);
    if (!panel.open) panel.showModal();
    panel.scrollTop = 0;
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#run-"]');
    if (!link) return;
    const all = runs([link]);
    if (!all.length) return;
    event.preventDefault();
    point(null);
    show(all[0], all);
  });

  // -- tables -------------------------------------------------------------------------------------------------------

  // "1 024/2 048 · 50 %" sorts as 1024: the first number of a cell; texts sort behind all numbers.
  const key = (cell) => {
    const text = cell.textContent.trim(), found = text.match(/^[-−]?[\d.]+(?:[\u202f ]\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?/i);
    return found && !/^[0-9a-f]{12}$/.test(text) ? [0, parseFloat(found[0].replace(/[\u202f ]/g, "").replace("−", "-")), text]
      : [text === "–" ? 2 : 1, 0, text];
  };
  const before = ([a, b, c], [d, e, f]) => a - d || b - e || (c < f ? -1 : c > f ? 1 : 0);
  // In a file numbers have no groups, what is missing is empty, and a text that a spreadsheet would run has an apostrophe.
  const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
  const plain = (cell) => {
    const text = cell.innerText.trim().replace(/(\d)\u202f(?=\d{3})/g, "$1");
    return text === "–" ? "" : /^[=+\-@]/.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  };
  const field = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const csv = (rows) => rows.map((row) => [...row.cells].map((cell) => field(plain(cell))).join(",")).join("\n");

  for (const table of document.querySelectorAll("table.data")) {
    const body = table.tBodies[0], rows = [...body.rows], head = [...table.tHead.rows[0].cells];
    const count = make("span", { role: "status" }, `${rows.length} rows`);
    const small = rows.length < 6; // nothing to look for
    const search = make("input", { type: "search", placeholder: "words that a row must hold", "aria-label": `filter ${table.dataset.name}`,
      oninput: () => {
        const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
        for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
        const left = rows.filter((row) => !row.hidden).length;
        count.textContent = left === rows.length ? `${left} rows` : `${left} of ${rows.length} rows`;
      } });
    const download = make("button", { onclick: () =>
      save(`${table.dataset.name}.csv`, csv([table.tHead.rows[0], ...body.rows].filter((row) => !row.hidden)) + "\n", "text/csv") },
      "csv");
    table.parentElement.before(make("div", { class: "tools" }, ...(small ? [] : [search, count]), download));
    for (const [at, cell] of head.entries()) {
      const sort = make("button", { onclick: () => {
        const up = cell.getAttribute("aria-sort") !== "ascending";
        for (const other of head) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
        const keys = new Map(rows.map((row) => [row, key(row.cells[at])]));
        rows.sort((a, b) => (up ? 1 : -1) * before(keys.get(a), keys.get(b)));
        body.append(...rows);
      } }, ...cell.childNodes);
      cell.replaceChildren(sort);
    }
  }

  // -- figures ------------------------------------------------------------------------------------------------------

  for (const figure of document.querySelectorAll("figure[data-name]")) {
    const name = figure.dataset.name, picture = figure.querySelector("img"), numbers = figure.querySelector("pre.csv");
    const enlarge = () => {
      const close = make("button", { onclick: () => panel.close(), autofocus: "" }, "close");
      panel.replaceChildren(make("div", { class: "head" }, make("h2", {}, name), close),
        make("img", { src: picture.src, alt: picture.alt, style: "width:100%;background:#fff" }),
        figure.querySelector("figcaption").cloneNode(true));
      panel.showModal();
    };
    const image = () => make("a", { href: picture.src, download: name + (picture.src.startsWith("data:image/png") ? ".png" : ".svg") }).click();
    figure.append(make("div", { class: "tools" }, make("button", { onclick: enlarge }, "enlarge"), make("button", { onclick: image }, "picture"),
      ...(numbers ? [make("button", { onclick: () => save(`${name}.csv`, numbers.textContent, "text/csv") }, "csv")] : [])));
  }
  // A live page loads itself again, but not under somebody who reads a panel or types.
  const seconds = Number(document.body.dataset.refresh);
  if (seconds) setInterval(() => panel.open || document.activeElement.matches("input") || location.reload(), 1000 * seconds);

  document.documentElement.dataset.ready = "yes";
})();
