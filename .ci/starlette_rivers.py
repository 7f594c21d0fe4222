"""The rivers page on Starlette with aiohttp, to measure against: `python .ci/load.py`.

The same six calls at once, the same parser, and a page of the same facts; nothing shared.
"""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from app import HEADERS, SITES, parse_readings, usgs_url


async def fetch_reading(session, site):
    async with session.get(usgs_url([site]), headers=HEADERS) as answer:
        return parse_readings(await answer.read(), [site])[0]


async def rivers(request):
    calls = (fetch_reading(request.state.session, site) for site in SITES)
    rows = [
        f"<tr>{''.join(f'<td>{fact}</td>' for fact in reading)}</tr>"
        for reading in await asyncio.gather(*calls)
    ]
    return HTMLResponse(f"<!doctype html><table>{''.join(rows)}</table>")


@asynccontextmanager
async def lifespan(application):
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield {"session": session}


application = Starlette(routes=[Route("/", rivers)], lifespan=lifespan)
