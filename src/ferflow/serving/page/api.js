// The service's JSON API: one function a request, errors in words, and patience with a service that is busy or away.

const ROOT = new URL("..", document.baseURI);
let key = "";

export function setKey(value) { key = value.trim(); }

// What went wrong, in words for a person. kind: busy | offline | key | refused | failed; retryAfter in seconds.
export class ApiError extends Error {
  constructor(kind, message, { status = 0, retryAfter = 1, requestId = "" } = {}) {
    super(message);
    Object.assign(this, { kind, status, retryAfter, requestId });
  }
}

export const sleep = (ms, signal) => new Promise((resolve, reject) => {
  const stop = () => { clearTimeout(timer); reject(signal.reason); };
  const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); resolve(); }, ms);
  if (signal?.aborted) stop();
  else signal?.addEventListener("abort", stop, { once: true });
});

// Sends one request; gives {data, ms}. Throws ApiError, or the signal's reason.
async function send(path, { body, json, signal } = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const start = performance.now();
  let reply, data;
  try {
    const method = body || json !== undefined ? "POST" : "GET";
    reply = await fetch(new URL(path, ROOT), { method, headers, signal, cache: "no-store", body: json !== undefined ? JSON.stringify(json) : body });
    data = await reply.json().catch(() => null);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw new ApiError("offline", "The service cannot be reached.");
  }
  if (reply.ok && data !== null) return { data, ms: performance.now() - start };
  throw refusal(reply, data);
}

function refusal(reply, data) {
  const said = typeof data?.error === "string" ? data.error : "";
  const facts = { status: reply.status, requestId: reply.headers.get("x-request-id") ?? "", retryAfter: waitOf(reply.headers.get("retry-after")) };
  const as = (kind, words) => new ApiError(kind, words, facts);
  if (reply.status === 429) return as("busy", "You asked more often than this service allows.");
  if (reply.status === 503) return as("busy", "The service is busy.");
  if (reply.status === 401) return as("key", key ? "The service does not know this key. Check it under Options." : "This service wants a key. Enter it under Options.");
  if (reply.status === 403) return as("key", "This key may not do that.");
  if (reply.status === 413) return as("refused", said || "The file is larger than this service takes.");
  if (reply.status >= 500) return as("failed", `The service failed${facts.requestId ? ` (request ${facts.requestId})` : ""}. Try again.`);
  return as("refused", said || `The service answered ${reply.status}.`);
}

function waitOf(header) {
  const seconds = Number.isNaN(Number(header)) ? (Date.parse(header) - Date.now()) / 1000 : Number(header);
  return Math.min(Math.max(header === null || Number.isNaN(seconds) ? 1 : seconds, 0.25), 30);
}

// Sends a request until it is answered: waits as long as a busy service asks, and until a lost one is back.
// told(error, seconds) hears of every wait, told(null) of its end. Gives up after `tries` refusals of a busy service.
export async function ask(path, options = {}, { told = () => {}, tries = 10 } = {}) {
  for (let tried = 1; ; tried++) {
    try {
      const answer = await send(path, options);
      if (tried > 1) told(null);
      return answer;
    } catch (error) {
      if (!(error instanceof ApiError) || !["busy", "offline"].includes(error.kind) || tried >= tries) {
        if (tried > 1) told(null);
        throw error;
      }
      const seconds = error.kind === "busy" ? error.retryAfter : Math.min(2 ** (tried - 1) * 0.5, 5);
      told(error, seconds);
      await sleep(seconds * 1000, options.signal);
    }
  }
}

export const getModel = () => ask("model");
export const getModels = () => ask("models");

export function predict(blob, { model, members = false, consent = false, signal } = {}, patience) {
  const body = form({ image: blob }, { model, members: members || null, consent: consent || null });
  return ask("predict", { body, signal }, patience);
}

export const explain = (blob, face, { model, signal } = {}, patience) => ask("explain", { body: form({ image: blob }, { face, model }), signal }, patience);
export const feedback = (id, label) => ask("feedback", { json: { id, label } }, { tries: 3 });

// Gives a clip to the service and waits for its frames; progress(status) is told every time it is asked.
export async function predictVideo(file, { signal, progress = () => {} }, patience) {
  const { data: task } = await ask("predict_video/submit", { body: form({ video: file }, {}), signal }, patience);
  const named = `task_id=${encodeURIComponent(task.task_id)}`;
  for (;;) {
    await sleep(500, signal);
    const { data } = await ask(`predict_video/status?${named}`, { signal }, patience);
    progress(data.status);
    if (data.status === "failed" || data.status === "canceled") throw new ApiError("failed", data.error || "The service could not read this clip.");
    if (data.status === "completed") return (await ask(`predict_video/get?${named}`, { signal }, patience)).data;
  }
}

function form(files, fields) {
  const body = new FormData();
  for (const [name, blob] of Object.entries(files)) body.append(name, blob, blob.name ?? "frame.jpg");
  for (const [name, value] of Object.entries(fields)) if (value !== null && value !== undefined && value !== "") body.append(name, String(value));
  return body;
}
