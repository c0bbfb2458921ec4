"""
Public tools for testing a hub, a client or an engine.

`recorder` and `checker` judge a run; `contract` admits an engine; `clock` and `wire` stand in for time and
the socket. Nothing here needs pytest.
"""
