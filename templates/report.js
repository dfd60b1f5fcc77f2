"use strict";
// The page is whole without this script; it adds selection, sorting, filtering, the live roofline, copying and saving.
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const button = (text, action) => {
    const element = make("button", text, "button");
    element.type = "button";
    element.addEventListener("click", () => action(element));
    return element;
  };
  const said = (element, text) => {
    const before = element.textContent;
    element.textContent = text;
    setTimeout(() => { element.textContent = before; }, 1200);
  };
  const save = (name, type, text) => {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const copyText = async (element, text) => {
    try {
      await navigator.clipboard.writeText(text);
      said(element, "Copied");
    } catch {
      const area = make("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      said(element, document.execCommand("copy") ? "Copied" : "Select and copy by hand");
      area.remove();
    }
  };
  // A number's exact value stands in its title; a name sorts by its text. What is missing goes last.
  const exact = (cell, numeric) => (numeric ? parseFloat(cell.title) : cell.textContent.trim().toLowerCase());
  const compare = (a, b, sign) => {
    if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : 1;
    if (Number.isNaN(b)) return -1;
    return a < b ? -sign : a > b ? sign : 0;
  };
  const sortBy = (table, head, place) => {
    const numeric = head.classList.contains("n");
    const now = head.getAttribute("aria-sort");
    const order = now ? (now === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
    all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [exact(row.cells[place], numeric), row]);
    rows.sort((a, b) => compare(a[0], b[0], sign));
    body.append(...rows.map((pair) => pair[1]));
  };
  // A row is hidden by the filter of its table, or cut off by the slider of the roofline.
  const visible = (row) => !row.hidden && !row.classList.contains("cut");
  const shownRows = (table) => Array.from(table.tBodies[0].rows).filter(visible);
  const shownCells = (row) => Array.from(row.cells).filter((cell) => !cell.hidden);
  const filter = (table, words, count) => {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = Array.from(table.tBodies[0].rows);
    rows.forEach((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
    });
    const shown = rows.filter(visible).length;
    count.textContent = wanted.length ? `${shown} of ${rows.length} rows` : "";
  };
  const plainText = (cell) => (cell.querySelector("a, .sort") || cell).textContent.trim();
  const csv = (table) => {
    const quoted = (text) => `"${text.replace(/"/g, '""')}"`;
    const heads = shownCells(table.tHead.rows[0]);
    const lines = [heads.map((head) => quoted(head.dataset.key || head.textContent)).join(",")];
    shownRows(table).forEach((row) => {
      lines.push(shownCells(row).map((cell, place) => {
        const value = exact(cell, heads[place].classList.contains("n"));
        if (typeof value === "number") return Number.isNaN(value) ? "" : String(value);
        // A spreadsheet must not take a kernel's name for a formula.
        const text = plainText(cell);
        return quoted(/^[=+\-@]/.test(text) ? `'${text}` : text);
      }).join(","));
    });
    return lines.join("\n") + "\n";
  };
  const markdown = (table) => {
    const inert = (text) => text.replace(/[\\|`*_[\]<>&]/g, (c) => `&#${c.charCodeAt(0)};`).replace(/:\/\//g, "&#58;//");
    const line = (texts) => `| ${texts.join(" | ")} |`;
    const heads = shownCells(table.tHead.rows[0]);
    const rows = shownRows(table).map((row) => line(shownCells(row).map((cell) => inert(plainText(cell)))));
    const rule = heads.map((head) => (head.classList.contains("n") ? "---:" : "---"));
    return [line(heads.map((head) => inert(plainText(head)))), line(rule), ...rows].join("\n") + "\n";
  };
  const chooser = (table) => {
    const box = make("details", "", "columns");
    box.append(make("summary", "Columns"));
    Array.from(table.tHead.rows[0].cells).forEach((head, place) => {
      if (!place) return;
      const choice = make("label", plainText(head));
      const input = make("input");
      input.type = "checkbox";
      input.checked = true;
      input.addEventListener("change", () => {
        Array.from(table.rows).forEach((row) => { row.cells[place].hidden = !input.checked; });
      });
      choice.prepend(input);
      box.append(choice);
    });
    return box;
  };
  all(".table").forEach((box) => {
    const table = box.querySelector("table");
    all("th", table).forEach((head, place) => {
      const sorter = make("button", head.textContent, "sort");
      sorter.type = "button";
      sorter.addEventListener("click", () => sortBy(table, head, place));
      head.replaceChildren(sorter);
    });
    const tools = make("div", "", "tools");
    if (table.tBodies[0].rows.length > 8) {
      const input = make("input");
      input.type = "search";
      input.placeholder = "Filter rows";
      input.setAttribute("aria-label", `Filter rows of ${table.caption.textContent}`);
      const count = make("span");
      count.setAttribute("role", "status");
      input.addEventListener("input", () => filter(table, input.value, count));
      tools.append(input, count);
    }
    if (table.tHead.rows[0].cells.length > 4) tools.append(chooser(table));
    tools.append(button("Copy Markdown", (element) => copyText(element, markdown(table))));
    tools.append(button("Copy CSV", (element) => copyText(element, csv(table))));
    tools.append(button("Save CSV", () => save(`${box.id}.csv`, "text/csv", csv(table))));
    box.append(tools);
  });

  // Colors come from the page's style sheet: a saved drawing takes the ones it shows now.
  const painted = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size",
    "text-anchor", "paint-order", "stroke-linejoin"];
  const drawing = (svg, size) => {
    const copy = svg.cloneNode(true);
    if (size) { copy.setAttribute("width", size.width); copy.setAttribute("height", size.height); }
    const live = all("path,rect,text,circle", svg);
    all("path,rect,text,circle", copy).forEach((element, place) => {
      const style = getComputedStyle(live[place]);
      painted.forEach((name) => element.setAttribute(name, style.getPropertyValue(name)));
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    return new XMLSerializer().serializeToString(copy);
  };
  const savePng = (element, figure) => {
    const svg = figure.querySelector(".drawing svg");
    const box = svg.viewBox.baseVal;
    const image = new Image();
    const address = URL.createObjectURL(new Blob([drawing(svg, box)], { type: "image/svg+xml" }));
    image.addEventListener("error", () => { said(element, "This browser cannot draw it"); });
    image.addEventListener("load", () => {
      const canvas = make("canvas");
      canvas.width = box.width * 2;
      canvas.height = box.height * 2;
      const brush = canvas.getContext("2d");
      brush.fillStyle = getComputedStyle(document.body).backgroundColor;
      brush.fillRect(0, 0, canvas.width, canvas.height);
      brush.drawImage(image, 0, 0, canvas.width, canvas.height);
      URL.revokeObjectURL(address);
      canvas.toBlob((blob) => save(`${figure.id}.png`, "image/png", blob));
    });
    image.src = address;
  };
  all("figure").forEach((figure) => {
    const caption = figure.querySelector("figcaption") || figure.appendChild(make("figcaption"));
    caption.append(" ", button("Save SVG", () => save(`${figure.id}.svg`, "image/svg+xml", drawing(figure.querySelector(".drawing svg")))));
    caption.append(" ", button("Save PNG", (element) => savePng(element, figure)));
  });

  all("code").forEach((code) => {
    code.after(" ", button("Copy", (element) => copyText(element, code.textContent)));
  });

  // Selection. A key is "k12", a profiled kernel, "o3", an operator, or "n5", a full name; tables, points, cards and the
  // address share it.
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const place = Object.fromEntries(data.kernels.columns.map((name, at) => [name, at]));
  const pointPlace = Object.fromEntries(data.kernels.point.map((name, at) => [name, at]));
  const counterPlace = Object.fromEntries(data.kernels.counters.map((name, at) => [name, at]));
  const kernels = data.kernels.rows.map((row, at) => ({
    key: `k${row[place.index] + 1}`,
    names: data.anchors.kernels[at].map((anchor) => `n${anchor}`),
    name: row[place.friendly_name],
    family: row[place.family],
    bound: row[place.verdict][data.kernels.verdict.indexOf("bound")],
    share: row[place.time_share] || 0,
    duration: row[place.duration_ns],
    counter: (name) => (name in counterPlace ? row[place.counters][counterPlace[name]] : null),
    rate: null,
    points: [row[place.point], ...row[place.other_levels]].filter(Boolean),
  }));
  // Without counters the operators stand in: their work follows from shapes.
  const workPlace = Object.fromEntries(((data.work || {}).columns || []).map((name, at) => [name, at]));
  const operators = kernels.length || !data.work ? [] : data.work.rows.map((row, at) => ({
    key: `o${at + 1}`,
    anchored: row[workPlace.anchor] !== null,
    names: [],
    name: row[workPlace.shown],
    family: row[workPlace.family],
    bound: row[workPlace.bound],
    share: row[workPlace.time_share] || 0,
    duration: row[workPlace.total_ns],
    counter: () => null,
    rate: row[workPlace.bytes_per_s],
    points: [row[workPlace.point]].filter(Boolean),
  }));
  const drawnOnes = kernels.length ? kernels : operators;
  const noun = kernels.length ? "kernels" : "operators";
  const ofTime = kernels.length ? "of the profiled time" : "of the operators' time";
  const byKey = new Map(drawnOnes.map((kernel) => [kernel.key, kernel]));
  const keyOf = (address) => (address || "").replace(/^#(kernel|name|operator)-/, (_, kind) => kind[0]);
  const isKey = (key) => /^[kno]\d+$/.test(key);
  const kindOf = { k: "kernel", n: "name", o: "operator" };
  const elements = new Map();
  const keep = (key, element) => {
    if (!isKey(key)) return;
    if (!elements.has(key)) elements.set(key, []);
    elements.get(key).push(element);
    element.dataset.sel = key;
  };
  all("tbody a[href]").forEach((link) => keep(keyOf(link.getAttribute("href")), link.closest("tr")));
  all("figure svg a[href]").forEach((link) => keep(keyOf(link.getAttribute("href")), link));
  all("figure > :is(h2, h3, h4) > a[href]").forEach((link) => keep(keyOf(link.getAttribute("href")), link.closest("figure")));
  all("article.card, .names li, tr[id^=operator-]").forEach((element) => keep(keyOf(`#${element.id}`), element));

  // A kernel stands for its names; a name stands for all kernels of that name.
  const withRelated = (keys) => {
    const found = new Set(keys);
    keys.forEach((key) => {
      const kernel = byKey.get(key);
      if (kernel) kernel.names.forEach((name) => found.add(name));
      kernels.filter((other) => other.names.includes(key)).forEach((other) => {
        found.add(other.key);
        other.names.forEach((name) => found.add(name));
      });
    });
    return found;
  };
  const bins = all("figure[id^=histogram-]").map((figure) => {
    const histogram = data.histograms.find((one) => figure.id === `histogram-${one.metric.replace(/_/g, "-")}`);
    const filled = histogram.counts.map((count, at) => [count, at]).filter((pair) => pair[0]).map((pair) => pair[1]);
    const binOf = (kernel) => {
      const value = histogram.metric === "duration_ns" ? kernel.duration : kernel.counter(histogram.metric);
      if (typeof value !== "number") return -1;
      let at = 0;
      while (at < histogram.counts.length - 1 && value >= histogram.edges[at + 1]) at += 1;
      return at;
    };
    return { bars: all("rect.accent", figure), filled, binOf };
  });
  const barOf = (bar) => bins.find((one) => one.bars.includes(bar));
  const membersOf = (bar) => {
    const one = barOf(bar);
    const bin = one.filled[one.bars.indexOf(bar)];
    return kernels.filter((kernel) => one.binOf(kernel) === bin).map((kernel) => kernel.key);
  };

  let selected = [];
  const bar = make("div", "", "selection");
  const words = make("span");
  words.setAttribute("role", "status");
  const toCard = make("a", "Card");
  toCard.href = "#overview";
  bar.append(words, toCard, button("Clear", () => choose([])));
  bar.hidden = true;
  document.body.append(bar);
  const percent = (share) => `${(share * 100).toPrecision(3)} %`;
  const nameOf = (key) => {
    const kernel = byKey.get(key);
    if (kernel) return kernel.name;
    const entry = document.querySelector(`#name-${key.slice(1)} b`);
    return entry ? entry.textContent : key;
  };
  const describe = () => {
    const chosen = drawnOnes.filter((kernel) => withRelated(selected).has(kernel.key));
    const share = chosen.reduce((sum, kernel) => sum + kernel.share, 0);
    const what = selected.length === 1 ? nameOf(selected[0]) : `${selected.length} ${noun}`;
    words.textContent = `Selected: ${what}${chosen.length ? `, ${percent(share)} ${ofTime}` : ""}`;
    toCard.hidden = selected.length !== 1;
    toCard.textContent = selected.length === 1 ? { k: "Card", n: "Full name", o: "Row" }[selected[0][0]] : "";
    if (selected.length === 1) toCard.href = addressOf(selected);
  };
  const addressOf = (keys) => {
    if (!keys.length) return "#";
    const kind = kindOf[keys[0][0]];
    return `#${kind}${keys.length === 1 ? "" : "s"}-${keys.map((key) => key.slice(1)).join("-")}`;
  };
  const fromAddress = () => {
    const many = /^#(kernel|operator)s((?:-\d+)+)$/.exec(location.hash);
    const keys = many ? many[2].slice(1).split("-").map((number) => many[1][0] + number) : [keyOf(location.hash)];
    return keys.filter((key) => elements.has(key) || byKey.has(key));
  };
  const mark = () => {
    const related = withRelated(selected);
    all(".sel").forEach((element) => element.classList.remove("sel"));
    related.forEach((key) => (elements.get(key) || []).forEach((element) => element.classList.add("sel")));
    const chosen = kernels.filter((kernel) => related.has(kernel.key));
    bins.forEach((one) => chosen.forEach((kernel) => {
      const at = one.filled.indexOf(one.binOf(kernel));
      if (at >= 0) one.bars[at].classList.add("sel");
    }));
    document.body.classList.toggle("selecting", selected.length > 0);
    bar.hidden = !selected.length;
    if (selected.length) describe();
  };
  const choose = (keys) => {
    selected = keys;
    const address = addressOf(keys);
    if (address !== (location.hash || "#")) history.pushState(null, "", address);
    mark();
  };
  const toggle = (key, more) => {
    const has = selected.includes(key);
    if (more && key[0] !== "n") choose(has ? selected.filter((one) => one !== key) : [...selected.filter((one) => one[0] === key[0]), key]);
    else choose(has && selected.length === 1 ? [] : [key]);
  };
  const follow = () => { selected = fromAddress(); mark(); };
  addEventListener("popstate", follow);
  addEventListener("hashchange", follow);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && selected.length) choose([]); });
  document.addEventListener("click", (event) => {
    const more = event.ctrlKey || event.metaKey || event.shiftKey;
    const point = event.target.closest("svg a[data-sel]");
    if (point) {
      event.preventDefault();
      toggle(point.dataset.sel, more);
      return;
    }
    if (event.target.closest("a, button, input, select, summary, label, code")) return;
    const one = event.target.closest("figure[id^=histogram-] rect.accent");
    if (one) { choose(membersOf(one)); return; }
    const holder = event.target.closest("tbody tr[data-sel]") || (event.target.closest("article.card > :is(h2, h3, h4), .names b") || document.body).closest("[data-sel]");
    if (holder && !String(getSelection())) toggle(holder.dataset.sel, more);
  });

  // What takes less of the time than the slider says is cut off: points, cards, single rooflines, rows.
  let least = 0;
  const cut = (status) => {
    const gone = new Set(drawnOnes.filter((kernel) => kernel.share < least).map((kernel) => kernel.key));
    elements.forEach((parts, key) => {
      if (key[0] !== "n") parts.forEach((element) => element.classList.toggle("cut", gone.has(key)));
    });
    const left = drawnOnes.filter((kernel) => !gone.has(kernel.key));
    const share = left.reduce((sum, kernel) => sum + kernel.share, 0);
    status.textContent = `${left.length} of ${drawnOnes.length} ${drawnOnes.length === 1 ? noun.slice(0, -1) : noun}, ${percent(Math.min(1, share))} ${ofTime}`;
  };

  // The roofline drawn anew from the data, so that view, level, precision and color can be switched.
  const shapeNs = "http://www.w3.org/2000/svg";
  const shape = (name, attributes, text) => {
    const element = document.createElementNS(shapeNs, name);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const prefixes = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const digits = (value) => (value === 0 ? "0" : value >= 1000 ? Math.round(value).toString() : Number(value.toPrecision(3)).toString());
  const pretty = (value, unit) => {
    const [factor, prefix] = prefixes.find(([size]) => value >= size * 0.9995) || [1, ""];
    return `${digits(value / factor)} ${prefix}${unit}`.trim();
  };
  const outline = (bound, x, y, r) => {
    if (bound === "memory") return `M${x - 0.89 * r} ${y - 0.89 * r}h${1.77 * r}v${1.77 * r}h${-1.77 * r}z`;
    if (bound === "latency") return `M${x} ${y - 1.5 * r}l${1.35 * r} ${2.33 * r}h${-2.7 * r}z`;
    if (bound === "balanced") return `M${x} ${y - 1.25 * r}l${1.25 * r} ${1.25 * r}l${-1.25 * r} ${1.25 * r}l${-1.25 * r} ${-1.25 * r}z`;
    return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
  };
  const get = (point, name) => point[pointPlace[name]];
  const distinct = (values) => [...new Set(values)];
  const explorer = () => {
    const section = document.getElementById("roofline");
    const usable = (point) => ["flop_per_byte", "flop_per_s", "ridge_flop_per_byte", "peak_flop_per_s"].every((name) => get(point, name) > 0 && Number.isFinite(get(point, name)));
    const placed = drawnOnes.flatMap((kernel) => kernel.points.filter(usable).map((point) => ({ kernel, point })));
    if (!section || !placed.length) return;
    const figure = make("figure");
    figure.id = "roofline-explorer";
    figure.append(make("h3", "Roofline: choose what it shows"));
    const tools = make("div", "", "tools");
    const menu = (label, options) => {
      const holder = make("label", `${label} `);
      const select = make("select");
      options.forEach(([value, text]) => { const option = make("option", text); option.value = value; select.append(option); });
      select.addEventListener("change", () => draw());
      holder.append(select);
      if (options.length > 1) tools.append(holder);
      select.name = label.toLowerCase();
      return select;
    };
    const view = menu("View", [["physical", "physical"], ["normalized", "normalized"]]);
    const level = menu("Level", distinct(placed.map((one) => get(one.point, "level"))).map((name) => [name, name]));
    const precision = menu("Precision", [["", "all"], ...distinct(placed.map((one) => get(one.point, "precision"))).map((name) => [name, name])]);
    const color = menu("Color", [["bound", "verdict"], ["family", "family"]]);
    const slider = make("input");
    slider.type = "range";
    slider.min = 0;
    slider.max = 100;
    slider.value = 0;
    const reach = make("label", "Down to ");
    reach.append(slider, make("output", "all"));
    const status = make("span");
    status.setAttribute("role", "status");
    tools.append(reach, status);
    slider.addEventListener("input", () => {
      least = Number(slider.value) ? 10 ** (-4 + (4 * Number(slider.value)) / 100) : 0;
      reach.querySelector("output").textContent = least ? `${percent(least)} of the time` : "all";
      cut(status);
    });
    const drawingBox = make("div", "", "drawing");
    drawingBox.tabIndex = 0;
    drawingBox.setAttribute("role", "group");
    drawingBox.setAttribute("aria-label", "Roofline. Arrow keys go from kernel to kernel, Enter selects; the table below has the same numbers.");
    const key = make("p", "", "caption");
    const entry = (mark, bound, words) => {
      const icon = shape("svg", { class: "icon", viewBox: "0 0 11 11", "aria-hidden": "true" });
      icon.append(shape("path", { class: `${mark} point`, d: bound ? outline(bound, 5.5, 5.5, 4.5) : "M0 0h11v11h-11z" }));
      const holder = make("span", "", "entry");
      holder.append(icon, words);
      return holder;
    };
    const tip = make("div", "", "tip");
    tip.hidden = true;
    figure.append(tools, drawingBox, key, tip);
    section.querySelector("h2").after(figure);
    document.body.classList.add("live");
    const linkTo = (kernel) => {
      const link = shape("a", { href: addressOf([kernel.key]), tabindex: "-1", "aria-label": kernel.name });
      link.dataset.sel = kernel.key;
      return link;
    };
    // The largest points bear their names where these lie on no point, no line's name and no other name.
    const brush = make("canvas").getContext("2d");
    const boxOf = (words, x, y, anchor) => {
      const width = brush.measureText(words).width;
      const start = x - width * { s: 0, m: 0.5, e: 1 }[anchor];
      return [start, y - 11, start + width, y + 3];
    };
    const nameLargest = (spots, taken, [left, right, bottom, top]) => {
      const blocked = (box) => box[0] < left || box[2] > right + 16 || box[1] < top - 14 || box[3] > bottom
        || taken.some((other) => box[2] >= other[0] && other[2] >= box[0] && box[3] >= other[1] && other[3] >= box[1]);
      taken.push(...spots.slice(0, 40).map(({ x, y, size }) => [x - size, y - size, x + size, y + size]));
      spots.slice(0, 5).forEach(({ name, link, x, y, size }) => {
        const words = name.length > 40 ? `${name.slice(0, 39)}…` : name;
        const places = [[x + size + 5, y + 4, "s"], [x - size - 5, y + 4, "e"], [x, y - size - 7, "m"], [x, y + size + 14, "m"]];
        const free = places.find((spot) => !blocked(boxOf(words, ...spot)));
        if (!free) return;
        taken.push(boxOf(words, ...free));
        link.append(shape("text", { x: free[0], y: free[1], class: free[2] }, words));
      });
    };
    let order = [];
    let at = -1;
    const tell = (one, x, y) => {
      const { kernel, point } = one;
      const rows = [kernel.name, `${kernel.bound.toLowerCase()}, ${kernel.family}, ${get(point, "precision")}, ${get(point, "level")}`,
        `${pretty(get(point, "flop_per_byte"), "FLOP/B")}, ridge ${pretty(get(point, "ridge_flop_per_byte"), "FLOP/B")}`,
        `${pretty(get(point, "flop_per_s"), "FLOP/s")} of ${pretty(get(point, "roof_flop_per_s"), "FLOP/s")}: ${percent(get(point, "efficiency"))} of its roof`,
        `${pretty(get(point, "flop"), "FLOP")}, ${pretty(get(point, "moved_bytes"), "B")}, ${digits(get(point, "duration_ns") / 1000)} µs`,
        `${percent(kernel.share)} ${ofTime}`, ...(get(point, "tier") === "analytic" ? ["tier analytic: work from shapes, experimental"] : []), ...get(point, "flags")];
      tip.replaceChildren(...rows.map((text, row) => make(row ? "span" : "b", text)));
      tip.hidden = false;
      const box = figure.getBoundingClientRect();
      tip.style.left = `${Math.min(Math.max(0, x - box.left + 14), Math.max(0, box.width - 300))}px`;
      tip.style.top = `${y - box.top + 14}px`;
    };
    const draw = () => {
      const normal = view.value === "normalized";
      const chosen = placed.filter((one) => get(one.point, "level") === level.value && (!precision.value || get(one.point, "precision") === precision.value));
      const x = (point) => get(point, "flop_per_byte") / (normal ? get(point, "ridge_flop_per_byte") : 1);
      const y = (point) => get(point, "flop_per_s") / (normal ? get(point, "peak_flop_per_s") : 1);
      const [left, right, bottom, top] = [96, 880, 430, 16];
      const svg = shape("svg", { width: 900, class: "plot", role: "group", "aria-label": "Roofline of the profiled kernels" });
      const span = (values, margin) => {
        const logs = values.map(Math.log10);
        const [low, high] = [Math.min(...logs) - margin, Math.max(...logs) + margin];
        return high - low >= 2 ? [low, high] : [(low + high) / 2 - 1, (low + high) / 2 + 1];
      };
      if (!chosen.length) {
        drawingBox.replaceChildren(make("p", "No kernel has this precision at this level.", "caption"));
        return;
      }
      const ridges = normal ? [1, 3] : chosen.map((one) => get(one.point, "ridge_flop_per_byte"));
      const peaks = normal ? [1] : chosen.map((one) => get(one.point, "peak_flop_per_s"));
      const [x0, x1] = span([...chosen.map((one) => x(one.point)), ...ridges], 0.25);
      const [y0, y1] = span([...chosen.map((one) => y(one.point)), ...peaks], 0.25);
      const px = (value) => left + ((Math.log10(value) - x0) / (x1 - x0)) * (right - left);
      const py = (value) => bottom - ((Math.log10(value) - y0) / (y1 - y0)) * (bottom - top);
      brush.font = `12px ${getComputedStyle(document.body).fontFamily}`;
      const taken = [];
      const label = (words, lx, ly, classes) => {
        taken.push(boxOf(words, lx, ly, classes.slice(-1)));
        svg.append(shape("text", { x: lx, y: ly, class: classes }, words));
      };
      for (let power = Math.ceil(x0); power <= x1; power += 1) {
        svg.append(shape("path", { class: "lines", d: `M${px(10 ** power)} ${bottom}V${top}` }));
        label(pretty(10 ** power, ""), px(10 ** power), bottom + 16, "q m");
      }
      for (let power = Math.ceil(y0); power <= y1; power += 1) {
        svg.append(shape("path", { class: "lines", d: `M${left} ${py(10 ** power)}H${right}` }));
        label(normal ? `${digits(10 ** power * 100)} %` : pretty(10 ** power, "FLOP/s"), left - 6, py(10 ** power) + 4, "q e");
      }
      label(normal ? "intensity ÷ ridge point" : `arithmetic intensity, FLOP per byte of ${level.value} traffic`, right, bottom + 34, "q e");
      const roof = (bandwidth, peak) => {
        const start = Math.max(10 ** x0, 10 ** y0 / bandwidth);
        const corner = peak / bandwidth;
        svg.append(shape("path", { class: "roof", d: `M${px(start)} ${py(start * bandwidth)}L${px(corner)} ${py(peak)}H${right}` }));
      };
      if (normal) roof(1, 1);
      else {
        const bandwidth = Math.max(...chosen.map((one) => get(one.point, "peak_bytes_per_s")));
        const named = new Map();
        chosen.forEach((one) => {
          const name = get(one.point, "precision");
          if (!name.startsWith("mixed") || !named.size) named.set(name, Math.max(named.get(name) || 0, get(one.point, "peak_flop_per_s")));
        });
        [...named].sort((a, b) => b[1] - a[1]).slice(0, 5).forEach(([name, peak]) => {
          roof(bandwidth, peak);
          label(`${name} ${pretty(peak, "FLOP/s")}`, right - 4, py(peak) - 6, "e");
        });
        const start = Math.max(10 ** x0, 10 ** y0 / bandwidth);
        const end = Math.max(...named.values()) / bandwidth;
        const [ax, ay, bx, by] = [px(start), py(start * bandwidth), px(end), py(end * bandwidth)];
        const [mx, my] = [ax + (bx - ax) * 0.42, ay + (by - ay) * 0.42 - 8];
        const turn = (Math.atan2(by - ay, bx - ax) * 180) / Math.PI;
        const words = `${level.value} ${pretty(bandwidth, "B/s")}`;
        svg.append(shape("text", { x: mx, y: my, class: "m", transform: `rotate(${turn} ${mx} ${my})` }, words));
        const reach = brush.measureText(words).width / 2 / Math.hypot(bx - ax, by - ay);
        for (let part = -reach; part <= reach; part += reach / 8) taken.push([mx + (bx - ax) * part - 12, my + (by - ay) * part - 14, mx + (bx - ax) * part + 4, my + (by - ay) * part + 4]);
      }
      const families = distinct(drawnOnes.map((kernel) => kernel.family));
      const families9 = (family) => `f${Math.min(8, families.indexOf(family))}`;
      order = [...chosen].sort((a, b) => b.kernel.share - a.kernel.share);
      at = -1;
      order.forEach((one) => {
        const { kernel, point } = one;
        const bound = kernel.bound.toLowerCase();
        const r = Math.min(20, Math.max(3.5, 24 * Math.sqrt(kernel.share)));
        const link = linkTo(kernel);
        const flagged = get(point, "flags").length ? " flagged" : "";
        link.append(shape("path", { class: `${color.value === "family" ? families9(kernel.family) : bound} point${flagged}`, d: outline(bound, px(x(point)), py(y(point)), r) }));
        link.addEventListener("pointermove", (event) => tell(one, event.clientX, event.clientY));
        link.addEventListener("pointerleave", () => { tip.hidden = true; });
        link.classList.toggle("cut", kernel.share < least);
        one.link = link;
        one.size = r * ({ latency: 1.35, balanced: 1.25 }[bound] || 1);
        svg.append(link);
      });
      nameLargest(order.map((one) => ({ name: one.kernel.name, link: one.link, x: px(x(one.point)), y: py(y(one.point)), size: one.size })), taken, [left, right, bottom, top]);
      const absent = drawnOnes.filter((kernel) => !chosen.some((one) => one.kernel === kernel));
      svg.setAttribute("viewBox", `0 0 900 ${absent.length ? 520 : 470}`);
      if (absent.length) strip(svg, absent, [left, right, Math.max(...chosen.map((one) => get(one.point, "peak_bytes_per_s")))]);
      old.forEach(([name, element]) => elements.set(name, (elements.get(name) || []).filter((other) => other !== element)));
      old = all("a[data-sel]", svg).map((link) => [link.dataset.sel, link]);
      old.forEach(([name, link]) => keep(name, link));
      drawingBox.replaceChildren(svg);
      const keyed = color.value === "family" ? (one) => [families9(one.kernel.family), "", one.kernel.family]
        : (one) => [one.kernel.bound.toLowerCase(), one.kernel.bound.toLowerCase(), one.kernel.bound.toLowerCase()];
      const suspect = order.some((one) => one.kernel.bound !== "UNKNOWN" && get(one.point, "flags").length);
      key.replaceChildren(...new Map(order.map((one) => [keyed(one)[2], entry(...keyed(one))])).values());
      key.append(`Point area: share ${ofTime}. ${suspect ? "Hollow: suspect. " : ""}${operators.length ? "Work from shapes (tier analytic, experimental). " : ""}${operators.length && data.work.hidden_count ? `${data.work.hidden_count} further rows, which take least time, are left out. ` : ""}Roofs: ${distinct(chosen.map((one) => get(one.point, "roof_source"))).slice(0, 3).join("; ")}. `);
      key.append(button("Save SVG", () => save("roofline.svg", "image/svg+xml", drawing(svg))), " ", button("Save PNG", (element) => savePng(element, figure)));
      mark();
    };
    let old = [];
    // What has no place under the roof stands on a strip, from left to right by its DRAM throughput.
    const strip = (svg, absent, [left, right, bandwidth]) => {
      svg.append(shape("path", { class: "axis", d: `M${left} 504H${right}` }));
      svg.append(shape("text", { x: left, y: 484, class: "q" }, `No place here: ${absent.length} of ${drawnOnes.length} ${noun}, by DRAM throughput from 0 to 100 % (not known: far left)`));
      absent.forEach((kernel) => {
        const value = kernel.rate === null ? kernel.counter("dram_throughput_pct") : (kernel.rate / bandwidth) * 100;
        const px = left + (typeof value === "number" ? Math.min(100, Math.max(0, value)) / 100 : -0.02) * (right - left);
        const link = linkTo(kernel);
        const path = shape("path", { class: `${kernel.bound.toLowerCase()} point`, d: outline(kernel.bound.toLowerCase(), px, 504, Math.min(10, Math.max(3.5, 16 * Math.sqrt(kernel.share)))) });
        path.append(shape("title", {}, `${kernel.name}: ${typeof value === "number" ? `DRAM throughput ${digits(value)} %` : "DRAM throughput not known"}, ${percent(kernel.share)} ${ofTime}`));
        link.append(path);
        link.classList.toggle("cut", kernel.share < least);
        svg.append(link);
      });
    };
    drawingBox.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step && order.length) {
        event.preventDefault();
        at = (at + step + order.length) % order.length;
        const box = order[at].link.getBoundingClientRect();
        tell(order[at], box.right, box.bottom);
      } else if (event.key === "Enter" && order[at]) toggle(order[at].kernel.key, event.shiftKey);
    });
    drawingBox.addEventListener("blur", () => { tip.hidden = true; });
    draw();
    cut(status);
  };
  explorer();
  follow();

  const root = document.documentElement;
  const remembered = () => { try { return localStorage.getItem("nsightkit-theme"); } catch { return null; } };
  const show = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    try { localStorage.setItem("nsightkit-theme", theme); } catch { /* a page from disk may have no storage */ }
  };
  if (remembered()) show(remembered());
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const switcher = button(isDark() ? "Light theme" : "Dark theme", (element) => {
    show(isDark() ? "light" : "dark");
    element.textContent = isDark() ? "Light theme" : "Dark theme";
  });
  switcher.id = "theme";
  document.querySelector("header .when").append(switcher);

  // A link into a fold opens it; paper shows everything.
  addEventListener("beforeprint", () => all("details").forEach((fold) => { fold.open = true; }));
})();
