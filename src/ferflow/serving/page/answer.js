// The panel: everything the model says of one face. It is built once a kind of answer and then only updated, so that it can
// follow a camera and keep what the person opened.

import { COLOURS, EXPRESSIONS, UNSURE, faceIcon } from "./faces.js";
import { colourOf, isCertain, percent } from "./stage.js";

const signed = value => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(2);
const title = name => name[0].toUpperCase() + name.slice(1);
const milliseconds = value => (value < 9.95 ? value.toFixed(1) : String(Math.round(value))) + " ms";

// An element with properties and children.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { vars, aria, ...rest } = properties;
  Object.assign(element, rest);
  for (const [name, value] of Object.entries(vars ?? {})) element.style.setProperty(name, value);
  for (const [name, value] of Object.entries(aria ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// The panel, and the table of members in `beside`. does: {explain(index), correct(id, label)}: what its buttons ask for, both promises.
export class Panel {
  constructor(body, empty, beside, does) {
    Object.assign(this, { body, empty, beside, does, shape: "", heat: null, face: null });
  }

  clear() {
    this.body.hidden = true;
    this.empty.hidden = false;
    this.beside.hidden = true;
    this.face = null;
  }

  // Show a face. about: {index, count, threshold, own, times, trail, still, model, members: whether they were asked}.
  show(face, about) {
    this.body.hidden = false;
    this.empty.hidden = true;
    this.beside.hidden = !about.members;
    const shape = JSON.stringify([Object.entries(face.probabilities).map(([task, all]) => [task, Object.keys(all)]), face.valence != null, Object.keys(face.members ?? {}), about.still, about.members]);
    if (shape !== this.shape) this.#build(face, about, shape);
    if (this.face?.id !== face.id || !about.still) this.#forget(about);
    this.face = face;
    this.about = about;
    this.#update(face, about);
  }

  #build(face, about, shape) {
    this.shape = shape;
    this.rows = [];
    const opened = new Set([...this.body.querySelectorAll("details[open]")].map(one => one.dataset.task));
    this.body.replaceChildren(this.#head(), ...this.#expression(face), ...this.#affect(face), ...this.#others(face, opened),
      ...(about.still ? [this.#heatPart(), this.#correctPart()] : []), this.#timesPart());
    this.#members(face);
  }

  #forget(about) {
    if (!about.still) return;
    this.heatOut?.replaceChildren();
    if (this.heatButton) this.heatButton.hidden = false;
    if (this.result) this.result.textContent = "";
  }

  #head() {
    this.icon = faceIcon("neutral");
    [this.name, this.share, this.sub] = [make("span", { className: "name" }), make("span", { className: "share" }), make("span", { className: "sub" })];
    return make("div", { className: "part" }, make("div", { className: "head" }, this.icon, this.name, this.share, this.sub));
  }

  #expression(face) {
    const all = face.probabilities.expression;
    return all ? [make("div", { className: "part" }, make("h3", { textContent: "Expression" }), this.#bars("expression", Object.keys(all)))] : [];
  }

  #bars(task, names) {
    const rows = names.map(name => {
      const row = make("div", { className: "prob", vars: { "--c": task === "expression" ? COLOURS[name] ?? UNSURE : "var(--accent)" } },
        make("span", { className: "label", textContent: name }), make("span", { className: "track" }, make("span", { className: "fill" })), make("span", { className: "figure" }));
      this.rows.push({ task, name, row });
      return row;
    });
    return make("div", { className: "bars" }, ...rows);
  }

  #affect(face) {
    if (face.valence == null || face.arousal == null) return [];
    this.plane = make("canvas", { width: 336, height: 336, aria: { role: "img", "aria-label": "Plane of valence and arousal" } });
    [this.valence, this.arousal] = [make("dd"), make("dd")];
    const words = make("dl", {}, make("div", {}, make("dt", { textContent: "Valence" }), this.valence), make("div", {}, make("dt", { textContent: "Arousal" }), this.arousal));
    return [make("div", { className: "part" }, make("div", { className: "affect" }, this.plane, words))];
  }

  #others(face, opened) {
    const tasks = Object.keys(face.probabilities).filter(task => task !== "expression");
    this.values = {};
    if (!tasks.length) return [];
    const parts = tasks.map(task => {
      this.values[task] = make("span", { className: "value" });
      const part = make("details", { open: opened.has(task) }, make("summary", { textContent: title(task) }, this.values[task]), this.#bars(task, Object.keys(face.probabilities[task])));
      part.dataset.task = task;
      part.firstChild.append(this.values[task]);
      return part;
    });
    return [make("div", { className: "part tasks" }, ...parts)];
  }

  #members(face) {
    const names = Object.keys(face.members ?? {});
    this.cells = [];
    if (!names.length) {
      this.beside.replaceChildren(make("h2", { textContent: "Side by side" }), make("p", { className: "note", textContent: "This model has no members that can be asked by themselves." }));
      return;
    }
    const heads = ["answer", ...names];
    const classes = Object.keys(face.probabilities.expression ?? face.members[names[0]].probabilities.expression ?? {});
    const row = (name, className, kind) => make("tr", { className }, make("th", { scope: "row", textContent: name }), ...heads.map((_, column) => {
      const cell = make("td");
      this.cells.push({ cell, column, kind, name });
      return cell;
    }));
    this.heads = [make("th", { scope: "col", textContent: "answer" }), ...names.map(name => make("th", { scope: "col", textContent: name }))];
    const rows = [row("says", "verdict", "verdict"), ...classes.map(name => row(name, "", "share")), ...(face.valence != null ? [row("valence", "", "valence"), row("arousal", "", "arousal")] : [])];
    const table = make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, make("span", { className: "sr", textContent: "expression" })), ...this.heads)), make("tbody", {}, ...rows));
    this.beside.replaceChildren(make("h2", { textContent: "Side by side" }), make("p", { className: "note", textContent: "What the served model says, and each of its members by itself." }),
      make("div", { className: "scroll", tabIndex: 0, aria: { role: "region", "aria-label": "Members, side by side" } }, table));
  }

  #heatPart() {
    this.heatButton = make("button", { type: "button", id: "explain", textContent: "Show heat map" });
    this.heatOut = make("div");
    this.heatButton.addEventListener("click", () => this.explain());
    return make("div", { className: "part" }, make("h3", { textContent: "Where it looks" }), this.heatButton, this.heatOut);
  }

  // Ask for the heat map of the face that is shown.
  async explain() {
    if (!this.heatButton || this.heatButton.disabled || this.heatButton.hidden) return;
    const { face } = this;
    this.heatButton.disabled = true;
    this.heatButton.textContent = "Covering the face, part by part …";
    try {
      const { data } = await this.does.explain(this.about.index);
      if (face !== this.face) return;
      const picture = make("img", { src: `data:image/png;base64,${data.png}`, alt: `Heat map of ${data.answer}` });
      const words = `With the bright parts covered, the probability of “${data.answer}” falls most.`;
      const scale = make("div", {}, make("div", { className: "ramp" }), make("div", { className: "ramp-words" }, make("span", { textContent: "no matter" }), make("span", { textContent: "matters most" })));
      this.heatOut.replaceChildren(make("figure", { className: "heat" }, picture, make("figcaption", { className: "note" }, make("p", { textContent: words }), scale)));
      this.heatButton.hidden = true;
    } catch (error) {
      if (face === this.face) this.heatOut.replaceChildren(make("p", { className: "result bad", textContent: error.message ?? String(error) }));
    } finally {
      this.heatButton.disabled = false;
      this.heatButton.textContent = "Show heat map";
    }
  }

  #correctPart() {
    this.choice = make("select", { id: "right", aria: { "aria-label": "The right expression" } }, make("option", { value: "", textContent: "The right expression is …" }), ...EXPRESSIONS.map(name => make("option", { value: name, textContent: name })));
    const button = make("button", { type: "button", id: "correct", textContent: "Send" });
    this.result = make("p", { className: "result", aria: { role: "status" } });
    button.addEventListener("click", () => this.#correct(button));
    return make("div", { className: "part" }, make("h3", { textContent: "Is it wrong?" }), make("div", { className: "correct" }, this.choice, button), this.result);
  }

  async #correct(button) {
    const say = (words, good) => { this.result.textContent = words; this.result.className = `result ${good ? "good" : "bad"}`; };
    if (!this.choice.value) { say("Choose an expression first.", false); this.choice.focus(); return; }
    button.disabled = true;
    try {
      await this.does.correct(this.face.id, this.choice.value);
      say(`Stored: ${this.choice.value}. Thank you.`, true);
    } catch (error) {
      const closed = error.status === 401 || error.status === 403;
      say(closed ? "Corrections are open to people with a key for feedback, so that strangers cannot teach the model wrongly. Ask the service’s owner for one and enter it under Options." : error.message, false);
    } finally {
      button.disabled = false;
    }
  }

  #timesPart() {
    this.times = make("dl", { className: "times" });
    this.id = make("p", { className: "idline" });
    this.timesBox = make("div", { className: "part" }, make("h3", { textContent: "Time" }), this.times, this.id);
    return this.timesBox;
  }

  #update(face, about) {
    const certain = isCertain(face, about.threshold);
    this.body.classList.toggle("unsure", certain === false);
    const fresh = faceIcon(face.expression ?? "");
    if (this.icon.getAttribute("src") !== fresh.getAttribute("src")) { this.icon.replaceWith(fresh); this.icon = fresh; }
    set(this.name, face.expression == null ? "face" : certain ? face.expression : "uncertain");
    set(this.share, face.confidence == null ? "" : percent(face.confidence));
    set(this.sub, this.#subline(face, about, certain));
    for (const { task, name, row } of this.rows) {
      const all = face.probabilities[task] ?? {}, share = all[name] ?? 0;
      row.style.setProperty("--w", `${(share * 100).toFixed(1)}%`);
      set(row.lastChild, percent(share));
      const rank = Object.values(all).filter(other => other > share).length;
      row.classList.toggle("best", rank === 0);
      row.classList.toggle("third", rank < 3 && task === "expression");
    }
    for (const [task, value] of Object.entries(this.values)) {
      const all = Object.entries(face.probabilities[task] ?? {}).sort((a, b) => b[1] - a[1])[0];
      set(value, all ? `${all[0]} · ${percent(all[1])}` : "");
    }
    if (this.plane?.isConnected && face.valence != null) this.#updatePlane(face, about);
    if (about.still) this.#updateMembers(face, about);
    this.#updateTimes(about.times ?? {});
    set(this.id, about.still && face.id ? `id ${face.id}` : "");
  }

  #subline(face, about, certain) {
    const which = about.count > 1 ? `Face ${about.index + 1} of ${about.count}` : "One face";
    if (certain === null) return which;
    const from = about.threshold ?? about.own;
    if (!certain) return `${which} · perhaps ${face.expression}, but below ${from == null ? "the model’s own threshold" : percent(from)}`;
    return `${which}${face.detection_score == null ? "" : ` · detection ${face.detection_score.toFixed(2)}`}`;
  }

  #updatePlane(face, about) {
    set(this.valence, signed(face.valence));
    set(this.arousal, signed(face.arousal));
    this.plane.setAttribute("aria-label", `Valence ${signed(face.valence)}, arousal ${signed(face.arousal)}`);
    drawPlane(this.plane, [...(about.trail ?? []), { valence: face.valence, arousal: face.arousal }], colourOf(face, about.threshold));
  }

  #updateMembers(face, about) {
    if (!this.cells.length) return;
    set(this.heads[0], about.model || "answer");
    const all = [face, ...Object.values(face.members ?? {})];
    for (const { cell, column, kind, name } of this.cells) {
      const one = all[column];
      if (!one) continue;
      const share = one.probabilities?.expression?.[name];
      if (kind === "verdict") set(cell, one.expression ?? "");
      else if (kind === "share") {
        set(cell, share === undefined ? "" : percent(share));
        cell.classList.toggle("best", name === one.expression);
        cell.classList.add("share-cell");
        cell.style.setProperty("--w", `${((share ?? 0) * 100).toFixed(1)}%`);
        cell.style.setProperty("--c", COLOURS[name] ?? UNSURE);
      } else set(cell, one[kind] == null ? "" : signed(one[kind]));
    }
  }

  #updateTimes(times) {
    const shown = Object.entries(times).filter(([, value]) => Number.isFinite(value));
    const names = shown.map(([name]) => name).join();
    this.timesBox.hidden = !shown.length;
    if (this.times.dataset.names !== names) {
      this.times.dataset.names = names;
      this.times.replaceChildren(...shown.map(([name]) => make("div", {}, make("dt", { textContent: name }), make("dd"))));
    }
    shown.forEach(([, value], place) => set(this.times.children[place].lastChild, milliseconds(value)));
  }
}

function set(element, words) { if (element.textContent !== words) element.textContent = words; }

// Valence to the right, arousal up, both from -1 to 1: the last point, and a fading trail of those before.
export function drawPlane(canvas, points, colour) {
  const ctx = canvas.getContext("2d"), side = canvas.width, middle = side / 2, radius = middle - 12;
  const style = getComputedStyle(canvas), line = style.getPropertyValue("--line"), soft = style.getPropertyValue("--soft");
  const at = ({ valence, arousal }) => [middle + Math.max(-1, Math.min(1, valence)) * radius, middle - Math.max(-1, Math.min(1, arousal)) * radius];
  ctx.clearRect(0, 0, side, side);
  ctx.lineWidth = 2;
  ctx.strokeStyle = line;
  ctx.fillStyle = style.getPropertyValue("--tint");
  ctx.beginPath();
  ctx.arc(middle, middle, radius, 0, 7);
  ctx.fill();
  ctx.moveTo(12, middle); ctx.lineTo(side - 12, middle);
  ctx.moveTo(middle, 12); ctx.lineTo(middle, side - 12);
  ctx.stroke();
  ctx.fillStyle = soft;
  ctx.font = "22px system-ui, sans-serif";
  ctx.textAlign = "left";
  ctx.fillText("excited", middle + 8, 40);
  ctx.fillText("calm", middle + 8, side - 24);
  ctx.textAlign = "right";
  ctx.fillText("pleasant", side - 20, middle - 10);
  ctx.textAlign = "left";
  ctx.fillText("unpleasant", 20, middle - 10);
  ctx.lineCap = "round";
  ctx.strokeStyle = colour;
  for (let i = 1; i < points.length; i++) {
    ctx.globalAlpha = 0.7 * i / points.length;
    ctx.lineWidth = 5;
    ctx.beginPath();
    ctx.moveTo(...at(points[i - 1]));
    ctx.lineTo(...at(points[i]));
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
  ctx.beginPath();
  ctx.arc(...at(points.at(-1)), 11, 0, 7);
  ctx.fillStyle = colour;
  ctx.fill();
  ctx.lineWidth = 4;
  ctx.strokeStyle = style.getPropertyValue("--card");
  ctx.stroke();
}

// The strip of faces: a button each, with its crop, its answer and its three likeliest expressions.
export class Strip {
  constructor(box, choose) {
    Object.assign(this, { box, choose, cards: [] });
    box.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step || !this.cards.length) return;
      event.preventDefault();
      event.stopPropagation();
      const now = this.cards.findIndex(card => card.getAttribute("aria-checked") === "true");
      const next = (now + step + this.cards.length) % this.cards.length;
      this.choose(next);
      this.cards[next].focus();
    });
  }

  // Show the faces; crop(face, ctx) draws a face's picture. Few or none: nothing is shown.
  show(faces, selected, threshold, crop, words) {
    this.box.hidden = faces.length < 2;
    if (this.box.hidden) { this.box.replaceChildren(); this.cards = []; return; }
    while (this.cards.length > faces.length) this.cards.pop().remove();
    while (this.cards.length < faces.length) this.#add();
    this.cards.forEach((card, index) => {
      const face = faces[index], chosen = index === selected;
      card.setAttribute("aria-checked", String(chosen));
      card.tabIndex = chosen ? 0 : -1;
      card.setAttribute("aria-label", `Face ${index + 1}: ${words(face)}`);
      const [canvas, name, mini] = card.children;
      set(name, isCertain(face, threshold) === false ? "uncertain" : face.expression ?? "face");
      [...mini.children].forEach((bar, place) => {
        const [expression, share] = face.top3?.[place] ?? ["", 0];
        bar.style.setProperty("--w", `${share * 100}%`);
        bar.style.setProperty("--c", COLOURS[expression] ?? UNSURE);
      });
      crop(face, canvas.getContext("2d"));
    });
  }

  #add() {
    const index = this.cards.length;
    const card = make("button", { type: "button", className: "face", aria: { role: "radio" } },
      make("canvas", { width: 96, height: 96 }), make("strong"), make("span", { className: "mini" }, make("i"), make("i"), make("i")));
    card.addEventListener("click", () => this.choose(index));
    this.cards.push(card);
    this.box.append(card);
  }
}
