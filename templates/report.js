"use strict";
// The page is whole without this script; it adds sorting, filtering, themes, copying and saving.
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
  const filter = (table, words, count) => {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = Array.from(table.tBodies[0].rows);
    rows.forEach((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
    });
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = wanted.length ? `${shown} of ${rows.length} rows` : "";
  };
  const csv = (table) => {
    const quoted = (text) => `"${text.replace(/"/g, '""')}"`;
    const heads = all("th", table);
    const lines = [heads.map((head) => quoted(head.dataset.key || head.textContent)).join(",")];
    all("tbody tr", table).filter((row) => !row.hidden).forEach((row) => {
      lines.push(Array.from(row.cells, (cell, place) => {
        const value = exact(cell, heads[place].classList.contains("n"));
        if (typeof value === "number") return Number.isNaN(value) ? "" : String(value);
        // A spreadsheet must not take a kernel's name for a formula.
        const text = (cell.querySelector("a") || cell).textContent.trim();
        return quoted(/^[=+\-@]/.test(text) ? `'${text}` : text);
      }).join(","));
    });
    return lines.join("\n") + "\n";
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
    tools.append(button("Save CSV", () => save(`${box.id}.csv`, "text/csv", csv(table))));
    box.append(tools);
  });

  // Colors come from the page's style sheet: a saved drawing takes the ones it shows now.
  const painted = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size",
    "text-anchor"];
  const drawing = (svg) => {
    const copy = svg.cloneNode(true);
    const live = all("path,rect,text,circle", svg);
    all("path,rect,text,circle", copy).forEach((element, place) => {
      const style = getComputedStyle(live[place]);
      painted.forEach((name) => element.setAttribute(name, style.getPropertyValue(name)));
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    return new XMLSerializer().serializeToString(copy);
  };
  all("figure").forEach((figure) => {
    const svg = figure.querySelector(".drawing svg");
    const caption = figure.querySelector("figcaption") || figure.appendChild(make("figcaption"));
    caption.append(" ", button("Save SVG", () => save(`${figure.id}.svg`, "image/svg+xml", drawing(svg))));
  });

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
  all("code").forEach((code) => {
    code.after(" ", button("Copy", (element) => copyText(element, code.textContent)));
  });

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
