// The camera: frames go to the service, the newest only and never more than two at once; between answers boxes glide.

import { ApiError, predict, sleep } from "./api.js";
import { Tracks } from "./tracks.js";

const LONGEST = 640, SMALLEST = 320, QUALITY = 0.8, IN_FLIGHT = 2;
const SLOW_MS = 60; // a service that looks for faces longer than this gets smaller pictures

// Opens the camera; throws an Error whose message says what to do.
export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("The browser gives cameras only to pages on this machine (127.0.0.1) or over https. Open the page that way.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" }, audio: false });
  } catch (error) {
    const words = {
      NotAllowedError: "The camera was refused. Allow it for this page (the sign beside the address), then press Start again.",
      NotFoundError: "No camera was found. Connect one, or use a picture or a video file.",
      OverconstrainedError: "No camera was found that suits. Connect another, or use a picture or a video file.",
      NotReadableError: "Another program is using the camera. Close it, then press Start again.",
    };
    throw new Error(words[error.name] ?? `The camera does not start: ${error.message}`);
  }
}

export function closeCamera(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

// A video's picture as JPEG, scaled down to at most `longest` pixels.
export class Grabber {
  constructor(longest = LONGEST) {
    this.longest = longest;
    this.canvas = document.createElement("canvas");
    this.ctx = this.canvas.getContext("2d", { alpha: false, desynchronized: true });
  }

  take(video) {
    const scale = Math.min(1, this.longest / Math.max(video.videoWidth, video.videoHeight));
    const width = Math.round(video.videoWidth * scale), height = Math.round(video.videoHeight * scale);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.ctx.drawImage(video, 0, 0, width, height);
    return new Promise((resolve, reject) => this.canvas.toBlob(blob => (blob ? resolve(blob) : reject(new Error("The picture cannot be read."))), "image/jpeg", QUALITY));
  }
}

// The next frame that the video shows.
export function nextFrame(video, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    const done = () => { signal.removeEventListener("abort", stop); resolve(); };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(done);
    else requestAnimationFrame(done);
  });
}

// Follows a camera that plays in a video element. tells: {frame(faces), answer(data, ms), waits(error, seconds),
// fails(error)}; waits(null) says that nothing is waited for.
export class Live {
  constructor(video, options, tells) {
    Object.assign(this, { video, options, tells, tracks: new Tracks(), stopped: new AbortController(), times: [], newest: -1, sent: 0, longest: LONGEST, detect: null });
  }

  start() {
    this.began = performance.now();
    this.#draw(this.began);
    for (let place = 0; place < IN_FLIGHT; place++) this.#follow(new Grabber(), place);
  }

  stop() { this.stopped.abort(new DOMException("stopped", "AbortError")); }

  // Answers a second, over the last two seconds.
  get rate() {
    const now = performance.now();
    this.times = this.times.filter(time => now - time < 2000);
    return this.times.length > 1 ? 1000 * (this.times.length - 1) / (this.times.at(-1) - this.times[0]) : 0;
  }

  async #follow(grabber, place) {
    const { signal } = this.stopped;
    try {
      await sleep(place * 30, signal); // the two take turns
      for (;;) {
        await nextFrame(this.video, signal);
        await this.#once(grabber, signal);
      }
    } catch (error) {
      if (!signal.aborted) { this.stop(); this.tells.fails(error); }
    }
  }

  async #once(grabber, signal) {
    const number = this.sent++;
    grabber.longest = this.longest;
    const taken = performance.now() / 1000, image = await grabber.take(this.video);
    try {
      const { data, ms } = await predict(image, { ...this.options(), signal }, { tries: 1 });
      this.tells.waits(null);
      if (number < this.newest || signal.aborted) return;
      this.newest = number;
      this.#take(data, ms, taken);
    } catch (error) {
      if (!(error instanceof ApiError) || !["busy", "offline"].includes(error.kind)) throw error;
      const seconds = error.kind === "busy" ? error.retryAfter : 1;
      this.tells.waits(error, seconds);
      await sleep(seconds * 1000, signal); // this frame is old by then: the next one is sent instead
    }
  }

  #take(data, ms, taken) {
    const now = performance.now(), scale = this.video.videoWidth / data.width;
    const faces = data.faces.map(face => ({ ...face, box_xyxy: face.box_xyxy.map(value => value * scale) }));
    this.times.push(now);
    this.#suit(data.timing_ms?.detect ?? 0);
    this.tracks.update(faces, taken, now / 1000);
    this.tells.answer(data, ms);
  }

  // Some detectors take long for many pixels: faces before a camera are large enough for fewer.
  #suit(detect) {
    this.detect = this.detect === null ? detect : 0.7 * this.detect + 0.3 * detect;
    if (this.detect <= SLOW_MS || this.longest <= SMALLEST) return;
    Object.assign(this, { longest: Math.max(SMALLEST, this.longest * 0.75), detect: null });
  }

  // Boxes are drawn with the camera's frames, so that the browser puts both on the screen at once: drawn in between, they
  // would double its work, and the service needs the processor.
  async #draw(before) {
    try {
      for (;;) {
        await nextFrame(this.video, this.stopped.signal);
        const now = performance.now();
        if (now - before < 25) continue;
        this.tells.frame(this.tracks.step(now / 1000, (now - before) / 1000));
        before = now;
      }
    } catch (error) {
      if (!this.stopped.signal.aborted) this.tells.fails(error);
    }
  }
}
