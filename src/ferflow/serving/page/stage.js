// What is drawn on a picture: boxes, labels, emoji, bars; and how a picture, a camera or a film fills the stage.
// Coordinates of faces are pixels of the picture; a mirrored picture is drawn by the caller, its faces here.

import { COLOURS, UNSURE, faceImage } from "./faces.js";

export const percent = share => `${Math.round(share * 100)}\u00a0%`;

// Whether an answer is certain: by the person's threshold, else as the service says.
export function isCertain(face, threshold) {
  if (face.expression == null || face.confidence == null) return null;
  return threshold === null ? face.certain !== false : face.confidence >= threshold;
}

export function labelOf(face, threshold) {
  if (face.expression == null || face.confidence == null) return "face";
  return isCertain(face, threshold) ? `${face.expression} ${percent(face.confidence)}` : `uncertain (${face.expression}?)`;
}

export const colourOf = (face, threshold) => (isCertain(face, threshold) ? COLOURS[face.expression] : null) ?? UNSURE;

// Draw every face. view: {scale (canvas units a picture pixel), width, height (canvas units), mirror, bars, emoji, threshold,
// selected (an index, or -1)}. The chosen face is drawn last, above the others.
export function drawFaces(ctx, faces, view) {
  const order = faces.map((_, index) => index).sort((a, b) => (a === view.selected) - (b === view.selected));
  for (const index of order) drawFace(ctx, faces[index], view, faces.length > 1 && index === view.selected);
}

// The box of a face on the canvas: [left, top, width, height].
export function boxOf(face, view) {
  const [x0, y0, x1, y1] = face.box_xyxy.map(value => value * view.scale);
  return [view.mirror ? view.width - x1 : x0, y0, x1 - x0, y1 - y0];
}

function drawFace(ctx, face, view, chosen) {
  const [left, top, width, height] = boxOf(face, view);
  const colour = colourOf(face, view.threshold), certain = isCertain(face, view.threshold);
  ctx.save();
  if (face.fading) ctx.globalAlpha = face.fading;
  const sprite = face.expression && certain ? faceImage(face.expression) : null;
  if (view.emoji) {
    const side = Math.max(width, height) * 1.25;
    const over = faceImage(face.expression);
    if (over) {
      if (!certain) ctx.filter = "grayscale(1)";
      ctx.drawImage(over, left + width / 2 - side / 2, top + height / 2 - side / 2, side, side);
      ctx.filter = "none";
    }
  } else {
    outline(ctx, left, top, width, height, chosen ? 7 : 5, "rgb(0 0 0 / 45%)");
    outline(ctx, left, top, width, height, chosen ? 4 : 2.5, colour);
  }
  if (width >= 34) drawLabel(ctx, labelOf(face, view.threshold), view.emoji ? null : sprite, colour, left, top, view);
  if (view.bars && !view.emoji && width >= 84 && face.top3?.length) drawBars(ctx, face, left, top + height + 6, Math.min(Math.max(width, 112), 168), view);
  ctx.restore();
}

function outline(ctx, left, top, width, height, thick, colour) {
  ctx.beginPath();
  ctx.roundRect(left, top, width, height, Math.min(10, width / 6));
  ctx.lineWidth = thick;
  ctx.strokeStyle = colour;
  ctx.stroke();
}

function drawLabel(ctx, words, sprite, colour, left, top, view) {
  ctx.font = "600 14px system-ui, sans-serif";
  const tall = 26, icon = sprite ? 24 : 0;
  const wide = ctx.measureText(words).width + 18 + icon;
  const x = clamp(left - 1, 2, view.width - wide - 2), y = clamp(top - tall - 5, 2, view.height - tall - 2);
  ctx.fillStyle = "rgb(12 14 19 / 84%)";
  ctx.beginPath();
  ctx.roundRect(x, y, wide, tall, 8);
  ctx.fill();
  ctx.fillStyle = colour;
  ctx.beginPath();
  ctx.roundRect(x, y, 4, tall, [8, 0, 0, 8]);
  ctx.fill();
  if (sprite) ctx.drawImage(sprite, x + 9, y + 3, 20, 20);
  ctx.fillStyle = "#fff";
  ctx.textBaseline = "middle";
  ctx.fillText(words, x + 11 + icon, y + tall / 2 + 1);
}

function drawBars(ctx, face, left, top, wide, view) {
  const step = 19, tall = step * face.top3.length + 6;
  const x = clamp(left, 2, view.width - wide - 2), y = clamp(top, 2, view.height - tall - 2);
  ctx.fillStyle = "rgb(12 14 19 / 74%)";
  ctx.beginPath();
  ctx.roundRect(x, y, wide, tall, 8);
  ctx.fill();
  ctx.font = "500 12px system-ui, sans-serif";
  ctx.textBaseline = "middle";
  face.top3.forEach(([name, share], place) => {
    const row = y + 3 + place * step;
    ctx.globalAlpha *= 0.62;
    ctx.fillStyle = COLOURS[name] ?? UNSURE;
    ctx.beginPath();
    ctx.roundRect(x + 3, row + 1.5, Math.max(3, (wide - 6) * share), step - 3, 5);
    ctx.fill();
    ctx.globalAlpha /= 0.62;
    ctx.fillStyle = "#fff";
    ctx.textAlign = "left";
    ctx.fillText(name, x + 9, row + step / 2 + 0.5);
    ctx.textAlign = "right";
    ctx.fillText(percent(share), x + wide - 8, row + step / 2 + 0.5);
    ctx.textAlign = "left";
  });
}

const clamp = (value, low, high) => Math.max(low, Math.min(value, high));

// The stage: a frame of the right shape with a canvas over (or instead of) a video.
export class Stage {
  constructor(frame, canvas, video) {
    Object.assign(this, { frame, canvas, video, width: 0, height: 0, ctx: canvas.getContext("2d") });
    this.resized = () => {};
    new ResizeObserver(() => this.#fit() && this.resized()).observe(frame);
  }

  // Show a medium of this size; withVideo says whether the video element lies below the canvas.
  show(width, height, { withVideo = false, mirror = false } = {}) {
    Object.assign(this, { width, height });
    this.frame.hidden = false;
    this.video.hidden = !withVideo;
    this.video.classList.toggle("mirrored", mirror);
    this.frame.style.setProperty("--ratio", String(width / height));
    this.#fit();
  }

  hide() { this.frame.hidden = true; this.clear(); }

  clear() { this.ctx.setTransform(1, 0, 0, 1, 0, 0); this.ctx.clearRect(0, 0, this.canvas.width, this.canvas.height); }

  // Draw a bitmap (null: only what lies below) and its faces.
  draw(bitmap, faces, look) {
    const ratio = this.canvas.width / this.cssWidth || 1;
    this.clear();
    this.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint(this.ctx, bitmap, faces, { ...look, width: this.cssWidth, height: this.cssHeight, scale: this.cssWidth / this.width });
  }

  // Which face lies under a click, the smallest first; -1 for none.
  hit(event, faces, mirror) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const view = { scale: this.cssWidth / this.width, width: this.cssWidth, mirror };
    const x = event.clientX - left, y = event.clientY - top;
    const inside = faces.map((face, index) => [boxOf(face, view), index]).filter(([[l, t, w, h]]) => x >= l && x <= l + w && y >= t && y <= t + h);
    return inside.sort(([a], [b]) => a[2] * a[3] - b[2] * b[3])[0]?.[1] ?? -1;
  }

  // The picture with what is drawn on it, as a PNG.
  async png(bitmap, faces, look) {
    const units = clamp(this.width, 560, 960), width = Math.max(this.width, 560);
    const canvas = new OffscreenCanvas(width, Math.round(width * this.height / this.width));
    const ctx = canvas.getContext("2d");
    ctx.scale(width / units, width / units);
    paint(ctx, bitmap, faces, { ...look, width: units, height: units * this.height / this.width, scale: units / this.width, selected: -1 });
    return canvas.convertToBlob({ type: "image/png" });
  }

  get cssWidth() { return this.frame.clientWidth; }
  get cssHeight() { return this.frame.clientHeight; }

  #fit() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(this.cssWidth * ratio), height = Math.round(this.cssHeight * ratio);
    if (!width || (this.canvas.width === width && this.canvas.height === height)) return false;
    Object.assign(this.canvas, { width, height });
    return true;
  }
}

function paint(ctx, bitmap, faces, view) {
  if (bitmap) {
    ctx.save();
    if (view.mirror) { ctx.translate(view.width, 0); ctx.scale(-1, 1); }
    ctx.imageSmoothingQuality = "high";
    ctx.drawImage(bitmap, 0, 0, view.width, view.height);
    ctx.restore();
  }
  drawFaces(ctx, faces, view);
}
