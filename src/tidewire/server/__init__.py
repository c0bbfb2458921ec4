"""Our own server: uvicorn with a protocol that hands its streams over to the hub."""
