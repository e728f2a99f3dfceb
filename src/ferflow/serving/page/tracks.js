// Faces from one answer to the next: boxes glide, probabilities are averaged over time. It knows no camera and no service.

const GLIDE_S = 0.07; // time constant of a shown box behind its aim
const AVERAGE_S = 0.3; // time constant of averaged probabilities, as in ferflow video
const AHEAD_S = 0.25; // how far a box is moved on with its speed, at most: an answer is of a picture that is past
const GONE_S = 0.45; // a face that no answer had for so long is gone
const TRAIL = 40;

function overlap(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = box => (box[2] - box[0]) * (box[3] - box[1]);
  return width * height / (area(a) + area(b) - width * height);
}

const mix = (from, to, share) => (from == null || to == null ? to : from + (to - from) * share);
const mixAll = (from, to, share) => Object.fromEntries(Object.entries(to).map(([name, value]) => [name, mix(from?.[name], value, share)]));
const still = matchMedia("(prefers-reduced-motion: reduce)");

// A face with averaged probabilities, valence and arousal; everything that follows from them is read from the averages.
function averaged(before, face, share) {
  const probabilities = Object.fromEntries(Object.entries(face.probabilities).map(([task, all]) => [task, mixAll(before.probabilities[task], all, share)]));
  const best = task => Object.entries(probabilities[task] ?? {}).sort((a, b) => b[1] - a[1]);
  const ranked = best("expression");
  return {
    ...face, probabilities,
    expression: ranked[0]?.[0] ?? face.expression, confidence: ranked[0]?.[1] ?? face.confidence,
    top3: ranked.length ? ranked.slice(0, 3) : face.top3,
    age: best("age")[0]?.[0] ?? face.age, gender: best("gender")[0]?.[0] ?? face.gender, race: best("race")[0]?.[0] ?? face.race,
    valence: mix(before.valence, face.valence, share), arousal: mix(before.arousal, face.arousal, share),
  };
}

export class Tracks {
  // gone: seconds without an answer after which a face is gone. own: the model's threshold, where it is known.
  constructor({ gone = GONE_S } = {}) { Object.assign(this, { all: [], next: 1, own: null, gone }); }

  clear() { this.all = []; }

  // Take an answer's faces; taken: when its picture was, now: when it came, in seconds.
  update(faces, taken, now = taken) {
    const pairs = faces.flatMap(face => this.all.map(track => [overlap(face.box_xyxy, track.aim), face, track]));
    const used = new Set();
    for (const [share, face, track] of pairs.sort((a, b) => b[0] - a[0])) {
      if (share < 0.15 || used.has(face) || used.has(track)) continue;
      used.add(face).add(track);
      this.#follow(track, face, taken, now);
    }
    for (const face of faces) if (!used.has(face)) this.#begin(face, taken, now);
    this.all = this.all.filter(track => now - track.heard < this.gone);
  }

  #begin(face, taken, now) {
    this.all.push({ track: this.next++, face, aim: face.box_xyxy, shown: [...face.box_xyxy], speed: [0, 0, 0, 0], seen: taken, heard: now, trail: [] });
  }

  #follow(track, face, taken, now) {
    const passed = Math.max(taken - track.seen, 1e-3);
    track.speed = track.speed.map((speed, i) => mix(speed, (face.box_xyxy[i] - track.aim[i]) / passed, 0.5));
    track.face = averaged(track.face, face, 1 - Math.exp(-passed / AVERAGE_S));
    if (this.own !== null) track.face.certain = track.face.confidence == null ? null : track.face.confidence >= this.own;
    Object.assign(track, { aim: face.box_xyxy, seen: taken, heard: now });
    if (track.face.valence != null) track.trail = [...track.trail.slice(1 - TRAIL), { valence: track.face.valence, arousal: track.face.arousal }];
  }

  // Where faces are shown now, `passed` seconds after they were last; in the order in which they appeared.
  step(now, passed) {
    const share = still.matches ? 1 : 1 - Math.exp(-passed / GLIDE_S);
    return this.all.map(track => {
      const age = Math.min(now - track.seen, AHEAD_S), ahead = still.matches ? 0 : age;
      track.shown = track.shown.map((value, i) => mix(value, track.aim[i] + track.speed[i] * ahead, share));
      const fading = Math.max(0, Math.min(1, (this.gone - (now - track.heard)) / 0.15));
      return { ...track.face, box_xyxy: track.shown, track: track.track, trail: track.trail, fading };
    });
  }
}
