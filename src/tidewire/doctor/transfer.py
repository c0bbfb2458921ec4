"""
One request to an endpoint, read for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx2

from .seen import End, Piece, Transfer

# Bytes after which enough is known.
MOST = 4 * 1024 * 1024
# Seconds for a head, at least: a server may be starting, or send it with its first event only.
HEAD = 10.0


async def transfer(
    client: httpx2.AsyncClient, url: str, headers: Mapping[str, str], seconds: float, method: str = "GET"
) -> Transfer:
    """
    Send a request and read its response for `seconds` after its head.

    Raises `ConnectionError` if there is none within `seconds`, or within ten if that is longer.
    """
    begun = asyncio.get_running_loop().time()
    request = client.build_request(method, url, headers=dict(headers))
    response = await respond(client, request, max(seconds, HEAD))
    pieces: list[Piece] = []
    try:
        head_at = since(begun)
        end = await read(response, pieces, begun, head_at + seconds)
    finally:
        await response.aclose()
    names = {name.lower(): value for name, value in response.headers.items()}
    where, status, version = str(response.url), response.status_code, response.http_version
    return Transfer(where, status, version, names, head_at, pieces, end, since(begun))


async def respond(client: httpx2.AsyncClient, request: httpx2.Request, seconds: float) -> httpx2.Response:
    try:
        async with asyncio.timeout(seconds):
            return await client.send(request, stream=True, follow_redirects=True)
    except TimeoutError:
        detail = f"{request.url} did not respond within {seconds:g} s, not even with a head"
        raise ConnectionError(detail) from None
    except httpx2.HTTPError as error:
        detail = f"cannot reach {request.url}: {error or type(error).__name__}"
        raise ConnectionError(detail) from None


async def read(response: httpx2.Response, pieces: list[Piece], begun: float, until: float) -> End:
    """Add what arrives to `pieces`, until so many seconds after `begun`."""
    parts = response.aiter_raw()
    size = 0
    while size < MOST:
        try:
            async with asyncio.timeout_at(begun + until):
                data = await anext(parts)
        except TimeoutError:
            return "open"
        except StopAsyncIteration:
            return "ended"
        except httpx2.HTTPError:
            return "cut"
        size += len(data)
        pieces.append(Piece(since(begun), data))
    return "open"


def since(begun: float) -> float:
    return asyncio.get_running_loop().time() - begun
