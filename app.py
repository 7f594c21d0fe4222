# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "aiofiles>=25.1",
#   "aiohttp>=3.12",
#   "asgiref>=3.13",
#   "django>=5.2.19",
#   "httptools>=0.7",
#   "httpx>=0.28.1",
#   "uvicorn>=0.54",
#   "uvloop>=0.22; sys_platform != 'win32' and implementation_name == 'cpython'",
# ]
# ///
"""Should this view be synchronous, threaded or asynchronous? Measure it in one file.

Run `uvicorn app:application`, open http://127.0.0.1:8000/ and race the variants.
The first half is a Django application that also runs alone. The second half, "The
laboratory", measures and exports it (`python app.py --help`); for that it replaces
`page`, `render_error`, `make_tables`, `urlpatterns`, `application` and some settings.
The views come first. They call `fetch` and `fetch_async` of the section "Upstream
clients", and `page` of the section "Pages", which stand below them.

experiment  a job that several views do alike, such as `rivers`
variant     one of these views, such as `rivers/async`
pitfall     a variant that shows a mistake
upstream    a service that a view calls
lane        a queue of one request's synchronous calls, which run on one thread
held        the longest time that something kept the event loop busy, from a request's
            arrival until its response begins
"""

# ------------------------------------------------------------------------ Imports

import argparse
import ast
import asyncio
import atexit
import errno
import functools
import gc
import hashlib
import inspect
import json
import logging
import math
import mimetypes
import os
import random
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import symtable
import sys
import textwrap
import threading
import time
import unicodedata
import uuid
import weakref
from base64 import b64encode
from collections import defaultdict, deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext, suppress
from contextvars import Context, ContextVar
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from io import BytesIO
from itertools import groupby, islice, pairwise, product, repeat
from pathlib import Path
from queue import SimpleQueue
from tempfile import SpooledTemporaryFile, TemporaryDirectory
from typing import NamedTuple, NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import aiofiles
import aiohttp
import django
import httpx
import uvicorn
from aiofiles.tempfile import NamedTemporaryFile
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django import forms
from django.apps import AppConfig
from django.conf import settings
from django.core import signals
from django.core.asgi import get_asgi_application
from django.core.cache import caches, close_caches
from django.core.exceptions import BadRequest, DisallowedHost, SynchronousOnlyOperation
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import reset_urlconf
from django.core.management import execute_from_command_line
from django.db import close_old_connections, connections, models, transaction
from django.db.backends.signals import connection_created
from django.db.utils import DatabaseError, InterfaceError, OperationalError
from django.dispatch import receiver
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import FileResponse, HttpResponseNotAllowed
from django.middleware.csrf import CsrfViewMiddleware, get_token
from django.template.defaultfilters import pluralize
from django.template.loader import render_to_string
from django.urls import path, re_path, set_script_prefix
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.html import escape, format_html_join
from django.utils.http import content_disposition_header, http_date
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_http_methods, require_safe
from django.views.generic import RedirectView

# ----------------------------------------------------------------------- Settings

# `python app.py` runs this module as `__main__`; uvicorn would import it again as `app`.
sys.modules.setdefault("app", sys.modules[__name__])
DATA_DIR = Path(os.environ.get("DATA_DIR") or Path(__file__).resolve().parent / "data")
#: Service: its address, unless the environment has another in USGS_URL and the like.
DEFAULT_URLS = {
    "usgs": "https://api.waterdata.usgs.gov/ogcapi/v1/collections/latest-continuous/items",
    # These two are invented. The laboratory of this project's app.py serves them:
    # `uvicorn app:upstream --port 8001`.
    "promo": "http://127.0.0.1:8001/promo/",
    "recco": "http://127.0.0.1:8001/recco/",
    "rates": "https://api.apilayer.com/exchangerates_data/timeseries",
}
if base := os.environ.get("UPSTREAM_URL"):  # the base of all addresses
    base = base.rstrip("/")
    DEFAULT_URLS = {k: base + urlsplit(url).path for k, url in DEFAULT_URLS.items()}
URLS = {k: os.environ.get(f"{k.upper()}_URL") or v for k, v in DEFAULT_URLS.items()}
LOCALHOST = "localhost,127.0.0.1,[::1]"
KEY_HEADERS = {"usgs": "X-Api-Key", "rates": "apikey"}
HTML = {}  # a template's name: its text
ENGINE = "django.template.backends.django.DjangoTemplates"
LOCMEM = "django.template.loaders.locmem.Loader", HTML
OPTIONS = {"loaders": [("django.template.loaders.cached.Loader", [LOCMEM])]}
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA_DIR / "lab.sqlite3"}


def service_headers(service):
    """Return the headers of a call, with the service's key if there is one."""
    name, key = KEY_HEADERS.get(service), os.environ.get(f"{service.upper()}_API_KEY")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    return headers | ({name: key} if name and key else {})


class LabConfig(AppConfig):  # makes this one module an app, whatever its name
    label = "app"  # prefixes the names of its tables; a project's app has another


settings.configure(
    DEBUG=os.environ.get("DEBUG", "0").lower() in ("1", "true"),
    SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_urlsafe(50),
    ALLOWED_HOSTS=re.findall("[^ ,]+", os.environ.get("ALLOWED_HOSTS") or LOCALHOST),
    INSTALLED_APPS=[LabConfig(__name__, sys.modules[__name__])],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    CSRF_FAILURE_VIEW=f"{__name__}.csrf_failure",
    DATABASES={"default": SQLITE},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    TEMPLATES=[{"BACKEND": ENGINE, "OPTIONS": OPTIONS}],
    USE_I18N=False,
    LOGGING_CONFIG=None,  # errors go to standard error, whatever DEBUG is
    # Files arrive in the file system where they are stored, so a link can publish them.
    FILE_UPLOAD_HANDLERS=[f"{__name__}.UploadHandler"],
    FILE_UPLOAD_TEMP_DIR=DATA_DIR / "incoming",
    DEADLINE=10,  # seconds that a page may spend on its upstream calls, all together
    MAX_UPLOAD_BYTES=2**30,
    SERVICES=URLS,
    SERVICE_HEADERS={service: service_headers(service) for service in DEFAULT_URLS},
)
django.setup()
logging.getLogger("django").setLevel("ERROR")

# -------------------------------------------------------------- Experiment: hello


def hello_sync(request):
    """The smallest page, on a thread."""
    return page(request, "hello.html", {"greeting": "Hello, world!"})


async def hello_async(request):
    """The smallest page, on the event loop."""
    return page(request, "hello.html", {"greeting": "Hello, world!"})


HTML["hello.html"] = "<p>{{ greeting }} This page waits for nothing.</p>"

# ------------------------------------------------------------- Experiment: rivers

#: The gauges of the Yellowstone River in river order: USGS site number, official name.
SITES = {
    "06191500": "Yellowstone River at Corwin Springs MT",
    "06192500": "Yellowstone River near Livingston MT",
    "06214500": "Yellowstone River at Billings MT",
    "06295000": "Yellowstone River at Forsyth MT",
    "06309000": "Yellowstone River at Miles City MT",
    "06329500": "Yellowstone River near Sidney MT",
}
THREADS = 3


def rivers_sync(request):
    """One call for each gauge, one after the other."""
    seconds = settings.DEADLINE / len(SITES)
    return rivers_page(request, [fetch_reading(site, seconds) for site in SITES])


def rivers_threaded(request):
    """One call for each gauge, on three threads."""
    seconds = settings.DEADLINE / math.ceil(len(SITES) / THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        return rivers_page(request, [*pool.map(fetch_reading, SITES, repeat(seconds))])


async def rivers_async(request):
    """One call for each gauge, all at once on the event loop."""
    calls = [fetch_reading_async(site, settings.DEADLINE) for site in SITES]
    return rivers_page(request, await asyncio.gather(*calls))


async def rivers_async_httpx(request):
    """One call for each gauge, all at once, with one shared `httpx.AsyncClient`."""
    client = loop_client(make_httpx_client)
    calls = [fetch_reading_httpx(client, site) for site in SITES]
    return rivers_page(request, await asyncio.gather(*calls))


async def rivers_streamed(request):
    """One call for each gauge, all at once; each row is sent when it arrives."""
    if prefers_json(request):
        lines = (json.dumps(r._asdict()) + "\n" async for r in arriving_readings())
        return StreamingHttpResponse(lines, content_type="application/x-ndjson")
    return StreamingHttpResponse(stream_rows(request))


async def rivers_batched(request):
    """One call for all gauges, where the service offers it."""
    call = fetch_async("usgs", usgs_query(SITES), settings.DEADLINE, parse_readings)
    readings, error = await call
    readings = readings or [Reading(*gauge, error=error) for gauge in SITES.items()]
    return rivers_page(request, readings, calls=1)


async def rivers_shared(request):
    """One set of calls for all clients that wait at the same time."""
    readings, started = await share_call(gather_readings)
    return rivers_page(request, readings, calls=len(SITES) if started else 0)


def rivers_async_to_sync(request):
    """The asynchronous calls in a synchronous view."""
    return rivers_page(request, async_to_sync(gather_readings)())


async def rivers_sync_to_async(request):
    """The synchronous calls through the adapter: one thread, so one after the other."""
    seconds = settings.DEADLINE / len(SITES)
    calls = [sync_to_async(fetch_reading)(site, seconds) for site in SITES]
    return rivers_page(request, await asyncio.gather(*calls))


async def rivers_sync_to_async_pool(request):
    """The synchronous calls with `thread_sensitive=False`: a thread for each call."""
    fetch_in_pool = sync_to_async(fetch_reading, thread_sensitive=False)
    calls = [fetch_in_pool(site, settings.DEADLINE) for site in SITES]
    return rivers_page(request, await asyncio.gather(*calls))


async def rivers_new_client(request):
    """A new `httpx.AsyncClient` for each call: each holds the event loop to set up TLS."""

    async def fetch_with_new_client(site):
        async with make_httpx_client() as client:
            return await fetch_reading_httpx(client, site)

    calls = [fetch_with_new_client(site) for site in SITES]
    return rivers_page(request, await asyncio.gather(*calls))


async def rivers_blocking(request):
    """The synchronous calls on the event loop: all other clients wait."""
    seconds = settings.DEADLINE / len(SITES)
    return rivers_page(request, [fetch_reading(site, seconds) for site in SITES])


HTML["rivers.html"] = """\
<p>The Yellowstone River at {{ sites|length }} gauges. P: provisional, A: approved.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Readings"><table><thead><tr>
<th scope="col">Gauge</th><th scope="col">Discharge</th><th scope="col">Gage height</th>
<th scope="col">Remarks</th></tr></thead><tbody>{{ rows|join:"" }}</tbody></table></div>"""
HTML["reading.html"] = """\
<tr><th scope="row">{{ name }}<br><small>USGS {{ site }}</small></th>
<td>{{ discharge_ft3_s|floatformat:-2|default:"–" }} ft³/s<br>
<small>{{ discharge_observed|default:"" }}</small></td>
<td>{{ gage_height_ft|floatformat:2|default:"–" }} ft<br>
<small>{{ gage_height_observed|default:"" }}</small></td>
<td>{{ qualifiers|join:", " }} <span class="bad">{{ error|default:"" }}</span></td></tr>"""


class Reading(NamedTuple):
    """Hold a gauge's latest values and their times (ISO 8601), or why there are none."""

    site: str
    name: str
    discharge_ft3_s: float | None = None  # 00060 in the service's terms
    discharge_observed: str | None = None
    gage_height_ft: float | None = None  # 00065
    gage_height_observed: str | None = None
    qualifiers: tuple = ()
    error: str | None = None


NO_VALUE = "The gauge reports no value."
APPROVALS = {"Provisional": "P", "Approved": "A"}


def rivers_page(request, readings, calls=len(SITES)):
    """Return the dashboard: 200 if the service responded for a gauge, else 504 or 502."""
    errors = {reading.error for reading in readings}
    status = 200 if errors & {None, NO_VALUE} else 504 if errors == {TIMED_OUT} else 502
    data = {"upstream_calls": calls, "sites": [r._asdict() for r in readings]}
    return page(request, "rivers.html", data, status, rows=map(render_row, readings))


@functools.lru_cache(maxsize=256)
def render_row(reading):
    """Return a gauge's row. It is cached: with translations, add the language."""
    return render_to_string("reading.html", reading._asdict())


def fetch_reading(site, seconds):
    """Return a gauge's Reading, fetched within `seconds`."""
    reading, error = fetch("usgs", usgs_query([site]), seconds, parse_reading, site)
    return reading or Reading(site, SITES[site], error=error)


async def fetch_reading_async(site, seconds):
    """Return a gauge's Reading, fetched within `seconds`."""
    call = fetch_async("usgs", usgs_query([site]), seconds, parse_reading, site)
    reading, error = await call
    return reading or Reading(site, SITES[site], error=error)


async def fetch_reading_httpx(client, site):
    """Return a gauge's Reading, fetched with an `httpx.AsyncClient`."""
    url = settings.SERVICES["usgs"] + usgs_query([site])
    call = client.stream("GET", url, headers=settings.SERVICE_HEADERS["usgs"])
    try:
        async with asyncio.timeout(settings.DEADLINE), call as response:
            # One chunk is the whole body, or too much of it.
            body = await anext(response.aiter_raw(MAX_BYTES + 1), b"")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        failure = TIMED_OUT if isinstance(error, TimeoutError) else FAILED
        return Reading(site, SITES[site], error=failure)
    reading, error = read_json(response.status_code, body, parse_reading, site)
    return reading or Reading(site, SITES[site], error=error)


async def gather_readings():
    """Return all Readings, fetched at once on the event loop."""
    calls = [fetch_reading_async(site, settings.DEADLINE) for site in SITES]
    return await asyncio.gather(*calls)


def usgs_query(sites):
    """Return the query for the latest values. Without a limit the service sends ten."""
    ids = ",".join(f"USGS-{site}" for site in sites)
    return f"?f=json&limit=1000&monitoring_location_id={ids}&parameter_code=00060,00065"


def parse_readings(data):
    """Return all Readings from the service's GeoJSON."""
    return [parse_reading(data, site) for site in SITES]


def parse_reading(data, site):
    """Return a gauge's Reading from the service's GeoJSON (OGC API Features)."""
    found = [feature["properties"] for feature in data["features"]]
    found = [one for one in found if one["monitoring_location_id"] == f"USGS-{site}"]
    newest = {one["parameter_code"]: one for one in sorted(found, key=rank)}
    values, codes = [], []
    for one in (newest.get("00060"), newest.get("00065")):
        has_value, when = rank(one) if one else (False, None)
        values += [float(one["value"]), when.isoformat()] if has_value else [None, None]
        if one:
            codes += [APPROVALS.get(one["approval_status"])] + (one["qualifier"] or [])
    codes = [code for code in codes if isinstance(code, str) and code.isprintable()]
    error = NO_VALUE if values == [None] * 4 else None
    return Reading(site, SITES[site], *values, tuple(dict.fromkeys(codes)), error)


def rank(one):
    """Return (has a value, time) of an observation: of several, the highest counts."""
    value = float("nan" if one["value"] is None else str(one["value"]))
    observed = datetime.fromisoformat(one["time"])
    observed = observed if observed.tzinfo else observed.replace(tzinfo=UTC)
    return math.isfinite(value) and value != -999999, observed  # -999999: no value


async def stream_rows(request):
    """Yield the page up to its rows, each row when it arrives, and the rest."""
    data = {"upstream_calls": len(SITES), "sites": SITES}
    # The page is cut at a mark in the place of the rows.
    render = functools.partial(page, request, "rivers.html", data, rows="@@rows@@")
    yield render().content.partition(b"@@rows@@")[0]
    async for reading in arriving_readings():
        yield render_row(reading)
    # Rendered last, because the laboratory shows the load time there.
    yield render().content.partition(b"@@rows@@")[2]


async def arriving_readings():
    """Yield each Reading when it arrives."""
    calls = [fetch_reading_async(site, settings.DEADLINE) for site in SITES]
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for task in tasks:  # otherwise the calls go on after the client has left
            task.cancel()


shared_calls = {}  # (event loop, function): its task, and a semaphore for its clients


async def share_call(function):
    """Return what a function returns to all that wait, and whether this call started it."""
    key = asyncio.get_running_loop(), function
    if started := key not in shared_calls:
        # In a context of its own, because it may outlast the request that began it.
        task = asyncio.create_task(function(), context=Context())
        shared_calls[key] = task, asyncio.Semaphore(0)
        task.add_done_callback(lambda task: shared_calls.pop(key)[1].release())
    task, turn = shared_calls[key]
    # If all awaited the task, all would resume in one iteration of the event loop. uvloop
    # sends at its end, so the first client would wait for the last one's page. Therefore
    # the task releases a semaphore once, and each client releases it for the next.
    async with turn:
        return task.result(), started


# --------------------------------------------------------------- Experiment: home

#: Service: the list in its response, and the type of each field.
HOME_SERVICES = {
    "promo": ("promotions", {"title": str, "text": str, "ends": str}),
    "recco": ("books", {"title": str, "author": str, "price": float}),
}


def home_sync(request):
    """One call after the other."""
    seconds = settings.DEADLINE / len(HOME_SERVICES)
    parts = [fetch(name, "", seconds, parse_part, name) for name in HOME_SERVICES]
    return home_page(request, parts)


async def home_sequential(request):
    """One call awaited after the other: asynchronous, and no faster."""
    seconds = settings.DEADLINE / len(HOME_SERVICES)
    parts = [await fetch_part(name, seconds) for name in HOME_SERVICES]
    return home_page(request, parts)


async def home_async(request):
    """Both calls at once."""
    calls = [fetch_part(name, settings.DEADLINE) for name in HOME_SERVICES]
    return home_page(request, await asyncio.gather(*calls))


HTML["home.html"] = """\
<section class="panel" aria-label="Promotions">{% for promotion in promo.promotions %}
<p><strong>{{ promotion.title }}</strong> {{ promotion.text }}
<small>Until {{ promotion.ends }}.</small></p>
{% empty %}<p class="soft">No promotions. {{ errors.promo }}</p>{% endfor %}</section>
<h2>Recommended for you</h2><ul>{% for book in recco.books %}
<li>{{ book.title }} by {{ book.author }}, ${{ book.price|floatformat:2 }}</li>
{% empty %}<li class="soft">No recommendations. {{ errors.recco }}</li>{% endfor %}</ul>"""


def home_page(request, parts):
    """Return the bookshop's front page, without a part whose service failed."""
    named = dict(zip(HOME_SERVICES, parts, strict=True))
    data = {name: part for name, (part, _) in named.items()}
    errors = {name: error for name, (_, error) in named.items() if error}
    return page(request, "home.html", data | {"errors": errors})


async def fetch_part(name, seconds):
    """Return a service's part of the page, or None; and an error, or None."""
    return await fetch_async(name, "", seconds, parse_part, name)


def parse_part(data, service):
    """Return {list: [{field: value}]}. Raise an error for a value of another type."""
    name, fields = HOME_SERVICES[service]
    rows = [{key: row[key] for key in fields} for row in data[name]]
    for value, kind in ((row[key], fields[key]) for row in rows for key in fields):
        # `str.isprintable` raises TypeError for what is no text.
        if not (is_number(value) if kind is float else str.isprintable(value)):
            raise ValueError(value)
    return {name: rows}


def is_number(value):
    """Return whether a value from JSON is a finite number."""
    return type(value) in (int, float) and abs(value) < math.inf


# -------------------------------------------------------------- Experiment: rates

YEAR = "?start_date=2016-01-02&end_date=2017-01-01"


def rates_sync(request):
    """One large response, fetched and parsed on a thread."""
    return rates_page(request, *fetch("rates", YEAR, settings.DEADLINE, parse_rates))


async def rates_async(request):
    """One large response, awaited. Parsing it holds the event loop."""
    call = fetch_async("rates", YEAR, settings.DEADLINE, parse_rates)
    return rates_page(request, *await call)


HTML["rates.html"] = """\
<p>One {{ base }} in {{ symbol }} from {{ start_date }} to {{ end_date }}: {{ days }} days,
from a response with {{ currencies }} currencies.</p>
<svg viewBox="0 0 480 200" overflow="visible" fill="none" stroke="currentColor" role="img"
aria-label="{{ symbol }} from {{ low }} to {{ high }}"><svg viewBox="{{ box }}" overflow="visible"
preserveAspectRatio="none"><polyline points="{{ points }}" vector-effect="non-scaling-stroke"/>
</svg></svg><p>Lowest {{ low }}, highest {{ high }}, last {{ last }}.</p>
<form><label>Currency <input name="symbol" value="{{ symbol }}" size="4" maxlength="3"
required></label> <button>Show</button></form>"""


def rates_page(request, rates, error):
    """Return the year of one currency as a line. 400 for an unknown `?symbol=`."""
    if error:
        return render_error(request, 504 if error == TIMED_OUT else 502, error)
    base, days = rates
    symbol = request.GET.get("symbol", "USD").upper()
    line = [day[symbol] for day in days.values() if is_number(day.get(symbol))]
    if not line:
        return render_error(request, 400, "Unknown currency.", field="symbol")
    data = {"base": base, "start_date": min(days), "end_date": max(days)}
    data |= {"days": len(days), "currencies": len(set().union(*days.values()))}
    low, high = min(line), max(line)
    extra = {"symbol": symbol, "low": low, "high": high, "last": line[-1]}
    extra["box"] = f"0 {-high} {len(line)} {high - low or 1}"  # its y axis points down
    extra["points"] = " ".join(f"{day},{-rate}" for day, rate in enumerate(line))
    return page(request, "rates.html", data, **extra)


def parse_rates(data):
    """Return the base and {date: {currency: rate}} in order of date, or raise."""
    days = sorted(data["rates"].items(), key=lambda day: date.fromisoformat(day[0]))
    return str.upper(data["base"]), {day: dict(rates) for day, rates in days}


# --------------------------------------------------------------- Experiment: cars


def cars_sync(request):
    """Three small queries per car; creating a car is one transaction."""
    queries = start_query_log()
    if request.method == "POST":
        car = create_car(**read_form(request))
        return page(request, "cars.html", {"car": car}, 201, form=CarForm())
    rows = read_cars(parse_limit(request))
    data = {"cars": len(rows), "queries": len(queries)}
    return page(request, "cars.html", data, rows=rows[:10], form=CarForm())


async def cars_async(request):
    """Three small queries per car, no transaction: a crash leaves what was made."""
    queries = start_query_log()
    if request.method == "POST":
        car = await create_car_async(**read_form(request))
        return page(request, "cars.html", {"car": car}, 201, form=CarForm())
    rows = await read_cars_async(parse_limit(request))
    data = {"cars": len(rows), "queries": len(queries)}
    return page(request, "cars.html", data, rows=rows[:10], form=CarForm())


async def cars_sync_to_async(request):
    """The synchronous functions, each behind one `sync_to_async`."""
    queries = start_query_log()
    if request.method == "POST":
        car = await sync_to_async(create_car)(**read_form(request))
        return page(request, "cars.html", {"car": car}, 201, form=CarForm())
    rows = await sync_to_async(read_cars)(parse_limit(request))
    data = {"cars": len(rows), "queries": len(queries)}
    return page(request, "cars.html", data, rows=rows[:10], form=CarForm())


def cars_prefetched(request):
    """Three queries in all, however many cars there are."""
    queries = start_query_log()
    rows = read_cars_prefetched(parse_limit(request))
    data = {"cars": len(rows), "queries": len(queries)}
    return page(request, "cars.html", data, rows=rows[:10])


async def cars_unsafe(request):
    """The synchronous ORM in an `async def`: Django refuses."""
    try:
        data = {"cars": len(read_cars(parse_limit(request)))}
    except SynchronousOnlyOperation as error:
        data = {"error": f"SynchronousOnlyOperation: {error}"}
    return page(request, "unsafe.html", data, 500 if "error" in data else 200)


HTML["unsafe.html"] = '<p class="bad" role="alert">{{ error }}</p>'
HTML["cars.html"] = """\
{% if car %}<p role="status">Car {{ car }} was created.</p>{% endif %}{% if rows %}
<p>{{ rows|length }} of {{ cars }} cars, from {{ queries }} queries; more: <code>?n=500</code></p>
<table><thead><tr><th scope="col">Car</th><th scope="col">Store</th><th scope="col">Engine part
</th></tr></thead><tbody>{% for id, store, part in rows %}<tr><td>{{ id }}</td><td>{{ store }}</td>
<td>{{ part|default:"–" }}</td></tr>{% endfor %}</tbody></table>{% endif %}{% if form %}
<h2>New car</h2><p><code>cars/async</code> has no transaction: a crash leaves what was made.</p>
<form method="post">{% csrf_token %}{{ form.as_p }}<button>Create</button></form>{% endif %}"""


class CarParts(models.Model):
    engine = models.CharField(max_length=1000)


class Manufacturer(models.Model):
    name = models.CharField(max_length=150)


class Store(models.Model):
    location = models.CharField(max_length=150)


class Car(models.Model):
    created_at = models.DateTimeField(auto_now_add=True)
    store = models.ManyToManyField(Store)
    car_parts = models.ManyToManyField(CarParts)
    manufacturer = models.ForeignKey(Manufacturer, models.CASCADE)


class CarForm(forms.Form):
    engine = forms.CharField(max_length=1000)
    name = forms.CharField(max_length=150, label="Manufacturer")
    location = forms.CharField(max_length=150, label="Store")


#: Joins back to the cars, so that each query costs something. Five cars have no match.
PART_FILTER = {"engine__icontains": "engine", "car__manufacturer_id__gt": 5}


def read_cars(n):
    """Return rows of n cars (id, store, engine part), with queries in loops."""
    rows, cars = [], Car.objects.order_by("id")[:n]
    for car in cars:
        store = car.store.first()
        part = car.car_parts.filter(**PART_FILTER).first()
        rows.append((car.id, store and store.location, part and part.engine))
        car.store.first()  # again, as a template may
    return rows


async def read_cars_async(n):
    """Return rows of n cars; each query switches to a thread and back."""
    rows, cars = [], Car.objects.order_by("id")[:n]
    async for car in cars:
        store = await car.store.afirst()
        part = await car.car_parts.filter(**PART_FILTER).afirst()
        rows.append((car.id, store and store.location, part and part.engine))
        await car.store.afirst()  # again, as a template may
    return rows


def read_cars_prefetched(n):
    """Return rows of n cars, with three queries."""
    stores, parts = Store.objects.order_by("id"), CarParts.objects.filter(**PART_FILTER)
    cars = Car.objects.order_by("id").prefetch_related(
        models.Prefetch("store", stores, to_attr="stores"),
        models.Prefetch("car_parts", parts.order_by("id"), to_attr="parts"),
    )
    rows = []
    for car in cars[:n]:
        store, part = next(iter(car.stores), None), next(iter(car.parts), None)
        rows.append((car.id, store and store.location, part and part.engine))
    return rows


@transaction.atomic
def create_car(engine, name, location):
    """Create a car with its part, manufacturer and store, all or none. Return its id."""
    part = CarParts.objects.create(engine=engine)
    manufacturer = Manufacturer.objects.create(name=name)
    store = Store.objects.create(location=location)
    car = Car.objects.create(manufacturer=manufacturer)
    car.store.add(store)
    car.car_parts.add(part)
    return car.id


async def create_car_async(engine, name, location):
    """Create a car without a transaction; delete it again if a step fails. Return its id."""
    part, manufacturer = CarParts(engine=engine), Manufacturer(name=name)
    store, car = Store(location=location), Car(manufacturer=manufacturer)
    try:
        for instance in (part, manufacturer, store, car):
            await instance.asave()
        await car.store.aadd(store)
        await car.car_parts.aadd(part)
    except BaseException:  # also if the client leaves
        await sync_to_async(close_old_connections)()  # so that a delete can work
        for instance in (x for x in (car, store, manufacturer, part) if x.pk):
            await instance.adelete()
        raise
    return car.id


def read_form(request):
    """Return the form's values. Raise BadRequest(sentence, field) for the first wrong one."""
    form = CarForm(request.POST)
    for name, messages in form.errors.items():
        raise BadRequest(f"{name}: {messages[0]}", name)
    return form.cleaned_data


def parse_limit(request):
    """Return the number of cars to read, `?n=`. Raise BadRequest if it is not one."""
    if (n := request.GET.get("n", "50")) not in map(str, range(1, 1501)):
        raise BadRequest("n must be a whole number from 1 to 1500.", "n")
    return int(n)


query_log = ContextVar("query_log")  # which `sync_to_async` takes along to its thread


def start_query_log():
    """Return a new list for the request's queries. Make the database's folder."""
    with suppress(OSError):  # SQLite makes its file, not its folder
        DATA_DIR.mkdir(parents=True, exist_ok=True)
    query_log.set([])
    return query_log.get()


def log_query(execute, sql, params, many, context):
    """Add a query to the request's list on its way to the database."""
    query_log.get([]).append(sql)
    return execute(sql, params, many, context)


tables_lock, tables_made = threading.Lock(), threading.Event()


@receiver(connection_created)
def prepare_connection(connection, **kwargs):
    """Make the tables with the first connection, and log the queries of each."""
    with tables_lock:
        if not tables_made.is_set():
            make_tables(connection)
            tables_made.set()
    connection.execute_wrappers[:] = [log_query]  # once, however often it connects


def make_tables(connection):
    """Create the tables and fifty cars, unless that was done before."""
    if Car._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            for model in (CarParts, Manufacturer, Store, Car):
                editor.create_model(model)
            for i in range(1, 51):
                maker = Manufacturer.objects.create(name=f"Maker {i}")
                car = Car.objects.create(manufacturer=maker)
                car.store.create(location=f"Store {i}")
                car.car_parts.create(engine=f"V8 engine {i}")


# ---------------------------------------------------------------- Experiment: cpu


def cpu_sync(request):
    """Pure computation on a thread."""
    return cpu_page(request, [compute(piece) for piece in PIECES])


def cpu_threaded(request):
    """Pure computation on three threads, which take turns where Python has a GIL."""
    with ThreadPoolExecutor(THREADS) as pool:
        return cpu_page(request, list(pool.map(compute, PIECES)))


async def cpu_async(request):
    """Pure computation on the event loop: all other clients wait."""
    return cpu_page(request, [compute(piece) for piece in PIECES])


HTML["cpu.html"] = """\
<p>The digest is <code>{{ digest }}</code>. This is work, not waiting. More processes help:
<code>uvicorn --workers 2</code>.</p>
"""
PIECES = range(12)  # each takes about 4 ms


def compute(piece):
    """Return a number for the digest, computed in pure Python."""
    value = piece  # the seed of a linear congruential generator
    for _ in range(24_000):
        value = (value * 6364136223846793005 + 1442695040888963407) % 2**64
    return value


def cpu_page(request, values):
    """Return the digest of all pieces."""
    digest = hashlib.sha256(repr(values).encode()).hexdigest()
    return page(request, "cpu.html", {"digest": digest})


# -------------------------------------------------------- Experiment: certificate

PLACEHOLDER = b"%timestamp%         "  # 20 bytes, like the time that replaces it
PDF_TEMPLATE = DATA_DIR / "certificate-template.pdf"


def certificate_sync(request):
    """A PDF from a template, stamped with the time, read with `open`."""
    ensure_template()
    with open(PDF_TEMPLATE, "rb") as file:
        return certificate_response(request, file.read())


async def certificate_async(request):
    """A PDF from a template, stamped with the time, read with aiofiles on a thread."""
    ensure_template()  # one system call, unless the file is missing
    async with aiofiles.open(PDF_TEMPLATE, "rb") as file:
        return certificate_response(request, await file.read())


def certificate_response(request, template):
    """Return the PDF with the time in the place of each placeholder."""
    if PLACEHOLDER not in template:
        return render_error(request, 500, f"{PDF_TEMPLATE.name} lacks its placeholder.")
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}".encode()
    headers = {"Content-Disposition": "attachment; filename=certificate.pdf"}
    pdf = template.replace(PLACEHOLDER, now)
    return HttpResponse(pdf, content_type="application/pdf", headers=headers)


def ensure_template():
    """Write the template if it is missing."""
    if not PDF_TEMPLATE.exists():
        PDF_TEMPLATE.parent.mkdir(parents=True, exist_ok=True)
        part = PDF_TEMPLATE.with_name(secrets.token_hex(8))
        try:
            part.write_bytes(make_pdf())
            part.replace(PDF_TEMPLATE)  # at once, so that no request reads half of it
        finally:
            part.unlink(missing_ok=True)


def make_pdf():
    """Return a one-page PDF with the placeholder on the page and in the information."""
    text = b"BT /F1 28 Tf 72 500 Td (Certificate) Tj /F1 14 Tf 0 -40 Td "
    text += b"(This page was served at %s.) Tj ET" % PLACEHOLDER
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 612 792] >>",
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources 5 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>",
        b"<< /Title (Certificate) /Subject (Served at %s) >>" % PLACEHOLDER,
    ]
    pdf, table = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", b"0000000000 65535 f \n"
    for index, body in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % len(pdf)
        pdf += b"%d 0 obj\n%s\nendobj\n" % (index, body)
    table += b"trailer\n<< /Size 7 /Root 1 0 R /Info 6 0 R >>\n"
    return pdf + b"xref\n0 7\n" + table + b"startxref\n%d\n%%%%EOF\n" % len(pdf)


# -------------------------------------------------------------- Experiment: files

UPLOADS = DATA_DIR / "uploads"
CHUNK_BYTES = 2**18  # each is read on a thread; a slow client keeps two in memory


def files_sync(request, name):
    """Django's `FileResponse`, which under ASGI reads the whole file into memory."""
    file = open(upload_path(name), "rb")  # noqa: SIM115 - Django closes it
    headers = {"Cache-Control": "no-cache"}
    return FileResponse(file, as_attachment=True, filename=name, headers=headers)


async def files_async(request, name):
    """Streamed with aiofiles in constant memory, with byte ranges and conditions."""
    file = await aiofiles.open(upload_path(name), "rb")
    response, part = describe_part(request, name, os.fstat(file.fileno()))
    if request.method == "GET" and response.status_code in (200, 206):
        content, status = read_part(file, part), response.status_code
        return StreamingHttpResponse(content, status=status, headers=response.headers)
    await file.close()
    return response


def upload_path(name):
    """Return the path of an uploaded file: no link, folder or pipe. Else raise Http404."""
    path = UPLOADS / name
    is_regular = os.path.isfile(path) and not os.path.islink(path)
    if not (is_regular and path.name == name and name.isprintable()):
        raise Http404
    return path


def describe_part(request, name, info):
    """Return a response without its body, and the range of bytes to send.

    Source: RFC 9110, sections 13 (If-Match and the like) and 14 (Range).
    """
    size, modified = info.st_size, int(info.st_mtime)
    etag = f'"{info.st_ino:x}-{info.st_mtime_ns:x}-{size:x}"'
    headers = {"ETag": etag, "Last-Modified": http_date(modified)}
    status, part = 200, range(size)
    # With If-Range, a client that has a part of another version gets this one whole.
    is_same = request.headers.get("if-range", etag) in headers.values()
    if request.method == "GET" and is_same:
        status, part = parse_range(request.headers.get("range", ""), size)
    headers |= {"Accept-Ranges": "bytes", "Content-Length": len(part)}
    if status != 200:
        sent = f"{part[0]}-{part[-1]}" if part else "*"
        headers["Content-Range"] = f"bytes {sent}/{size}"
    headers["Content-Disposition"] = content_disposition_header(True, name)
    headers["Cache-Control"] = "no-cache"
    kind, encoding = mimetypes.guess_type(name)
    kind = f"application/{encoding}" if encoding else kind or "application/octet-stream"
    response = HttpResponse(content_type=kind, headers=headers)
    response = get_conditional_response(request, etag, modified, response)
    if response.status_code == 200:  # a 304 or 412 takes precedence over the range
        response.status_code = status
    return response, part


def parse_range(text, size):
    """Return the status, and the range of bytes to send, for a Range header.

    Several ranges, or an unreadable one, get the whole file, as section 14.2 allows.
    """
    # int() raises an error above 4,300 digits.
    match = re.fullmatch("(?i)bytes=([0-9]{0,4000})-([0-9]{0,4000})", text)
    first, last = match.groups() if match else ("", "")
    if first and (not last or int(first) <= int(last)):
        part = range(size)[int(first) : int(last) + 1 if last else None]
    elif last and not first:  # so many bytes at the end
        part = range(size)[max(0, size - int(last)) :]
    else:
        return 200, range(size)
    return (206 if part else 416), part


async def read_part(file, part):
    """Yield a range of a file's bytes in chunks, and close the file."""
    try:
        await file.seek(part.start)
        for start in part[::CHUNK_BYTES]:
            yield await file.read(min(CHUNK_BYTES, part.stop - start))
    finally:
        await file.close()


HTML["files.html"] = """\
{% if files %}<div class="scroll" tabindex="0" role="region" aria-label="Files"><table><thead><tr>
<th scope="col">File</th><th scope="col">Size</th><th scope="col">Modified</th></tr></thead>
<tbody>{% for file in files %}<tr><td><a href="{{ file.url }}">{{ file.name }}</a></td>
<td>{{ file.size|filesizeformat }}</td><td>{{ file.modified }}</td></tr>{% endfor %}</tbody></table>
</div>{% else %}<p>There are no files.</p>{% endif %}
<p><a href="/upload/async/">Upload a file</a></p>"""


def files_list(request):
    """Return the uploaded files by name: size in bytes, time in ISO 8601, address."""
    files = []
    for name in sorted(os.listdir(UPLOADS) if UPLOADS.is_dir() else ()):
        with suppress(Http404, FileNotFoundError):  # no file, or deleted meanwhile
            info = os.stat(upload_path(name))
            modified = datetime.fromtimestamp(int(info.st_mtime), UTC).isoformat()
            file = {"name": name, "size": info.st_size, "modified": modified}
            files.append(file | {"url": f"/files/async/{quote(name)}"})
    return page(request, "files.html", {"files": files})


# ------------------------------------------------------------- Experiment: upload


def upload_sync(request):
    """One file, published with a link to what Django has received."""
    if request.method != "POST":
        return page(request, "upload.html", {}, limit=settings.MAX_UPLOAD_BYTES)
    upload = one_file(request)
    name = publish(upload.temporary_file_path(), upload.name)
    return uploaded_page(request, name, upload.size)


async def upload_async(request):
    """One file, written with aiofiles in chunks, as if its data came from elsewhere."""
    if request.method != "POST":
        return page(request, "upload.html", {}, limit=settings.MAX_UPLOAD_BYTES)
    upload = one_file(request)  # parsed already, on a thread, for the CSRF check
    folder = settings.FILE_UPLOAD_TEMP_DIR
    async with NamedTemporaryFile(dir=folder) as file:
        while chunk := await asyncio.to_thread(upload.read, CHUNK_BYTES):
            await file.write(chunk)
        await file.flush()
        name = await asyncio.to_thread(publish, file.name, upload.name)
    return uploaded_page(request, name, upload.size)


HTML["upload.html"] = """\
<form method="post" enctype="multipart/form-data">{% csrf_token %}
<p><label>File <input type="file" name="file" required></label></p>
<button>Upload</button></form>
<p>At most {{ limit|filesizeformat }}. <a href="/files/">Uploaded files</a></p>
"""


class UploadHandler(TemporaryFileUploadHandler):
    """Receive a file under a safe name; make the folder if it is gone."""

    def new_file(self, field, name, *args, **kwargs):
        os.makedirs(settings.FILE_UPLOAD_TEMP_DIR, exist_ok=True)
        super().new_file(field, safe_name(name), *args, **kwargs)


def uploaded_page(request, name, size):
    """Return 201 with the file's name, size (bytes) and address as JSON, else 303."""
    if not prefers_json(request):
        return HttpResponse(status=303, headers={"Location": "/files/"})
    data = {"name": name, "size": size, "url": f"/files/async/{quote(name)}"}
    return page(request, "upload.html", data, 201)


def one_file(request):
    """Return the uploaded file. Raise BadRequest if there is not one, of a limited size."""
    files = request.FILES.getlist("file")
    if len(files) != 1:
        raise BadRequest("Send one file in the field `file`.", "file")
    if files[0].size > settings.MAX_UPLOAD_BYTES:
        raise BadRequest("The file is too large.", "file")
    return files[0]


def publish(path, name):
    """Link a complete file into UPLOADS under a name that is safe. Return the one it gets.

    A link appears at once or not at all, never overwrites, and outlives the first name.
    """
    UPLOADS.mkdir(parents=True, exist_ok=True)
    os.chmod(path, settings.FILE_UPLOAD_PERMISSIONS)
    stem, suffix = os.path.splitext(name)
    while True:
        with suppress(FileExistsError):
            os.link(path, UPLOADS / name)
            return name
        name = f"{stem}_{secrets.token_hex(3)}{suffix}"


def safe_name(name):
    """Return a safe form of a name, with only letters, digits, "_-."."""
    name = unicodedata.normalize("NFC", name).strip(" ").replace(" ", "_")
    stem, suffix = (re.sub(r"[^-\w.]", "", part) for part in os.path.splitext(name))
    # A name may have 255 bytes: here 180, 64 (16 characters of suffix), and 7 by `publish`.
    stem = stem.lstrip(".").encode()[:180].decode(errors="ignore")
    return (stem or "file") + suffix[:16]


# --------------------------------------------------------------- Upstream clients

TIMED_OUT = "The service did not respond in time."
FAILED = "The connection to the service failed."
MAX_BYTES = 8 * 2**20  # of a response, which is not compressed


async def fetch_async(service, query, seconds, parse, *arguments):
    """Return (what `parse` makes of the JSON, None), or (None, a sentence)."""
    options = {"headers": settings.SERVICE_HEADERS[service], "allow_redirects": False}
    call = loop_client(make_session).get(settings.SERVICES[service] + query, **options)
    try:
        async with asyncio.timeout(seconds), call as response:
            body = await response.content.readexactly(MAX_BYTES + 1)
    except asyncio.IncompleteReadError as error:  # the usual end: it is not too long
        body = error.partial
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a bad URL
        return None, TIMED_OUT if isinstance(error, TimeoutError) else FAILED
    return read_json(response.status, body, parse, *arguments)


def make_session():
    """Return an aiohttp session without cookies, decompression, limits or timeouts.

    It repeats a call whose kept connection the service has closed.
    """
    options = {"cookie_jar": aiohttp.DummyCookieJar(), "auto_decompress": False}
    options |= {"timeout": aiohttp.ClientTimeout()}
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), **options)


loop_clients = weakref.WeakKeyDictionary()  # event loop: {function: what it made}


def loop_client(make):
    """Return the event loop's one client of a kind, made at its first use."""
    clients = loop_clients.setdefault(asyncio.get_running_loop(), {})
    return clients.get(make) or clients.setdefault(make, make())


def read_json(status, body, parse, *arguments):
    """Return (what `parse` makes of a response's JSON, None), or (None, a sentence)."""
    if status != 200:
        return None, f"The service responded with status {status}."
    if len(body) > MAX_BYTES:
        return None, "The service's response is larger than 8 MB."
    try:
        return parse(json.loads(body), *arguments), None
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None, "The service's response has an unknown shape."


TLS = httpx.create_ssl_context(trust_env=False)  # made once, because it takes 16 ms
LIMITS = httpx.Limits(keepalive_expiry=2)  # services close idle connections after 5 s
idle_clients = []


def fetch(service, query, seconds, parse, *arguments):
    """Return (what `parse` makes of the JSON, None), or (None, a sentence)."""
    try:
        client = idle_clients.pop()  # of its own: threads would wait for a shared one
    except IndexError:
        client = httpx.Client(verify=TLS, trust_env=False, limits=LIMITS)
    client.deadline, client.last_read = time.monotonic() + seconds, b""  # for its reads
    options = {"headers": settings.SERVICE_HEADERS[service], "timeout": seconds}
    options["extensions"] = {"trace": functools.partial(limit_reads, client)}
    call = client.stream("GET", settings.SERVICES[service] + query, **options)
    try:
        with call as response:
            body = next(response.iter_raw(MAX_BYTES + 1), b"")  # cut if it is longer
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        client.close()
        return None, TIMED_OUT if isinstance(error, httpx.TimeoutException) else FAILED
    client.cookies.clear()
    if client.last_read.endswith((body[-len(client.last_read) :], b"0\r\n\r\n")):
        idle_clients.append(client)  # the last read ended as a body, or chunks, end
    else:
        client.close()  # what follows would be taken for the next response
    return read_json(response.status_code, body, parse, *arguments)


def limit_reads(client, event, info):
    """Replace the `read` of a new connection, when httpx's trace tells of one."""
    if event.endswith(("connect_tcp.complete", "start_tls.complete")):
        stream = info["return_value"]
        stream.read = functools.partial(read_in_time, client, stream.read)


def read_in_time(client, read, size, timeout=None):
    """Read within the time that is left. httpx would give each read the whole time."""
    client.last_read = read(size, max(0.001, client.deadline - time.monotonic()))
    return client.last_read


def make_httpx_client():
    """Return an `httpx.AsyncClient` with a TLS context of its own, as is the default."""
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(cookies=jar, limits=LIMITS, timeout=None, trust_env=False)


# -------------------------------------------------------------------------- Pages

TYPES = ["text/html", "application/json", "application/x-ndjson"]  # HTML, or JSON


# In a project, end with `return render(request, template, data | extra, status=status)`.
def page(request, template, data, status=200, **extra):
    """Return the data as JSON if the client prefers it, else as a page with `extra`."""
    if prefers_json(request):
        return JsonResponse(data, status=status)
    main = render_to_string(template, data | extra, request)
    return HttpResponse(f'<!doctype html><html lang="en">{main}', status=status)


def render_error(request, status, sentence, **fields):
    """Return an error: a sentence, and `field` where a form's field is wrong."""
    if prefers_json(request):
        return JsonResponse({"error": sentence} | fields, status=status)
    return HttpResponse(sentence, "text/plain; charset=utf-8", status)


def prefers_json(request):
    """Return whether the client prefers JSON: not if its Accept is unreadable or long."""
    size = len(request.headers.get("accept", ""))
    with suppress(ValueError, LookupError):
        return 0 < size <= 1000 and request.get_preferred_type(TYPES) in TYPES[1:]
    return False


def handler400(request, exception):
    """Return 400, and what `BadRequest(sentence, field)` or Django says is wrong."""
    sentence, *field = exception.args or ["The request could not be understood."]
    fields = {"field": field[0]} if field else {}
    return render_error(request, 400, sentence, **fields)


def handler404(request, exception):
    """Return 404."""
    return render_error(request, 404, "Unknown page or file.")


def csrf_failure(request, reason):
    """Return 403 for a form without its token."""
    return render_error(request, 403, f"The form was rejected: {reason}")


form_view = require_http_methods(["GET", "HEAD", "POST"])

# ----------------------------------------------------------- Experiments and URLs

# A view is a function, or whatever else Django takes as a view.
EXPERIMENTS = {
    "hello": {"sync": hello_sync, "async": hello_async},
    "rivers": {
        "sync": rivers_sync,
        "threaded": rivers_threaded,
        "async": rivers_async,
        "async_httpx": rivers_async_httpx,
        "streamed": rivers_streamed,
        "batched": rivers_batched,
        "shared": rivers_shared,
        "async_to_sync": rivers_async_to_sync,
        "sync_to_async": rivers_sync_to_async,
        "sync_to_async_pool": rivers_sync_to_async_pool,
        "new_client": rivers_new_client,
        "blocking": rivers_blocking,
    },
    "home": {"sync": home_sync, "sequential": home_sequential, "async": home_async},
    "rates": {"sync": rates_sync, "async": rates_async},
    "cars": {
        "sync": cars_sync,
        "async": cars_async,
        "sync_to_async": cars_sync_to_async,
        "prefetched": cars_prefetched,
        "unsafe": cars_unsafe,
    },
    "cpu": {"sync": cpu_sync, "threaded": cpu_threaded, "async": cpu_async},
    "certificate": {"sync": certificate_sync, "async": certificate_async},
    "files": {"sync": files_sync, "async": files_async},
    "upload": {"sync": upload_sync, "async": upload_async},
}
#: The variants that take a form.
FORMS = {"cars/sync", "cars/async", "cars/sync_to_async", "upload/sync", "upload/async"}
PITFALLS = {"rivers/new_client", "rivers/blocking", "cars/unsafe", "cpu/async"}


@require_safe
async def list_pages(request):
    """Return links to all pages."""
    routes = [str(pattern.pattern) for pattern in urlpatterns]
    links = [[route] for route in routes if route and "<" not in route]
    return HttpResponse(format_html_join("\n", '<p><a href="/{0}">{0}</a></p>', links))


urlpatterns = [
    path("", list_pages),
    path("files/", require_safe(files_list), name="files"),
]
for name, variants in EXPERIMENTS.items():
    for variant, view in variants.items():
        route = f"{name}/{variant}/" + "<name>" * (name == "files")
        limit = form_view if f"{name}/{variant}" in FORMS else require_safe
        urlpatterns.append(path(route, limit(view), name=f"{name}/{variant}"))

application = get_asgi_application()

# ----------------------------------------------------------------- The laboratory

# What follows measures, shows and exports what stands above, which needs none of it.

# ---------------------------------------------------------------- The environment


def env(name, accepted, is_valid, parse=str, default=""):
    """Return an environment variable, parsed. Exit with one line if it is invalid."""
    if not (text := os.environ.get(name)):
        return default
    with suppress(ImportError, ValueError, httpx.InvalidURL):  # ImportError: no driver
        if is_valid(text):
            return parse(text)
    # A password may stand before an "@", wherever that is, or in a query.
    hidden = r"(?si)^(\w+://)?.*@|([?&]\w*(?:pass|key|token|secret)\w*=)[^&]*"
    shown = re.sub(hidden, r"\1\2…", text)
    print(f"{name}={shown!r} is not accepted: give {accepted}.", file=sys.stderr)
    raise SystemExit(3)  # as uvicorn does when an application fails to start


def env_number(name, default, low, high):
    """Return an environment variable as a number, of the type of its default."""
    kind = type(default)
    accepted = f"a {'whole ' * (kind is int)}number from {low} to {high}"
    return env(name, accepted, lambda text: low <= kind(text) <= high, kind, default)


def is_url(text):
    """Return whether a text is an HTTP address without a query."""
    # httpx and urlsplit raise now what a client would raise later.
    has_host = httpx.URL(text).host and urlsplit(text).port != 0
    return has_host and re.fullmatch(r"https?://[^?#\s]+", text)


def parse_database(text):
    """Return Django's settings for a sqlite:/// or postgresql:// address."""
    url = urlsplit(text)
    if url.scheme == "sqlite":
        return {"NAME": unquote(url.path[1:])}
    import psycopg_pool  # noqa: F401 - a missing driver is reported like a bad address

    # A request keeps its connection to its end, and workers share PostgreSQL's hundred.
    pool = {"min_size": 0, "max_size": 20, "timeout": 5, "reconnect_timeout": 4}
    parts = {"USER": url.username, "PASSWORD": url.password, "HOST": url.hostname}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path[1:]),
        "PORT": url.port,
        "OPTIONS": {"connect_timeout": 5, "pool": pool},
        **{name: unquote(part or "") for name, part in parts.items()},
    }


# The first half reads most of these, as they are; here they are checked.
env("DEBUG", "0, 1, true or false", re.compile("(?i)[01]|true|false").fullmatch)
HOST = r" *(\*|[\w.-]+|\[[\da-f:.]+\]) *"
are_hosts = re.compile(f"{HOST}(,{HOST})*").fullmatch
env("ALLOWED_HOSTS", "host names with commas between them", are_hosts)
for name in KEY_HEADERS:
    is_key = re.compile("[!-~]+( +[!-~]+)*").fullmatch
    env(f"{name.upper()}_API_KEY", "printable ASCII text", is_key)
URL_RULE = "an http:// or https:// address without a query", is_url
UPSTREAM_URL = env("UPSTREAM_URL", *URL_RULE)
#: The services that the embedded upstream can stand for: their paths.
PATHS = {x: urlsplit(DEFAULT_URLS[x]).path for x in ("usgs", "promo", "recco", "rates")}
#: The services that are called elsewhere: those with an address, and all others.
OUTSIDE_SERVICES = {x for x in DEFAULT_URLS if env(f"{x.upper()}_URL", *URL_RULE)}
OUTSIDE_SERVICES |= {x for x in DEFAULT_URLS if UPSTREAM_URL or x not in PATHS}
#: An experiment's calls for each page. Those of your own are added after the export.
CALLS = dict.fromkeys(["hello", "cars", "cpu", "certificate", "files", "upload"], [])
CALLS |= {"rivers": ["usgs"] * len(SITES), "home": [*HOME_SERVICES], "rates": ["rates"]}
#: What is shown but not raced: a form that stores files, a view that always fails.
UNRACED = {"upload", "cars/unsafe"}
UPSTREAM_LATENCY = env_number("UPSTREAM_LATENCY", 0.2, 0, 60)
UPSTREAM_FAILURES = env_number("UPSTREAM_FAILURES", 0.0, 0, 1)
LANES = env_number("LANES", 40, 1, 1000)
MAX_BODY_BYTES = 2**20  # of a request; more is refused or, of an upload, put in a file
settings.MAX_UPLOAD_BYTES = env_number("MAX_UPLOAD_BYTES", 2**30, 1, 2**50)
settings.DEADLINE = env_number("DEADLINE", 10.0, 0.1, 300)
# `LabMiddleware` does the work of the three middlewares that these checks miss.
settings.SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002", "security.W003"]

ADDRESS = re.compile("sqlite:///(?!.*:memory:)[^?#]+|postgresql://[^/?#]+/[^/?#]+")
ADDRESS_FORMS = (
    "sqlite:///relative, sqlite:////absolute or postgresql://user:password@host:port/name"
    " (with the packages psycopg[binary,pool])"
)
DATABASE = settings.DATABASES["default"]
# WAL lets readers work beside a writer. IMMEDIATE makes writers wait for each other,
# where a transaction that begins as a reader would fail.
DATABASE["OPTIONS"] = {
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    "transaction_mode": "IMMEDIATE",
}
DATABASE |= env("DATABASE_URL", ADDRESS_FORMS, ADDRESS.fullmatch, parse_database, {})
# The models have asked for a connection, before the address was known.
del connections["default"]
if connections["default"].vendor == "postgresql":
    # At the exit of a command, psycopg would wait for its pool's threads in vain.
    atexit.register(connections["default"].close_pool)


def make_tables(connection, first=make_tables):  # noqa: F811 - replaces the first
    """Call the first `make_tables` and add 1,450 cars, in one transaction.

    Several processes may start at once.
    """
    # SQLite's schema editor asks for this, before a transaction begins.
    with connection.constraint_checks_disabled(), transaction.atomic():
        if connection.vendor == "postgresql":
            connection.cursor().execute("SELECT pg_advisory_xact_lock(20161121)")
        first(connection)
        if Car.objects.count() == 50:
            add_cars(range(51, 1501))
            # Without statistics, queries take twice as long.
            connection.cursor().execute("ANALYZE")


def add_cars(numbers):
    """Add cars in bulk, as the first `make_tables` makes them one by one."""
    rows = defaultdict(list)  # by model, in the order in which they refer to each other
    for i in numbers:
        part, store = CarParts(engine=f"V8 engine {i}"), Store(location=f"Store {i}")
        maker = Manufacturer(name=f"Maker {i}")
        car = Car(manufacturer=maker)
        has_part = Car.car_parts.through(car=car, carparts=part)
        in_store = Car.store.through(car=car, store=store)
        for row in (part, store, maker, car, has_part, in_store):
            rows[type(row)].append(row)
    for model, instances in rows.items():
        model.objects.bulk_create(instances)


@receiver(connection_created)  # sent also when a pool lends a connection
def replace_closed_connection(connection, **kwargs):
    """Replace a connection that the server has closed, and others like it in the pool."""
    if not connection.is_usable():
        connection.close()
        connection.pool.check()
        connection.connect()


# -------------------------------------------------------- Pages with measurements

STYLE = """
:root { --ink: #1b2430; --soft: #566273; --line: #d5dbe3; --paper: #fff; --panel: #f4f6f9;
  --accent: #0b5fa5; --good: #1a7040; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #a3aebd; --line: #364150;
  --paper: #12171e; --panel: #1b222c; --accent: #7ab8f5; --good: #6fce98; --bad: #ff9d94 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif }
a { color: var(--accent) }
h1 { margin: .5rem 0; font-size: 1.6rem; line-height: 1.2 }
.soft, small { color: var(--soft) }
.bad { color: var(--bad) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: .5rem 0; padding: 0;
  list-style: none }
nav [aria-current] { font-weight: bold; color: inherit; text-decoration: none }
code { overflow-wrap: anywhere }
pre, .panel { padding: .8rem; overflow-x: auto; background: var(--panel); border-radius: .4rem }
svg { width: 100%; height: auto }
polyline { fill: none; stroke: var(--accent); stroke-width: 2 }
"""
HTML["frame.html"] = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<meta name="description" content="Synchronous, threaded or asynchronous Django, measured">
<title>{% block title %}{{ experiment }} {{ variant }}{% endblock %} · Django lab</title>
<link rel="icon" href="data:,"><style>{{ style }}</style>{% block style %}{% endblock %}</head>
<body><header>{% block header %}<a href="/">Django lab</a>
<h1>{{ experiment }} <span class="soft">{{ variant }}</span></h1>
{% if siblings %}<nav aria-label="Variants"><ul>{% for name, is_pitfall in siblings %}
<li><a href="/{{ experiment }}/{{ name }}/" {% if name == variant %}aria-current="page"{% endif %}
>{{ name }}</a>{% if is_pitfall %} <small>pitfall</small>{% endif %}</li>{% endfor %}</ul></nav>
{% if variant %}<p><a href="/source/{{ experiment }}/{{ variant }}/">source</a></p>{% endif %}
{% endif %}{% endblock %}</header><main>{% block main %}{{ cut_here }}{% endblock %}</main>
<footer class="soft"><p>{{ cut_here }} {{ note }}</p></footer>
</body></html>
""".replace("{{ style }}", STYLE)  # as text, because `inline_sources` takes its hash


def address_of(service):
    """Return the address of a service without user and password."""
    return re.sub("//.*@", "//", settings.SERVICES[service])


#: Where the readings come from, as JSON has it.
SOURCE = address_of("usgs") if "usgs" in OUTSIDE_SERVICES else "embedded"


def framed_page(request, template, data, status=200, **extra):
    """Return what `page` returns, in a frame and with the time since its arrival.

    JSON has the experiment's and the variant's name, and `load_time` in seconds.
    """
    load_time = time.perf_counter() - request.started  # set by LabMiddleware
    experiment, _, variant = request.resolver_match.view_name.partition("/")
    made = f"Made in <strong>{load_time:.4f} s</strong>"
    if variant:
        head = {"experiment": experiment, "variant": variant, "load_time": load_time}
        data = head | data
    if (calls := data.get("upstream_calls")) is not None:
        data["source"] = SOURCE
        made += f" with {calls} call{pluralize(calls)} to the upstream"
    if prefers_json(request):
        return JsonResponse(data, status=status)
    main = render_to_string(template, data | extra, request)
    before, between, after = frame(experiment, variant)
    return HttpResponse(f"{before}{main}{between}{made}.{after}", status=status)


def framed_error(request, status, sentence, **fields):
    """Return what `render_error` returns, in a frame."""
    if prefers_json(request):
        return JsonResponse({"error": sentence} | fields, status=status)
    before, *after = frame(str(status), HTTPStatus(status).phrase)
    main = f'<p role="alert">{escape(sentence)}</p>'
    return HttpResponse(before + main + "".join(after), status=status)


page, render_error = framed_page, framed_error  # noqa: F811 - views call these now
#: Experiment: what the frame of its pages shows. Filled where all of them are known.
ABOUT = {}


@functools.lru_cache(maxsize=256)
def frame(experiment, variant):
    """Return what stands around a page's own parts, which is the same for all clients."""
    names = {"experiment": experiment, "variant": variant, "cut_here": "@@cut@@"}
    html = render_to_string("frame.html", names | ABOUT.get(experiment, {}))
    return html.split("@@cut@@")


def handler500(request):
    """Return 503, 507 or 404 for what is missing at the moment, else 500."""
    error = sys.exc_info()[1]
    if isinstance(error, (OperationalError, InterfaceError)):
        return render_error(request, 503, "The database is unavailable.")
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return render_error(request, 503, "The server is busy. Try again.")
    if isinstance(error, OSError) and request.method == "POST":
        return render_error(request, 507, "The file could not be stored.")
    if isinstance(error, FileNotFoundError):  # deleted since the view looked for it
        return handler404(request, error)
    return render_error(request, 500, "Internal error. See the server log.")


#: Error numbers that say that file descriptors or threads are short.
SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.EAGAIN}
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def add_headers(request, response):
    """Return the response with its headers. An error without a sentence gets one."""
    is_json = "json" in response.headers.get("Content-Type", "")
    is_error = response.status_code >= 400 and not response.streaming
    if is_error and (not response.content or prefers_json(request) and not is_json):
        add_sentence(request, response)
    if not response.streaming and response.status_code not in (204, 304):
        response.headers.setdefault("Content-Length", str(len(response.content)))
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    patch_vary_headers(response, ["Accept"])
    total = 1000 * (time.perf_counter() - request.started)
    thread = getattr(request, "thread", threading.current_thread().name)
    held = 1000 * heartbeat.held_since(request.started)
    timing = f'total;dur={total:.2f}, thread;desc="{thread}", held;dur={held:.2f}'
    response.headers["Server-Timing"] = timing
    return response


def add_sentence(request, response):
    """Let an error say what its status means."""
    status = HTTPStatus(response.status_code)
    error = render_error(request, status, f"{status.description or status.phrase}.")
    response.content = error.content
    response.headers["Content-Type"] = error.headers["Content-Type"]
    del response.headers["Content-Length"]


def note_thread(view):
    """Return a synchronous view that notes its thread for the Server-Timing header."""

    def noting_view(request, *args, **kwargs):
        request.thread = threading.current_thread().name
        return view(request, *args, **kwargs)

    return noting_view


class Heartbeat:
    """Measure how long something holds the event loop, while requests are in flight."""

    PERIOD = 0.005

    def __init__(self):
        self.requests, self.timer = 0, None
        self.beats = deque(maxlen=4000)  # their times, of the last twenty seconds

    def __enter__(self):
        self.requests += 1
        if self.requests == 1:
            self.beat()

    def __exit__(self, *error):
        self.requests -= 1
        if self.requests == 0:
            self.timer.cancel()

    def beat(self):
        """Note the time, again and again."""
        self.beats.append(time.perf_counter())
        loop = asyncio.get_running_loop()
        self.timer = loop.call_later(self.PERIOD, self.beat)

    def held_since(self, arrival):
        """Return the longest time without a beat since an arrival, less the period."""
        # The present counts as a beat: a view that has just blocked leaves no time for one.
        held, end = 0, time.perf_counter()
        for beat in reversed(self.beats):
            held = max(held, end - max(beat, arrival))
            if beat < arrival:
                break
            end = beat
        return max(0, held - self.PERIOD)


heartbeat = Heartbeat()


class LabMiddleware(CsrfViewMiddleware):
    """Measure a request, protect forms and add the headers.

    MiddlewareMixin would switch to a thread and back for each of its hooks.
    """

    sync_capable = False

    async def __acall__(self, request):
        request.started = request.scope.get("started", time.perf_counter())
        # `Application`, below, notes `started` and enters the heartbeat. Django's own
        # handler, `stock`, does not.
        with nullcontext() if "started" in request.scope else heartbeat:
            try:
                # A server without lifespan has not started the laboratory.
                if not lab_ready.is_set():
                    await sync_to_async(start_lab, thread_sensitive=False)()
                request.get_host()  # which may raise DisallowedHost
                response = await self.get_response(request)
            except (LabError, DisallowedHost) as error:
                status = getattr(error, "status", 400)
                response = render_error(request, status, str(error))
            if response.status_code < 400:  # an error page has no form
                self.process_response(request, response)  # sends the cookie
            return add_headers(request, response)

    async def process_view(self, request, view, args, kwargs):
        """Check a form's token, on a thread because that parses the form."""
        if request.resolver_match.view_name not in FORMS:
            return None
        self.process_request(request)
        get_token(request)  # sets the cookie, also where JSON is sent instead of a form
        if request.method != "POST":
            return None
        check = sync_to_async(super().process_view, thread_sensitive=False)
        task = asyncio.create_task(check(request, view, args, kwargs))
        try:
            return await asyncio.shield(task)
        finally:  # if the client leaves, wait for the files that the thread makes
            await asyncio.wait([task])


settings.MIDDLEWARE = ["app.LabMiddleware"]

# ---------------------------------------------------------- The embedded upstream

#: When the latest calls began and ended (None while under way), in monotonic seconds.
RECENT_CALLS = deque(maxlen=100)
upstream_exit = ExitStack()  # how to stop it, while it runs
stop_upstream = upstream_exit.close
GAUGES = ",".join(f"USGS-{site}" for site in SITES)
CODES = "00060,00065"  # discharge, gage height
#: What a euro buys: real currencies, and as many invented ones as make 170.
LEVELS = {"EUR": 1, "USD": 1.107, "JPY": 120, "GBP": 0.82, "AUD": 1.49, "CAD": 1.47}
LEVELS |= {f"X{n:02X}": n + 0.5 for n in range(164)}
BOOKS = [("Frankenstein", "Mary Shelley", 7.99), ("Emma", "Jane Austen", 8.95)]
BOOKS += [("Jane Eyre", "Charlotte Brontë", 9.25), ("Romola", "George Eliot", 6.99)]
# The real services' errors: some are HTML, even where JSON was asked for.
ERROR = "<!DOCTYPE html><title>Error report</title>"
REFUSAL = {"code": "InvalidQuery", "type": "InvalidQuery"}
REFUSAL["description"] = "At least one requested property wasn't found"


# The parameters of these functions are those of the services' queries.
def answer_usgs(
    when, /, limit="10", monitoring_location_id=GAUGES, parameter_code=CODES, **more
):
    """Return the readings of the gauges asked for, as the US Geological Survey does."""
    if int(limit) < 1 or more.keys() - {"f", "skipGeometry"}:
        raise ValueError
    sites = dict.fromkeys(re.findall(r"\bUSGS-([0-9]{8,15})\b", monitoring_location_id))
    codes = [code for code in CODES.split(",") if code in parameter_code.split(",")]
    pairs = islice(product(sites, codes), int(limit))
    point = {"type": "Point", "coordinates": [-108.5, 45.8]}
    geometry = None if more.get("skipGeometry") == "true" else point
    found = [make_feature(*pair, when) | {"geometry": geometry} for pair in pairs]
    total = {"type": "FeatureCollection", "numberReturned": len(found)}
    return total | {"features": found}


def make_feature(site, code, when):
    """Return a reading of one parameter. Any site number has plausible values."""
    # USGS numbers its sites downstream: the higher the number, the larger the river.
    flow = int(site[2:6]) * random.Random(f"{site} {when}").uniform(0.99, 1.01)
    frozen = flow > 3000 and when.month in (12, 1, 2)
    value, unit = None if frozen else f"{flow:.0f}", "ft^3/s"
    if code == "00065":
        value, unit = f"{flow**0.5 / 10:.2f}", "ft"
    series = uuid.uuid5(uuid.NAMESPACE_URL, site + code)
    properties = {
        "approval_status": "Provisional",
        "last_modified": when.isoformat(timespec="microseconds"),
        "monitoring_location_id": f"USGS-{site}",
        "parameter_code": code,
        "qualifier": ["ICE"] if frozen else None,
        "statistic_id": "00011",
        "time": when.isoformat(),
        "time_series_id": series.hex,
        "unit_of_measure": unit,
        "value": value,
    }
    return {"type": "Feature", "id": str(series), "properties": properties}


def answer_promo(when, /, **more):
    """Return the promotions, with their last day."""
    ends = str(when.date() + timedelta(7))
    texts = {"Three for two": "The cheapest is on us.", "River week": "A fifth off."}
    return {"promotions": [{"title": x, "text": texts[x], "ends": ends} for x in texts]}


def answer_rates(when, /, start_date, end_date, **more):
    """Return the rates of each day, of a year at most; they move in slow waves."""
    first, last = (date.fromisoformat(x).toordinal() for x in (start_date, end_date))
    if not 0 <= last - first <= 365:
        raise ValueError
    found = {"success": True, "timeseries": True, "base": "EUR", "rates": {}}
    for day in range(first, last + 1):
        wave = 1 + math.sin(day / 30) / 100  # an exponent: a euro remains a euro
        rates = {code: round(level**wave, 6) for code, level in LEVELS.items()}
        found["rates"][str(date.fromordinal(day))] = rates
    return found | {"start_date": start_date, "end_date": end_date}


def answer_recco(when, /, **more):
    """Return three books of the day."""
    books = random.Random(when.toordinal()).sample(BOOKS, 3)
    return {"books": [{"title": t, "author": a, "price": p} for t, a, p in books]}


#: Path: the function that answers there.
ANSWERS = {PATHS["usgs"]: answer_usgs, PATHS["promo"]: answer_promo}
ANSWERS |= {PATHS["recco"]: answer_recco, PATHS["rates"]: answer_rates}


@functools.lru_cache(maxsize=32)
def upstream_response(method, path, query, quarter):
    """Return the response to a question, the same for a quarter of an hour."""
    if method != "GET":
        return HttpResponseNotAllowed(["GET"], ERROR)
    if path not in ANSWERS:
        return HttpResponse(ERROR, status=404)
    when = datetime.fromtimestamp(quarter, UTC)
    try:
        return JsonResponse(ANSWERS[path](when, **dict(parse_qsl(query.decode()))))
    except (TypeError, ValueError):  # missing, unknown or wrong parameters
        return JsonResponse(REFUSAL, status=400)


async def upstream(scope, receive, send):
    """Respond as the real services do: late, and at times with an error."""
    if scope["type"] != "http":
        return  # a server offers its lifespan, but there is nothing to start
    question = scope["method"], scope["path"], scope["query_string"]
    response = upstream_response(*question, int(time.time()) // 900 * 900)
    if random.random() < UPSTREAM_FAILURES:
        response = HttpResponse(ERROR, status=503)
    response.headers["Content-Length"] = str(len(response.content))
    RECENT_CALLS.append(call := [time.monotonic(), None])
    upstream.in_flight += 1
    try:
        await asyncio.sleep(UPSTREAM_LATENCY)
        await application.send_response(response, send)  # and does not close it
    finally:
        upstream.in_flight -= 1
        call[1] = time.monotonic()


upstream.in_flight = 0


def start_upstream():
    """Serve the upstream, on a thread, for the services whose addresses are not set."""
    # On the event loop of the views, a view that blocks would wait for itself.
    if not (services := PATHS.keys() - OUTSIDE_SERVICES):
        return
    for name in ("uvicorn.access", "uvicorn.error"):  # nothing of its daily work
        logging.getLogger(name).addFilter(
            lambda record: (record.threadName, record.levelname) != ("upstream", "INFO")
        )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(upstream, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=[[listener]], name="upstream")
    thread.daemon = True  # a late response does not hold the process
    thread.start()
    upstream_exit.callback(setattr, settings, "SERVICES", URLS)
    upstream_exit.callback(thread.join, 1)
    upstream_exit.callback(setattr, server, "should_exit", True)
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings.SERVICES = URLS | {name: base + PATHS[name] for name in services}


# ------------------------------------------------------------------- The verdict

#: `X job: …`; `X one should [not] beat other [if conditions]: why` (shown if it is so); and
#: `X choose: …`, for an experiment X.
TEXTS = f"""
hello job: The smallest page.
hello async should beat sync: `sync` goes to a thread and back, `async` needs no thread.
hello choose: What the rest of the view needs: there is nothing to wait for.
rivers job: {len(SITES)} gauges of the Yellowstone River, one call for each.
rivers threaded should beat sync: `threaded` waits for a few calls at a time.
rivers async should beat sync: `async` waits for all calls at once, `sync` for each in turn.
rivers sync_to_async should not beat sync: `sync_to_async` has one thread, so it waits in turn.
rivers shared should beat async if many users: `shared` asks once for all who wait together.
rivers choose: One batched call, else `async`; threads for a synchronous library; `sync` for few.
home job: A bookshop's front page from two services.
home async should beat sync: `async` waits for both services at once.
home sequential should not beat sync if one user: It is `gather` that saves time, not `await`.
home choose: `async` with `gather` where no call needs another's answer, else `sync`.
rates job: A year of exchange rates from one big answer.
rates async should not beat sync if one user: One call leaves nothing to wait for at once.
rates choose: `sync` for few visitors; `async` for many, as it holds no thread.
cars job: Cars with their stores and parts, from the database.
cars sync should beat async: The asynchronous ORM switches to a thread for each of its calls.
cars prefetched should beat sync: `prefetched` makes fewer queries.
cars choose: Fewer queries, then `sync`; in an `async def`, all of it in one `sync_to_async`.
cpu job: Pure computation, about 50 ms.
cpu threaded should not beat sync if GIL: This Python has a GIL: one thread computes at a time.
cpu threaded should beat sync if one user, no GIL: This Python has no GIL: threads compute at once.
cpu choose: Never the event loop. Processes make it faster, or threads without a GIL.
certificate job: A PDF from a template file, stamped with the time.
certificate choose: What the rest of the view needs: a small file takes no time.
files job: An uploaded file back.
files choose: `async`, whatever the times: `sync` takes a file's size in memory under ASGI.
upload job: A form that stores one file. It is not raced: it would fill disks.
"""
TOLD = dict(re.findall(r"^(\w+ (?:job|choose)): (.+)", TEXTS, re.M))


def has_gil():
    """Return whether this Python runs one thread at a time."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def in_ms(seconds):
    """Return seconds as people read them."""
    return f"{1000 * seconds:,.{0 if seconds >= 0.1 else 1}f} ms"


def list_names(results):
    """Return the variants' names as in a sentence: `a`, `b` and `c`."""
    return " and ".join(", ".join(f"`{x['variant']}`" for x in results).rsplit(", ", 1))


def cost(result, users):
    """Return seconds for each request: the median, or under load by throughput."""
    if users > 1:
        return 1 / result["requests_per_s"] if result.get("requests_per_s") else 0
    return statistics.median(result["times"] or [0])


def speedup(result, rival, users):
    """Return how many times as fast as its rival a variant is, or None."""
    costs = cost(rival, users) if rival else 0, cost(result, users)
    return costs[0] / costs[1] if all(costs) else None


def beats(one, other, users):
    """Return whether a variant is faster than another, beyond the noise."""
    noise = [0.05 * cost(one, users)]
    for times in (one["times"], other["times"]):
        if users == 1 and times[1:]:
            low, _, high = statistics.quantiles(times, n=4, method="inclusive")
            noise.append(high - low)
    return cost(other, users) - cost(one, users) >= max(noise)


def verdict(experiment, results, users=1, runs=5, stopped=False):
    """Return which variants lead, no pitfalls among them, and what the figures say."""
    ranked = [x for x in results if not x["failed"] and cost(x, users)]
    ranked.sort(key=lambda result: cost(result, users))
    fair = [x for x in ranked if f"{experiment}/{x['variant']}" not in PITFALLS]
    # There is no leader until every variant has run.
    complete = fair and all(x["times"] or x["failed"] for x in results)
    unbeaten = [x for x in ranked if complete and not beats(fair[0], x, users)]
    leaders = [x for x in unbeaten if x in fair]
    summary, result = describe_leaders(leaders, fair, users)
    confirmed, refuted = check_claims(experiment, ranked, users)
    waits = describe_waits(results)
    doubt = "The race was stopped." if stopped else "Fewer than five runs." * (runs < 5)
    lines = {
        "Result": result,
        "No slower, but a pitfall": list_names(x for x in unbeaten if x not in fair),
        "Others' wait": waits and f"Other requests stood still for {'; '.join(waits)}.",
        "Why": confirmed,
        "Unexpected": refuted and f"{refuted} Make more runs, on a quieter machine.",
        "Failed": list_names(x for x in results if x["failed"]),
        "No result but a first impression": doubt,
        "Choose": leaders and not refuted and TOLD.get(f"{experiment} choose"),
    }
    return {
        "leaders": [leader["variant"] for leader in leaders],
        "lines": [{"title": key, "text": text} for key, text in lines.items() if text],
        "summary": f"{summary}; others waited {waits[0]}" if waits else summary,
    }


def describe_leaders(leaders, fair, users):
    """Return who leads in a few words, and in a sentence with figures."""
    if not leaders:
        nobody = "There are too few runs without a failure"
        return nobody, f"{nobody}."
    summary = f"{len(leaders)} variants" if leaders[2:] else list_names(leaders)
    summary += " tie" if leaders[1:] else " leads"
    slower = [x for x in fair if x not in leaders] or fair[-1:]
    rival = next((x for x in slower if x["variant"] == "sync"), slower[-1])
    costs = cost(leaders[0], users), cost(rival, users)
    if rival not in leaders:
        gain = f"{costs[1] / costs[0]:.1f} times as fast"
        summary += f": {gain} as {list_names([rival])}"
    shown = [f"{1 / x:,.1f} requests/s" if users > 1 else in_ms(x) for x in costs]
    return summary, f"{summary} ({' against '.join(dict.fromkeys(shown))})."


def check_claims(experiment, ranked, users):
    """Return the reasons of the claims in TEXTS that hold, and the claims that do not."""
    given = {"", "GIL" if has_gil() else "no GIL"}
    given.add("many users" if users > 1 else "one user")
    found, reasons, refuted = {x["variant"]: x for x in ranked}, [], []
    claim = rf"^{experiment} (\w+) should( not)? beat (\w+)(?: if ([^:]+))?: (.+)"
    for one, no, other, conditions, reason in re.findall(claim, TEXTS, re.M):
        if {one, other} <= {*found} and {*conditions.split(", ")} <= given:
            if beats(found[one], found[other], users) != bool(no):
                reasons.append(reason)
            else:
                refuted.append(f"`{one}` should{no} beat `{other}`.")
    return " ".join(reasons), " ".join(refuted)


def describe_waits(results):
    """Return how long which variants held the event loop, where others notice: 40 ms."""
    held = sorted(((x.get("held_s") or 0, x["variant"]) for x in results), reverse=True)
    return [f"{in_ms(time)} beside `{name}`" for time, name in held if time >= 0.04]


@require_http_methods(["POST"])
def verdict_view(request):
    """Return the verdict on the figures of a race, and store nothing."""
    with suppress(ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        figures = json.loads(request.body, parse_constant=int)  # NaN is an error
        names = {row["variant"] for row in figures["results"]}
        known = names & EXPERIMENTS[figures["experiment"]].keys()
        if len(known) == len(figures["results"]) > 0:
            return JsonResponse(verdict(**figures))
    return render_error(request, 400, "These are not the figures of a race.")


# ---------------------------------------------------------------- The front page

HTML["index.html"] = r"""{% extends "frame.html" %}
{% block title %}Synchronous, threaded or asynchronous?{% endblock %}{% block style %}<style>
button, input { min-width: 6rem; padding: .3rem .7rem; font: inherit }
form { position: sticky; top: 0; display: flex; flex-wrap: wrap; gap: .3rem 1rem; z-index: 1;
  align-items: center; padding: .6rem 0; background: var(--paper) }
#progress { flex: 1 1 20rem; min-height: 1.5rem; overflow: hidden; white-space: nowrap }
#summary th { width: 8rem; height: 4rem } [data-name] tr:first-child > * { border: 0 }
section { margin-top: 3rem; scroll-margin-top: 7rem } section table { table-layout: fixed }
section th + th, section th ~ td { width: 10rem; text-align: right }
th small, td > small { display: block; min-height: 1.3rem; font-weight: normal }
td > button { float: right; padding: 0 .4rem; font-size: .85rem }
td > svg { display: block; height: 2rem; margin: .3rem 0; fill: var(--accent) }
[data-calls="0"] svg { height: .6rem } .verdict:empty { display: none }
.running { background: var(--panel) } .leads { --accent: var(--good) }
.verdict { min-height: 14rem; border-left: .25rem solid var(--accent) }
@media (max-width: 40rem) { section :is(th, td) { padding-inline: 0 }
  section th + th, section th ~ td { width: 4.6rem } section th { overflow-wrap: anywhere }
  #summary th { height: 7rem } td > small { min-height: 2.6rem; font-size: .7rem } }
@media (scripting: none) { button, form { display: none } }
</style>{% endblock %}{% block header %}<h1>Synchronous, threaded or asynchronous?</h1>
<p>Each experiment does one job in several ways. Race them, read them, copy them as programs.</p>
<p class="soft">The data: {{ source }}. A bar is a median, pale up to the slowest run; thin bars
are the calls that one page made. Others waited while a page held the event loop.</p>
<nav aria-label="Experiments"><ul>{% for name in experiments %}<li><a href="#{{ name }}">{{ name }}
</a></li>{% endfor %}<li><a href="/status/">status</a></li></ul></nav>{% endblock %}
{% block main %}<form id="race" novalidate>
<label>Runs <input type="number" min="1" max="50" value="5" required autocomplete="off"></label>
<button value="all">Race all</button><progress value="0" aria-label="Progress"></progress>
<span id="progress"></span></form><table id="summary" aria-label="Summary" hidden></table>
{% for name, job, is_raced, rows in sections %}<section id="{{ name }}"><h2>{{ name }}</h2>
<p class="soft">{{ job|default:"" }}</p>
{% if is_raced %}<button form="race" value="{{ name }}">Race {{ name }}</button>{% endif %}
<table aria-label="{{ name }}"><thead><tr><th scope="col">Variant</th><th scope="col">Median</th>
<th scope="col">Against sync</th><th scope="col">Others waited</th></tr></thead>
{# as in front_row #}
{% for variant, line, source, pitfall, raced, calls, outside in rows %}<tbody
data-name="{{ variant }}" data-calls="{{ calls }}" data-outside="{{ outside }}" {{ raced }}>
<tr><th scope="row"><a href="/{{ name }}/{{ variant }}/">{{ variant }}</a>
<small><span class="bad">{{ pitfall }}</span><b></b></small></th>
<td>–</td><td>–</td><td>–</td></tr><tr><td colspan="4"><svg preserveAspectRatio="none" role="img"
viewBox="0 0 1 {{ calls|yesno:"9,2" }}" aria-label="{{ calls }} upstream calls"></svg>
<div class="bad"></div><button aria-label="copy program {{ name }} {{ variant }}">copy program
</button><details><summary>{{ line }} <small>source</small></summary>
<pre tabindex="0">{{ source }}</pre><a href="/source/{{ name }}/{{ variant }}/app.py">program
{{ name }} {{ variant }}</a></details></td></tr></tbody>{% endfor %}</table>
{% if is_raced %}<div class="panel verdict" role="status"></div>{% endif %}</section>
{% endfor %}<script type="module">
const find = (selector, place = document) => place.querySelector(selector);
const all = (selector, place = document) => [...place.querySelectorAll(selector)];
const [form, bar, told, summary] = all("form, progress, #progress, #summary");
const asCode = text => text.replace(/`(.+?)`/g, "<code>$1</code>");
const ms = time => `${(1000 * time.toFixed(time < 0.1 ? 4 : 3)).toLocaleString("en")} ms`;
const middle = times => (times[(times.length - 1) >> 1] + times[times.length >> 1]) / 2 || 0;
const ask = (url, more) => fetch(url, {cache: "no-store", headers: {Accept: "application/json"},
  ...more}).then(async found => [found, await found.text()]).catch(() => [Response.error()]);
const load = (url, more) => ask(url, more).then(([, text]) => JSON.parse(text)).catch(() => ({}));
let race = null, newest = 0;  // what aborts the race; when the newest upstream call began
async function run(runner) {  // make one request; an answer without a time is a failure
  const {body, url, times} = runner, {signal} = race;
  await new Promise(done => setTimeout(done, 40));  // drawing would slow a fast answer down
  performance.clearResourceTimings();
  const [response, text] = await ask(url, {signal}), {headers, status, statusText} = response;
  if (signal.aborted) return;
  // From the request's first byte to the response's last, without the browser's queues.
  const {requestStart, responseStart, responseEnd} = performance.getEntriesByName(url)[0] ?? {};
  const type = headers.get("Content-Type") ?? "", streams = type.includes("ndjson");
  // A streamed page sends its 200 before it knows, and home is a 200 all the same.
  const wrong = !response.ok || !responseEnd || streams && !/"error": ?null/.test(text)
    || /"errors": ?{"/.test(text);
  const said = /"errors?": ?(?:{"\w+": ?)?("(?:[^"\\]|\\.)*")/.exec(/json/.test(type) ? text : "");
  const error = said ? JSON.parse(said[1]) : wrong ? statusText || "no answer" : runner.why;
  runner.why = wrong && status ? `${status}, ${error}` : error;
  if (/\b429\b/.test(runner.why)) race.abort("The service limits calls; set USGS_API_KEY");
  const [, thread, held] = /desc="(.*?)", held;dur=(.+)/.exec(headers.get("Server-Timing")) ?? [];
  Object.assign(runner, {thread, first: streams && (responseStart - requestStart) / 1000});
  runner.held_s = Math.max(runner.held_s, held / 1000 || 0);
  if (wrong) runner.failed++;
  else times.push((responseEnd - requestStart) / 1000), times.sort((a, b) => a - b);
  const recent = +body.dataset.calls && (await load("/status/")).upstream?.recent || [];
  const calls = recent.filter(([begin, end]) => begin > newest && end);
  newest = recent.at(-1)?.[0] ?? newest;
  if (calls.length == body.dataset.calls)  // with another number, some are somebody else's
    runner.calls = calls.map(call => call.map(time => time - calls[0][0]));
}
function draw(team, leaders = []) {
  const sync = middle(team.find(({variant}) => variant == "sync")?.times ?? []);
  const ends = team.flatMap(({times, calls}) => [0.001, middle(times), ...calls.flat()]);
  for (const {body, variant, times, failed, held_s, first, why, thread, calls} of team) {
    const median = middle(times), high = times.at(-1) ?? 0, gain = median && sync / median;
    const tries = times.length + failed, leads = leaders.includes(variant);
    [median && `${ms(median)}<small>${first ? `first byte ${ms(first)}` : `to ${ms(high)}`}`,
      gain && `${gain.toFixed(gain < 1.1 ? 2 : 1)} ×<small>${times.length} runs`,
      tries && `${ms(held_s)}<small>${thread ?? ""}`,
    ].forEach((cell, i) => all("td", body)[i].innerHTML = cell || "–<small>");  // keeps the height
    find("b", body).textContent = leads ? `leads${leaders[1] ? ", in a tie" : ""}` : "";
    body.classList.toggle("leads", leads);
    find("div", body).textContent = failed ? `${failed} of ${tries} failed: ${why}` : why;
    // The run is drawn at heights 0 to 2, its calls at 3 to 9; a tenth stays free at the right.
    const rects = calls.map(([begin, end], i) => `<rect x="${begin}" width="${end - begin}"
      y="${3 + 6 * i / Math.max(6, calls.length)}" height=".7"/>`);
    find("svg", body).innerHTML = `<g transform="scale(${1 / Math.max(...ends) / 1.1} 1)">
      <path d="M0 0H${high}V2H0" opacity=".4"/><path d="M0 0H${median}V2H0"/>${rects.join("")}`;
  }
}
function enter(section) {  // take all the room that the race will need
  find(".verdict", section).textContent = "The verdict follows the last run.";
  const file = section.id == "files" ? "sample.bin" : "";
  return all("[data-raced]", section).map(body => ({body, section, variant: body.dataset.name,
    url: find("a", body).href + file, times: [], failed: 0, held_s: 0, calls: [], why: ""}));
}
form.onsubmit = async event => {
  event.preventDefault();
  if (race || !form.reportValidity()) return race?.abort("Stopped");
  const {signal} = race = new AbortController(), {value} = event.submitter, runs = +form[0].value;
  const sections = all(value == "all" ? "section:has(.verdict)" : `#${value}`);
  for (const button of all("button[value]")) button.textContent = "Stop";
  summary.hidden = value != "all";
  summary.innerHTML = sections.map(({id}) => `<tr><th><a href="#${id}">${id}</a><td>–`).join("");
  const teams = sections.map(enter), runners = teams.flat();
  teams.forEach(team => draw(team));
  const calls = runners.reduce((sum, {body}) => sum + (runs + 1) * body.dataset.outside, 0);
  if (calls && !confirm(`Make ${calls} calls to outside services?`)) race.abort("Stopped");
  const turns = Array(runs + 1).fill(runners).flat(), begun = performance.now();
  Object.assign(bar, {value: 0, max: turns.length});
  for (const [done, runner] of turns.entries()) {
    if (signal.aborted) break;
    const {body, section, variant} = runner, spent = (performance.now() - begun) / 1000;
    const left = done ? `${Math.ceil(spent * (turns.length / done - 1))} s left` : "warming up";
    told.textContent = `${section.id} ${variant}: ${done} of ${turns.length}, ${left}`;
    body.classList.add("running");
    await run(runner);
    body.classList.remove("running");
    if (done < runners.length)  // this was its warm-up
      Object.assign(runner, {times: [], failed: 0, held_s: 0, why: ""});
    draw(teams.find(team => team.includes(runner)));
    if (!signal.aborted) bar.value++;
  }
  for (const team of teams) {
    const {section: {id}} = team[0], stopped = signal.aborted;
    // As JSON, a runner's HTML elements are empty objects.
    const body = JSON.stringify({experiment: id, results: team, runs, stopped});
    const {leaders, lines = [], summary: short = "No verdict: the server did not answer."} =
      await load("/verdict/", {method: "POST", body});
    find(`#${id} .verdict`).innerHTML = lines.map(({title, text}) =>
      `<p><strong>${title}:</strong> ${asCode(text)}</p>`).join("") || short;
    find(`tr:has([href="#${id}"]) td`, summary).innerHTML = asCode(short);
    draw(team, leaders);
  }
  told.textContent = `${signal.reason ?? "Done"}: ${bar.value} of ${bar.max}`;
  for (const button of all("button[value]")) button.textContent = `Race ${button.value}`;
  race = null;
  if (value != "all") find(".verdict", sections[0]).scrollIntoView({block: "nearest"});
};
for (const button of all("td > button")) button.onclick = async () => {
  const {href} = find("details a", button.parentElement), response = await fetch(href);
  if (!response.ok || !navigator.clipboard) return location.assign(href);  // a download
  await navigator.clipboard.writeText(await response.text());
  button.textContent = "copied";
};
document.onkeydown = event => { if (event.key == "Escape") race?.abort("Stopped"); };
</script>{% endblock %}
"""


def inline_sources(tag):
    """Return the sources that let a Content-Security-Policy allow these inline parts."""
    text = HTML["frame.html"] + HTML["index.html"]
    digests = [
        hashlib.sha256(inline.encode()).digest()
        for inline in re.findall(f"(?s)<{tag}.*?>(.*?)</{tag}>", text)
    ]
    return " ".join(f"'sha256-{b64encode(digest).decode()}'" for digest in digests)


HEADERS["Content-Security-Policy"] = (
    f"default-src 'none'; script-src {inline_sources('script')};"
    f" style-src {inline_sources('style')}; connect-src 'self'; img-src data:;"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@functools.cache  # reading the sources takes a while
def front_row(experiment, variant, view):
    """Return what the front page shows of a variant."""
    name, line = f"{experiment}/{variant}", escape(first_line(view))
    line = mark_safe(re.sub("`(.+?)`", r"<code>\1</code>", line))
    marks = "pitfall" * (name in PITFALLS), "data-raced" * (name not in UNRACED)
    calls = list_calls(experiment, variant)
    outside = sum(service in OUTSIDE_SERVICES for service in calls)
    return variant, line, view_source(view), *marks, len(calls), outside


async def index(request):
    """Return the experiments, and the race."""
    experiments, sections = {}, []
    for name, views in EXPERIMENTS.items():
        lines = {variant: first_line(view) for variant, view in views.items()}
        pitfalls = [variant for variant in views if f"{name}/{variant}" in PITFALLS]
        experiments[name] = {"variants": lines, "pitfalls": pitfalls}
        rows = [front_row(name, *item) for item in views.items()]
        sections.append((name, TOLD.get(f"{name} job"), name not in UNRACED, rows))
    if prefers_json(request):
        return JsonResponse({"experiments": experiments})
    names = {"experiments": experiments, "sections": sections, "source": data_source()}
    return HttpResponse(render_to_string("index.html", names))


# ------------------------------------------------------------- Source and status


def written_view(view):
    """Return the function or class of which a view was made."""
    return getattr(view, "view_class", getattr(view, "func", view))


def view_source(view):
    """Return a view's source, or a sentence if Python finds none."""
    with suppress(OSError, TypeError):
        return inspect.getsource(written_view(view))
    return "Could not load the source."


def first_line(view):
    """Return the first line of a view's docstring, or an empty text."""
    return (inspect.getdoc(written_view(view)) or "").partition("\n")[0]


def list_calls(experiment, variant):
    """Return the services that a page calls, once for each call."""
    return CALLS[experiment][: 1 if variant == "batched" else None]


def data_source(service="usgs"):
    """Return where the data of a service come from."""
    if service in OUTSIDE_SERVICES:
        return f"services at {address_of(service)}"
    # The services that take no key are invented.
    advice = f"; set {service.upper()}_URL for the real one" * (service in KEY_HEADERS)
    return f"simulated services, {UPSTREAM_LATENCY:g} s each{advice}"


def show_source(request, experiment, variant, file):
    """Return a variant's view as plain text, or its complete program as an attachment."""
    if not (view := EXPERIMENTS.get(experiment, {}).get(variant)):
        raise Http404
    if not file:
        return HttpResponse(view_source(view), "text/plain; charset=utf-8")
    headers = {"Content-Disposition": f"attachment; filename={experiment}_{variant}.py"}
    program = export([f"{experiment}/{variant}"])
    return HttpResponse(program, "text/x-python; charset=utf-8", headers=headers)


def process_status():
    """Return the process's threads and resident bytes, as the kernel counts them."""
    with suppress(OSError):
        text = Path("/proc/self/status").read_text()
        counts = {k: int(n) for k, n in re.findall(r"(?m)^(\w+):\s+(\d+)", text)}
        return {"threads": counts["Threads"], "rss_bytes": 1024 * counts["VmRSS"]}
    return {"threads": threading.active_count(), "rss_bytes": None}


async def status(request):
    """Return how the server is doing, always as JSON."""
    calls = {"address": address_of("usgs"), "in_flight": upstream.in_flight}
    # A copy, because the upstream's thread appends. None if calls may go elsewhere.
    outside = PATHS.keys() & OUTSIDE_SERVICES
    calls["recent"] = None if outside else [*RECENT_CALLS.copy()]
    clients = f"httpx {httpx.__version__}", f"aiohttp {aiohttp.__version__}"
    data = process_status() | {
        "requests_in_flight": heartbeat.requests,
        "lanes": application.lanes(),
        "upstream": calls,
        "event_loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
        "http_parser": application.http_parser,
        "http_clients": dict(zip(("sync", "async"), clients, strict=True)),
        "python": sys.version.split()[0],
        "gil": has_gil(),
        "django": django.__version__,
        "uvicorn": uvicorn.__version__,
        "database": connections["default"].display_name,
    }
    return JsonResponse(data)


urlpatterns = [
    path("", require_safe(index)),
    path("verdict/", verdict_view),
    path("status/", require_safe(status)),
    re_path(r"^source/([^/]+)/([^/]+)/(app\.py)?$", require_safe(show_source)),
    # The links between variants name no file.
    path("files/<slug:_>/", require_safe(RedirectView.as_view(url="/files/"))),
    *urlpatterns[1:],
]
for pattern in urlpatterns:
    if not inspect.iscoroutinefunction(pattern.callback):
        pattern.callback = note_thread(pattern.callback)

# ------------------------------------------------------------------------- Export

# A program is what its views need of the text above EXPERIMENTS: statements, settings,
# addresses of services and imported names.

#: Pattern: what replaces it in a program.
CHANGES = {
    r"DATA_DIR = .*": "DATA_DIR = Path(__file__).resolve().parent",
    r"ALLOWED_HOSTS=.*": 'ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]"],',
    r"queries = start_query_log\(\)": "query_log.set(queries := [])",
    r'"Location": "/files/"': '"Location": "."',
    r'"url": f"/files/async/.quote\(name\)."': '"url": None',
    r' <a href="/files/">.*</a>': "",
    r"# -{5,} .*\n\n": "",  # a heading
    r"(?m)^if base :=.*\n(?:    .*\n)+": "",  # a program reads no UPSTREAM_URL
}
#: Part of a text: names that the text needs then, without naming them.
NEEDS = {
    "urlpatterns": ["settings.configure", "ROOT_URLCONF", "LOGGING_CONFIG"],
    "models.Model)": ["INSTALLED_APPS", "prepare_connection"],
    "INSTALLED_APPS": ["DATABASES", "django.setup"],
    "form_view": ["ALLOWED_HOSTS", "MIDDLEWARE", "CSRF_FAILURE_VIEW"],
    "CSRF_FAILURE_VIEW": ["csrf_failure"],
    "request.FILES": ["FILE_UPLOAD_HANDLERS", "UploadHandler"],
    ".html": ["TEMPLATES"],
    "BadRequest": ["handler400"],
    "Http404": ["handler404"],
}
#: The name of a setting, of a template, or in quotes of a service, where one is used: not
#: in the tables that hold its address and the header of its key.
REFERENCE = r'(?<=settings\.)\w+|[\w/-]+\.html|"\w+"'
REFERENCE += f'(?!: "(?:http|{"|".join(KEY_HEADERS.values())}))'
#: An indented `NAME=value,` (a setting) or `"name": "address",` (a service), over one or
#: more lines, with the comments above it.
ENTRY = r'(?m)^(?:    #.*\n)*    ("?\w+"?)(?:=|: ).*\n(?:    [ )\]}].*\n)*'


def export(names):
    """Return the program that has these views. An unknown name ends the process."""
    source, _, rest = Path(__file__).read_text("utf-8").partition("\nEXPERIMENTS = ")
    literal = rest.partition("\n}\n")[0] + "}"
    # A view is taken as it is written there: it may be an expression, such as a lambda.
    found = [x for team in ast.parse(literal).body[0].value.values for x in team.values]
    texts = [ast.get_source_segment(literal, view) for view in found]
    views = {f"{e}/{v}": EXPERIMENTS[e][v] for e in EXPERIMENTS for v in EXPERIMENTS[e]}
    if unknown := {*(names or [""])} - {*views, *EXPERIMENTS}:
        fail(f"Unknown {min(unknown)!r}; choose from {', '.join(views)}.")
    chosen = [x for x in views if {x, x.partition("/")[0]} & {*names}]
    alone, urls = chosen[:1] == names, []
    for name, text in zip(views, texts, strict=True):
        route = f"{name}/" * (not alone) + "<name>" * name.startswith("files/")
        limit = "form_view" if name in FORMS else "require_safe"
        urls += [f'path("{route}", {limit}({text}))'] * (name in chosen)
    if alone:
        about = inspect.getdoc(written_view(views[chosen[0]])) or chosen[0]
        return program(source, about, f"[{urls[0]}]")
    urls = "".join(f"\n    {url}," for url in urls)
    return program(source, f"Serve {', '.join(chosen)}.", f"[{urls}\n]")


def program(source, about, urls):
    """Return a program: its docstring, what its URLs need of the source, and its URLs."""
    for old, new in CHANGES.items():
        source = re.sub(old, new, source)
    end = f"urlpatterns = {urls}\napplication = get_asgi_application()\n"
    end += '\nif __name__ == "__main__":\n    uvicorn.run(application)\n'
    body = add_needed(source, end)
    pins = re.findall(r'(?m)^#   ("(\w+).*"),$', source)
    pins = [x for x, y in pins if re.search(rf"(?m)^(from|import) {y}\b", body)]
    head = '# /// script\n# requires-python = ">=3.11"\n'
    head += f"# dependencies = [{', '.join(pins)}]\n# ///\n"
    about = re.sub(r'\\|"(?="")|"$', r"\\\g<0>", about)  # inside of three quotes
    return f'{head}"""{about}"""\n\n{body}'


def add_needed(source, end):
    """Return `end` below all that it needs of a source, directly or not."""
    lines, tree = source.splitlines(keepends=True), ast.parse(source)
    ends = [0, *(node.end_lineno for node in tree.body)]
    # A statement takes the comments and blank lines above it along.
    statements = ["".join(lines[i:j]) for i, j in pairwise(ends)]
    text, known = end, set()
    while known != (names := find_names(text)):  # what was added may need more
        text = "".join(keep_needed(statement, names) for statement in statements) + end
        known = names
    return re.sub(r"\n{4,}", "\n\n\n", text).lstrip()


def find_names(text):
    """Return the names that a text needs."""
    tables = [symtable.symtable(text, "app", "exec")]
    for table in tables:  # which grows meanwhile
        tables += table.get_children()
    names = {s.get_name() for t in tables for s in t.get_symbols() if s.is_global()}
    names.update(re.findall(REFERENCE, text))
    return names.union(*(more for key, more in NEEDS.items() if key in text))


def keep_needed(statement, names):
    """Return what defines these names in a statement, or the blank lines above it."""
    defined = defined_names(statement)
    if not defined & names:
        return re.match(r"\n*", statement)[0]
    if defined & {"settings.configure", "DEFAULT_URLS"}:
        return re.sub(ENTRY, lambda entry: entry[0] * (entry[1] in names), statement)
    if found := re.fullmatch(r"(\s*(?:from \S+ )?import )([^#]+)", statement):
        parts = re.findall(r"[\w.]+(?: as \w+)?", found[2])
        # A part defines its last name, as in `x as y`, or its first, as in `x.y`.
        kept = [x for x in parts if x.split(" as ")[-1].partition(".")[0] in names]
        return f"{found[1]}{', '.join(kept)}\n"
    return statement


@functools.cache
def defined_names(statement):
    """Return the names that a statement assigns or imports, or that it begins with."""
    symbols = symtable.symtable(statement, "app", "exec").get_symbols()
    names = {x.get_name() for x in symbols if x.is_assigned() or x.is_imported()}
    return names | {*re.findall(r'(?m)^(?:HTML\[")?([\w./-]+)', statement)[:1]}


def needed_services(views):
    """Return the services that any of these views needs, once each."""
    source, names = Path(__file__).read_text("utf-8"), set()
    source = source.partition("\nEXPERIMENTS = ")[0]
    for view in views:
        with suppress(SyntaxError):  # the source of a lambda is the line around it
            names |= find_names(add_needed(source, view_source(view)))
    return [service for service in DEFAULT_URLS if f'"{service}"' in names]


for name, variants in EXPERIMENTS.items():
    if name not in CALLS:
        CALLS[name] = needed_services(variants.values())
    siblings = [(variant, f"{name}/{variant}" in PITFALLS) for variant in variants]
    notes = dict.fromkeys(f"Data: {data_source(service)}." for service in CALLS[name])
    ABOUT[name] = {"siblings": siblings, "note": " ".join(notes)}

# ---------------------------------------------------------------------------- Lanes

# Django takes a thread for each asynchronous request, because of its signals and closing:
# ten thousand waiting requests need ten thousand threads. Here a request has a lane, which
# takes a thread at the first synchronous call and keeps it until the request ends. It
# closes its database connections then, whatever CONN_MAX_AGE is.
# For another site, copy this section and write `application = LanesHandler()`.

#: Django's receivers alone are not worth a thread: a lane closes its connections itself.
RECEIVERS = close_caches, close_old_connections, django.db.reset_queries, reset_urlconf
RECEIVER_IDS = {*map(id, RECEIVERS)}


class Lane(Executor):
    """Make the synchronous calls of one request on one thread, one after another.

    With a fixed number of threads, a few slow requests would keep all others waiting. So
    a lane that has waited a second gets an extra thread, up to four times the handler's
    `size` of these at once. Past that it waits, the handler's `patience` (seconds) in all.
    """

    def __init__(self, handler):
        self.handler, self.calls, self.job = handler, SimpleQueue(), None

    def submit(self, function, /, *args, **kwargs):
        """Queue a call and return its future. The first call asks for a thread."""
        future = Future()
        self.calls.put((future, functools.partial(function, *args, **kwargs)))
        if self.job is None:
            self.start(self.handler.pool, self.handler.kept)
            loop = asyncio.get_running_loop()
            loop.call_later(1, self.ask_again, loop.time() + self.handler.patience)
        elif self.job.cancelled():  # no thread was free in time: fail this call, too
            self.shutdown()
        return future

    def start(self, pool, jobs):
        """Ask a pool for a thread. Keep the job among `jobs` until it is done."""
        self.job = pool.submit(self.run)
        jobs.add(self.job)
        self.job.add_done_callback(jobs.discard)

    def ask_again(self, end):
        """Ask for an extra thread if there is none yet. After `end`, give up."""
        loop, handler = asyncio.get_running_loop(), self.handler
        if self.job.running() or self.job.done():
            return
        if loop.time() >= end:
            self.shutdown()
        elif len(handler.extra) < 4 * handler.size and self.job.cancel():
            pool = ThreadPoolExecutor(1, "lane-extra")
            try:
                self.start(pool, handler.extra)
            except RuntimeError:  # the machine has no more threads
                self.shutdown()
            pool.shutdown(wait=False)  # its thread ends with the job
        else:
            loop.call_later(0.1, self.ask_again, end)

    def run(self):
        """Make the calls on this thread until the request ends."""
        for future, call in iter(self.calls.get, None):
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
        for connection in connections.all(initialized_only=True):
            # A broken one, or an open transaction, must not reach the next request.
            del connections[connection.alias]
            with suppress(Exception):
                connection.close()

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Take no more calls, and do not wait. Fail calls that no thread has taken."""
        self.calls.put(None)
        if self.job and self.job.cancel():
            for future, _ in iter(self.calls.get, None):
                if future.set_running_or_notify_cancel():
                    busy = BlockingIOError(errno.EAGAIN, "All lanes are busy.")
                    future.set_exception(busy)


class LanesHandler(ASGIHandler):
    """Handle requests as Django does, with a lane instead of a thread for each."""

    chunk_size = 2**20  # of a body that is sent, where Django has 64 KB

    def __init__(self, size=40, patience=10):
        django.setup(set_prefix=False)
        super().__init__()
        self.size, self.patience = size, patience
        self.pool = ThreadPoolExecutor(size, "lane-kept")
        self.kept, self.extra = set(), set()  # jobs on the threads kept, and on others
        self.loop = self.semaphore = None

    def lanes(self):
        """Return how many threads are kept and in use, and how many requests wait."""
        jobs = self.kept.copy()
        busy = sum(job.running() for job in jobs)
        counts = {"busy": busy, "waiting": len(jobs) - busy, "extra": len(self.extra)}
        return {"size": self.size} | counts

    async def __call__(self, scope, receive, send):
        """Handle a request on a lane."""
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            self.loop, self.semaphore = loop, asyncio.Semaphore(4)
        # At most four requests begin in an iteration of the event loop. uvloop accepts one
        # connection in each: if a crowd began in one, a new client would wait for all of it.
        await self.semaphore.acquire()
        loop.call_soon(self.semaphore.release)
        with Lane(self) as lane, suppress(django.core.exceptions.RequestAborted):
            async with ThreadSensitiveContext(executor=lane):  # asgiref 3.13 or newer
                await self.handle(scope, receive, send)

    async def handle(self, scope, receive, send):
        """Do what Django's `handle` does, but take a thread only if one is needed."""
        with closing(await self.receive_body(scope, receive)) as body:
            set_script_prefix(get_script_prefix(scope))
            if has_receivers(signals.request_started):
                await signals.request_started.asend(type(self), scope=scope)
            request, response = self.create_request(scope, body)
            response = await self.respond(request, response, receive, send)
            if (
                has_receivers(signals.request_finished)
                or caches.all(initialized_only=True)
                or hasattr(request, "_files")
                or len(response._resource_closers) > 1  # the last is `request.close`
                or type(response).close != HttpResponse.close
            ):
                try:
                    await sync_to_async(response.close)()
                except BlockingIOError:  # what the response holds must not stay open
                    await sync_to_async(response.close, thread_sensitive=False)()

    async def receive_body(self, scope, receive):
        """Return the body as a file."""
        return await self.read_body(receive)

    async def respond(self, request, response, receive, send):
        """Send the view's response and return it. Stop when the client leaves."""
        timeout = asyncio.timeout(None)  # which expires when the watcher says so

        async def expire_on_disconnect():
            await receive()  # after the body, nothing else can come
            timeout.reschedule(0)  # a time in the past: it expires at once

        async def send_and_pause(message):
            # uvicorn accepts data for a client that has left: without a pause, a stream
            # that awaits nothing else would never be cancelled.
            await send(message)
            await asyncio.sleep(0)

        watcher = asyncio.create_task(expire_on_disconnect())
        try:
            async with timeout:
                response = response or await self.run_get_response(request)
                sender = send_and_pause if response.streaming else send
                await self.send_response(response, sender)
        except TimeoutError:
            if not timeout.expired():
                raise
        finally:
            watcher.cancel()
            if response is None:  # the client has left, or the server stops
                request.close()
        return response or HttpResponse()


def has_receivers(signal):
    """Return whether a signal has receivers other than Django's at this moment."""
    # A receiver is ((its id, its sender's id), itself, …).
    return any(key not in RECEIVER_IDS for (key, _), *_ in signal.receivers)


# ------------------------------------------------------------- The ASGI application

DISCARD_BYTES, DISCARD_SECONDS = 64 * 2**20, 10  # at most, of a body that is refused
lab_ready, lab_lock = threading.Event(), threading.Lock()


class LabError(Exception):
    """Refuse a request, or the start, with a status and a sentence."""

    def __init__(self, status, sentence, unread=False):
        super().__init__(sentence)
        self.status, self.unread = status, unread  # whether more of a body will come


def start_lab():
    """Start what the pages need, unless it runs already. Raise LabError."""
    with lab_lock:
        if lab_ready.is_set():
            return
        try:
            make_folders()
            with closing(connections["default"]) as connection:
                connection.ensure_connection()  # makes the tables
            start_upstream()
        except (OSError, DatabaseError, InterfaceError) as error:
            reason = str(error).partition("\n")[0]
            raise LabError(503, f"The laboratory cannot start: {reason}") from None
        # A codec whose first import fails, as when file descriptors are short, cannot be
        # imported later. Django's log of errors needs this one.
        "".encode("unicode_escape")
        frame("404", "Not Found")  # nor could a template be loaded then
        httpx.Client(verify=TLS).close()  # nor httpcore, which httpx imports here
        logging.getLogger("django.request").addFilter(log_briefly)
        lab_ready.set()


def make_folders():
    """Make the folders and a file to race; delete uploads that broke off a day ago."""
    settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
    for file in settings.FILE_UPLOAD_TEMP_DIR.iterdir():
        with suppress(OSError):  # other servers may share the folder, and sweep it too
            if time.time() - file.stat().st_mtime > 86_400:
                file.unlink()
    with suppress(FileExistsError):
        UPLOADS.mkdir()
        with open(UPLOADS / "sample.bin", "wb") as file:
            file.truncate(16 * 2**20)


def log_briefly(record):
    """Keep a log record of a shortage to one line. This is a filter of logging."""
    if record.exc_info and getattr(record.exc_info[1], "errno", None) in SHORTAGES:
        record.exc_info = None
    return True


class FormRequest(ASGIRequest):
    """Free the disk as soon as a form is parsed, or cannot be parsed."""

    def parse_file_upload(self, META, post_data):
        try:
            return super().parse_file_upload(META, post_data)
        except Exception as error:
            for handler in self.upload_handlers:  # Django closes only complete files
                with suppress(AttributeError, OSError):
                    handler.file.close()
            if isinstance(error, (LookupError, UnicodeError)):  # such as `hex`, `idna`
                raise BadRequest("The form's charset is unknown.") from None
            raise
        finally:
            self._stream.close()


class Application(LanesHandler):
    """Serve the site on lanes. Start with the server, and limit what is received."""

    request_class, http_parser = FormRequest, None

    async def __call__(self, scope, receive, send):
        """Serve the lifespan or a request; refuse a websocket."""
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})  # not accepted: the client gets 403
        else:
            scope = scope | {"started": time.perf_counter()}
            with heartbeat:
                await super().__call__(scope, receive, send)

    async def lifespan(self, receive, send):
        """Start and stop with the server."""
        await receive()
        # By default this pool has only four threads more than there are processors.
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(32, "pool"))
        try:
            await asyncio.to_thread(start_lab)
        except LabError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        gc.freeze()  # what is there stays; a full collection of it takes 30 ms
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for client in loop_clients.pop(loop, {}).values():
            await (client.close if hasattr(client, "close") else client.aclose)()
        await asyncio.to_thread(stop_upstream)
        lab_ready.clear()
        await send({"type": "lifespan.shutdown.complete"})

    async def handle(self, scope, receive, send):
        """Handle a request, or send an error with a sentence."""
        # uvicorn's `receive` is a method of the parser's class; /status/ shows its name.
        module = type(getattr(receive, "__self__", receive)).__module__
        if found := re.match(r"uvicorn\.protocols\.http\.(\w+)_impl", module):
            self.http_parser = found[1]
        # A trailer is no header. uvicorn adds trailers to this list while the body arrives,
        # so copy it. Those that are in it already can be told from headers only if a
        # `Trailer` field announces them.
        announced = b",".join(v for k, v in scope["headers"] if k == b"trailer").lower()
        trailers = {name.strip() for name in announced.split(b",")}
        headers = [pair for pair in scope["headers"] if pair[0] not in trailers]
        scope = scope | {"headers": headers}
        try:
            await super().handle(scope, receive, send)
        except LabError as error:
            await self.reject(scope, receive, send, error)
        except asyncio.CancelledError:
            # The server stops. uvicorn would log a traceback and send a bare 500.
            with suppress(Exception):  # raised if the response has begun
                error = LabError(503, "The server is stopping. Try again.")
                await self.reject(scope, receive, send, error)

    async def reject(self, scope, receive, send, error):
        """Send an error at once, but complete the response once the body is discarded.

        uvicorn closes the connection then, and a client that is still sending would get a
        reset in the place of the response.
        """
        accept = [pair for pair in scope["headers"] if pair[0] == b"accept"]
        # Without what may be malformed.
        scope = scope | {"query_string": b"", "headers": accept}
        request = self.request_class(scope, BytesIO())
        request.started = scope["started"]
        response = add_headers(request, render_error(request, error.status, str(error)))
        response.headers["Connection"] = "close"

        async def content():
            yield response.content
            more, size = error.unread, 0
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_SECONDS):
                    while more and size < DISCARD_BYTES:
                        message = await receive()
                        size += len(message.get("body", b""))
                        more = message.get("more_body", False)

        options = {"status": error.status, "headers": response.headers}
        await self.send_response(StreamingHttpResponse(content(), **options), send)

    def create_request(self, scope, body):
        """Return Django's request, and no response. Raise LabError."""
        with suppress(BadRequest, ValueError, LookupError):
            return self.request_class(scope, body), None
        raise LabError(400, "The query or the Content-Type is malformed.")

    async def receive_body(self, scope, receive):
        """Return the body as a file. Raise LabError, or Django's RequestAborted."""
        headers, folder = dict(scope["headers"]), settings.FILE_UPLOAD_TEMP_DIR
        is_upload = scope["path"].startswith("/upload/")
        limit = settings.MAX_UPLOAD_BYTES if is_upload else MAX_BODY_BYTES
        too_large = f"The body is larger than {limit} bytes."
        if int(headers.get(b"content-length", 0)) > limit:
            # A client that asks first, with `Expect`, has sent none of it.
            raise LabError(413, too_large, b"expect" not in headers)
        body = SpooledTemporaryFile(MAX_BODY_BYTES, dir=folder)  # noqa: SIM115
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise django.core.exceptions.RequestAborted
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > limit:
                body.close()  # what has arrived does not stay on the disk
                raise LabError(413, too_large, more)
            try:
                if size > MAX_BODY_BYTES:  # from here on, the body is in a file
                    os.makedirs(folder, exist_ok=True)
                    await asyncio.to_thread(body.write, chunk)
                else:
                    body.write(chunk)
            except OSError as error:
                with suppress(OSError):  # which its last bytes may raise again
                    body.close()
                status = 503 if error.errno in SHORTAGES else 507
                raise LabError(status, "The body could not be stored.", more) from None
        body.seek(0)
        if size and b"content-length" not in headers:
            # Without one, Django reads no form.
            scope["headers"].append((b"content-length", b"%d" % size))
        return body


application = Application(size=LANES, patience=settings.DEADLINE)
stock = get_asgi_application()  # to compare with: `uvicorn app:stock`

# --------------------------------------------------------------- The command line

HELP = """\
uvicorn app:application                      serve on http://127.0.0.1:8000/
python app.py, uv run app.py                 the same
python app.py runserver [[address:]port]     serve, and reload on change
python app.py race [EXPERIMENT …]            race the variants (race --help)
python app.py export EXPERIMENT[/VARIANT] …  print a complete one-file program
Everything else goes to Django's own commands (check, shell, dbshell, …)."""


def fail(message) -> NoReturn:
    """End the program with one line and status 2."""
    print(message, file=sys.stderr)
    sys.exit(2)


def race_options(arguments):
    """Return the options of a race; a wrong one ends the program."""
    parser = argparse.ArgumentParser("app.py race", description="Race the variants.")
    parser.error, add = fail, parser.add_argument
    add("experiments", nargs="*", metavar="EXPERIMENT", help="e.g. rivers, cars?n=1500")
    add("--runs", type=int, default=5, help="requests of each user to each variant")
    add("--users", type=int, default=1, help="users who ask at the same time")
    add("--post", action="store_true", help="race the POST of cars; they stay stored")
    add("--url", type=lambda url: url.rstrip("/"), help="race this running server")
    add("--yes", action="store_true", help="call outside services without asking")
    add("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_intermixed_args(arguments)
    if min(options.runs, options.users) < 1:
        fail("--runs and --users take a whole number, at least 1.")
    return options


def make_rows(options):
    """Return a row for each variant to race; an unknown experiment ends the program."""
    known = ["cars"] if options.post else [x for x in EXPERIMENTS if x not in UNRACED]
    rows = []
    for text in dict.fromkeys(options.experiments or known):
        name, _, query = text.partition("?")
        if name not in known:
            fail(f"Unknown experiment {name!r}; choose from {', '.join(known)}.")
        for variant in EXPERIMENTS[name]:
            view, file = f"{name}/{variant}", "sample.bin" * (name == "files")
            if view not in UNRACED and (view in FORMS or not options.post):
                row = {"experiment": text, "variant": variant, "users": options.users}
                row |= {"path": f"{view}/{file}?{query}", "pitfall": view in PITFALLS}
                rows.append(row | {"seconds": 0, "outcomes": []})
    return rows


def confirm(options, rows):
    """Check --url; return where the data come from. Ask before calling outside services."""
    views = [row["path"].split("/")[:2] for row in rows]
    services = [service for view in views for service in list_calls(*view)]
    outside = [service for service in services if service in OUTSIDE_SERVICES]
    sources = dict.fromkeys(map(data_source, services or ["usgs"]))  # never empty
    if options.url:
        try:
            response = httpx.get(f"{options.url}/status/", trust_env=False)
            # None if that server calls services other than its own.
            recent = response.raise_for_status().json()["upstream"]["recent"]
        except (httpx.HTTPError, httpx.InvalidURL, LookupError, TypeError, ValueError):
            fail(f"{options.url!r} does not answer as the lab does.")
        outside = [x for x in services if recent is None or x not in PATHS]
        sources = ["that server's services"]
    told = f"Data: {'; '.join(sources)}."
    if calls := len(outside) * (options.runs + 1) * options.users:
        told += f" The race makes up to {calls:,} calls to outside services."
        if not options.yes:
            print(told, "Go on? [y/N] ", end="", file=sys.stderr, flush=True)
            if not sys.stdin.readline().lower().startswith("y"):
                fail("No call was made; --yes allows them.")
    return told


async def start_server(stack, folder, name, upstream=""):
    """Start uvicorn in a process that ends with the stack, and return its address."""
    options = f"app:{name} --port=0 --no-access-log --no-use-colors --app-dir"
    command = [sys.executable, "-m", "uvicorn", *options.split(), Path(__file__).parent]
    # uvicorn would take its own options from the environment, too.
    own = re.compile("UVICORN_|WEB_CONCURRENCY").match
    env = {name: text for name, text in os.environ.items() if not own(name)}
    env |= {"DATA_DIR": folder, "ALLOWED_HOSTS": "127.0.0.1", "UPSTREAM_URL": upstream}
    log = Path(folder, f"{name}.log")  # a pipe that nobody reads would stop the server
    with log.open("w") as file:
        process = stack.enter_context(subprocess.Popen(command, env=env, stderr=file))
    stack.callback(process.kill)  # before the stack waits for its end
    while not (found := re.search(r"running on (http\S+)", log.read_text())):
        await asyncio.sleep(0.05)
        if process.poll() is not None:
            reasons = re.findall("(?m)^(?!.* startup failed)(.+)", log.read_text())
            fail(f"The server did not start: {' '.join(reasons[-1:])}")
    return found[1]


async def run_race(options, rows, status):
    """Take the turns on a server, or on one that is started for it; watch it meanwhile."""
    with TemporaryDirectory(prefix="race-") as folder, ExitStack() as stack:
        if not (url := options.url):
            # In a process of its own, the upstream takes no time from the views.
            upstream = UPSTREAM_URL or await start_server(stack, folder, "upstream")
            url = await start_server(stack, folder, "application", upstream)
        # Any token will do: the cookie and the header are compared with each other.
        token, headers = "race" * 8, {"Accept": "application/json", "Referer": url}
        headers |= {"X-CSRFToken": token, "Cookie": f"csrftoken={token}"}
        # A server closes idle connections: this closes them before it does.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
        session = aiohttp.ClientSession(f"{url}/", connector=connector, headers=headers)
        async with session, asyncio.TaskGroup() as group:
            turns = group.create_task(take_turns(session, options, rows))
            while not turns.done():
                await read_status(session, status)
                # Seldom enough not to weigh on the figures.
                await asyncio.wait([turns], timeout=0.1)


async def read_status(session, status):
    """Update the server's status; its threads and memory keep their highest figures."""
    with suppress(aiohttp.ClientError, OSError, ValueError):
        async with session.get("status/") as response:
            found = await response.json()
        for key in ("threads", "rss_bytes"):
            found[key] = max(found[key] or 0, status.get(key, 0))
        status |= found


async def take_turns(session, options, rows):
    """Make a warm-up run and the counted runs, each of all variants in turn."""
    warm_up, began = make_rows(options), time.perf_counter()  # its figures are dropped
    turns = warm_up + rows * options.runs
    for done, row in enumerate(turns, 1):
        started = time.perf_counter()
        calls = [ask(session, row["path"], options.post) for _ in range(options.users)]
        row["outcomes"] += await asyncio.gather(*calls, return_exceptions=True)
        row["seconds"] += time.perf_counter() - started
        if sys.stderr.isatty():
            left = (time.perf_counter() - began) / done * (len(turns) - done)
            told = f"\x1b[K{done} of {len(turns)}, {left:.0f} s left"
            print(told, end="\r", file=sys.stderr, flush=True)


async def ask(session, path, post):
    """Return a response's seconds and `held`. Raise what is wrong with it."""
    form = {"engine": "V8 engine", "name": "Maker", "location": "Store"}
    started, body = time.perf_counter(), b""
    async with session.post(path, data=form) if post else session.get(path) as response:
        is_json = "json" in response.content_type
        async for chunk in response.content.iter_any():
            body = body + chunk if is_json else chunk  # a file is not kept
    seconds = time.perf_counter() - started
    if not response.ok:
        raise ValueError(f"{response.status} {response.reason}")
    # `streamed` has sent its 200 before it knows, and `home` is a 200 all the same.
    streamed = response.content_type == "application/x-ndjson"
    if (streamed and b'"error": null' not in body) or b'"errors": {"' in body:
        raise ValueError("a service failed")
    held = re.search(r"held;dur=([\d.]+)", response.headers["Server-Timing"])
    return seconds, float(held[1]) / 1000


def add_figures(rows):
    """Add what the verdict, the table and `--json` show of each variant."""
    for row in rows:
        answers = [x for x in row["outcomes"] if isinstance(x, tuple)]
        errors = [x for x in row["outcomes"] if isinstance(x, BaseException)]
        errors = [str(error) or "no response in time" for error in errors]
        times = sorted(seconds for seconds, _ in answers)
        row |= {"times": times, "errors": errors, "failed": len(errors)}
        row["runs"] = len(row["outcomes"]) // row["users"]
        row["median_s"] = statistics.median(times) if times else None
        row["p95_s"] = times[math.ceil(0.95 * len(times)) - 1] if times else None
        row["requests_per_s"] = len(times) / row["seconds"]
        row["held_s"] = max((held for _, held in answers), default=None)
    sync = {row["experiment"]: row for row in rows if row["variant"] == "sync"}
    for row in rows:
        row["speedup"] = speedup(row, sync.get(row["experiment"]), row["users"])


def print_table(rows, leaders, width):
    """Print a table with a bar for each variant; a dash stands for no value."""
    shapes = {"median_s": in_ms, "p95_s": in_ms, "requests_per_s": "{:,.1f}".format}
    shapes |= {"held_s": in_ms, "speedup": "{:.2f}".format}
    line = "{:1} {:18}{:>10}{:>10}{:>9}{:>9}{:>9}  {}"
    heads = "median", "95 %", "req/s", "held", "speed-up", "time"
    print(line.format("", "* leads, ! pitfall", *heads))
    slowest = max(cost(row, row["users"]) for row in rows) or 1
    for row in rows:
        mark = "!" if row["pitfall"] else "*" if row["variant"] in leaders else ""
        cells = ["-" if row[x] is None else shapes[x](row[x]) for x in shapes]
        bar = "█" * math.ceil(cost(row, row["users"]) / slowest * (width - 69))
        print(line.format(mark, row["variant"], *cells, bar).rstrip())


def print_report(options, rows, stopped):
    """Print each experiment's table and verdict."""
    width = max(79, min(shutil.get_terminal_size().columns - 1, 110))
    users, runs = options.users, options.runs
    for text, group in groupby(rows, lambda row: row["experiment"]):
        team = list(group)
        found = verdict(text.partition("?")[0], team, users, runs, stopped)
        print(f"\n{text}, users: {users}, runs of each: {runs}")
        print_table(team, found["leaders"], width)
        lines = [f"{line['title']}: {line['text']}" for line in found["lines"]]
        lines += [f"{x['variant']}: {x['errors'][0]}" for x in team if x["errors"]]
        for line in lines:
            print(textwrap.fill(line, width, subsequent_indent="  "))


def race(arguments):
    """Race, print what came of it, and return the exit status."""
    options, status, stopped = race_options(arguments), {}, False
    rows = make_rows(options)
    # A terminal may lack block characters, and a pipe gets each line at once.
    sys.stdout.reconfigure(errors="replace", line_buffering=True)
    end_by_any_signal()
    try:
        told = confirm(options, rows)
        if not options.json:
            servers = "a server" if UPSTREAM_URL else "two servers"
            print(told if options.url else f"Starting {servers}…\n{told}")
        asyncio.run(run_race(options, rows, status))
    except KeyboardInterrupt:
        stopped = True
    except OSError as error:
        fail(error)
    rows = [row for row in rows if row["outcomes"]]
    add_figures(rows)
    if options.json:
        print_json(rows, status)
    elif rows:
        print_report(options, rows, stopped)
        threads, memory = status.get("threads", 0), status.get("rss_bytes", 0)
        print(f"\nThe server at its highest: {threads} threads, {memory >> 20} MB")
    else:
        print("Nothing has been measured.")
    return 130 if stopped else int(any(row["failed"] for row in rows))


def end_by_any_signal():
    """Let each signal that ends a program raise KeyboardInterrupt."""
    # A shell's background jobs ignore SIGINT: undo that, but keep what nohup ignores.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def print_json(rows, status):
    """Print the figures, and what the server ran on."""
    peaks = {f"peak_{key}": status.get(key) or None for key in ("threads", "rss_bytes")}
    passing = {"threads", "rss_bytes", "requests_in_flight", "lanes", "upstream"}
    stack = {key: status[key] for key in status if key not in passing}
    hidden = {"path", "seconds", "outcomes", "times", "errors"}
    results = [{key: row[key] for key in row if key not in hidden} for row in rows]
    print(json.dumps({"stack": stack, "results": results} | peaks))


class Server(uvicorn.Server):
    """End nine seconds after a signal, whatever is in flight: Docker kills after ten."""

    def handle_exit(self, sig, frame):
        if not self.should_exit and hasattr(signal, "alarm"):
            signal.alarm(9)  # the kernel's: it also ends a blocked event loop
        super().handle_exit(sig, frame)


def runserver(address):
    """Serve at `[address:]port`, and start again when a file beside it changes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        fail("Give [address:]port, as in 127.0.0.1:8000.")
    options = {"host": host.strip("[]") or "127.0.0.1", "port": int(port)}
    options |= {"reload_dirs": [str(Path(__file__).parent)], "reload": True}
    uvicorn.run("app:application", timeout_graceful_shutdown=7, **options)


def main(arguments):
    """Serve, race, export, or do what Django's own commands do."""
    match arguments:
        case []:
            # uvicorn raises the signal again when it has shut down. Python's own handler
            # would then wait for threads that are stuck; the system's ends the process.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            config = uvicorn.Config("app:application", timeout_graceful_shutdown=7)
            Server(config).run()
        case ["runserver", *rest]:
            runserver(" ".join(rest) or "8000")
        case ["race", *rest]:
            sys.exit(race(rest))
        case ["export", *rest]:
            sys.stdout.buffer.write(export(rest).encode())  # UTF-8, as Python reads it
        case ["--help"] | ["-h"] | ["help"]:
            print(HELP)
        case _:
            with suppress(OSError):  # SQLite needs DATA_DIR, Django's check this folder
                settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
            execute_from_command_line(["app.py", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
