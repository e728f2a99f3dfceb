// The expressions: their colours, and small faces drawn here, because a font with colour emoji is not everywhere.
// The drawings are those of sprites.py, in SVG; coordinates from -1 to 1.

const INK = "#50301e", SKIN = "#ffcd3c", EDGE = "#e18c14", BLUE = "#3caaeb", GREEN = "#6ebe50", RED = "#f56e3c";

export const COLOURS = {
  neutral: "#a3abb8", happy: "#f5b915", sad: "#4a90e2", surprise: "#2fbccb",
  fear: "#b166d6", disgust: "#5bb157", anger: "#ee5a4e", contempt: "#b98a5c",
};
export const UNSURE = "#9aa1ac";
export const EXPRESSIONS = Object.keys(COLOURS);

const oval = (x, y, rx, ry = rx, fill = INK) => `<ellipse cx="${x}" cy="${y}" rx="${rx}" ry="${ry}" fill="${fill}"/>`;
const line = (d, width = 0.1) => `<path d="${d}" fill="none" stroke="${INK}" stroke-width="${width}" stroke-linecap="round" stroke-linejoin="round"/>`;
const area = (d, fill = INK) => `<path d="${d}" fill="${fill}"/>`;
const both = draw => draw(-1) + draw(1);
const eyes = (rx = 0.11, ry = 0.16, y = -0.2) => both(s => oval(s * 0.34, y, rx, ry));
const brows = (inner, outer, width) => both(s => line(`M${s * 0.14} ${inner}L${s * 0.6} ${outer}`, width));

const DRAWN = {
  neutral: eyes() + line("M-.38 .42H.38"),
  happy: both(s => line(`M${s * 0.34 - 0.17} -.12Q${s * 0.34} -.45 ${s * 0.34 + 0.17} -.12`))
    + area("M-.58 .12A.58 .6 0 0 0 .58 .12Z") + area("M-.5 .14H.5L.46 .3H-.46Z", "#fff"),
  sad: brows(-0.55, -0.38) + eyes(0.11, 0.16, -0.14) + line("M-.36 .58Q0 .2 .36 .58")
    + area("M-.5 .02L-.64 .34H-.36Z", BLUE) + oval(-0.5, 0.38, 0.15, 0.15, BLUE),
  surprise: both(s => line(`M${s * 0.18} -.56Q${s * 0.38} -.78 ${s * 0.58} -.52`)) + eyes(0.13, 0.15) + oval(0, 0.46, 0.24, 0.32),
  fear: area("M-.66 -.6Q0 -.86 .66 -.6L.88 -.06H-.88Z", BLUE)
    + both(s => oval(s * 0.36, -0.12, 0.26) + oval(s * 0.36, -0.12, 0.22, 0.22, "#fff") + oval(s * 0.36, -0.12, 0.07))
    + both(s => line(`M${s * 0.16} -.6L${s * 0.62} -.42`)) + line("M-.44 .59L-.29 .41L-.15 .59L0 .41L.15 .59L.29 .41L.44 .59"),
  disgust: both(s => line(`M${s * 0.52} -.32L${s * 0.22} -.16L${s * 0.52} -.04`)) + line("M-.44 .46Q0 .14 .44 .46")
    + area("M0 .36L.32 .38L.3 .66H.02Z", RED) + oval(0.16, 0.66, 0.14, 0.14, RED),
  anger: brows(-0.24, -0.56, 0.14) + eyes(0.1, 0.12, -0.08) + line("M-.38 .56Q0 .28 .38 .56"),
  contempt: both(s => oval(s * 0.36, -0.14, 0.2, 0.2, "#fff") + oval(s * 0.36 + 0.1, -0.1, 0.1)
    + area(`M${s * 0.36 - 0.24} -.4h.48v.24h-.48Z`, SKIN) + line(`M${s * 0.36 - 0.22} -.15h.44`))
    + line("M-.34 -.42L-.6 -.4") + line("M.14 -.5Q.4 -.74 .62 -.5") + line("M-.34 .46Q.16 .5 .44 .24"),
};
const TINT = { disgust: GREEN, anger: RED };

const markup = name => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 2 2" width="256" height="256">`
  + oval(0, 0, 0.97, 0.97, EDGE) + oval(0, 0, 0.9, 0.9, TINT[name] ?? SKIN) + DRAWN[name] + "</svg>";
const ADDRESS = Object.fromEntries(EXPRESSIONS.map(name => [name, `data:image/svg+xml,${encodeURIComponent(markup(name))}`]));

const IMAGES = Object.fromEntries(EXPRESSIONS.map(name => {
  const image = new Image(256, 256);
  image.src = ADDRESS[name];
  return [name, image];
}));

// Resolves when every face can be drawn on a canvas.
export const facesReady = Promise.all(Object.values(IMAGES).map(image => image.decode().catch(() => {})));

// The face of an expression for a canvas; undefined where there is none.
export const faceImage = name => IMAGES[name];

// The face of an expression as an <img>; decoration, so its alt is empty.
export function faceIcon(name, className = "") {
  const image = new Image(256, 256);
  image.alt = "";
  image.className = `sprite ${className}`;
  if (ADDRESS[name]) image.src = ADDRESS[name];
  else image.hidden = true;
  return image;
}
