"""Our own server: uvicorn with a protocol that hands streams over to the hub."""
