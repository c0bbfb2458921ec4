"""Testing an SSE endpoint of any server from outside: `examine` asks, `checks` judge, `clients` compare."""
