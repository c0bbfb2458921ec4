"""The systems under test, one small program each; all publish by POST and stream by GET /events/bench."""
