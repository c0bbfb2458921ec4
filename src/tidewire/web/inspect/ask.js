// @ts-check
// A question before something that cannot be taken back.

import { $, put } from "./dom.js";

/**
 * Ask in a dialog. Returns whether the answer is yes.
 *
 * @param {string} question
 * @param {string} yes the label of the button that says so
 * @returns {Promise<boolean>}
 */
export function ask(question, yes) {
  const dialog = /** @type {HTMLDialogElement} */ ($("question"));
  put($("question-text"), question);
  put($("question-yes"), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
