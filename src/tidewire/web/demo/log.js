// The log: rows at the end of a role="log" element, and the same in the console.

const LIMIT = 500;

function span(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

function now() {
  const at = new Date();
  const element = document.createElement("time");
  element.dateTime = at.toISOString();
  element.textContent = `${at.toTimeString().slice(0, 8)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  return element;
}

class Row {
  constructor(kind, type, text, number) {
    this.element = document.createElement("div");
    this.element.className = `row ${kind}`;
    this.text = span("text", text);
    this.number = span("number", number ? `#${number}` : "");
    this.element.append(now(), span("type", type), this.text, this.number);
  }

  /** Replace the text, after more is known. */
  update(text) {
    this.text.textContent = text;
    console.log(text);
  }

  markReplayed() {
    this.element.classList.add("replayed");
    this.number.before(span("flag", "replayed "));
    this.number.prepend(this.number.previousSibling);
  }
}

export class Log {
  constructor(element) {
    this.element = element;
  }

  clear() {
    this.element.replaceChildren();
  }

  /** Add a row. `kind` sets its style; `type` is shown before the text. */
  add(kind, type, text, number = 0) {
    const { element } = this;
    // Do not scroll if the user has scrolled up to read.
    const follows = element.scrollHeight - element.scrollTop - element.clientHeight < 24;
    const row = new Row(kind, type, text, number);
    element.append(row.element);
    while (element.children.length > LIMIT) element.firstChild.remove();
    if (follows) element.scrollTop = element.scrollHeight;
    console.log(type, text);
    return row;
  }
}
