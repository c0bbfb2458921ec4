// Each page keeps in `lines` what its client gives it, as streams.py prints it for Python.
globalThis.lines = [];
globalThis.show = (line) => lines.push(line);
globalThis.record = (event, id, data) => show({ event: event || "message", id, data });

// Event types that a page must name to get them.
globalThis.TYPES = ["message", "hub.position", "hub.gap", "hub.end"];
globalThis.query = new URLSearchParams(location.search);
globalThis.url = query.get("url");
