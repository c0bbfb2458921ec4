// @ts-check
// Asks for the token of an admin. It stays in this page, and is gone with it.

import { $, put } from "./dom.js";

/**
 * Returns the token, or an empty text if the dialog was closed.
 *
 * @param {string} why the hub asks for one
 * @returns {Promise<string>}
 */
export function askToken(why) {
  const dialog = /** @type {HTMLDialogElement} */ ($("sign-in"));
  const input = /** @type {HTMLInputElement} */ ($("token"));
  put($("sign-in-why"), why);
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const given = dialog.returnValue === "yes" ? input.value : "";
        input.value = "";
        dialog.returnValue = "";
        resolve(given);
      },
      { once: true },
    );
  });
}
