"""The rivers page, and a file, on Starlette, to measure against: `python .ci/load.py`.

The page makes the same calls at once, with the same parser, and shows the same facts.
"""

import asyncio
import os
from contextlib import asynccontextmanager

import aiohttp
from django.conf import settings
from starlette.applications import Starlette
from starlette.responses import FileResponse, HTMLResponse
from starlette.routing import Route

from app import SITES, parse_reading, read_json, usgs_query


async def fetch_reading(session, site):
    """Return a gauge's reading."""
    url, headers = settings.SERVICES["usgs"], settings.SERVICE_HEADERS["usgs"]
    async with session.get(url + usgs_query([site]), headers=headers) as response:
        reading, _ = read_json(
            response.status, await response.read(), parse_reading, site
        )
        return reading


async def rivers(request):
    """Return the table of the gauges."""
    calls = (fetch_reading(request.state.session, site) for site in SITES)
    rows = [
        f"<tr>{''.join(f'<td>{fact}</td>' for fact in reading)}</tr>"
        for reading in await asyncio.gather(*calls)
    ]
    return HTMLResponse(f"<!doctype html><table>{''.join(rows)}</table>")


async def file(request):
    """Return the file that LOAD_FILE names."""
    return FileResponse(os.environ["LOAD_FILE"])


@asynccontextmanager
async def lifespan(application):
    """Keep one session for all requests."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield {"session": session}


routes = [Route("/", rivers), Route("/file", file)]
application = Starlette(routes=routes, lifespan=lifespan)
