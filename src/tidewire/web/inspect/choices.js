// @ts-check
// A row of buttons of which one is pressed.

/**
 * @param {HTMLElement} group
 * @param {string} name each button has its value in data-NAME
 * @param {(value: string) => void} onChoice
 */
export function choices(group, name, onChoice) {
  const buttons = [...group.querySelectorAll("button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
      onChoice(button.dataset[name] ?? "");
    });
  }
}
