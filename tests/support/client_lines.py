"""
How a client behaves on the connection: the numbered lines that the Python clients are tested by.

A line has a number, what it asks for in a few words, and either a test of that number in its name
(`test_A4_…`) or, where it does not concern a Python client, the reason. The facts behind them are the
standard's (WHATWG HTML 9.2 and Fetch), those of public test suites (Web Platform Tests, sse-contract-tests,
undici, eventsource) and of practice.
"""

from __future__ import annotations

LINES = {
    # The request.
    "A1": "Accept is text/event-stream and nothing else",
    "A2": "Cache-Control is no-cache",
    "A3": "the first request has no Last-Event-ID",
    "A4": "each reconnection has the last id",
    "A5": "an id goes out as its UTF-8 bytes",
    "A6": "after a reset by an empty id there is no such header",
    "A7": "an id with NUL is neither kept nor sent",
    "A8": "the id of a block without data counts",
    "A9": "the id of an unfinished block does not",
    "A10": "an id that the caller gives is sent with the first request",
    "A11": "the caller's headers go with each request",
    "A12": "method and body too, and the same each time",
    "A13": "GET without a body, without the fragment",
    "A14": "a name and password in the URL are used",
    "A15": "cookies by withCredentials",
    "A16": "headers and query may change with each attempt",
    "A17": "what is wrong is said before any I/O",
    # The answer.
    "B1": "open is told before the first event",
    "B2": "a semicolon behind the type is fine",
    "B3": "a charset is ignored: it is UTF-8",
    "B4": "case does not matter, and a longer subtype is another",
    "B5": "another type ends it for good",
    "B6": "another status too",
    "B7": "204 ends it quietly",
    "B8": "429 and 5xx are waited out, by a documented policy",
    "B9": "network errors are waited out",
    "B10": "another scheme is refused",
    "B11": "status and headers of a failure reach the caller",
    "B12": "a body of nothing is a stream that ended",
    # Redirects.
    "C1": "301, 302, 303, 307 and 308 are followed",
    "C2": "each reconnection begins at the first URL",
    "C3": "the final URL can be known",
    "C4": "a redirect to 204 is the end",
    "C5": "a redirect to nowhere is an error",
    "C6": "credentials stay within the origin",
    "C7": "Last-Event-ID and Accept come along",
    "C8": "a POST becomes a GET after 301, 302 and 303, and stays one after 307 and 308",
    "C9": "more than 20 are an error",
    # The end of a stream and what follows.
    "D1": "a stream that ends is asked for again",
    "D2": "which is told in between",
    "D3": "after a few seconds by default",
    "D4": "retry: changes the time, and nonsense does not",
    "D5": "it lasts until the next one, and its bounds are documented",
    "D6": "no backoff is added after a clean end",
    "D7": "backoff doubles up to a cap, with jitter, and ends after a stable connection",
    "D8": "each connection is read anew",
    "D9": "a BOM at its start too",
    "D10": "the connection after a break works fully",
    "D11": "an event without an id has the last one",
    "D12": "restart makes a new connection without an error",
    "D13": "silence is noticed, and any byte breaks it",
    "D14": "nothing is asked for after close",
    "D15": "attempts can be limited",
    "D16": "a slow reader loses nothing",
    # Reading.
    "E1": "how bytes are cut means nothing",
    "E2": "an event is there with its blank line",
    "E3": "also where the body has neither length nor chunks",
    "E4": "no compression is asked for; what comes all the same is undone bit by bit",
    "E5": "large events pass, and there is a limit",
    "E6": "many lines, many events, single bytes",
    "E7": "invalid UTF-8 ends nothing",
    "E8": "a page that claims to be a stream gives nothing",
    # The API.
    "F1": "readyState and its constants",
    "F2": "close is no error, however often",
    "F3": "onopen, onmessage, onerror, addEventListener",
    "F4": "MessageEvent and its flags",
    "F5": "events named open and error are events",
    "F6": "close from another thread wakes the reader",
    "F7": "cancelling, leaving and breaking out close the connection",
    "F8": "the caller's HTTP client stays open",
    "F9": "sync and async have the same surface",
    "F10": "bfcache, workers, window.stop()",
    "F11": "preflights",
    "F12": "CORS refusals",
    "F13": "EventSource.fromReadableStream",
}

OF_THE_DOM = (
    "an attribute or event of the browser's EventSource object; `on_change` and iteration stand for it"
)
OF_A_PAGE = "a rule for pages, which a program outside a browser does not have"

NOT_APPLICABLE = {
    "A15": OF_A_PAGE,
    "F1": OF_THE_DOM,
    "F3": OF_THE_DOM,
    "F4": OF_THE_DOM,
    "F10": OF_A_PAGE,
    "F11": OF_A_PAGE,
    "F12": OF_A_PAGE,
    "F13": "a proposal for browsers; `Decoder` reads any stream of bytes",
}
