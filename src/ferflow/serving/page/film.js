// A video file: pictures of it at chosen times go to the service, and what was said is shown over time.

import { predict, predictVideo } from "./api.js";
import { make } from "./answer.js";
import { COLOURS, EXPRESSIONS, UNSURE } from "./faces.js";
import { Grabber } from "./live.js";
import { Tracks } from "./tracks.js";

const MOST = 3000, IN_FLIGHT = 2;

const once = (target, name, signal) => new Promise((resolve, reject) => {
  target.addEventListener(name, resolve, { once: true, signal });
  target.addEventListener("error", () => reject(new Error("This browser cannot play the file.")), { once: true, signal });
  signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
});

// Open a file in a video element; false where the browser cannot play it.
export async function openFilm(video, file) {
  video.src = URL.createObjectURL(file);
  try {
    if (video.readyState < 2) await once(video, "loadeddata");
    if (!Number.isFinite(video.duration)) { // a file without a length tells it when one goes to its end
      video.currentTime = 1e9;
      await once(video, "durationchange");
      await seek(video, 0);
    }
    return video.videoWidth > 0;
  } catch { return false; }
}

export function closeFilm(video) {
  if (!video.src) return;
  URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
}

export async function seek(video, time, signal) {
  if (Math.abs(video.currentTime - time) < 1e-3 && !video.seeking && video.readyState >= 2) return;
  const done = once(video, "seeked", signal);
  video.currentTime = time;
  await done;
}

// Look at a film `rate` times a second: frames [{time_s, faces}], faces with their track. tells: {progress(done, all), frame}.
export async function analyse(video, rate, options, { signal, progress, frame }, patience) {
  const all = Math.min(Math.max(1, Math.ceil(video.duration * rate - 0.01)), MOST), step = video.duration / all;
  const tracks = new Tracks({ gone: Math.max(1.6 * step, 0.6) }), grabber = new Grabber();
  const frames = [], waiting = [];
  const take = async () => {
    const { time, answer } = waiting.shift(), { data } = await answer;
    const scale = video.videoWidth / data.width;
    tracks.update(data.faces.map(face => ({ ...face, box_xyxy: face.box_xyxy.map(value => value * scale) })), time);
    frames.push({ time_s: time, faces: tracks.all.filter(one => one.seen === time).map(one => ({ ...one.face, box_xyxy: one.aim, track: one.track })) });
    frame(frames, data);
    progress(frames.length, all);
  };
  try {
    for (let index = 0; index < all; index++) {
      await seek(video, Math.min(index * step, video.duration - 0.01), signal);
      const image = await grabber.take(video);
      const answer = predict(image, { ...options(), signal }, patience);
      answer.catch(() => {}); // it is heard when its turn comes
      waiting.push({ time: index * step, answer });
      if (waiting.length >= IN_FLIGHT) await take();
    }
    while (waiting.length) await take();
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return frames;
}

// Let the service read the film, whole.
export async function analyseThere(file, tells, patience) {
  const data = await predictVideo(file, tells, patience);
  const faces = all => all.map(face => ({ detection_score: null, probabilities: {}, top3: face.expression ? [[face.expression, face.confidence]] : [], ...face }));
  return { ...data, frames: data.frames.map(one => ({ ...one, faces: faces(one.faces) })) };
}

// The faces at a time: boxes lie between those before and after.
export function facesAt(frames, time) {
  let low = 0, high = frames.length;
  while (low < high) { const middle = (low + high) >> 1; if (frames[middle].time_s <= time + 1e-6) low = middle + 1; else high = middle; }
  const before = frames[low - 1], after = frames[low];
  if (!before) return [];
  const gap = after ? after.time_s - before.time_s : 1, share = after ? (time - before.time_s) / gap : 0;
  return before.faces.map(face => {
    const next = after?.faces.find(one => one.track === face.track);
    return next ? { ...(share < 0.5 ? face : next), box_xyxy: face.box_xyxy.map((value, i) => value + (next.box_xyxy[i] - value) * share) } : face;
  });
}

// Every track with the number of its frames, the longest first.
export function tracksOf(frames) {
  const counts = new Map();
  for (const { faces } of frames) for (const { track } of faces) counts.set(track, (counts.get(track) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

export const clock = seconds => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

// The chart of one face over time: shares of expressions above, valence and arousal below. It is a slider for the time.
export class Chart {
  constructor(canvas, legend, seeks) {
    Object.assign(this, { canvas, legend, seeks, frames: [], duration: 1, time: 0, track: null });
    new ResizeObserver(() => this.draw()).observe(canvas);
    const to = event => { const { left, width } = canvas.getBoundingClientRect(); this.seeks(Math.max(0, Math.min(1, (event.clientX - left) / width)) * this.duration); };
    canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); to(event); });
    canvas.addEventListener("pointermove", event => { if (event.buttons) to(event); });
    canvas.addEventListener("keydown", event => {
      const step = this.duration / Math.max(this.frames.length, 20);
      const time = { ArrowRight: this.time + step, ArrowUp: this.time + step, ArrowLeft: this.time - step, ArrowDown: this.time - step, Home: 0, End: this.duration, PageUp: this.time + 5 * step, PageDown: this.time - 5 * step }[event.key];
      if (time === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.seeks(Math.max(0, Math.min(this.duration, time)));
    });
  }

  show(frames, duration, track) { Object.assign(this, { frames, duration, track }); this.draw(); }

  at(time) { this.time = time; this.draw(); }

  draw() {
    const { canvas } = this, ratio = Math.min(devicePixelRatio || 1, 2), width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    const ctx = canvas.getContext("2d"), style = getComputedStyle(canvas), colour = name => style.getPropertyValue(name);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    ctx.fillStyle = colour("--tint");
    const split = Math.round(height * 0.64);
    ctx.fillRect(0, 0, width, split - 4);
    ctx.fillRect(0, split + 4, width, height - split - 4);
    const points = this.frames.map(({ time_s, faces }) => ({ x: time_s / this.duration * width, face: faces.find(face => face.track === this.track) ?? null }));
    const step = points.length > 1 ? points[1].x - points[0].x : width;
    this.#shares(ctx, points, step, split - 4);
    const affect = this.#affect(ctx, points, split + 4, height - split - 4, colour);
    ctx.fillStyle = colour("--ink");
    const x = this.time / this.duration * width;
    ctx.fillRect(Math.min(Math.max(x - 1, 0), width - 2), 0, 2, height);
    ctx.beginPath(); ctx.arc(Math.min(Math.max(x, 5), width - 5), 5, 5, 0, 7); ctx.fill();
    this.#label(affect, colour);
  }

  #shares(ctx, points, step, height) {
    for (const { x, face } of points) {
      if (!face) continue;
      const all = face.probabilities.expression ?? (face.expression ? { [face.expression]: face.confidence } : {});
      let y = height;
      for (const name of EXPRESSIONS) {
        const tall = (all[name] ?? 0) * height;
        ctx.fillStyle = COLOURS[name] ?? UNSURE;
        ctx.fillRect(x, y - tall, Math.ceil(step * 1.02 * 2) / 2 + 0.5, tall);
        y -= tall;
      }
    }
  }

  #affect(ctx, points, top, height, colour) {
    const middle = top + height / 2;
    ctx.fillStyle = colour("--line");
    ctx.fillRect(0, middle, ctx.canvas.width, 1);
    const lines = [["valence", colour("--ink"), []], ["arousal", colour("--accent"), [5, 4]]];
    if (!points.some(({ face }) => face?.valence != null)) return null;
    for (const [key, ink, dash] of lines) {
      ctx.strokeStyle = ink; ctx.lineWidth = 2; ctx.setLineDash(dash); ctx.lineJoin = "round";
      ctx.beginPath();
      let open = false;
      for (const { x, face } of points) {
        if (face?.[key] == null) { open = false; continue; }
        const y = middle - Math.max(-1, Math.min(1, face[key])) * (height / 2 - 3);
        if (open) ctx.lineTo(x, y); else ctx.moveTo(x, y);
        open = true;
      }
      ctx.stroke();
    }
    ctx.setLineDash([]);
    return lines;
  }

  #label(affect) {
    const { canvas } = this;
    const now = facesAt(this.frames, this.time).find(face => face.track === this.track);
    canvas.setAttribute("aria-valuemax", this.duration.toFixed(1));
    canvas.setAttribute("aria-valuenow", this.time.toFixed(1));
    canvas.setAttribute("aria-valuetext", `${clock(this.time)}: ${now?.expression ?? "no face"}`);
    const seen = EXPRESSIONS.filter(name => this.frames.some(({ faces }) => faces.some(face => face.track === this.track && (face.probabilities.expression?.[name] ?? (face.expression === name ? 1 : 0)) > 0.04)));
    const names = [...seen, ...(affect ? ["valence —", "arousal - -"] : [])].join();
    if (this.legend.dataset.names === names) return;
    this.legend.dataset.names = names;
    const extra = affect ? [make("li", { textContent: "— valence" }), make("li", { textContent: "- - arousal" })] : [];
    this.legend.replaceChildren(...seen.map(name => make("li", {}, make("i", { vars: { "--c": COLOURS[name] } }), name)), ...extra);
  }
}
