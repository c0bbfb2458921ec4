"""Shows which worker of several has answered."""

import os


class Named:
    """Middleware that adds the process to each answer."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def named(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-worker", b"%d" % os.getpid())]
            await send(message)

        await self.app(scope, receive, named)
