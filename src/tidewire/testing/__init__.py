"""
What it takes to test a hub, a client or an engine: public, for programs and for engines of others.

`recorder` and `checker` judge a run; `contract` admits an engine; `clock` and `wire` stand in for the time
and the socket. Nothing here needs pytest.
"""
