// The wire: one line per listener, from the server to its page. An event runs along it as a wave;
// a lost connection is a torn line. It is decoration: the page has everything it shows as text, too.

const TRAVEL = 1100; // milliseconds from end to end
const STEP = 2;
const MAX_LANES = 32;
const MAX_PULSES = 6;

const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

const ease = (t) => t * t * (3 - 2 * t);

export class Wire {
  #canvas;
  #context;
  #pulses = [];
  #frame = 0;
  #last = 0;
  #phase = 0;
  #lanes = 1;
  #state = "connecting";
  #arrived = "accent"; // the colour of the far ends is that of the last event

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    new ResizeObserver(() => this.#fit()).observe(canvas);
    dark.addEventListener("change", () => this.#draw());
  }

  set state(state) {
    this.#state = state;
    if (state !== "open") this.#pulses = [];
    this.#draw();
  }

  set lanes(lanes) {
    const shown = Math.min(lanes, MAX_LANES);
    if (shown === this.#lanes) return;
    this.#lanes = shown;
    this.#draw();
  }

  /** Let an event run along the wire. `tone` names a colour of the style sheet. */
  pulse(tone) {
    if (still.matches) {
      this.#arrived = tone;
      this.#draw();
      return;
    }
    if (this.#pulses.length >= MAX_PULSES) return; // a replay brings many at once
    this.#pulses.push({ tone, start: performance.now() });
    if (!this.#frame) {
      this.#last = performance.now();
      this.#frame = requestAnimationFrame((at) => this.#tick(at));
    }
  }

  // Frames are requested only while something moves, so a quiet page costs nothing.
  #tick(at) {
    this.#phase += (at - this.#last) / 900;
    this.#last = at;
    const landed = this.#pulses.filter((pulse) => at - pulse.start >= TRAVEL);
    if (landed.length) this.#arrived = landed.at(-1).tone;
    this.#pulses = this.#pulses.filter((pulse) => at - pulse.start < TRAVEL);
    this.#draw(at);
    this.#frame = this.#pulses.length ? requestAnimationFrame((next) => this.#tick(next)) : 0;
  }

  #fit() {
    const ratio = devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.#canvas;
    this.#canvas.width = Math.round(clientWidth * ratio);
    this.#canvas.height = Math.round(clientHeight * ratio);
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#draw();
  }

  #draw(at = performance.now()) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const style = getComputedStyle(this.#canvas);
    const colour = (name) => this.#resolve(style, name);
    const context = this.#context;
    context.clearRect(0, 0, width, height);
    context.lineJoin = context.lineCap = "round";
    const left = Math.min(46, width * 0.09);
    const right = width - left;
    const lanes = Math.max(1, this.#lanes);
    const spread = Math.min((height - 44) / lanes, 34);
    for (let lane = 0; lane < lanes; lane += 1) {
      const end = height / 2 + (lane - (lanes - 1) / 2) * spread;
      this.#lane({ left, right, middle: height / 2, end, lane, lanes, spread, at, colour });
    }
    this.#node(left, height / 2, 9, colour("accent"), true);
    context.fillStyle = colour("soft");
    context.font = `12px ${style.fontFamily}`;
    context.textAlign = "center";
    context.fillText("server", left, height / 2 + 28);
    if (lanes === 1 && this.#lanes) context.fillText("page", right, height / 2 + 28);
  }

  #lane(shape) {
    const { left, right, end, at, colour } = shape;
    const context = this.#context;
    const height = this.#height(shape);
    const quiet = this.#state !== "open";
    context.lineWidth = shape.lanes > 12 ? 1.5 : 2.5;
    context.strokeStyle = colour(this.#state === "silent" ? "coin" : quiet ? "soft" : "accent");
    context.globalAlpha = quiet ? 0.55 : 0.85;
    if (this.#lanes === 0) context.setLineDash([2, 9]);
    if (this.#state === "lost") {
      const tear = (right - left) * 0.07;
      const middle = (left + right) / 2;
      this.#stroke(height, left, middle - tear);
      this.#stroke(height, middle + tear, right);
    } else {
      this.#stroke(height, left, right);
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
    for (const { tone, start } of this.#pulses) {
      const centre = left + ((at - start) / TRAVEL) * (right - left);
      context.strokeStyle = colour(tone);
      context.lineWidth += 1.5;
      this.#stroke(height, Math.max(left, centre - 46), Math.min(right, centre + 46));
      context.lineWidth -= 1.5;
    }
    const open = this.#state === "open" && this.#lanes > 0;
    this.#node(right, end, Math.min(7, shape.spread * 0.38), colour(open ? this.#arrived : "soft"), open);
  }

  /** Return the height of a lane as a function of x: from the middle to its end, with a swell and the pulses. */
  #height({ left, right, middle, end, lane, lanes, at }) {
    const swell = this.#state === "open" ? 3.5 : 0;
    const tall = Math.min(26, middle * 0.5) / Math.sqrt(lanes);
    const centres = this.#pulses.map(({ start }) => left + ((at - start) / TRAVEL) * (right - left));
    return (x) => {
      const part = (x - left) / (right - left);
      const calm = Math.sin(Math.PI * part) * swell * Math.sin(x / 38 - this.#phase * 2 + lane);
      let bump = 0;
      for (const centre of centres) {
        const away = (x - centre) / 22;
        bump -= tall * Math.exp(-away * away) * Math.cos(away * 1.6);
      }
      return middle + (end - middle) * ease(part) + calm + bump * Math.sin(Math.PI * part) ** 0.35;
    };
  }

  #stroke(height, from, to) {
    if (to <= from) return;
    this.#context.beginPath();
    for (let x = from; x < to; x += STEP) this.#context.lineTo(x, height(x));
    this.#context.lineTo(to, height(to));
    this.#context.stroke();
  }

  #node(x, y, radius, colour, filled) {
    const context = this.#context;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = filled ? colour : this.#resolve(getComputedStyle(this.#canvas), "surface");
    context.strokeStyle = colour;
    context.lineWidth = 2.5;
    context.fill();
    context.stroke();
  }

  #resolve(style, name) {
    // A canvas does not support light-dark(), so pick the value for the current scheme.
    const value = style.getPropertyValue(`--${name}`).trim();
    const halves = /^light-dark\((.+?),\s*(.+)\)$/.exec(value);
    return halves ? halves[dark.matches ? 2 : 1] : value;
  }
}
