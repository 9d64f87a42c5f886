"""A hundred people open the studio, one after the other and many at once: pages come, work and leave no thread behind."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import threading
import time
import urllib.request
from pathlib import Path

import psutil
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.soak import Row

PAGES = 100
AT_ONCE = 10


def trial(seconds: float, seed: int, folder: Path) -> list[Row]:
    """Open pages in tens, each with its websocket, and close them; then count threads and memory."""
    from tests.browser.conftest import Studio

    served = Studio(folder / "takes")
    opened, after = Row("page sessions opened, connected and closed"), Row("threads and memory after them as before")
    me = psutil.Process()
    try:
        asyncio.run(visit(served.url, AT_ONCE, Row("")))  # what is loaded once
        threads, memory = threading.active_count(), me.memory_info().rss
        end = time.monotonic() + seconds
        while opened.tried < PAGES and (time.monotonic() < end or opened.tried < 20):
            asyncio.run(visit(served.url, AT_ONCE, opened))
        gc.collect()
        grown = me.memory_info().rss / memory
        after.count(
            threading.active_count() <= threads + 3, f"{threads} threads before, {threading.active_count()} after"
        )
        after.count(grown < 1.5, f"memory is {grown:.2f} times what it was")
        opened.note = opened.note or f"memory {grown:.2f} times what it was after the first {AT_ONCE}"
    finally:
        served.stop()
    return [opened, after]


async def visit(url: str, count: int, row: Row) -> None:
    """So many people at once."""
    for error in await asyncio.gather(*(one(url) for _ in range(count))):
        row.count(not error, error)


async def one(url: str) -> str:
    """Fetch the page, connect its websocket, wait for the document; "" or what went wrong."""
    try:
        page, cookies = await asyncio.to_thread(fetched, url)
        token = re.search(r'"token":\s*"([^"]+)"', page)
        if token is None:
            return "the page holds no session"
        headers = {"Origin": url.rstrip("/"), "Sec-WebSocket-Protocol": f"bokeh, {token[1]}"}
        request = HTTPRequest(
            url.replace("http", "ws", 1) + "ws", headers=headers | ({"Cookie": cookies} if cookies else {})
        )
        socket = await websocket_connect(request, subprotocols=["bokeh", token[1]])
        heard = [await asyncio.wait_for(socket.read_message(), 60) for _ in range(3)]
        socket.close()
        return "" if heard[0] and json.loads(heard[0])["msgtype"] == "ACK" else f"no welcome: {heard!r}"
    except Exception as error:  # noqa: BLE001 - whatever comes is what is being looked for
        return f"{type(error).__name__}: {error}"


def fetched(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=60) as answer:
        cookies = [line.split(";")[0] for line in answer.headers.get_all("Set-Cookie") or []]
        return answer.read().decode(), "; ".join(cookies)
