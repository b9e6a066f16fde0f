"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  for (const each of document.querySelectorAll(".script")) each.hidden = false;

  // Numbers of a cell: columns of all cells, or of concepts, or of concepts by layers.
  const [C, L, K] = [data.concepts.length, data.layers.length, data.steps[0].length];
  const pick = (column, [run, concept, layer, place]) => {
    if (column.length === C && L * K * data.runs.length !== 1) return column[concept];
    if (column.length === C * L) return column[concept * L + layer];
    return column[((run * C + concept) * K + place) * L + layer];
  };
  const minus = (text) => text.replace("-", "−");
  const plain = (n) => (n === null || n === undefined ? "–" : minus((n / 1000).toFixed(3)));
  const signed = (n) => (n > 0 ? "+" : "") + plain(n);
  const between = (n, low, high) => (n === null ? "–" : `${signed(n)} (${signed(low)} to ${signed(high)})`);
  const combined = ([, concept, layer, place]) => {
    const index = (concept * K + place) * L + layer;
    const found = data.combined.map((column) => column[index]);
    return found[0] === null ? null : found;
  };
  const value = (name, cell) => pick(data.columns[name], cell);
  const reason = (cell) => { const index = pick(data.refused, cell); return index === null ? null : data.reasons[index]; };
  const title = ([run, concept, layer, place]) => `${data.concepts[concept]}, ${data.layers[layer]}, ${data.steps[run][place]}`;

  const words = (cell) => {
    if (data.combined) {
      const found = combined(cell);
      if (found) return `${title(cell)}: mean gain ${between(found[0], found[3], found[4])}`;
    } else if (value("gain", cell) !== null) {
      return `${title(cell)}: gain ${between(value("gain", cell), value("corrected_low", cell), value("corrected_high", cell))}`;
    }
    return `${title(cell)}: ${reason(cell) || "not measured"}`;
  };

  // One row a number, one column a run.
  const numbers = (cell) => {
    const get = (name) => value(name, cell);
    const untrained = [];
    for (let index = 0; `untrained${index}` in data.columns; index += 1) untrained.push(get(`untrained${index}`));
    const mean = untrained.reduce((sum, each) => sum + each, 0) / untrained.length;
    return [
      ["gain, corrected interval", between(get("gain"), get("corrected_low"), get("corrected_high"))],
      ["gain, pointwise interval", between(get("gain"), get("gain_low"), get("gain_high"))],
      [`score (${data.metrics[cell[1]]})`, plain(get("score"))],
      ["raw input", plain(get("raw_input"))],
      ["untrained networks", `${plain(Math.round(mean))} (${plain(Math.min(...untrained))} to ${plain(Math.max(...untrained))})`],
      ["guessing", plain(get("majority"))],
      ["AUC", plain(get("auc"))],
      ["score on training rows", plain(get("training_score"))],
      ["shuffled labels", plain(get("shuffled_labels"))],
      ["control task, memorised / held out", `${plain(get("control_task_training"))} / ${plain(get("control_task"))}`],
      ["selectivity", plain(get("score") - get("control_task"))],
      ["bits a position", plain(get("bits"))],
      ["bits: raw input / untrained / no features", ["bits_raw_input", "bits_random_init", "bits_marginal"].map((name) => plain(get(name))).join(" / ")],
      [`gain, ${data.harder} held out`, between(get("harder_gain"), get("harder_gain_low"), get("harder_gain_high"))],
      ["gain on self-play positions", between(get("self_play_gain"), get("self_play_gain_low"), get("self_play_gain_high"))],
      ["width of the probe", String(pick(data.width, cell))],
    ];
  };

  const panel = byId("panel");
  let opener = null;
  const hidePanel = () => { panel.hidden = true; if (opener) opener.focus({ preventScroll: true }); opener = null; };
  const showPanel = (cell, from) => {
    opener = from;
    hideTip();
    panel.classList.toggle("wide", data.runs.length > 1);
    panel.replaceChildren();
    const close = make("button", "Close", { type: "button", class: "close" });
    close.addEventListener("click", hidePanel);
    const [, concept, layer, place] = cell;
    const heading = make("h3");
    heading.append(make("a", data.concepts[concept], { href: `#c${data.rows.indexOf(concept)}` }));
    panel.append(close, heading, make("div", `${data.layers[layer]}, ${data.steps[0][place]}`, { class: "soft" }));
    if (data.combined) {
      const found = combined(cell);
      if (found) panel.append(make("p", `Mean gain of ${data.runs.length} runs: ${between(found[0], found[3], found[4])}; pointwise ${signed(found[1])} to ${signed(found[2])}.`));
    }
    const cells = data.runs.map((_, run) => [run, concept, layer, place]);
    const measured = cells.filter((each) => value("gain", each) !== null);
    if (measured.length === 0) {
      panel.append(make("p", reason(cell) || "not measured"));
    } else {
      const table = make("table");
      if (data.runs.length > 1) {
        const head = table.createTHead().insertRow();
        head.append(make("th", ""), ...measured.map(([run]) => make("th", data.runs[run], { scope: "col" })));
      }
      const columns = measured.map(numbers);
      const body = table.createTBody();
      columns[0].forEach(([name], index) => {
        const row = body.insertRow();
        row.append(make("th", name, { scope: "row" }), ...columns.map((column) => make("td", column[index][1])));
      });
      panel.append(table);
    }
    panel.hidden = false;
    panel.scrollTop = 0;
  };

  // Tips: the words of a cell, shown at the pointer. Titles become labels, so that none is shown twice.
  const tip = byId("tip");
  const showTip = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 6))}px`;
    tip.style.top = `${y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18}px`;
  };
  const hideTip = () => { tip.hidden = true; };
  const takeTitle = (element) => {
    const found = element.querySelector(":scope > title");
    const name = element.tagName === "svg" ? "aria-label" : "data-words";
    if (found) { element.setAttribute(name, found.textContent); found.remove(); }
    return element.getAttribute(name);
  };
  document.addEventListener("pointerover", (event) => {
    const svg = event.target.closest && event.target.closest("svg.pic");
    if (!svg) { hideTip(); return; }
    takeTitle(svg);
    const cell = event.target.closest(".cell");
    if (cell && !svg.closest("[data-map]")) showTip(takeTitle(cell), event.clientX, event.clientY);
    else if (!svg.closest("[data-map]")) hideTip();
  });
  document.addEventListener("scroll", hideTip, { passive: true, capture: true });

  // Maps: which cell is at a row and a column, by pointer and by keyboard. `say` gives a cell's words.
  const modelOf = (holder) => {
    const kind = holder.dataset.map;
    if (kind === "matrix") {
      const { rows, columns, values } = JSON.parse(holder.dataset.values);
      const say = (row, column) => `${rows[row]} × ${columns[column]}: ${plain(values[row][column])}`;
      return { rows: rows.length, columns: columns.length, small: true, say, open: () => {} };
    }
    const cellOf = {
      layers: (row, column) => [0, data.rows[row], column, K - 1],
      steps: (row, column) => [0, data.rows[row], data.best[row], column],
      concept: (row, column) => [0, data.rows[Number(holder.dataset.concept)], L - 1 - row, column],
    }[kind];
    const say = (row, column) => words(cellOf(row, column));
    const open = (row, column, svg) => showPanel(cellOf(row, column), svg);
    const small = kind === "concept";
    return { rows: small ? L : data.rows.length, columns: kind === "layers" ? L : K, small, say, open };
  };
  const setUp = (holder) => {
    const svg = holder.querySelector("svg");
    const { rows, columns, small, say, open } = modelOf(holder);
    const cells = small ? [] : [...svg.querySelectorAll(".cell")];
    const size = () => [svg.viewBox.baseVal.width / columns, svg.viewBox.baseVal.height / rows];
    const boxOf = (row, column) => {
      if (small) { const [w, h] = size(); return { x: column * w, y: row * h, width: w - 1, height: h - 1 }; }
      return cells[row * columns + column].querySelector("rect").getBBox();
    };
    const placeOf = (event) => {
      if (!small) {
        const found = event.target.closest(".cell");
        if (!found) return null;
        const index = cells.indexOf(found);
        return [Math.floor(index / columns), index % columns];
      }
      const box = svg.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
      const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
      return row >= 0 && row < rows && column >= 0 && column < columns ? [row, column] : null;
    };
    let at = [0, 0];
    const cursor = document.createElementNS(svg.namespaceURI, "rect");
    cursor.setAttribute("class", "cursor");
    const move = (row, column, event) => {
      at = [row, column];
      const box = boxOf(row, column);
      for (const name of ["x", "y", "width", "height"]) cursor.setAttribute(name, box[name]);
      if (cursor.parentNode !== svg) svg.append(cursor);
      const text = say(row, column);
      svg.setAttribute("aria-label", text);
      const place = cursor.getBoundingClientRect();
      if (event) showTip(text, event.clientX, event.clientY);
      else showTip(text, place.left, place.bottom - 10);
    };
    takeTitle(svg);
    for (const each of cells) takeTitle(each);
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("role", "application");
    svg.setAttribute("aria-roledescription", "heat map");
    svg.addEventListener("pointermove", (event) => {
      const place = placeOf(event);
      if (place) move(place[0], place[1], event); else hideTip();
    });
    svg.addEventListener("pointerleave", () => { hideTip(); if (document.activeElement !== svg) cursor.remove(); });
    svg.addEventListener("click", (event) => {
      const place = placeOf(event);
      if (place) { move(place[0], place[1], event); open(...place, svg); }
    });
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) move(...at); });
    svg.addEventListener("blur", () => { cursor.remove(); hideTip(); });
    svg.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (event.key in steps) {
        const [down, right] = steps[event.key];
        move(Math.max(0, Math.min(rows - 1, at[0] + down)), Math.max(0, Math.min(columns - 1, at[1] + right)));
        cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
        event.preventDefault();
      } else if (event.key === "Enter" || event.key === " ") {
        open(...at, svg);
        event.preventDefault();
      }
    });
  };
  for (const holder of document.querySelectorAll("[data-map]:not([data-map=concept])")) if (holder.querySelector("svg")) setUp(holder);
  for (const card of document.querySelectorAll("details.concept")) {
    const ready = () => {
      for (const holder of card.querySelectorAll("[data-map]:not([data-ready])")) { holder.dataset.ready = "yes"; setUp(holder); }
    };
    card.addEventListener("toggle", ready);
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { if (!panel.hidden) hidePanel(); hideTip(); }
  });

  // A link to a concept opens it.
  const openTarget = () => {
    const card = location.hash.startsWith("#c") && byId(location.hash.slice(1));
    if (card && card.tagName === "DETAILS") { card.open = true; card.scrollIntoView(); }
  };
  addEventListener("hashchange", openTarget);
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[href^='#c']");
    if (link && link.hash === location.hash) openTarget();
  });
  openTarget();
  const all = (open) => { for (const card of document.querySelectorAll("details.concept")) card.open = open; };
  byId("open").addEventListener("click", () => all(true));
  byId("close").addEventListener("click", () => all(false));

  // The main table: filter and sort.
  const body = byId("main").tBodies[0];
  const rows = [...body.rows];
  byId("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      count += row.hidden ? 0 : 1;
    }
    byId("shown").textContent = wanted ? `${count} of ${rows.length}` : "";
  });
  for (const header of document.querySelectorAll("#main th[data-sort]")) {
    header.classList.add("sortable");
    header.tabIndex = 0;
    const sort = () => {
      const index = [...header.parentNode.children].indexOf(header);
      const down = header.getAttribute("aria-sort") === "ascending" || (header.dataset.sort === "number" && !header.hasAttribute("aria-sort"));
      for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[index];
        if (!cell) return header.dataset.sort === "number" ? -Infinity : "";
        if (header.dataset.sort === "text") return cell.textContent.toLowerCase();
        const found = parseFloat(cell.dataset.value ?? cell.textContent.replace("−", "-"));
        return Number.isNaN(found) ? -Infinity : found;
      };
      const sorted = rows.map((row) => [key(row), row]).sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
      if (down) sorted.reverse();
      body.append(...sorted.map(([, row]) => row));
    };
    header.addEventListener("click", sort);
    header.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { sort(); event.preventDefault(); } });
  }

  // Light, dark, or as the system has it.
  const button = byId("theme");
  const themes = ["system", "light", "dark"];
  const remember = (theme) => { try { localStorage.setItem("pawnscope-theme", theme); } catch { /* a file may have no storage */ } };
  const recall = () => { try { return localStorage.getItem("pawnscope-theme"); } catch { return null; } };
  const apply = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  let theme = themes.includes(recall()) ? recall() : "system";
  apply(theme);
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % 3];
    apply(theme);
    remember(theme);
  });
})();
