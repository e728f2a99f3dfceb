// The page: its modes, its controls and keys, and what is shown where. Pictures stay here but for the requests; what is kept
// in the browser are settings, and the key where the person asks for that.

import { ask, explain, feedback, getModel, getModels, predict, setKey, sleep } from "./api.js";
import { make, Panel, Strip } from "./answer.js";
import { EXPRESSIONS, faceIcon, facesReady } from "./faces.js";
import { analyse, analyseThere, Chart, clock, closeFilm, facesAt, openFilm, seek, tracksOf } from "./film.js";
import { closeCamera, Grabber, Live, openCamera } from "./live.js";
import { isCertain, labelOf, percent, Stage } from "./stage.js";

const $ = id => document.getElementById(id);
const video = $("video");
const MAX_BYTES = 8e6, MAX_SIDE = 4096, SENT_SIDE = 2560;

// ---- Settings

const KEPT = { theme: "system", threshold: null, bars: true, emoji: false, mirror: true, single: true };
const settings = { ...KEPT, ...stored() };

function stored() {
  try { return JSON.parse(localStorage.getItem("ferflow") ?? "{}"); } catch { return {}; }
}

function keep() {
  const data = Object.fromEntries(Object.keys(KEPT).map(name => [name, settings[name]]));
  if ($("key-keep").checked && $("key").value) data.key = $("key").value;
  try { localStorage.setItem("ferflow", JSON.stringify(data)); } catch { /* a browser that keeps nothing */ }
}

// ---- State: what is looked at, and what was said of it

const state = {
  mode: "picture", faces: [], selected: 0, track: null, answer: null, times: {}, bitmap: null,
  picture: null, // {blob, bitmap, name, answer, ms, faces}
  live: null, liveState: "off", // off | starting | on | paused
  camera: false, // the camera is open to take a picture
  film: null, // {file, playable, frames, answer, busy}
  model: { own: null, served: "", version: "" },
};
let work = new AbortController(); // what is under way; aborted by whatever comes next
let panelAt = 0, saidAt = 0, saidWhat = "";

const look = () => ({ bars: settings.bars, emoji: settings.emoji, threshold: settings.threshold, mirror: mirrored(), selected: state.selected });
const mirrored = () => settings.mirror && state.mode === "live";
const ownThreshold = () => ($("model").value ? null : state.model.own);
const requestOptions = () => ({ model: $("model").value || null, consent: $("consent").checked });

// ---- Words: a banner for trouble, and a line for screen readers

function trouble(words, waiting = false) {
  $("banner").hidden = !words;
  $("banner").dataset.waiting = waiting ? "yes" : "";
  if ($("banner-text").textContent !== words) $("banner-text").textContent = words;
}

function waits(error, seconds) {
  if (!error) {
    if ($("banner").dataset.waiting) { trouble(""); connected(true); }
    return;
  }
  connected(error.kind !== "offline");
  trouble(error.kind === "offline" ? "The connection to the service is lost. Trying again …" : `${error.message} Trying again in ${seconds < 1.5 ? "a second" : `${Math.round(seconds)} seconds`} …`, true);
}

function say(words) { $("said").textContent = words; }

function connected(is) { $("dot").className = `dot ${is ? "up" : "down"}`; }

const patience = { told: waits, tries: Infinity };

function failed(error) {
  if (error?.name === "AbortError") return;
  busy("");
  trouble(error?.message ?? String(error));
}

function busy(words) { $("busy").hidden = !words; $("busy-text").textContent = words; }

// ---- What is shown

const stage = new Stage($("frame"), $("view"), video);
const chart = new Chart($("chart"), $("legend"), time => seekFilm(time));
const panel = new Panel($("answer-body"), $("answer-empty"), $("beside"), {
  explain: index => explain(state.picture.blob, index, { model: $("model").value || null }, patience),
  correct: feedback,
});
const strip = new Strip($("faces"), choose);
stage.resized = () => drawStage();

function drawStage() {
  if (!$("frame").hidden && stage.width) stage.draw(state.bitmap, state.faces, look());
}

function choose(index) {
  if (!state.faces.length) return;
  state.selected = (index + state.faces.length) % state.faces.length;
  state.track = state.faces[state.selected].track ?? null;
  if (state.mode === "video" && state.track !== null) { $("track").value = String(state.track); showChart(); }
  showFaces();
  say(`Face ${state.selected + 1} of ${state.faces.length}: ${labelOf(state.faces[state.selected], settings.threshold)}`);
}

// The faces beside the picture; after every answer, and when a setting changes.
function showFaces() {
  drawStage();
  const { faces } = state;
  if (state.track !== null) { const place = faces.findIndex(face => face.track === state.track); state.selected = place >= 0 ? place : 0; }
  state.selected = Math.max(0, Math.min(state.selected, faces.length - 1));
  strip.show(faces, state.selected, settings.threshold, drawCrop, face => labelOf(face, settings.threshold));
  if (!faces.length) { panel.clear(); return; }
  const face = faces[state.selected];
  panel.show(face, {
    index: state.selected, count: faces.length, threshold: settings.threshold, own: ownThreshold(), times: state.times, trail: trailOf(face),
    still: state.mode === "picture", members: state.mode === "picture" && $("members").checked && state.picture?.members, model: $("model").value || state.model.served,
  });
}

function trailOf(face) {
  if (face.trail) return face.trail;
  if (state.mode !== "video" || !state.film) return [];
  const past = state.film.frames.filter(one => one.time_s <= video.currentTime).slice(-25);
  return past.flatMap(one => one.faces.filter(other => other.track === face.track && other.valence != null));
}

function drawCrop(face, ctx) {
  const source = state.bitmap ?? (video.readyState >= 2 ? video : null);
  ctx.clearRect(0, 0, 96, 96);
  if (!source) return;
  const [x0, y0, x1, y1] = face.box_xyxy, side = Math.max(x1 - x0, y1 - y0) * 1.1;
  ctx.drawImage(source, (x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side, side, 0, 0, 96, 96);
}

function describe(faces) {
  if (!faces.length) return "No face found.";
  return `${faces.length === 1 ? "One face" : `${faces.length} faces`}: ${faces.slice(0, 5).map(face => labelOf(face, settings.threshold)).join(", ")}.`;
}

// Which buttons there are now, and what the empty stage says.
const EMPTY = {
  picture: ["Drop a picture here", "or paste one, choose a file, or take one with your camera.", "Choose a picture"],
  live: ["Your camera, live", "Pictures go to this service only, one after the other, and are not kept. Nothing starts before you press the button.", "Start the camera"],
  video: ["Drop a video here", "or choose a file. It is read in this page; the service sees single pictures of it.", "Choose a video"],
};

function layout() {
  const { mode, film } = state, live = state.liveState, empty = $("frame").hidden;
  const shown = (id, is) => { $(id).hidden = !is; };
  $("empty").hidden = !empty;
  [$("empty-title").textContent, $("empty-words").textContent, $("choose").textContent] = EMPTY[mode];
  shown("camera", mode === "picture");
  shown("another", mode === "picture" && state.picture);
  shown("still", state.camera);
  shown("start", mode === "live" && live === "paused");
  shown("pause", live === "on");
  shown("freeze", live === "on" || live === "paused");
  shown("stop", state.camera || ["on", "starting", "paused"].includes(live));
  shown("film-another", mode === "video" && film && !film.busy);
  shown("play", mode === "video" && film?.playable && !film.busy);
  shown("film-again", mode === "video" && film && !film.busy);
  shown("film-still", mode === "video" && film?.playable && !film.busy);
  const something = state.answer && !state.camera && !film?.busy;
  shown("save-png", something && (state.faces.length > 0 || mode === "live") && (mode !== "video" || film?.playable));
  shown("save-json", something);
  shown("hud", live === "on");
  shown("timeline", mode === "video" && film && film.frames.length > 1);
  $("start").textContent = "Go on";
  $("play").textContent = video.paused ? "Play" : "Pause";
  for (const one of document.querySelectorAll("[data-only]")) one.hidden = !one.dataset.only.split(" ").includes(mode);
  $("file").accept = mode === "video" ? "video/*" : "image/*";
}

// ---- Modes

function setMode(mode, focus = false) {
  if (mode !== state.mode) {
    stopAll();
    state.mode = mode;
    for (const tab of document.querySelectorAll("[role=tab]")) {
      const is = tab.dataset.mode === mode;
      tab.setAttribute("aria-selected", String(is));
      tab.tabIndex = is ? 0 : -1;
    }
    $("work").setAttribute("aria-labelledby", `tab-${mode}`);
    trouble("");
    if (mode === "picture" && state.picture) showPicture();
    else reset();
  }
  if (focus) $(`tab-${mode}`).focus();
}

// Nothing is shown.
function reset() {
  Object.assign(state, { faces: [], selected: 0, track: null, answer: null, times: {}, bitmap: null });
  stage.hide();
  $("view").setAttribute("aria-label", "No picture yet");
  showFaces();
  layout();
}

// Whatever runs ends; the camera is released.
function stopAll() {
  work.abort(new DOMException("stopped", "AbortError"));
  work = new AbortController();
  busy("");
  $("progress").hidden = true;
  state.live?.stop();
  Object.assign(state, { live: null, liveState: "off", camera: false });
  closeCamera(video);
  if (state.film) { video.pause(); closeFilm(video); state.film = null; }
}

// ---- Pictures

async function openPicture(file) {
  setMode("picture");
  stopAll();
  trouble("");
  const { signal } = work;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return trouble(`This browser cannot show ${file.name || "what was pasted"}${file.type ? ` (${file.type})` : ""}. Save it as JPEG, PNG or WebP and try again.`);
  }
  if (signal.aborted) return undefined;
  const blob = file.size > MAX_BYTES || Math.max(bitmap.width, bitmap.height) > MAX_SIDE ? await scaledDown(bitmap) : file;
  state.picture = { blob, bitmap, name: (file.name || "picture").replace(/\.[^.]*$/, ""), answer: null, ms: 0, faces: [] };
  showPicture();
  return lookAtPicture();
}

async function scaledDown(bitmap) {
  const scale = Math.min(1, SENT_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  const ctx = canvas.getContext("2d");
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
}

function showPicture() {
  const { picture } = state;
  Object.assign(state, { bitmap: picture.bitmap, faces: picture.faces, answer: picture.answer, selected: 0, track: null, times: timesOf(picture.answer, picture.ms) });
  stage.show(picture.bitmap.width, picture.bitmap.height);
  showFaces();
  layout();
}

function timesOf(answer, ms) {
  const times = answer?.timing_ms;
  return times ? { network: Math.max(0, ms - times.total), decode: times.decode, detect: times.detect, classify: times.classify, total: ms } : {};
}

async function lookAtPicture() {
  const { picture } = state;
  if (!picture) return;
  work.abort(new DOMException("again", "AbortError"));
  work = new AbortController();
  busy("Looking for faces …");
  try {
    const { data, ms } = await predict(picture.blob, { ...requestOptions(), members: $("members").checked, signal: work.signal }, patience);
    const scale = picture.bitmap.width / data.width, chosen = state.selected;
    Object.assign(picture, { answer: data, ms, members: $("members").checked, faces: data.faces.map(face => ({ ...face, box_xyxy: face.box_xyxy.map(value => value * scale) })) });
    if (state.picture !== picture || state.mode !== "picture") return;
    showPicture();
    if (chosen && chosen < picture.faces.length) { state.selected = chosen; showFaces(); }
    busy("");
    answered(data);
    $("view").setAttribute("aria-label", describe(state.faces));
    say(describe(state.faces));
    if (!state.faces.length) trouble("No face was found. A face should be turned to the camera, and at least some 40 pixels wide.");
  } catch (error) { failed(error); }
}

// The service may have another model by now.
function answered(answer) {
  connected(true);
  if (!$("model").value && answer.model_version !== state.model.version) { state.model.version = answer.model_version; readModels(); }
}

async function openStill() {
  stopAll();
  trouble("");
  if (!(await startCamera())) return;
  Object.assign(state, { camera: true, faces: [], answer: null, bitmap: null });
  stage.show(video.videoWidth, video.videoHeight, { withVideo: true, mirror: settings.mirror });
  showFaces();
  layout();
  $("still").focus();
}

async function takeStill() {
  const blob = await new Grabber(4096).take(video);
  await openPicture(new File([blob], "camera.jpg", { type: blob.type }));
}

// ---- Camera

async function startCamera() {
  const { signal } = work;
  let camera;
  try {
    busy("Waiting for the camera …");
    camera = await openCamera();
  } catch (error) {
    busy("");
    trouble(error.message);
    return false;
  }
  if (signal.aborted) { for (const track of camera.getTracks()) track.stop(); return false; }
  video.srcObject = camera;
  camera.getVideoTracks()[0].addEventListener("ended", () => { stopAll(); reset(); trouble("The camera was disconnected. Connect it, then start again."); });
  await video.play().catch(() => {});
  busy("");
  return !signal.aborted;
}

async function startLive() {
  if (["on", "starting"].includes(state.liveState)) return;
  stopAll();
  trouble("");
  state.liveState = "starting";
  layout();
  if (!(await startCamera())) {
    if (state.liveState === "starting") { state.liveState = "off"; if ($("frame").hidden) reset(); }
    layout();
    return;
  }
  Object.assign(state, { liveState: "on", bitmap: null, faces: [], answer: null });
  stage.show(video.videoWidth, video.videoHeight, { withVideo: true, mirror: settings.mirror });
  $("view").setAttribute("aria-label", "Your camera");
  state.live = new Live(video, requestOptions, { frame: liveFrame, answer: liveAnswer, waits, fails: error => { stopAll(); reset(); failed(error); } });
  state.live.start();
  layout();
  say("The camera is on.");
}

function liveFrame(faces) {
  state.faces = faces;
  drawStage();
  const now = performance.now();
  if (now - panelAt < 160) return;
  panelAt = now;
  showFaces();
  $("fps").textContent = state.live.rate.toFixed(1);
}

function liveAnswer(answer, ms) {
  state.live.tracks.own = ownThreshold();
  const before = state.answer;
  Object.assign(state, { answer, times: timesOf(answer, ms) });
  $("hud-more").textContent = ` · ${Math.round(ms)} ms`;
  if (!before) layout();
  answered(answer);
  const face = state.faces[state.selected], words = face ? `${isCertain(face, settings.threshold) === false ? "uncertain" : face.expression}` : "no face";
  const now = performance.now();
  if (words !== saidWhat && now - saidAt > 3000) { [saidAt, saidWhat] = [now, words]; say(words); }
}

async function pauseLive() {
  if (state.liveState !== "on") return;
  const bitmap = await createImageBitmap(video).catch(() => null);
  if (state.liveState !== "on") return;
  const { faces, answer, times } = state;
  stopAll();
  Object.assign(state, { liveState: "paused", bitmap, faces, answer, times });
  stage.show(stage.width, stage.height);
  showFaces();
  layout();
  say("Paused. The camera is off.");
}

function stopLive() { stopAll(); reset(); say("Stopped. The camera is off."); }

async function keepPicture() {
  const source = state.bitmap ?? video;
  const canvas = new OffscreenCanvas(stage.width, stage.height);
  canvas.getContext("2d").drawImage(source, 0, 0, stage.width, stage.height);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  const name = state.mode === "video" ? `${state.film.file.name.replace(/\.[^.]*$/, "")}-${clock(video.currentTime).replace(":", "m")}s.jpg` : "camera.jpg";
  await openPicture(new File([blob], name, { type: blob.type }));
  $("tab-picture").focus();
}

// ---- Video files

async function openFilmFile(file) {
  setMode("video");
  stopAll();
  reset();
  trouble("");
  const { signal } = work;
  state.film = { file, playable: false, frames: [], busy: true };
  busy("Opening the video …");
  const playable = await openFilm(video, file);
  if (signal.aborted) return;
  busy("");
  state.film.playable = playable;
  if (playable) {
    stage.show(video.videoWidth, video.videoHeight, { withVideo: true });
    $("view").setAttribute("aria-label", `Video ${file.name}`);
  } else {
    $("where").value = "service";
    trouble("This browser cannot play the file, so the service reads it whole. The chart shows what it saw.");
  }
  await analyseFilm();
}

async function analyseFilm() {
  const { film } = state;
  if (!film) return;
  work.abort(new DOMException("again", "AbortError"));
  work = new AbortController();
  const { signal } = work, there = $("where").value === "service" || !film.playable, started = performance.now();
  Object.assign(film, { busy: true, frames: [] });
  Object.assign(state, { faces: [], answer: null, times: {} });
  video.pause();
  progress(0, 0, there ? "The service reads the video …" : "Analysing …");
  showFaces();
  layout();
  try {
    if (there) {
      const answer = await analyseThere(film.file, { signal, progress: () => {} }, patience);
      Object.assign(film, { frames: answer.frames, version: answer.model_version });
    } else {
      film.frames = await analyse(video, Number($("rate").value), requestOptions, {
        signal,
        progress: (done, all) => progress(done, all, `Analysing: ${done} of ${all} pictures`),
        frame: (frames, data) => { film.frames = frames; film.version = data.model_version; filmFrame(frames); },
      }, patience);
    }
  } catch (error) { failed(error); }
  if (state.film !== film) return;
  film.busy = false;
  $("progress").hidden = true;
  film.duration = film.playable ? video.duration : Math.max(0.1, film.frames.at(-1)?.time_s ?? 0);
  const seconds = (performance.now() - started) / 1000;
  state.answer = film.frames.length ? { file: film.file.name, model_version: film.version, seconds: Number(seconds.toFixed(2)), frames: film.frames } : null;
  if (!film.playable && film.frames.length) blankStage(film.frames);
  showTracks();
  layout();
  await seekFilm(0);
  if (film.frames.length) say(`${film.frames.length} pictures analysed in ${Math.round(seconds)} seconds.`);
}

function progress(done, all, words) {
  $("progress").hidden = false;
  $("progress-text").textContent = words;
  if (all) { $("progress-value").max = all; $("progress-value").value = done; } else $("progress-value").removeAttribute("value");
}

function filmFrame(frames) {
  state.faces = frames.at(-1).faces;
  showFaces();
}

// A film that cannot be played has boxes on an empty ground.
function blankStage(frames) {
  const boxes = frames.flatMap(one => one.faces.map(face => face.box_xyxy));
  if (boxes.length) stage.show(Math.max(...boxes.map(box => box[2])) * 1.08, Math.max(...boxes.map(box => box[3])) * 1.08);
}

function showTracks() {
  const found = tracksOf(state.film.frames);
  $("track").hidden = found.length < 2;
  $("track").replaceChildren(...found.slice(0, 12).map(([track, count]) => make("option", { value: String(track), textContent: `Face ${track} · ${count} pictures` })));
  state.track = found[0]?.[0] ?? null;
  showChart();
}

function showChart() { chart.show(state.film.frames, state.film.duration ?? 1, state.track); }

async function seekFilm(time) {
  const { film } = state;
  if (!film || film.busy) return;
  if (film.playable) await seek(video, Math.min(time, Math.max(0, video.duration - 0.01)), work.signal).catch(() => {});
  else film.time = time;
  showTime(film.playable ? video.currentTime : time);
}

function showTime(time) {
  if (!state.film || state.film.busy) return;
  state.faces = facesAt(state.film.frames, time);
  chart.at(time);
  showFaces();
}

function playFilm() {
  if (video.paused) video.play().then(follow, failed);
  else video.pause();
}

function follow() {
  layout();
  if (state.mode !== "video" || !state.film) return;
  showTime(video.currentTime);
  if (!video.paused && !video.ended) requestAnimationFrame(follow);
  else layout();
}

// ---- Files

const isVideo = file => file.type.startsWith("video/") || /\.(mp4|webm|mov|mkv|avi|m4v|mpe?g|ogv)$/i.test(file.name ?? "");

function openFile(file) {
  if (file) (isVideo(file) ? openFilmFile(file) : openPicture(file)).catch(failed);
}

async function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  await sleep(1000);
  URL.revokeObjectURL(link.href);
}

const baseName = () => (state.mode === "picture" ? state.picture?.name : state.film?.file.name.replace(/\.[^.]*$/, "")) ?? "camera";

async function savePng() {
  const source = state.bitmap ?? (video.readyState >= 2 ? await createImageBitmap(video) : null);
  if (source) await save(await stage.png(source, state.faces, look()), `${baseName()}.ferflow.png`);
}

const saveJson = () => save(new Blob([JSON.stringify(state.answer, null, 2)], { type: "application/json" }), `${baseName()}.ferflow.json`);

// ---- The service's models

async function readModels() {
  try {
    const [{ data: model }, { data: names }] = await Promise.all([ask("model", {}, patience), getModels()]);
    Object.assign(state.model, { own: model.certain_above ?? model.card?.certain_above ?? null, served: names.served, version: model.version });
    $("served-name").textContent = `${model.version} · ${model.source}`;
    connected(true);
    const chosen = $("model").value;
    const others = names.models.filter(one => one.name !== names.served);
    const served = names.models.find(one => one.name === names.served);
    $("model").replaceChildren(make("option", { value: "", textContent: `${names.served}${served && served.version !== names.served ? ` · ${served.version}` : ""} (served)` }),
      ...others.map(one => make("option", { value: one.name, textContent: one.version && one.version !== one.name ? `${one.name} · ${one.version}` : one.name })));
    $("model").value = others.some(one => one.name === chosen) ? chosen : "";
    showThreshold();
  } catch (error) { failed(error); }
}

// ---- Controls

function showThreshold() {
  const own = ownThreshold(), value = settings.threshold ?? own ?? 0.5;
  $("threshold").value = String(Math.round(value * 100));
  $("threshold").style.setProperty("--at", `${Math.round(value * 100)}%`);
  $("threshold-value").textContent = settings.threshold !== null ? percent(settings.threshold) : own === null ? "the model’s own value" : `${percent(own)}, the model’s own`;
  $("threshold").setAttribute("aria-valuetext", $("threshold-value").textContent);
  $("threshold-own").disabled = settings.threshold === null;
}

function setThreshold(value) {
  settings.threshold = value === null ? null : Math.max(0, Math.min(1, Math.round(value * 100) / 100));
  keep();
  showThreshold();
  showFaces();
}

function toggle(name) { $(name).checked = !$(name).checked; $(name).dispatchEvent(new Event("change")); say(`${$(name).labels[0].textContent.trim()}: ${$(name).checked ? "on" : "off"}`); }

const THEMES = ["system", "light", "dark"];
function setTheme(theme) {
  settings.theme = theme;
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-label", `Theme: ${theme === "system" ? "as the system" : theme}`);
  $("theme").title = $("theme").getAttribute("aria-label");
  keep();
  showFaces();
  chart.draw();
}
const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(settings.theme) + 1) % THEMES.length]);

function begin() {
  if (state.mode === "live") startLive();
  else $("file").click();
}

function spaceKey() {
  if (state.mode === "live") { if (state.liveState === "on") pauseLive(); else startLive(); }
  else if (state.mode === "video" && state.film?.playable && !state.film.busy) playFilm();
  else if (state.camera) takeStill();
}

function escape() {
  if (state.liveState !== "off" || state.camera) stopLive();
  else if (state.film?.busy) $("cancel").click();
  else if (state.film) video.pause();
  else { work.abort(new DOMException("stopped", "AbortError")); work = new AbortController(); busy(""); trouble(""); }
}

const KEYS = {
  1: () => setMode("picture", true), 2: () => setMode("live", true), 3: () => setMode("video", true),
  o: () => { if (state.mode === "live") setMode("picture"); $("file").click(); },
  e: () => toggle("emoji"), b: () => toggle("bars"), m: () => toggle("members"), h: () => { if (state.mode === "picture") panel.explain(); },
  s: () => savePng(), d: nextTheme, "+": () => setThreshold((settings.threshold ?? ownThreshold() ?? 0.5) + 0.05), "=": () => KEYS["+"](),
  "-": () => setThreshold((settings.threshold ?? ownThreshold() ?? 0.5) - 0.05), "?": () => $("keys").showModal(), " ": spaceKey,
};

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (event.key === "Escape") { escape(); return; }
  const on = event.target;
  if (on.matches?.("select, input:not([type=checkbox]), textarea, [role=slider]")) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (on.matches?.("[role=tab], .scroll")) return;
    if (state.faces.length > 1) { event.preventDefault(); choose(state.selected + (event.key === "ArrowRight" ? 1 : -1)); }
    return;
  }
  if (event.key === " " && on.matches?.("button, summary, input")) return;
  if (!settings.single && event.key !== "?") return;
  const does = KEYS[event.key.toLowerCase()];
  if (does) { event.preventDefault(); does(); }
}

function wire() {
  const on = (id, name, does) => $(id).addEventListener(name, does);
  const click = { choose: begin, camera: openStill, another: () => $("file").click(), still: takeStill, start: startLive, pause: pauseLive, freeze: keepPicture, stop: stopLive,
    "film-another": () => $("file").click(), play: playFilm, "film-again": analyseFilm, "film-still": keepPicture, "save-png": savePng, "save-json": saveJson,
    cancel: () => { work.abort(new DOMException("cancelled", "AbortError")); say("Cancelled."); }, "banner-close": () => trouble(""), theme: nextTheme, help: () => $("keys").showModal(), "threshold-own": () => setThreshold(null) };
  for (const [id, does] of Object.entries(click)) on(id, "click", () => Promise.resolve(does()).catch(failed));
  on("file", "change", () => { openFile($("file").files[0]); $("file").value = ""; });
  for (const name of ["bars", "emoji", "mirror", "single"]) on(name, "change", () => {
    settings[name] = $(name).checked;
    keep();
    video.classList.toggle("mirrored", settings.mirror && (state.camera || state.liveState === "on"));
    showFaces();
  });
  on("members", "change", () => { if (state.mode === "picture" && state.picture) { if ($("members").checked) lookAtPicture(); else showFaces(); } });
  on("model", "change", () => { showThreshold(); if (state.mode === "picture" && state.picture) lookAtPicture(); });
  on("threshold", "input", () => setThreshold(Number($("threshold").value) / 100));
  on("key", "input", () => { setKey($("key").value); if ($("key-keep").checked) keep(); });
  on("key-keep", "change", keep);
  on("track", "change", () => { state.track = Number($("track").value); showChart(); showFaces(); });
  on("view", "click", event => { const hit = stage.hit(event, state.faces, mirrored()); if (hit >= 0) choose(hit); });
  video.addEventListener("play", layout);
  video.addEventListener("pause", layout);
  wireTabs();
  wireDrops();
  document.addEventListener("keydown", pressed);
  document.addEventListener("visibilitychange", hiddenOrBack);
  addEventListener("pagehide", stopAll);
  addEventListener("online", () => connected(true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showFaces(); chart.draw(); });
}

function wireTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => setMode(tab.dataset.mode));
    tab.addEventListener("keydown", event => {
      const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      setMode(tabs[(to + tabs.length) % tabs.length].dataset.mode, true);
    });
  });
}

function wireDrops() {
  let depth = 0;
  const files = event => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const show = by => { depth = by === 0 ? 0 : Math.max(0, depth + by); $("dropping").hidden = depth === 0; };
  document.addEventListener("dragenter", event => { if (files(event)) show(1); });
  document.addEventListener("dragleave", event => { if (files(event)) show(-1); });
  document.addEventListener("dragover", event => { if (files(event)) event.preventDefault(); });
  document.addEventListener("drop", event => { if (!files(event)) return; event.preventDefault(); show(0); openFile(event.dataTransfer.files[0]); });
  document.addEventListener("paste", event => { const file = [...(event.clipboardData?.files ?? [])][0]; if (file) { event.preventDefault(); openFile(file); } });
}

// A page that nobody sees watches nobody: the camera is released, and starts again when the page is back.
let wasLive = false;
async function hiddenOrBack() {
  if (document.hidden && state.liveState === "on") { wasLive = true; await pauseLive(); }
  else if (!document.hidden && wasLive) { wasLive = false; if (state.liveState === "paused") await startLive(); }
}

function restore() {
  for (const name of ["bars", "emoji", "mirror", "single"]) $(name).checked = settings[name];
  const key = stored().key ?? "";
  Object.assign($("key"), { value: key });
  $("key-keep").checked = Boolean(key);
  setKey(key);
  $("parade").append(...["happy", "surprise", "neutral", "sad", "anger"].map(name => faceIcon(name)));
  $("eight").append(...EXPRESSIONS.map(name => make("li", {}, faceIcon(name), name)));
  if (matchMedia("(max-width: 1060px)").matches) $("options").open = false;
}

restore();
wire();
setTheme(THEMES.includes(settings.theme) ? settings.theme : "system");
showThreshold();
layout();
readModels();
facesReady.then(drawStage);
