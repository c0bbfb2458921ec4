// One area per event type. Each shows its newest event and returns it as text for the log.

const $ = (id) => document.getElementById(id);

let coins;
let rolls;

export function resetAreas() {
  coins = { heads: 0, tails: 0 };
  rolls = [0, 0, 0, 0, 0, 0];
  showCoins();
  showRolls();
}

export const areas = {
  coinToss({ result }) {
    coins[result] += 1;
    $("coin-value").textContent = result;
    turn(document.querySelector(".coin"), result, "flip");
    showCoins();
    return result;
  },

  dieRoll({ result }) {
    rolls[result - 1] += 1;
    $("die-value").textContent = result;
    turn(document.querySelector(".die"), result, "roll");
    showRolls();
    return String(result);
  },

  catFact({ text }) {
    $("fact").textContent = text;
    animate($("fact"), "fade");
    return text;
  },

  meme({ image, alt }) {
    $("picture").src = image;
    $("picture").alt = alt;
    animate($("picture"), "fade");
    return alt;
  },
};

function showCoins() {
  const { heads, tails } = coins;
  $("heads").textContent = heads;
  $("tails").textContent = tails;
  $("coin-split").style.setProperty("--share", `${heads + tails ? (100 * heads) / (heads + tails) : 50}%`);
}

function showRolls() {
  const most = Math.max(1, ...rolls);
  for (const [index, bar] of [...$("die-bars").children].entries()) {
    bar.style.setProperty("--share", rolls[index] / most);
    bar.classList.toggle("some", rolls[index] > 0);
    bar.title = `${index + 1}: ${rolls[index]} times`;
  }
}

function turn(element, face, motion) {
  element.dataset.face = face;
  animate(element, motion);
}

export function animate(element, motion) {
  element.classList.remove(motion);
  void element.getBoundingClientRect(); // restarts the animation
  element.classList.add(motion);
}
