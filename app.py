# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "aiofiles>=25.1",
#   "asgiref>=3.13",
#   "django>=5.2.19",
#   "httptools>=0.7",
#   "httpx>=0.28.1",
#   "httpx-aiohttp>=0.2.0",
#   "uvicorn>=0.54",
#   "uvloop>=0.22; sys_platform != 'win32' and implementation_name == 'cpython'",
# ]
# ///
"""Should this view be synchronous, threaded or asynchronous? A lab in one file.

Start it, open http://127.0.0.1:8000/ and race the variants:

    uvicorn app:application

Every experiment does one job in several ways that give the same answer. Read its
section, run it, see your own numbers, take the view. The services that the pages ask
are embedded, and are asked over real sockets.

    python app.py race rivers --users 50    # the same under load
    python app.py                           # serves, and stops within ten seconds
"""

# ------------------------------------------------------------------------ Imports

import argparse
import asyncio
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
import socket
import stat
import statistics
import subprocess  # nosec B404 - the race starts this file's own servers
import sys
import threading
import time
import unicodedata
import uuid
import weakref
from collections import defaultdict, deque, namedtuple
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import aclosing, closing, contextmanager, nullcontext, suppress
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from io import BytesIO
from itertools import count, product
from pathlib import Path
from queue import SimpleQueue
from signal import SIG_IGN, SIGINT, SIGTERM, default_int_handler, raise_signal
from signal import signal as on_signal
from tempfile import SpooledTemporaryFile, TemporaryDirectory
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from zoneinfo import ZoneInfo

import aiofiles
import aiohttp
import django
import httpcore
import httpx
import uvicorn
from asgiref.sync import (
    ThreadSensitiveContext,
    async_to_sync,
    iscoroutinefunction,
    sync_to_async,
)
from django.apps import AppConfig
from django.conf import settings
from httpx_aiohttp import AiohttpTransport

# ----------------------------------------------------------------------- Settings

# Run as a script the module is `__main__`; Django would import it again as `app`.
sys.modules.setdefault("app", sys.modules[__name__])


def env(name, default, parse, accepted):
    """The variable's value, parsed; a bad one ends the start with one line."""
    text = os.environ.get(name, default)
    try:
        return parse(text)
    except (ValueError, LookupError, ImportError):
        shown = re.sub("(?s)/.*@", "/…@", text)  # a password stays off the terminal
        print(f"{name}={shown!r} is not accepted: give {accepted}.", file=sys.stderr)
        raise SystemExit(3) from None


def env_number(name, default, low, high, kind=float):
    """A number from `low` to `high`, both included."""

    def parse(text):
        number = kind(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    what = "a whole number" if kind is int else "a number"
    upto = f"from {low} to {high}" if high < math.inf else f"of {low} or more"
    return env(name, str(default), parse, f"{what} {upto}")


def env_address(name):
    """An http(s) address, or None where the variable is not set."""

    def parse(text):
        if not text:
            return None
        parts = urlsplit(text)
        web = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not web or not re.fullmatch(r"[!-~]+", text) or re.search("[?#]", text):
            raise ValueError(text)
        try:
            httpx.URL(text)
        except httpx.InvalidURL:
            raise ValueError(text) from None
        return text

    return env(name, "", parse, "an http:// or https:// address without a query")


def env_key(service):
    """A service's key, fit for a header, or an empty text."""

    def parse(text):
        if not text.isascii() or not (text.isprintable() and text == text.strip()):
            raise ValueError
        return text

    return env(f"{service}_API_KEY", "", parse, "printable ASCII text")


def parse_database(text):
    """Django's settings for sqlite:///relative, sqlite:////absolute, postgresql://…"""
    parts = urlsplit(text)
    name = unquote(parts.path[1:])
    if parts.scheme == "sqlite" and name and not parts.netloc:
        # WAL lets readers go on beside a writer, IMMEDIATE makes writers wait in
        # line. A file it must be: `:memory:` is another database in each thread.
        options = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 5,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
        if ":memory:" in name:
            raise ValueError(text)
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name,
            "OPTIONS": options,
        }
    if parts.scheme != "postgresql" or not parts.hostname or not name or parts.query:
        raise ValueError(text)
    import psycopg  # noqa: F401 - only who sets such an address needs the driver

    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname),
        "PORT": parts.port or "",
        "OPTIONS": {"connect_timeout": 5},
    }


FLAGS = {"0": False, "1": True, "false": False, "true": True}
DEBUG = env("DEBUG", "0", lambda text: FLAGS[text.lower()], "0, 1, true or false")
HOSTS = env("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]", str, "names, comma-separated")
DATA_DIR = Path(os.environ.get("DATA_DIR") or Path(__file__).resolve().parent / "data")
DATABASE = env(
    "DATABASE_URL",
    f"sqlite:///{quote(os.fsencode(DATA_DIR / 'lab.sqlite3'))}",
    parse_database,
    "sqlite:///relative, sqlite:////absolute or postgresql://user:password@host:port/name"
    " (which needs the package psycopg)",
)
#: Finished uploads; and one folder a process for what is still arriving.
UPLOADS, INCOMING = DATA_DIR / "uploads", DATA_DIR / "incoming" / str(os.getpid())
#: A body larger than this goes to a file.
SPOOL_BYTES = 2**20
UPSTREAM_URL = env_address("UPSTREAM_URL")
#: Each service's path under UPSTREAM_URL, and its own address where one is set.
SERVICES = {
    "usgs": ("/nwis/iv/", env_address("USGS_URL")),
    "promo": ("/promo/", env_address("PROMO_URL")),
    "recco": ("/recco/", env_address("RECCO_URL")),
    "rates": ("/exchangerates_data/timeseries", env_address("RATES_URL")),
}
#: The header that carries a service's key, sent to that service alone.
KEYS = {"usgs": ("X-Api-Key", env_key("USGS")), "rates": ("apikey", env_key("RATES"))}
UPSTREAM_LATENCY = env_number("UPSTREAM_LATENCY", 0.2, 0, 60)
UPSTREAM_FAILURES = env_number("UPSTREAM_FAILURES", 0, 0, 1)
DEADLINE = env_number("DEADLINE", 10, 0.1, 300)
THREADS = env_number("THREADS", 3, 1, 64, int)
LANES = env_number("LANES", 40, 1, 1000, int)
MAX_UPLOAD_BYTES = env_number("MAX_UPLOAD_BYTES", 2**30, 1, math.inf, int)
#: The largest body of any page but the upload's, and the pause that ends a body.
MAX_BODY_BYTES, BODY_PAUSE = 2**20, 30
#: Threads for aiofiles, name look-ups and `thread_sensitive=False`.
FILE_THREADS = 32

#: Template name: its text. Each section below adds its own.
PAGES = {}


class LabConfig(AppConfig):
    """The one module is the Django application, and its models module too."""

    name = "app"

    def import_models(self):
        super().import_models()
        self.models_module = self.module


settings.configure(
    DEBUG=DEBUG,
    SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_urlsafe(50),
    ALLOWED_HOSTS=[host.strip() for host in HOSTS.split(",") if host.strip()],
    INSTALLED_APPS=["app.LabConfig"],
    MIDDLEWARE=["app.lab_middleware"],
    ROOT_URLCONF="app",
    MIGRATION_MODULES={"app": None},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": DATABASE | {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}},
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.cached.Loader",
                        [("django.template.loaders.locmem.Loader", PAGES)],
                    )
                ]
            },
        }
    ],
    CSRF_FAILURE_VIEW="app.csrf_failure",
    SILENCED_SYSTEM_CHECKS=[
        "security.W001",  # lab_middleware sets the headers; TLS and HSTS are the proxy's
        "security.W002",  # it forbids frames, too
        "security.W003",  # the views with a form are under csrf_protect, by form_view
    ],
    TIME_ZONE="UTC",
    USE_I18N=False,
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "loggers": {"django": {"handlers": ["console"], "level": "ERROR"}},
    },
)
django.setup()

# ruff: noqa: E402 - Django's models and views want the settings first
from django import forms
from django.core import signals
from django.core.asgi import get_asgi_application
from django.core.cache import caches, close_caches
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    RequestAborted,
    SynchronousOnlyOperation,
)
from django.core.files.storage import FileSystemStorage
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import reset_urlconf
from django.core.handlers.exception import response_for_exception
from django.core.management import execute_from_command_line
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connections,
    models,
    reset_queries,
    transaction,
)
from django.db.backends.signals import connection_created
from django.db.models import Prefetch
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template.loader import render_to_string
from django.urls import path, set_script_prefix
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.decorators import async_only_middleware
from django.utils.html import escape, format_html_join
from django.utils.http import content_disposition_header, http_date
from django.views import View
from django.views.decorators.csrf import csrf_protect, ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_safe

# ------------------------------------------------------------------------- Models


class LabModel(models.Model):
    """A model of this module, whatever name the module was started under."""

    class Meta:
        abstract = True
        app_label = "app"


class CarParts(LabModel):
    engine = models.CharField(max_length=1000)


class Manufacturer(LabModel):
    name = models.CharField(max_length=150)


class Store(LabModel):
    location = models.CharField(max_length=150)


class Car(LabModel):
    created_at = models.DateTimeField(auto_now_add=True)
    store = models.ManyToManyField(Store)
    car_parts = models.ManyToManyField(CarParts)
    manufacturer = models.ForeignKey(Manufacturer, models.CASCADE)


def make_tables():
    """Create what tables are missing, and 1,500 cars; who comes second finds them."""
    connection = connections["default"]
    connection.disable_constraint_checking()  # SQLite's schema editor asks for it
    with closing(connection), transaction.atomic():
        if connection.vendor == "postgresql":
            connection.cursor().execute("SELECT pg_advisory_xact_lock(1500)")
        tables = connection.introspection.table_names()
        with connection.schema_editor() as editor:
            for model in (CarParts, Manufacturer, Store, Car):
                if model._meta.db_table not in tables:
                    editor.create_model(model)
        if not Car.objects.exists():
            make_cars(1500)
            connection.cursor().execute("ANALYZE")  # a planner that guesses is slow


def make_cars(n):
    """Cars of 30 makers in 60 stores, each with an engine, a gearbox and two stores."""
    makers = [Manufacturer(name=f"Maker {i}") for i in range(1, 31)]
    stores = [Store(location=f"Store {i}") for i in range(1, 61)]
    parts = [
        CarParts(engine=f"{p} {i}") for i in range(n) for p in ("V8 engine", "gearbox")
    ]
    for rows in (makers, stores, parts):
        type(rows[0]).objects.bulk_create(rows)
    cars = Car.objects.bulk_create(Car(manufacturer=makers[i % 30]) for i in range(n))
    has_part, in_store = Car.car_parts.through, Car.store.through
    has_part.objects.bulk_create(
        has_part(car=cars[i // 2], carparts=part) for i, part in enumerate(parts)
    )
    in_store.objects.bulk_create(
        in_store(car=car, store=stores[(i * k) % 60])
        for i, car in enumerate(cars)
        for k in (1, 7)
        if k == 1 or (i * k) % 60 != i % 60
    )


# --------------------------------------------------------------- The page's frame

PAGES["frame.html"] = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{% block title %}{{ experiment }} {{ variant }}{% endblock %} · Django lab</title>
<link rel="icon" href="data:,">
<style nonce="{{ nonce }}">
:root { --ink: #1b2430; --soft: #566273; --line: #d5dbe3; --paper: #fff;
  --panel: #f4f6f9; --accent: #0b5fa5; --good: #1a7040; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #a3aebd;
  --line: #364150; --paper: #12171e; --panel: #1b222c; --accent: #7ab8f5;
  --good: #6fce98; --bad: #ff9d94 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif }
a { color: var(--accent) }
h1 { margin: .5rem 0; font-size: 1.6rem; line-height: 1.2 }
.soft, small { color: var(--soft) }
.bad { color: var(--bad) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { padding: .4rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top }
th small { font-weight: normal }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: .5rem 0; padding: 0;
  list-style: none }
nav [aria-current] { font-weight: bold; color: inherit; text-decoration: none }
pre, .panel { padding: .8rem; overflow-x: auto; background: var(--panel);
  border-radius: .4rem }
svg { width: 100%; height: auto }
polyline { fill: none; stroke: var(--accent); stroke-width: 2 }
circle { fill: var(--accent) }
text { fill: currentColor; font-size: 15px }
{% block style %}{% endblock %}
</style>
</head>
<body>
{% block header %}<header>
<a href="/">Django lab</a>
<h1>{{ experiment }} <span class="soft">{{ variant }}</span></h1>
<nav aria-label="Variants"><ul>{% for name in variants %}
<li><a href="/{{ experiment }}/{{ name }}/"
{% if name == variant %}aria-current="page"{% endif %}>{{ name }}</a>
<small><a href="/source/{{ experiment }}/{{ name }}/" aria-label="source of {{ name }}"
>source</a></small></li>{% endfor %}
</ul></nav>
</header>{% endblock %}
<main>{% block main %}{{ main }}{% endblock %}</main>
<footer class="soft">{% block footer %}<p>{{ footer }}</p>{% endblock %}</footer>
</body>
</html>
"""

PAGES["error.html"] = """{% extends "frame.html" %}
{% block title %}{{ code }} {{ reason }}{% endblock %}
{% block header %}<header><a href="/">Django lab</a>
<h1>{{ code }} <span class="soft">{{ reason }}</span></h1></header>{% endblock %}
{% block main %}<p role="alert">{{ error }}</p>{% endblock %}{% block footer %}{% endblock %}
"""


NDJSON = "application/x-ndjson"


@functools.lru_cache(maxsize=256)
def ranks_json(accept):
    """Whether an `Accept` header ranks JSON above HTML."""
    request = HttpRequest()
    request.META["HTTP_ACCEPT"] = accept
    kinds = ["text/html", "application/json", NDJSON]
    return request.get_preferred_type(kinds) in kinds[1:]


def prefers_json(request):
    """Whether the client would rather have JSON than HTML."""
    return ranks_json(request.headers.get("accept", "*/*"))


def represent(request, template, data, status=200, **extra):
    """An answer in JSON where the client prefers it, else HTML, which knows `extra`."""
    if prefers_json(request):
        return JsonResponse(data, status=status)
    context = data | extra | {"nonce": getattr(request, "nonce", "")}
    return HttpResponse(render_to_string(template, context, request), status=status)


#: Where a page's own parts go in a frame that is made once for all visitors.
GAPS = {name: f"@@{name}@@" for name in ("nonce", "footer", "main")}


@functools.lru_cache(maxsize=256)
def frame(experiment, variant):
    """The frame of a variant's page, which is the same each time, with its gaps."""
    names = {"experiment": experiment, "variant": variant}
    context = GAPS | names | {"variants": offered(experiment)}
    return render_to_string("frame.html", context)


def page(request, template, data, status=200, main=None, **extra):
    """An experiment's answer: which one it is, how long it took, and its data.

    `main` is the HTML of the template where that has been made before.
    """
    now = time.perf_counter()
    experiment, _, variant = request.resolver_match.view_name.partition("/")
    load_time = now - getattr(request, "started", now)
    if prefers_json(request):
        head = {"experiment": experiment, "variant": variant, "load_time": load_time}
        return JsonResponse(head | data, status=status)
    calls = data.get("upstream_calls")
    footer = f"Made in <strong>{load_time:.4f} s</strong>"
    if calls is not None:
        footer += f" with {calls} upstream call{'s' if calls != 1 else ''}"
        where = data["source"].replace("embedded", "the embedded upstream")
        footer += f" to {escape(where)}"
    html, nonce = frame(experiment, variant), getattr(request, "nonce", "")
    html = html.replace(GAPS["nonce"], nonce).replace(GAPS["footer"], footer)
    main = main or render_to_string(template, data | extra, request)
    return HttpResponse(html.replace(GAPS["main"], main), status=status)


def error_page(request, status, sentence, **fields):
    """An error's answer: a sentence, and the field's name where a field is wrong."""
    extra = {"code": status, "reason": HTTPStatus(status).phrase}
    data = {"error": sentence} | fields
    return represent(request, "error.html", data, status, **extra)


def bad_request(request, exception):
    """400: our own sentence, or a general one for what Django found."""
    told = str(exception) if isinstance(exception, BadRequest) else ""
    field = {"field": exception.field} if isinstance(exception, WrongField) else {}
    sentence = told or "The request could not be understood."
    return error_page(request, 400, sentence, **field)


def csrf_failure(request, reason=""):
    """403: a form without its token."""
    return error_page(request, 403, f"The form was refused: {reason or 'no token.'}")


def not_found(request, exception):
    """404: our own sentence, or a general one for an unknown address."""
    told = exception.args[0] if exception.args else ""
    return error_page(request, 404, told if isinstance(told, str) else "No such page.")


def server_error(request):
    """503 and 507 for what the machine lacks just now, 500 for a mistake of ours."""
    error = sys.exc_info()[1]
    if isinstance(error, LanesBusy):
        return error_page(request, 503, "Every thread is busy. Please try again.")
    if isinstance(error, (OperationalError, InterfaceError)):
        return error_page(request, 503, "The database is not to be had. Try again.")
    full = isinstance(error, OSError) and error.errno in STORAGE_ERRORS
    if full and request.method == "POST":
        return error_page(request, 507, "The file could not be stored here.")
    return error_page(
        request, 500, "This page made a mistake. The server's log has it."
    )


#: What a file system says that is full, or that may not be written.
STORAGE_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM")
}
handler400, handler404, handler500 = bad_request, not_found, server_error

POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; style-src 'nonce-{0}'; script-src 'nonce-{0}'"
)


def clothe_error(request, bare):
    """The same error with a sentence for its body."""
    status = HTTPStatus(bare.status_code)
    response = error_page(request, status, f"{status.description or status.phrase}.")
    for name in bare.headers.keys() - {"Content-Type", "Content-Length"}:
        response.headers[name] = bare.headers[name]
    return response


def dress(request, response):
    """Give an answer its body if it is a bare error, its timing and its policy."""
    if response.status_code >= 400 and not response.streaming:
        as_json = prefers_json(request)
        fits = "json" in response.headers.get("Content-Type", "")
        if not response.content or (as_json and not fits):
            response = clothe_error(request, response)
    headers = response.headers
    if not response.streaming and response.status_code not in (204, 304):
        headers.setdefault("Content-Length", str(len(response.content)))
    elapsed = 1000 * (time.perf_counter() - request.started)
    thread = getattr(request, "thread", threading.current_thread().name)
    headers["Server-Timing"] = f'total;dur={elapsed:.2f}, thread;desc="{thread}"'
    headers.setdefault("Cache-Control", "no-store")
    patch_vary_headers(response, ["Accept"])
    headers["Content-Security-Policy"] = POLICY.format(request.nonce)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def note_arrival(request):
    """Note when a request came; and a word that marks its page's own styles, scripts."""
    scope = getattr(request, "scope", {})
    request.started = scope.get("started") or time.perf_counter()
    request.nonce = secrets.token_urlsafe(16)


@async_only_middleware
def lab_middleware(get_response):
    """Measure every answer and dress it: one native middleware, and so no hop."""

    async def middleware(request):
        note_arrival(request)
        if not LAB.started:
            await sync_to_async(LAB.start, thread_sensitive=False)()
        try:
            request.get_host()
        except DisallowedHost:
            sentence = "This host is not served here: see ALLOWED_HOSTS."
            return dress(request, error_page(request, 400, sentence))
        return dress(request, await get_response(request))

    return middleware


def noted(view):
    """The view, with its thread noted for the headers and its refusals made pages."""

    @functools.wraps(view)
    def noted_sync(request, **kwargs):
        request.thread = threading.current_thread().name
        try:
            return view(request, **kwargs)
        except (BadRequest, Http404) as error:
            return refusal_page(request, error)

    @functools.wraps(view)
    async def noted_async(request, **kwargs):
        request.thread = threading.current_thread().name
        try:
            return await view(request, **kwargs)
        except (BadRequest, Http404) as error:
            return refusal_page(request, error)
        except Exception as error:
            # Django would ask its exception middleware, here none, on a lane.
            answer = sync_to_async(response_for_exception, thread_sensitive=False)
            return await answer(request, error)

    return noted_async if iscoroutinefunction(view) else noted_sync


def refusal_page(request, error):
    """What a view of ours refused, in its words, with DEBUG=1 too."""
    answer = bad_request if isinstance(error, BadRequest) else not_found
    return answer(request, error)


class WrongField(BadRequest):
    """A form's field that cannot be taken, and a sentence why."""

    def __init__(self, field, sentence):
        super().__init__(sentence)
        self.field = field


def form_view(view):
    """A view with a form: its token is checked, its body parsed off the event loop."""
    guarded = csrf_protect(ensure_csrf_cookie(view))

    @functools.wraps(view)
    def form_sync(request):
        parse_form(request)
        return guarded(request)

    @functools.wraps(view)
    async def form_async(request):
        # csrf_protect asks for the form too, and would parse it right here.
        await sync_to_async(parse_form, thread_sensitive=False)(request)
        return await guarded(request)

    form = form_async if iscoroutinefunction(view) else form_sync
    form.takes_form = True
    return form


def parse_form(request):
    """Have Django read a form. Files that it began for one that fails are gone."""
    try:
        request.POST  # noqa: B018 - asking is reading
    except BaseException:
        for handler in request.upload_handlers:
            with suppress(AttributeError, OSError):
                handler.file.close()
        raise


# ----------------------------------------------------------------------- Upstream


class UpstreamError(Exception):
    """A service's failure, as a sentence for the page."""


class UpstreamTimeout(UpstreamError):
    """The page's time ran out before the service had answered."""

    def __init__(self):
        super().__init__("The service did not answer in time.")


class Budget:
    """The time that one page may spend on its upstream calls, all together."""

    def __init__(self, calls, at_once):
        self.ends = time.monotonic() + DEADLINE
        self.calls, self.at_once, self.made = calls, at_once, count()

    def share(self):
        """Seconds for the next call: what is left, divided by the turns to come."""
        turns = math.ceil((self.calls - next(self.made)) / self.at_once)
        return max(0, self.ends - time.monotonic()) / max(1, turns)


page_budget = ContextVar("page_budget")


def in_turn(calls, at_once=1):
    """The same calls, between which the page's time is now shared out."""
    page_budget.set(Budget(len(calls), at_once))
    return calls


def time_share():
    """Seconds for a call: its share of the page's time, or all where none is shared."""
    budget = page_budget.get(None)
    return budget.share() if budget else DEADLINE


class ContextPool(ThreadPoolExecutor):
    """A pool of threads that see the request's context variables."""

    def submit(self, call, /, *args, **kwargs):
        return super().submit(copy_context().run, call, *args, **kwargs)


#: Made once and passed to every client: it costs 16 ms to read the certificates.
TLS = httpx.create_ssl_context(trust_env=False)
MAX_ANSWER_BYTES = 8 * 2**20
HEADERS = {"accept": "application/json", "accept-encoding": "identity"}


def service_url(service):
    """Where a service is: its own address, else under UPSTREAM_URL or the embedded."""
    place, own = SERVICES[service]
    return own or (UPSTREAM_URL or LAB.upstream_url).rstrip("/") + place


@functools.lru_cache(maxsize=256)
def service_request(service, url):
    """A GET to ask again and again, with the key that goes to this service alone."""
    parts = httpx.URL(url)
    headers = HEADERS | {"host": parts.netloc.decode(), "user-agent": "django-lab"}
    name, key = KEYS.get(service, ("", None))
    if key:
        headers[name] = key
    request = httpx.Request("GET", parts.copy_with(userinfo=b""), headers=headers)
    if parts.userinfo:
        next(httpx.BasicAuth(parts.username, parts.password).auth_flow(request))
    return request


def check_answer(response):
    """Refuse every answer but a plain 200: no redirect, no error, no encoding."""
    if response.status_code != 200:
        known = response.status_code in HTTPStatus._value2member_map_
        phrase = HTTPStatus(response.status_code).phrase if known else ""
        what = f"{response.status_code} {phrase}".strip()
        raise UpstreamError(f"The service answered {what}.")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise UpstreamError("The service's answer was encoded, which nobody asked for.")


def add_chunk(body, chunk):
    """Add a chunk to a body that may not outgrow MAX_ANSWER_BYTES."""
    body += chunk
    if len(body) > MAX_ANSWER_BYTES:
        raise UpstreamError("The service's answer was larger than 8 MB.")


@contextmanager
def upstream_call():
    """Count the call while it is in flight; its failure becomes a sentence."""
    with LAB.lock:
        LAB.upstream_in_flight += 1
    try:
        yield
    except (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:
        cause, timeouts = error.__cause__, (TimeoutError, httpx.TimeoutException)
        if isinstance(cause, aiohttp.ClientConnectorError | httpcore.ConnectError):
            raise UpstreamError("The service could not be reached.") from None
        # httpx-aiohttp calls a lost connection a timeout: the cause tells.
        if isinstance(error, timeouts) and not isinstance(cause, aiohttp.ClientError):
            raise UpstreamTimeout from None
        raise UpstreamError("The service broke off its answer.") from None
    finally:
        with LAB.lock:
            LAB.upstream_in_flight -= 1


class Line:
    """A synchronous client that keeps one connection, and whose reads ask the clock.

    httpx's timeouts are per operation, so a byte a second would outlast them all.
    """

    idle = defaultdict(list)

    def __init__(self):
        limits = httpx.Limits(max_connections=1)
        self.client = httpx.HTTPTransport(verify=TLS, trust_env=False, limits=limits)

    @classmethod
    @contextmanager
    def borrow(cls, host):
        """An idle line to this host, or a new one; it is idle again afterwards."""
        try:
            line = cls.idle[host].pop()
        except IndexError:
            line = cls()
        try:
            yield line
        finally:
            if line.has_surplus():
                line.client.close()
            else:
                cls.idle[host].append(line)

    def has_surplus(self):
        """Whether more came than the answer, which the next call would read as its own."""
        made = [held._connection for held in self.client._pool.connections]
        return any(one._h11_state.trailing_data[0] for one in made if one)

    def chunks(self, request, seconds):
        """The chunks of an answer, the last within so many seconds."""
        self.ends = time.monotonic() + seconds
        waits = dict.fromkeys(("connect", "read", "write", "pool"), self.left())
        ask = httpx.Request("GET", request.url, headers=request.headers)
        ask.extensions = {"timeout": waits, "trace": self.watch}
        response = self.client.handle_request(ask)
        try:
            check_answer(response)
            yield from response.stream
        finally:
            response.close()

    def left(self):
        """Seconds to the end of the call. Raises TimeoutError when there are none."""
        if (left := self.ends - time.monotonic()) <= 0:
            raise TimeoutError
        return left

    def watch(self, event, info):
        """Let a new connection's reads take the time left, not one of their own."""
        if event in (
            "connection.connect_tcp.complete",
            "connection.start_tls.complete",
        ):
            stream = info["return_value"]
            read = stream.read
            stream.read = lambda size, timeout=None: read(size, self.left())


def fetch(service, url):
    """The body of a service's answer. Raises UpstreamError."""
    request = service_request(service, url)
    body = bytearray()
    with upstream_call(), Line.borrow(request.url.netloc) as line:
        with closing(line.chunks(request, time_share())) as chunks:
            for chunk in chunks:
                add_chunk(body, chunk)
    return body


#: Event loop: the asynchronous client that belongs to it.
async_clients = weakref.WeakKeyDictionary()


def async_client():
    """This event loop's one client: any number of connections, no cookies."""
    loop = asyncio.get_running_loop()
    if loop not in async_clients:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=TLS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        session._retry_connection = False  # aiohttp would send a GET a second time
        async_clients[loop] = AiohttpTransport(verify=TLS, client=session)
    return async_clients[loop]


async def fetch_async(service, url):
    """The body of a service's answer, awaited. Raises UpstreamError.

    The transport is asked directly: redirects and cookies are the business of
    httpx.AsyncClient, are not wanted here, and would double the cost of a call.
    """
    request = service_request(service, url)
    body = bytearray()
    with upstream_call():
        async with asyncio.timeout(time_share()):
            response = await async_client().handle_async_request(request)
            try:
                check_answer(response)
                async for chunk in response.stream:
                    add_chunk(body, chunk)
            finally:
                await response.aclose()
    return body


class Door:
    """Lets a few go on in each turn of the event loop, in order of arrival.

    Where a crowd goes on in one turn, all else waits for the whole of it: what is sent
    leaves at the turn's end, and uvloop lets in one new connection a turn.
    """

    #: One a turn costs a tenth of the speed; with eight, new visitors wait twice as long.
    A_TURN = 4

    def __init__(self, loop, shut=False):
        self.loop, self.queue = loop, deque()
        self.passed = self.A_TURN if shut else 0  # in this turn, which a shut one lacks

    async def enter(self):
        """Go on in this turn, or in one of the next; if the door is shut, once it opens."""
        if self.passed < self.A_TURN:
            if not self.passed:
                self.loop.call_soon(self.open)
            self.passed += 1
        else:
            self.queue.append(self.loop.create_future())
            await self.queue[-1]

    def open(self):
        """Let the next ones go on, and so in each turn until nobody waits."""
        self.passed = min(self.A_TURN, len(self.queue))
        if self.passed:
            self.loop.call_soon(self.open)
        for _ in range(self.passed):
            place = self.queue.popleft()
            if not place.done():  # its visitor may have left
                place.set_result(None)


def refuse_constant(name):
    """NaN and Infinity are no JSON, though Python reads them."""
    raise ValueError(name)


decoder = json.JSONDecoder(parse_constant=refuse_constant)


def decode(body):
    """A body's JSON. Raises UpstreamError."""
    try:
        return decoder.decode(body.decode())
    except (ValueError, RecursionError):
        raise UpstreamError("The service's answer was not JSON.") from None


def dig(value, *way):
    """What lies at the end of a way of keys and indexes; None where it ends early."""
    for step in way:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


def as_list(value):
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


# -------------------------------------------------------------- Experiment: hello

PAGES["hello.html"] = """\
<p>{{ greeting }} This page does nothing: it is the floor on which the
others stand.</p>
"""


def hello_sync(request):
    """The smallest page, on a thread: one hop there and back."""
    return page(request, "hello.html", {"greeting": "Hello, world!"})


async def hello_async(request):
    """The smallest page, on the event loop: no hop at all."""
    return page(request, "hello.html", {"greeting": "Hello, world!"})


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
DISCHARGE, GAGE_HEIGHT = "00060", "00065"
NO_DATA = -999999
#: What the commoner qualifiers mean; codes are compared without regard to case.
QUALIFIERS = {
    "p": "provisional, subject to revision",
    "a": "approved for publication",
    "e": "estimated",
    "estimated": "estimated",
    "ice": "affected by ice",
    "eqp": "equipment malfunction",
    "mnt": "under maintenance",
    "bkw": "affected by backwater",
    "dis": "discontinued",
    "ssn": "measured in season only",
    "***": "temporarily unavailable",
}


class Reading(NamedTuple):
    """What a gauge says: its newest discharge and gage height, or why it has none."""

    site: str
    name: str
    discharge_ft3_s: float | None = None
    discharge_observed: str | None = None
    gage_height_ft: float | None = None
    gage_height_observed: str | None = None
    qualifiers: tuple = ()
    error: str | None = None


class Observation(NamedTuple):
    """One value of one parameter at one site; `value` is None where there is none."""

    site: str
    parameter: str
    value: float | None = None
    time: datetime | None = None
    qualifiers: tuple = ()


def to_number(value):
    """A finite float, or None for no data, no number and no sense."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number != NO_DATA else None


def to_time(value):
    """An aware datetime, or None."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None


def to_codes(values):
    """Qualifier codes, each once, in order; what is no text is none."""
    texts = [v for v in as_list(values) if isinstance(v, str) and v and v.isprintable()]
    return tuple(dict.fromkeys(texts))


def parse_iv(data):
    """Observations in an answer of the instantaneous-values service (WaterML as JSON).

    They are known by their codes, not their places; each sensor has a block of values.
    """
    for series in as_list(dig(data, "value", "timeSeries")):
        site = dig(series, "sourceInfo", "siteCode", 0, "value")
        parameter = dig(series, "variable", "variableCode", 0, "value")
        for block in as_list(dig(series, "values")):
            for item in as_list(dig(block, "value")):
                value, moment = (
                    to_number(dig(item, "value")),
                    to_time(dig(item, "dateTime")),
                )
                marks = to_codes(dig(item, "qualifiers"))
                yield Observation(site, parameter, value, moment, marks)


def parse_ogc(data):
    """Observations in an answer of the newer service (OGC API Features, GeoJSON)."""
    for feature in as_list(dig(data, "features")):
        found = dig(feature, "properties")
        site = str(dig(found, "monitoring_location_id")).removeprefix("USGS-")
        parameter = dig(found, "parameter_code")
        value, moment = to_number(dig(found, "value")), to_time(dig(found, "time"))
        approval = {"Provisional": "P", "Approved": "A"}.get(
            str(dig(found, "approval_status"))
        )
        marks = dig(found, "qualifier")
        marks = to_codes([approval, *(marks if isinstance(marks, list) else [marks])])
        yield Observation(site, parameter, value, moment, marks)


LONG_AGO = datetime.min.replace(tzinfo=UTC)


def newest(observations, site, parameter):
    """A parameter's newest value, its time in ISO 8601, and what qualifies them."""
    mine = [o for o in observations if (o.site, o.parameter) == (site, parameter)]
    empty = [o for o in mine if o.value is None]
    valued = [o for o in mine if o.value is not None] or [Observation(site, parameter)]
    best = max(valued, key=lambda o: o.time or LONG_AGO)
    marks = [code for o in (best, *empty) for code in o.qualifiers]
    return best.value, best.time and best.time.isoformat(), marks


def read_gauge(observations, site):
    """One gauge's Reading, out of observations of many."""
    flow, flow_time, marks = newest(observations, site, DISCHARGE)
    stage, stage_time, more_marks = newest(observations, site, GAGE_HEIGHT)
    silent = flow is None and stage is None
    error = "The service has no reading for this gauge." if silent else None
    found = flow, flow_time, stage, stage_time, to_codes(marks + more_marks), error
    return Reading(site, SITES[site], *found)


def usgs_url(sites):
    """The question for these sites' newest readings, in either service's terms."""
    url = service_url("usgs")
    codes = f"{DISCHARGE},{GAGE_HEIGHT}"
    if url.endswith("/items"):
        ids = ",".join(f"USGS-{site}" for site in sites)
        which = f"monitoring_location_id={ids}&parameter_code={codes}"
        return f"{url}?f=json&{which}&limit=100&skipGeometry=true"
    which = f"sites={','.join(sites)}&parameterCd={codes}"
    return f"{url}?format=json&{which}&siteStatus=all"


def parse_readings(body, sites):
    """A Reading for each site. Raises UpstreamError where the body is not JSON."""
    parse = parse_ogc if service_url("usgs").endswith("/items") else parse_iv
    observations = list(parse(decode(body)))
    return [read_gauge(observations, site) for site in sites]


def without_reading(sites, error):
    """A Reading for each site that says what went wrong."""
    return [Reading(site, SITES[site], error=str(error)) for site in sites]


def fetch_readings(sites):
    """The readings of some gauges, in one call; one that failed says why."""
    try:
        return parse_readings(fetch("usgs", usgs_url(sites)), sites)
    except UpstreamError as error:
        return without_reading(sites, error)


async def fetch_readings_async(sites):
    """The readings of some gauges, in one call, awaited."""
    try:
        return parse_readings(await fetch_async("usgs", usgs_url(sites)), sites)
    except UpstreamError as error:
        return without_reading(sites, error)


def fetch_reading(site):
    """The reading of one gauge."""
    return fetch_readings([site])[0]


async def fetch_reading_async(site):
    """The reading of one gauge, awaited."""
    return (await fetch_readings_async([site]))[0]


PAGES["rivers.html"] = """\
<p>The Yellowstone River at six gauges, upstream to downstream.
{% if streamed %}The rows stand in the order in which they arrived.{% endif %}</p>
<div class="scroll" tabindex="0" role="region" aria-label="Readings"><table>
<thead><tr><th scope="col">Gauge</th><th scope="col" class="number">Discharge</th>
<th scope="col" class="number">Gage height</th><th scope="col">Remarks</th></tr></thead>
<tbody>{{ rows }}</tbody></table></div>
"""
PAGES["reading.html"] = """
<tr><th scope="row">{{ reading.name }}<br><small>USGS {{ reading.site }}</small></th>
{% for value, unit, observed in values %}<td class="number">
{% if value %}{{ value }} {{ unit }}{% else %}–{% endif %}
{% if observed %}<br><small><time datetime="{{ observed.iso }}">{{ observed.text }}</time>
<br>{{ observed.ago }}</small>{% endif %}</td>
{% endfor %}<td>{% if reading.error %}<span class="bad">{{ reading.error }}</span>{% endif %}
{% for code, meaning in marks %}<small>{{ code }}: {{ meaning }}</small><br>
{% endfor %}</td></tr>"""


def when_observed(iso):
    """When a reading was observed, by the gauge's own clock, and how long ago."""
    if not iso:
        return None
    observed = datetime.fromisoformat(iso)
    minutes = int((datetime.now(UTC) - observed).total_seconds() // 60)
    hours, days = minutes // 60, minutes // 1440
    ago = f"{days} d" if days > 1 else f"{hours} h" if hours > 1 else f"{minutes} min"
    return {"iso": iso, "text": f"{observed:%b %d, %H:%M (%z)}", "ago": f"{ago} ago"}


@functools.lru_cache(maxsize=256)
def reading_row(reading, minute):
    """A gauge's row of the table; it is the same for all visitors of one minute."""
    flow, stage = reading.discharge_ft3_s, reading.gage_height_ft
    flow_text = "" if flow is None else f"{flow:,.10g}"
    stage_text = "" if stage is None else f"{stage:.2f}"
    values = [
        (flow_text, "ft³/s", when_observed(reading.discharge_observed)),
        (stage_text, "ft", when_observed(reading.gage_height_observed)),
    ]
    unknown = "see the USGS's list of qualifiers"
    marks = [(q, QUALIFIERS.get(q.lower(), unknown)) for q in reading.qualifiers]
    context = {"reading": reading, "values": values, "marks": marks}
    return render_to_string("reading.html", context)


def this_minute():
    """The number of the minute, which is how long rendered readings are good for."""
    return int(time.time() // 60)


@functools.lru_cache(maxsize=64)
def rivers_main(readings, minute):
    """The dashboard's HTML, which is the same for all who have the same readings."""
    rows = [(reading_row(reading, minute),) for reading in readings]
    context = {"rows": format_html_join("", "{}", rows)}
    return render_to_string("rivers.html", context)


def readings_source():
    """Where the readings come from: the embedded upstream, or an address."""
    if UPSTREAM_URL or SERVICES["usgs"][1]:
        return re.sub("//[^/]*@", "//", service_url("usgs"))
    return "embedded"


def rivers_page(request, readings, calls=6):
    """The dashboard: 200 while one gauge has a number, else 502, or 504 for no time."""
    errors = {reading.error for reading in readings}
    late = errors == {str(UpstreamTimeout())}
    status = 200 if None in errors else 504 if late else 502
    sites = [reading._asdict() for reading in readings]
    data = {"upstream_calls": calls, "source": readings_source(), "sites": sites}
    main = rivers_main(tuple(readings), this_minute())
    return page(request, "rivers.html", data, status, main)


def rivers_sync(request):
    """Six calls, one after the other."""
    return rivers_page(request, [fetch_reading(site) for site in in_turn(SITES)])


def rivers_threaded(request):
    """Six calls, three at a time, on a pool of threads."""
    with ContextPool(THREADS) as pool:
        readings = list(pool.map(fetch_reading, in_turn(SITES, THREADS)))
    return rivers_page(request, readings)


async def rivers_async(request):
    """Six calls at once, on the event loop."""
    return rivers_page(request, await asyncio.gather(*map(fetch_reading_async, SITES)))


async def rivers_streamed(request):
    """Six calls at once, each gauge sent on as soon as it answers."""
    return stream_rivers(request, map(fetch_reading_async, SITES))


async def rivers_batched(request):
    """One call for all six, where the service can: better than any concurrency."""
    return rivers_page(request, await fetch_readings_async(SITES), calls=1)


async def rivers_shared(request):
    """Six calls at once, which all share who wait for the same gauge."""
    readings, started = await share_flights(fetch_reading_async, SITES)
    return rivers_page(request, readings, calls=started)


def rivers_async_to_sync(request):
    """A synchronous view that has the event loop make the asynchronous calls."""
    return rivers_page(request, async_to_sync(gather_readings)())


async def rivers_sync_to_async(request):
    """The synchronous calls through the adapter: one thread, so one after the other."""
    calls = map(sync_to_async(fetch_reading), in_turn(SITES))
    return rivers_page(request, await asyncio.gather(*calls))


async def rivers_sync_to_async_pool(request):
    """The same with `thread_sensitive=False`: a thread for each call."""
    fetch_in_pool = sync_to_async(fetch_reading, thread_sensitive=False)
    calls = map(fetch_in_pool, in_turn(SITES, at_once=len(SITES)))
    return rivers_page(request, await asyncio.gather(*calls))


async def rivers_blocking(request):
    """The synchronous calls right on the event loop: all other visitors wait too."""
    return rivers_page(request, [fetch_reading(site) for site in in_turn(SITES)])


async def gather_readings():
    """Six readings at once."""
    return await asyncio.gather(*map(fetch_reading_async, SITES))


class Flight:
    """A call that is under way, and the visitors who wait for it."""

    #: (Event loop, question): the flight that will bring the answer.
    under_way = {}

    def __init__(self, key, call):
        loop, _ = self.key = key
        self.visitors, self.door, self.traceback = 0, Door(loop, shut=True), None
        # In a context of its own, for it may outlast the visitor who began it.
        self.task = loop.create_task(call, context=Context())
        self.task.add_done_callback(self.land)
        self.under_way[key] = self

    def land(self, task):
        """The call has ended: let the visitors off, and nobody board any more."""
        error = None if task.cancelled() else task.exception()
        self.traceback = error and error.__traceback__
        self.close()
        self.door.open()

    def answer(self):
        """What the call has brought, for each visitor. Raises what it raised."""
        if self.task.cancelled():
            raise UpstreamError("The call was broken off.")
        if error := self.task.exception():
            # With its own traceback, which whoever was told before has added to.
            raise error.with_traceback(self.traceback)
        return self.task.result()

    def close(self):
        """Let nobody board any more; a later flight may have the key by now."""
        if self.under_way.get(self.key) is self:
            del self.under_way[self.key]

    def leave(self):
        """A visitor leaves; when the last one does, the call is cancelled."""
        self.visitors -= 1
        if not self.visitors:
            self.close()  # it takes a turn or two to end
            self.task.cancel()


async def share_flights(fetch, questions):
    """The answers to all questions, and how many calls were started for them.

    Who asks what is being asked waits for that call, and shares its fate. When the last
    visitor who waits for a call leaves, it is cancelled.
    """
    loop, flights, started = asyncio.get_running_loop(), [], 0
    try:
        for question in questions:
            if not (flight := Flight.under_way.get((loop, question))):
                flight = Flight((loop, question), fetch(question))
                started += 1
            flight.visitors += 1
            flights.append(flight)
        for flight in flights:
            await flight.door.enter()
        return [flight.answer() for flight in flights], started
    finally:
        for flight in flights:
            flight.leave()


class Stream(StreamingHttpResponse):
    """A streamed answer whose generator is closed as soon as the visitor leaves.

    Django closes its own iterator, not the one inside it.
    """

    async def __aiter__(self):
        async with aclosing(self._iterator) as parts:
            async for part in parts:
                yield self.make_bytes(part)


def stream_rivers(request, calls):
    """The dashboard row by row, or one JSON object a line, in order of arrival."""
    if prefers_json(request):
        return Stream(stream_lines(calls), content_type=NDJSON)
    return Stream(stream_rows(request, calls))


async def stream_lines(calls):
    """Each reading as a line of JSON, as it arrives."""
    async with aclosing(arriving(calls)) as readings:
        async for reading in readings:
            yield json.dumps(reading._asdict()) + "\n"


async def stream_rows(request, calls):
    """The page up to its rows, each row as it arrives, and the rest of the page."""

    def both_ends():
        data = {"upstream_calls": len(SITES), "source": readings_source()}
        gap = "@@rows@@"
        html = page(request, "rivers.html", data, rows=gap, streamed=True)
        return html.content.decode().split(gap)

    yield both_ends()[0]
    async with aclosing(arriving(calls)) as readings:
        async for reading in readings:
            yield reading_row(reading, this_minute())
    yield both_ends()[1]  # with the load time, which is known now


async def arriving(calls):
    """What the calls bring, in order of arrival; who stops early cancels the rest."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for task in tasks:
            task.cancel()


# --------------------------------------------------------------- Experiment: home


def checked(value, kind):
    """The value, if it is a whole text or a finite number, as asked. Else ValueError."""
    if isinstance(value, str) != (kind is str):
        raise ValueError(value)
    if kind is str:
        value.encode()  # half a character has no bytes
    elif to_number(value) is None:
        raise ValueError(value)
    return value


#: Service: what it lists, and what is told of each.
SHOP = {
    "promo": ("promotions", {"title": str, "text": str, "ends": str}),
    "recco": ("books", {"title": str, "author": str, "price": float}),
}

PAGES["home.html"] = """\
<section class="panel" aria-label="Promotions">{% for promotion in promo.promotions %}
<p><strong>{{ promotion.title }}</strong> {{ promotion.text }}
<small>Until {{ promotion.ends }}.</small></p>{% empty %}
<p class="soft">No promotions just now. {{ errors.promo }}</p>{% endfor %}</section>
<h2>Recommended for you</h2>
<ul>{% for book in recco.books %}
<li>{{ book.title }} <span class="soft">by {{ book.author }}</span>,
${{ book.price|floatformat:2 }}</li>{% empty %}
<li class="soft">No recommendations just now. {{ errors.recco }}</li>{% endfor %}</ul>
"""


def read_part(service, body):
    """A service's part of the page. Raises UpstreamError for any other shape."""
    key, kinds = SHOP[service]
    rows = dig(decode(body), key)
    try:
        rows = [{k: checked(row[k], kind) for k, kind in kinds.items()} for row in rows]
    except (TypeError, ValueError, LookupError):
        raise UpstreamError("The service's answer has an unknown shape.") from None
    return {key: rows}


def fetch_part(service):
    """A part of the page and None, or None and a sentence."""
    try:
        body = fetch(service, service_url(service))
        return read_part(service, body), None
    except UpstreamError as error:
        return None, str(error)


async def fetch_part_async(service):
    """A part of the page and None, or None and a sentence, awaited."""
    try:
        body = await fetch_async(service, service_url(service))
        return read_part(service, body), None
    except UpstreamError as error:
        return None, str(error)


def home_page(request, parts):
    """The bookshop's front page; a part that failed is left out."""
    found = dict(zip(SHOP, parts, strict=True))
    data = {service: part for service, (part, _) in found.items()}
    data["errors"] = {service: error for service, (_, error) in found.items() if error}
    return page(request, "home.html", data)


def home_sync(request):
    """Two calls, one after the other."""
    return home_page(request, [fetch_part(service) for service in in_turn(SHOP)])


async def home_sequential(request):
    """Two calls awaited one after the other: asynchronous, and no faster."""
    return home_page(request, [await fetch_part_async(part) for part in in_turn(SHOP)])


async def home_async(request):
    """Two calls at once."""
    return home_page(request, await asyncio.gather(*map(fetch_part_async, SHOP)))


# -------------------------------------------------------------- Experiment: rates

YEAR = "start_date=2016-01-02&end_date=2017-01-01"

PAGES["rates.html"] = """\
<p>One {{ base }} in {{ symbol }}, from {{ start_date }} to {{ end_date }}: {{ days }} days,
out of an answer with {{ currencies }} currencies.</p>
<svg viewBox="0 0 480 240" role="img" aria-label="{{ symbol }} from {{ start_date }} to
{{ end_date }}: lowest {{ marks.0.value }}, highest {{ marks.1.value }}, last
{{ marks.2.value }}"><polyline points="{{ points }}"/>
{% for mark in marks %}<circle cx="{{ mark.x }}" cy="{{ mark.y }}" r="4"/>
<text x="{{ mark.x }}" y="{{ mark.y }}" dx="{{ mark.dx }}" dy="{{ mark.dy }}"
text-anchor="{{ mark.anchor }}">{{ mark.name }} {{ mark.value }}</text>{% endfor %}</svg>
<form><label>Currency <input name="symbol" value="{{ symbol }}" size="4" maxlength="3"
required></label> <button>Show</button></form>
"""


def read_rates(body):
    """The base, and each date's rates in order of date. Raises UpstreamError."""
    data = decode(body)
    base, rates = dig(data, "base"), dig(data, "rates")
    try:
        sound = checked(base, str) and all(date.fromisoformat(day) for day in rates)
        sound = sound and all(isinstance(of_day, dict) for of_day in rates.values())
    except (TypeError, ValueError, AttributeError):
        sound = False
    if not (sound and rates):
        raise UpstreamError("The service's answer has an unknown shape.")
    return base, dict(sorted(rates.items()))


def draw_line(series):
    """A line's points in a box of 480 by 240, and its marks: lowest, highest, last."""
    low, high = min(series), max(series)
    scale = 160 / (high - low or 1)
    step = 440 / max(1, len(series) - 1)
    spots = [(20 + i * step, 200 - (v - low) * scale) for i, v in enumerate(series)]

    def mark(name, index, dy):
        x, y = spots[index]
        anchor = "start" if x < 120 else "end" if x > 360 else "middle"
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "dy": dy, "anchor": anchor}
        return place | {"name": name, "value": f"{series[index]:.6g}"}

    marks = [
        mark("lowest", series.index(low), 24),
        mark("highest", series.index(high), -12),
        mark("last", len(series) - 1, -12 if series[-1] < high else 24),
    ]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in spots), marks


def rates_page(request, base, rates):
    """The year of one currency, drawn as a line."""
    dates, symbol = list(rates), request.GET.get("symbol", "USD").upper()
    currencies = set().union(*rates.values())
    series = [to_number(day.get(symbol)) for day in rates.values()]
    series = [value for value in series if value is not None]
    if not series:
        return error_page(
            request, 400, "symbol is no currency in this answer.", field="symbol"
        )
    points, marks = draw_line(series)
    data = {"base": base, "start_date": dates[0], "end_date": dates[-1]}
    data |= {"days": len(dates), "currencies": len(currencies)}
    extra = {"symbol": symbol, "points": points, "marks": marks}
    return page(request, "rates.html", data, **extra)


def rates_failed(request, error):
    """504 where time ran out, else 502."""
    late = isinstance(error, UpstreamTimeout)
    return error_page(request, 504 if late else 502, str(error))


def rates_sync(request):
    """One big answer, fetched, decoded and drawn on a thread."""
    try:
        body = fetch("rates", f"{service_url('rates')}?{YEAR}")
        return rates_page(request, *read_rates(body))
    except UpstreamError as error:
        return rates_failed(request, error)


async def rates_async(request):
    """The answer awaited, then decoded in a thread: a megabyte is work, not waiting."""
    try:
        body = await fetch_async("rates", f"{service_url('rates')}?{YEAR}")
        # json.loads keeps the GIL all the same; what follows it lets the loop in.
        rates = await sync_to_async(read_rates, thread_sensitive=False)(body)
        return rates_page(request, *rates)
    except UpstreamError as error:
        return rates_failed(request, error)


# --------------------------------------------------------------- Experiment: cars

PAGES["cars.html"] = """\
{% if car %}<p role="status">Car {{ car }} was created.</p>{% endif %}
{% if rows %}<p>{{ cars }} cars, read with {{ queries }} quer{{ queries|pluralize:"y,ies" }}.
Read <a href="?n=50">50</a>, <a href="?n=500">500</a> or <a href="?n=1500">1,500</a>.</p>
<table><thead><tr><th scope="col">Car</th><th scope="col">First store</th>
<th scope="col">First engine part</th></tr></thead><tbody>{% for id, store, part in rows %}
<tr><td>{{ id }}</td><td>{{ store }}</td><td>{{ part|default:"–" }}</td></tr>{% endfor %}
</tbody></table><p class="soft">The first ten are shown.</p>{% endif %}
{% if form %}<h2>Create a car</h2><form method="post">{% csrf_token %}
{% for field in form %}<p><label>{{ field.label }} {{ field }}</label></p>{% endfor %}
<button>Create</button></form>{% endif %}
{% if refusal %}<p class="bad" role="alert">{{ refusal }}</p><p>There are two ways out:
await the asynchronous ORM, as <a href="/cars/async/">async</a> does, or call one
synchronous function through <code>sync_to_async</code>, as
<a href="/cars/sync_to_async/">sync_to_async</a> does.</p>{% endif %}
"""

#: The counter of a request's queries; a connection adds to the one it is called in.
query_counter = ContextVar("query_counter")


def count_query(execute, sql, params, many, context):
    """Count a query on its way to the database."""
    if (counter := query_counter.get(None)) is not None:
        next(counter)
    return execute(sql, params, many, context)


def count_queries(connection, **kwargs):
    """Have a new connection count its queries."""
    if count_query not in connection.execute_wrappers:
        connection.execute_wrappers.append(count_query)


def how_many(request):
    """The number of cars to read, `?n=`. Raises BadRequest."""
    given = request.GET.get("n", "50")
    if not (re.fullmatch("[0-9]{1,4}", given) and 1 <= int(given) <= 1500):
        raise BadRequest("n is a whole number from 1 to 1500.")
    return int(given)


ENGINES = {"engine__icontains": "engine", "car__manufacturer_id__gt": 20}


def read_cars(n):
    """Id, first store and first engine part of n cars, as loops ask for them."""
    rows, cars = [], Car.objects.order_by("id")[:n]
    for car in cars:
        store = car.store.first()
        part = car.car_parts.filter(**ENGINES).first()
        rows.append((car.id, store and store.location, part and part.engine))
    for car in cars:
        car.store.first()
    return rows


async def read_cars_async(n):
    """The same loops with the asynchronous ORM: a hop to the thread for each query."""
    rows, cars = [], Car.objects.order_by("id")[:n]
    async for car in cars:
        store = await car.store.afirst()
        part = await car.car_parts.filter(**ENGINES).afirst()
        rows.append((car.id, store and store.location, part and part.engine))
    async for car in cars:
        await car.store.afirst()
    return rows


def read_cars_prefetched(n):
    """The same answer in three queries, whatever n."""
    engines = CarParts.objects.filter(**ENGINES).order_by("id")
    cars = Car.objects.order_by("id").prefetch_related(
        Prefetch("store", Store.objects.order_by("id"), to_attr="stores"),
        Prefetch("car_parts", engines, to_attr="engines"),
    )
    rows = []
    for car in cars[:n]:
        store, part = next(iter(car.stores), None), next(iter(car.engines), None)
        rows.append((car.id, store and store.location, part and part.engine))
    return rows


@transaction.atomic
def create_car(engine, name, location):
    """A car with its part, maker and store, all or none. Returns its id."""
    part = CarParts.objects.create(engine=engine)
    maker = Manufacturer.objects.create(name=name)
    store = Store.objects.create(location=location)
    car = Car.objects.create(manufacturer=maker)
    car.store.add(store)
    car.car_parts.add(part)
    return car.id


async def create_car_async(engine, name, location):
    """The same without a transaction, which the asynchronous ORM does not know."""
    made = []
    try:
        made.append(await CarParts.objects.acreate(engine=engine))
        made.append(await Manufacturer.objects.acreate(name=name))
        made.append(await Store.objects.acreate(location=location))
        made.append(await Car.objects.acreate(manufacturer=made[1]))
        await made[3].store.aadd(made[2])
        await made[3].car_parts.aadd(made[0])
    except BaseException:
        for thing in reversed(made):
            await thing.adelete()
        raise
    return made[3].id


class CarForm(forms.Form):
    """What a visitor tells of a new car."""

    engine = forms.CharField(max_length=1000)
    name = forms.CharField(max_length=150, label="Maker")
    location = forms.CharField(max_length=150, label="Store")


def read_form(request):
    """The form's values. Raises WrongField for the first one that is wrong."""
    form = CarForm(request.POST)
    if not form.is_valid():
        field, messages = next(iter(form.errors.items()))
        raise WrongField(field, f"{field}: {messages[0]}")
    return form.cleaned_data


class CarsView(View):
    """What the variants share: the pages around reading and creating."""

    def cars_page(self, request, rows, counter):
        """The cars that were read; the JSON has their number alone."""
        data = {"cars": len(rows), "queries": next(counter)}
        form = CarForm() if hasattr(self, "post") else None
        return page(request, "cars.html", data, rows=rows[:10], form=form)

    def created_page(self, request, car):
        """201, and the new car's id."""
        return page(request, "cars.html", {"car": car}, 201, form=CarForm())


class CarsSync(CarsView):
    """Three small queries a car; creating is one transaction."""

    def get(self, request):
        query_counter.set(counter := count())
        return self.cars_page(request, read_cars(how_many(request)), counter)

    def post(self, request):
        return self.created_page(request, create_car(**read_form(request)))


class CarsAsync(CarsView):
    """The same with the asynchronous ORM; creating knows no transaction."""

    async def get(self, request):
        query_counter.set(counter := count())
        return self.cars_page(
            request, await read_cars_async(how_many(request)), counter
        )

    async def post(self, request):
        car = await finish(create_car_async(**read_form(request)))
        return self.created_page(request, car)


class CarsSyncToAsync(CarsView):
    """The synchronous functions, each behind one sync_to_async: one hop, a transaction."""

    async def get(self, request):
        query_counter.set(counter := count())
        rows = await sync_to_async(read_cars)(how_many(request))
        return self.cars_page(request, rows, counter)

    async def post(self, request):
        car = await sync_to_async(create_car)(**read_form(request))
        return self.created_page(request, car)


class CarsPrefetched(CarsView):
    """The same answer in three queries: this, not async, is what the loop needs."""

    def get(self, request):
        query_counter.set(counter := count())
        return self.cars_page(request, read_cars_prefetched(how_many(request)), counter)


class CarsUnsafe(CarsView):
    """The synchronous ORM in an `async def`: Django refuses."""

    async def get(self, request):
        try:
            read_cars(how_many(request))
        except SynchronousOnlyOperation as error:
            data = {"error": f"SynchronousOnlyOperation: {error}"}
            return page(request, "cars.html", data, 500, refusal=data["error"])


async def finish(work):
    """What the work brings. A visitor who leaves must not cut it, or its undoing, off."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


# ---------------------------------------------------------------- Experiment: cpu

PAGES["cpu.html"] = """\
<p>The digest is <code>{{ digest }}</code>.</p>
<p>This is work, not waiting. One thread at a time runs Python, so threads take turns and
gain nothing; on the event loop it would keep every visitor waiting. More processes help:
<code>uvicorn app:application --workers 2</code>.</p>
"""
#: About 4 ms each, so 50 ms or so together.
PIECES = range(12)


def compute(piece):
    """One piece of a digest, in pure Python."""
    value = piece
    for _ in range(24_000):
        value = (value * 6364136223846793005 + 1442695040888963407) % 2**64
    return value


def cpu_page(request, values):
    """The digest of all pieces."""
    digest = hashlib.sha256(repr(values).encode()).hexdigest()
    return page(request, "cpu.html", {"digest": digest})


def cpu_sync(request):
    """Pure computation, on the request's thread."""
    return cpu_page(request, [compute(piece) for piece in PIECES])


def cpu_threaded(request):
    """The same on three threads: they take turns, since one runs Python at a time."""
    with ThreadPoolExecutor(THREADS) as pool:
        return cpu_page(request, list(pool.map(compute, PIECES)))


async def cpu_async(request):
    """The same on the event loop: nobody else is served meanwhile."""
    return cpu_page(request, [compute(piece) for piece in PIECES])


# -------------------------------------------------------- Experiment: certificate

PLACEHOLDER = b"%timestamp%         "
TEMPLATE = DATA_DIR / "certificate-template.pdf"


def certificate_template():
    """A one-page PDF with the placeholder in its metadata and on its page."""
    text = b"BT /F1 28 Tf 72 500 Td (Certificate) Tj /F1 14 Tf 0 -40 Td "
    text += b"(This page was served at %s.) Tj ET" % PLACEHOLDER
    facts = (
        b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/">
<xmp:CreateDate>%s</xmp:CreateDate></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
        % PLACEHOLDER
    )
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Metadata 6 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Metadata /Subtype /XML /Length %d >>\nstream\n%s\nendstream"
        % (len(facts), facts),
        b"<< /Title (Certificate) /Subject (Served at %s) >>" % PLACEHOLDER,
    ]
    pdf, offsets = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(pdf))
        pdf += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size, start = len(objects) + 1, len(pdf)
    pdf += b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
    pdf += b"trailer\n<< /Size %d /Root 1 0 R /Info 7 0 R >>\n" % size
    return pdf + b"startxref\n%d\n%%%%EOF\n" % start


def certificate_page(request, template):
    """The PDF with the time in its placeholders, which are as wide as a time."""
    if PLACEHOLDER not in (template or b""):
        what = "is missing" if template is None else "lacks its placeholder"
        return error_page(request, 500, f"The template {TEMPLATE.name} {what}.")
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    disposition = {"Content-Disposition": "attachment; filename=certificate.pdf"}
    pdf = template.replace(PLACEHOLDER, stamp)
    return HttpResponse(pdf, content_type="application/pdf", headers=disposition)


def certificate_sync(request):
    """A PDF from a template, read with a plain file on a thread."""
    template = None
    with suppress(OSError), open(TEMPLATE, "rb") as file:
        template = file.read()
    return certificate_page(request, template)


async def certificate_async(request):
    """The same with aiofiles: a thread reads, the event loop goes on."""
    template = None
    with suppress(OSError):
        async with aiofiles.open(TEMPLATE, "rb") as file:
            template = await file.read()
    return certificate_page(request, template)


# -------------------------------------------------------------- Experiment: files

#: What is read at once: a read is a trip to a thread, so a larger one is faster.
CHUNK = 2**20

PAGES["files.html"] = """{% extends "frame.html" %}
{% block title %}Files{% endblock %}
{% block header %}<header><a href="/">Django lab</a><h1>Files</h1></header>{% endblock %}
{% block main %}{% if files %}<div class="scroll" tabindex="0" role="region"
aria-label="Files"><table><thead><tr><th scope="col">Name</th>
<th scope="col">Size</th><th scope="col">Modified</th><th scope="col">Download</th></tr>
</thead><tbody>{% for file in files %}<tr><td>{{ file.name }}</td>
<td class="number">{{ file.size|filesizeformat }}</td><td>{{ file.modified }}</td>
<td>{% for variant in variants %}
<a href="/files/{{ variant }}/{{ file.name|urlencode:"" }}">{{ variant }}</a>{% endfor %}</td></tr>{% endfor %}</tbody>
</table></div>{% else %}<p>Nothing has been uploaded yet.</p>{% endif %}
<p><a href="/upload/async/">Upload a file</a></p>{% endblock %}
{% block footer %}{% endblock %}
"""


def file_url(name):
    """Where a stored file is served."""
    return f"/files/async/{quote(name, safe='')}"


def listing():
    """The finished uploads, by name: regular files alone."""
    found = []
    with os.scandir(UPLOADS) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and entry.name.isprintable():
                info = entry.stat(follow_symlinks=False)
                when = datetime.fromtimestamp(int(info.st_mtime), UTC)
                file = {"name": entry.name, "size": info.st_size}
                file |= {"modified": when.isoformat(), "url": file_url(entry.name)}
                found.append(file)
    return sorted(found, key=lambda file: file["name"])


def files_list(request):
    """What has been uploaded."""
    data = {"files": listing()}
    return represent(request, "files.html", data, variants=offered("files"))


def upload_path(name):
    """Where an upload of this name lies. Raises Http404 for what is no file's name."""
    if not name.isprintable() or Path(name).name != name:
        raise Http404("There is no such file.")
    return UPLOADS / name


def open_regular(path, flags):
    """An opener of regular files: no link, folder or pipe. Raises OSError."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor


def byte_range(request, size, etag, modified):
    """Status, first byte and end of what to send: 200 whole, 206 a range, 416 nothing.

    Several ranges, an unreadable one, or one of a version that is gone (`If-Range`) are
    answered with the whole file, as RFC 9110 allows in section 14.2.
    """
    form = "bytes=([0-9]{0,4000})-([0-9]{0,4000})"
    asked = re.fullmatch(form, request.headers.get("range", "").strip())
    current = request.headers.get("if-range", etag) in (etag, modified)
    if request.method != "GET" or not (current and asked and any(asked.groups())):
        return 200, 0, size
    first, last = (int(text) if text else None for text in asked.groups())
    if first is None:
        first, last = max(0, size - last) if last else size, None
    elif last is not None and last < first:
        return 200, 0, size
    if first >= size:
        return 416, 0, 0
    return 206, first, size if last is None else min(last + 1, size)


async def read_range(file, start, end):
    """The bytes from `start` to before `end`, a chunk at a time; closes the file."""
    try:
        await file.seek(start)
        while start < end and (chunk := await file.read(min(CHUNK, end - start))):
            start += len(chunk)
            yield chunk
    finally:
        await file.close()


async def send_file(request, name, file):
    """An open file, a range of it, or what the request's conditions ask for instead."""
    info = os.fstat(file.fileno())
    size, when = info.st_size, int(info.st_mtime)
    etag, modified = f'"{info.st_ino:x}-{info.st_mtime_ns:x}-{size:x}"', http_date(when)
    headers = {"ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes"}
    bare = HttpResponse(headers=headers | {"Cache-Control": "no-cache"})
    response = get_conditional_response(request, etag, when, bare)
    status, start, end = byte_range(request, size, etag, modified)
    if response is bare and status == 416:
        response = HttpResponse(
            status=416, headers={"Content-Range": f"bytes */{size}"}
        )
    elif response is bare:
        response = (
            bare if request.method == "HEAD" else Stream(read_range(file, start, end))
        )
        response.status_code, response.headers = status, bare.headers
        if status == 206:
            response["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        response["Content-Length"] = end - start
        response["Content-Type"] = (
            mimetypes.guess_type(name)[0] or "application/octet-stream"
        )
        response["Content-Disposition"] = content_disposition_header(True, name)
    if not response.streaming:
        await file.close()
    return response


def files_sync(request, name):
    """Django's FileResponse: under ASGI it reads the whole file into memory."""
    try:
        file = open(upload_path(name), "rb", opener=open_regular)  # noqa: SIM115
    except OSError:
        raise Http404("There is no such file.") from None
    headers = {"Cache-Control": "no-cache"}
    return FileResponse(file, as_attachment=True, filename=name, headers=headers)


async def files_async(request, name):
    """Streamed with aiofiles at constant memory, with ranges and conditions."""
    path = upload_path(name)
    try:
        file = await aiofiles.open(path, "rb", buffering=0, opener=open_regular)
    except OSError:
        raise Http404("There is no such file.") from None
    return await send_file(request, name, file)


# ------------------------------------------------------------- Experiment: upload

PAGES["upload.html"] = """\
<form method="post" enctype="multipart/form-data">{% csrf_token %}
<p><label>File <input type="file" name="file" required></label></p>
<button>Upload</button></form>
<p>At most {{ limit|filesizeformat }}. <a href="/files/">What has been uploaded</a></p>
"""


def safe_name(name):
    """A file name that is safe here, and keeps what it can of the visitor's."""
    name = unicodedata.normalize("NFC", name).strip().replace(" ", "_")
    stem, suffix = os.path.splitext(re.sub(r"[^-\w.]", "", name).lstrip("."))
    suffix = suffix[:16]
    # A name has 255 bytes; what is left over is for `publish` to tell two apart.
    stem = stem.encode()[: 200 - len(suffix.encode())].decode(errors="ignore")
    return (stem or "file") + suffix


def publish(part, name):
    """Give a complete file its name, or one like it where that is taken. Returns it.

    A link appears at once or not at all, and never overwrites.
    """
    stem, suffix = os.path.splitext(name)
    while True:
        try:
            os.link(part, UPLOADS / name)
            return name
        except FileExistsError:
            name = f"{stem}_{secrets.token_hex(3)}{suffix}"


@contextmanager
def arriving_file():
    """A path to write to; what has not been published by the end is gone."""
    part = INCOMING / secrets.token_hex(8)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


class WholeFileStorage(FileSystemStorage):
    """Django's storage, but a file appears whole, and two of a name do not collide."""

    def _save(self, name, content):
        with arriving_file() as part:
            with open(part, "wb") as file:
                for chunk in content.chunks(CHUNK):
                    file.write(chunk)
            return publish(part, name)


def one_file(request):
    """The file of the form. Raises WrongField."""
    files = request.FILES.getlist("file")
    if len(files) != 1:
        raise WrongField("file", "Send one file in the field `file`.")
    return files[0]


def upload_form(request):
    """The form."""
    return page(request, "upload.html", {}, limit=MAX_UPLOAD_BYTES)


def uploaded(request, name, size):
    """What was stored: 201 in JSON, and in HTML a way to the list."""
    if prefers_json(request):
        data = {"name": name, "size": size, "url": file_url(name)}
        return page(request, "upload.html", data, 201)
    return HttpResponse(status=303, headers={"Location": "/files/"})


@form_view
def upload_sync(request):
    """One file, stored by Django's storage on a thread."""
    if request.method != "POST":
        return upload_form(request)
    upload = one_file(request)
    storage = WholeFileStorage(UPLOADS)
    return uploaded(request, storage.save(safe_name(upload.name), upload), upload.size)


@form_view
async def upload_async(request):
    """One file, written with aiofiles a chunk at a time."""
    if request.method != "POST":
        return upload_form(request)
    upload = one_file(request)
    read = sync_to_async(upload.read, thread_sensitive=False)
    with arriving_file() as part:
        async with aiofiles.open(part, "wb") as file:
            while chunk := await read(CHUNK):
                await file.write(chunk)
        name = await asyncio.to_thread(publish, part, safe_name(upload.name))
    return uploaded(request, name, upload.size)


# ------------------------------------------------------------------------ The lab

#: Experiment: its variants. It is the URLconf, the front page, the race, the sources.
EXPERIMENTS = {
    "hello": {"sync": hello_sync, "async": hello_async},
    "rivers": {
        "sync": rivers_sync,
        "threaded": rivers_threaded,
        "async": rivers_async,
        "streamed": rivers_streamed,
        "batched": rivers_batched,
        "shared": rivers_shared,
        "async_to_sync": rivers_async_to_sync,
        "sync_to_async": rivers_sync_to_async,
        "sync_to_async_pool": rivers_sync_to_async_pool,
        "blocking": rivers_blocking,
    },
    "home": {"sync": home_sync, "sequential": home_sequential, "async": home_async},
    "rates": {"sync": rates_sync, "async": rates_async},
    "cars": {
        "sync": form_view(CarsSync.as_view()),
        "async": form_view(CarsAsync.as_view()),
        "sync_to_async": form_view(CarsSyncToAsync.as_view()),
        "prefetched": CarsPrefetched.as_view(),
        "unsafe": CarsUnsafe.as_view(),
    },
    "cpu": {"sync": cpu_sync, "threaded": cpu_threaded, "async": cpu_async},
    "certificate": {"sync": certificate_sync, "async": certificate_async},
    "files": {"sync": files_sync, "async": files_async},
    "upload": {"sync": upload_sync, "async": upload_async},
}
#: Served with DEBUG=1 alone: each does to a server what no one should.
PITFALLS = {"rivers/blocking", "cars/unsafe", "cpu/async"}


def offered(experiment):
    """The variants of an experiment that are served: name, view."""
    variants = EXPERIMENTS.get(experiment, {}).items()
    return {k: v for k, v in variants if DEBUG or f"{experiment}/{k}" not in PITFALLS}


def first_line(view):
    """What a variant says of itself: its docstring's first line."""
    return inspect.getdoc(getattr(view, "view_class", view)).partition("\n")[0]


#: What a race shows: the job, why its times are what they are, and what to choose when.
#: The page puts the visitor's own numbers behind each {variant}.
Note = namedtuple("Note", "job why choose", defaults=("", ""))
NOTES = {
    "hello": Note(
        "The smallest page.",
        "Nothing is waited for. {sync} hops to a worker thread and back, {async} stays "
        "on the event loop: what differs is that hop.",
        "Whichever the rest of the view needs. Neither makes a page fast that has "
        "nothing to wait for.",
    ),
    "rivers": Note(
        "Six gauges of the Yellowstone River, one call for each.",
        "{sync} waits for each call in turn, {threaded} for a few at a time, {async} "
        "for all at once, so for the slowest of them. {sync_to_async} has one thread "
        "and waits in turn again. {batched} asks only once.",
        "One batched call where the service takes it. Async where a page makes several "
        "calls or many visitors wait; threads where the library is synchronous; sync "
        "where there is one call and few visitors.",
    ),
    "home": Note(
        "A bookshop's front page out of two services.",
        "{sync} and {sequential} wait for one service and then for the other, {async} "
        "for both at once. It is gather that saves the time: await alone saves none.",
        "Async where calls do not need each other's answers. Where they do, sync is as "
        "fast and simpler.",
    ),
    "rates": Note(
        "A year of exchange rates out of one big answer.",
        "Both wait for the same one call, and parse the same answer: {sync}, {async}.",
        "Sync, for one visitor. Async where many wait at the same time, for it holds "
        "no thread meanwhile; the race on the command line shows that.",
    ),
    "cars": Note(
        "Cars with their stores and parts, out of the database.",
        "The asynchronous ORM is the synchronous one on a thread, with a hop for each "
        "call. {sync} needs none, {async} one for each call, {sync_to_async} one for "
        "all of them. {prefetched} makes fewer queries.",
        "Sync for work on the database, and fewer queries before anything else. In an "
        "async view put the whole of it behind one sync_to_async.",
    ),
    "cpu": Note(
        "Pure computation.",
        "One thread of Python computes at a time, so threads share what one of them "
        "would have alone: {sync}, {threaded}. On the event loop, it would keep "
        "everybody else waiting.",
        "Sync. What makes computation faster is processes, not threads and not async.",
    ),
    "certificate": Note(
        "A PDF out of a template file, stamped with the time.",
        "A small file is read sooner than a thread is asked to read it: {sync} reads it "
        "where it is, {async} sends for it.",
        "Sync, or what the rest of the view needs.",
    ),
    "files": Note(
        "An uploaded file back. The largest there is takes part in the race.",
        "{sync} hands Django a file, {async} a generator that reads it chunk by chunk. "
        "Each chunk is a trip to a thread.",
        "Async under ASGI, where Django takes a synchronous file into memory whole. "
        "For files that need no permission, the web server in front.",
    ),
    "upload": Note(
        "A form that stores one file. It is not raced: it would fill disks."
    ),
}
#: Experiments that a GET cannot race.
UNRACED = {"upload"}

PAGES["index.html"] = r"""{% extends "frame.html" %}
{% block title %}Synchronous, threaded or asynchronous?{% endblock %}
{% block style %}
html { scroll-padding-top: 6.5rem }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
button, input { padding: .35rem .8rem; font: inherit; color: inherit;
  background: var(--paper); border: 1px solid var(--soft); border-radius: .4rem }
button { color: var(--accent); border-color: currentcolor; cursor: pointer }
button:hover { background: var(--panel) }
button:disabled { opacity: .5; cursor: default }
.stops { --accent: var(--bad) }
.start { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap;
  gap: .5rem 1rem; align-items: center; padding: .6rem 0; background: var(--paper);
  border-bottom: 1px solid var(--line) }
.start button { color: var(--paper); background: var(--accent) }
.start input { width: 4.5rem; margin-left: .4rem }
.start p { margin: 0; font-variant-numeric: tabular-nums }
.start .told { position: absolute; clip-path: inset(50%) }
.start[hidden], p:empty, .verdict:empty { display: none }
section { margin: 2.5rem 0 }
.title { display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center }
.title div { flex: 1 1 16rem }
h2, .title p, .remark { margin: 0 }
.variants { margin: .8rem 0; padding: 0; list-style: none }
.variants li { display: grid; grid-template-columns: 10.5rem minmax(0, 1fr) 9rem;
  gap: .2rem 1rem; padding: .5rem 0; border-top: 1px solid var(--line) }
summary { cursor: pointer }
summary small { text-decoration: underline }
details p { margin: .5rem 0 }
.variants pre { max-height: 30rem; font-size: .85rem }
.variants div > small { display: block; white-space: nowrap }
.name { grid-row: 1 / 3 }
.value { grid-area: 1 / 3 / 3; text-align: right; font-variant-numeric: tabular-nums }
.fastest { --accent: var(--good) }
.fastest .name small, .fastest b { color: var(--good) }
.track { position: relative; grid-column: 2; height: .6rem; overflow: hidden;
  border-radius: .15rem; forced-color-adjust: none }
.raced .track { background: var(--panel) }
.track i { position: absolute; inset: 0; background: var(--accent); opacity: .55;
  transform: scaleX(0); transform-origin: left; transition: transform .25s }
.track i + i { inset: .2rem 0; opacity: 1 }
.remark { grid-column: 2 / -1; color: var(--bad) }
.verdict { margin-bottom: .8rem; border-left: .25rem solid var(--accent) }
.verdict p { margin: 0 0 .5rem }
.verdict p:last-child { margin: 0 }
.results th + th { text-align: right }
@media (max-width: 40rem) {
  .variants li { grid-template-columns: minmax(0, 1fr) auto }
  .variants details, .track, .remark { grid-column: 1 / -1 }
  .name { grid-row: 1 }
  .value { grid-area: 1 / 2 } }
@media (prefers-reduced-motion: reduce) { .track i { transition: none } }
{% endblock %}
{% block header %}<header><h1>Synchronous, threaded or asynchronous?</h1>
<p>Each experiment does one job in several ways that give the same answer. Race them from
this page, read their sources, and see what your own numbers say.</p>
<nav aria-label="Experiments"><ul>{% for name in experiments %}
<li><a href="#{{ name }}">{{ name }}</a></li>{% endfor %}
<li><a href="/status/">status of this server</a></li></ul></nav></header>{% endblock %}
{% block main %}
<form class="start" hidden>
<label>Runs<input type="number" min="1" max="50" value="5" required autocomplete="off"></label>
<button>Race all</button>
<p id="progress"></p><p class="told" role="status"></p></form>
{% for name, experiment in shown.items %}
<section id="{{ name }}" aria-labelledby="{{ name }}-title"
data-why="{{ experiment.note.why }}" data-choose="{{ experiment.note.choose }}">
<div class="title"><div><h2 id="{{ name }}-title">{{ name }}</h2>
<p class="soft">{{ experiment.note.job }}</p></div>
{% if experiment.raced %}<button type="button" hidden>Race {{ name }}</button>{% endif %}</div>
<ul class="variants" role="list">{% for variant, line in experiment.variants.items %}
<li data-variant="{{ variant }}">
<div class="name"><a href="/{{ name }}/{{ variant }}/">{{ variant }}</a>
<small class="mark"></small></div>
<details><summary>{{ line }} <small>source</small></summary>
<p><a href="/source/{{ name }}/{{ variant }}/">{{ name }} {{ variant }} as plain text</a></p></details>
<div class="value"></div><div class="track" aria-hidden="true"><i></i><i></i></div>
<p class="remark"></p></li>{% endfor %}</ul>
{% if experiment.raced %}<div class="panel verdict" role="status"></div>
<details class="results" open hidden><summary>The results as a table</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Results of {{ name }}"><table>
<thead><tr><th scope="col">Variant</th><th scope="col">Runs</th><th scope="col">Median</th>
<th scope="col">Fastest</th><th scope="col">Slowest</th><th scope="col">Against sync</th>
<th scope="col">Ran on</th></tr></thead><tbody></tbody></table></div></details>{% endif %}
</section>{% endfor %}
<script type="module" nonce="{{ nonce }}">
const find = (selector, place = document) => place.querySelector(selector);
const all = (selector, place = document) => [...place.querySelectorAll(selector)];
const make = (tag, text = "", more = {}) =>
  Object.assign(document.createElement(tag), {textContent: text}, more);
const fill = (element, ...parts) => (element.replaceChildren(...parts), element);
const ms = value => `${value.toLocaleString("en", value < 99.95
  ? {minimumFractionDigits: 1, maximumFractionDigits: 1} : {maximumFractionDigits: 0})} ms`;
const ratio = (slow, fast) => (slow / fast).toFixed(slow < fast ? 2 : 1);
const form = find("form"), runs = find("input"), told = find(".told");
const asJson = {cache: "no-store", headers: {Accept: "application/json"}};
let course = null;  // the AbortController of the race that is on

class Runner {
  constructor(row, file) {
    Object.assign(this, {row, name: row.dataset.variant, times: [], failed: 0, why: ""});
    this.url = find("a", row).href + file;
    this.draw();
  }
  get median() {
    const n = this.times.length;
    return (this.times[(n - 1) >> 1] + this.times[n >> 1]) / 2;
  }
  get runs() { return this.times.length + this.failed; }
  async ask(signal) {  // the time of an answer, if it is one, and what it says went wrong
    await painted();
    performance.clearResourceTimings();
    const begun = performance.now();
    const response = await fetch(this.url, {signal, ...asJson});
    const body = await response.arrayBuffer(), elapsed = performance.now() - begun;
    // What the network took, without the browser's own way there and back.
    const net = performance.getEntriesByName(this.url)[0];
    const time = net?.requestStart ? net.responseEnd - net.requestStart : elapsed;
    const type = response.headers.get("Content-Type") ?? "";
    const text = type.includes("json") ? new TextDecoder().decode(body) : "";
    const [, what, number] = /"(?:upstream_)?(calls|queries)": ?(\d+)/.exec(text) ?? [];
    const [, said] = /"errors?": ?(?:{"\w+": ?)?("(?:[^"\\]|\\.)*")/.exec(text) ?? [];
    this.thread = /desc="(.*?)"/.exec(response.headers.get("Server-Timing"))?.[1];
    this.cost = what ? `${what}: ${number}` : this.thread && `on ${this.thread}`;
    const why = JSON.parse(said ?? '""');
    const lost = type.includes("ndjson")  // its 200 was sent before it knew
      && text.trim().split("\n").every(line => line.includes('"error": "'));
    return response.ok && !lost ? {time, why}
      : {why: `${response.status}, ${why || response.statusText}`};
  }
  async run(signal) {
    const {time, why} = await this.ask(signal).catch(() => ({why: "no answer"}));
    signal.throwIfAborted();
    this.why = why || this.why;
    if (time) this.times.push(time), this.times.sort((a, b) => a - b);
    else this.failed++;
  }
  draw(scale = 1, best = null) {
    const {row, times, failed, why, median} = this;
    const low = times[0] ?? 0, high = times.at(-1) ?? 0, [bar, range] = all("i", row);
    bar.style.transform = `scaleX(${(median || 0) / scale})`;
    range.style.transform = `translateX(${100 * low / scale}%) scaleX(${(high - low) / scale})`;
    find(".value", row).replaceChildren(...high ? [make("b", ms(median)),
      make("small", `${ms(low).slice(0, -3)} to ${ms(high)}`)] : []);
    find(".remark", row).textContent = failed ? `${failed} of ${this.runs} failed: ${why}`
      : why && `Answered, but: ${why}`;
    find(".mark", row).textContent = this == best ? "fastest" : "";
    row.classList.toggle("fastest", this == best);
  }
  toString() {
    return this.times.length ? `${this.name} (${ms(this.median)}, ${this.cost})` : this.name;
  }
}

const painted = () => Promise.race([  // a rest, for drawing would slow a fast answer down
  new Promise(done => requestAnimationFrame(() => setTimeout(done, 40))),
  new Promise(done => setTimeout(done, 150))]);  // a hidden page has no frames
const ranked = heat => heat.filter(one => one.times.length && !one.failed)
  .sort((one, other) => one.median - other.median);
const slower = (one, best) => one.median > 1.1 * best.median
  && (one.times[0] > best.median || one.median > best.times.at(-1));

function draw(heat) {
  const timed = heat.filter(one => one.times.length);
  const top = Math.max(...timed.map(one => one.times.at(-1)));
  const scale = Math.min(top, 2 * Math.max(...timed.map(one => one.median)));
  const best = heat.every(one => one.runs) ? ranked(heat)[0] : null;
  heat.forEach(one => one.draw(scale, best));
}

function outcome(heat) {
  const good = ranked(heat), best = good[0], last = good.at(-1);
  if (!heat.every(one => one.runs)) return "Stopped before every variant had a run.";
  if (!best) return "No variant came through without a failure.";
  const sync = good.find(one => one.name == "sync"), time = ms(best.median);
  const behind = good.filter(one => slower(one, best));
  const level = good.filter(one => one != best && !behind.includes(one));
  if (good.length == 1) return `Only ${best.name} came through without a failure: ${time}.`;
  if (!behind.length) return `Nothing differs beyond the noise: ${time} to ${
    ms(last.median)}. Speed does not decide here.`;
  if (sync && !behind.includes(sync)) return `sync is as fast as any: ${ms(sync.median)}. ${
    behind.map(one => `${one.name} takes ${ratio(one.median, sync.median)} times as long`)
      .join(", ")}.`;
  const gain = sync ? `${ratio(sync.median, best.median)} times as fast as sync (${
    ms(sync.median)}), which saves ${ms(sync.median - best.median)} a page`
    : `${last.name} takes ${ratio(last.median, best.median)} times as long`;
  return `${best.name} is the fastest: ${time}, ${gain}.` + (level.length
    ? ` As fast within the noise: ${level.map(one => one.name).join(", ")}.` : "");
}

function conclude(section, heat) {
  const told = note => note.replace(/{(\w+)}/g, (_, name) =>
    heat.find(one => one.name == name) ?? name);
  const {why, choose} = section.dataset, sync = heat.find(one => one.name == "sync");
  const odd = heat.filter(one => one.why).map(one => one.name).join(", ");
  const lines = [["Result:", outcome(heat)], ["Errors:", odd && `${odd}. Compare with care.`],
    ["Why:", why], ["Choose:", choose]];
  find(".verdict", section).replaceChildren(...lines.filter(([, text]) => text).map(
    ([title, text]) => fill(make("p"), make("strong", title), ` ${told(text)}`)));
  find("tbody", section).replaceChildren(...heat.map(one => {
    const times = [one.median, one.times[0], one.times.at(-1)];
    const cells = [one.runs + (one.failed ? `, ${one.failed} failed` : ""),
      ...times.map(time => time ? ms(time) : "–"),
      sync?.median / one.median ? `${ratio(sync.median, one.median)} × as fast` : "–",
      one.thread ?? "–"];
    return fill(make("tr"), make("th", one.name, {scope: "row"}),
      ...cells.map(text => make("td", text, {className: "number"})));
  }));
  find(".results", section).hidden = false;
}

async function enter(section) {
  let file = "";
  if (section.id == "files") {
    const {files = []} = await (await fetch("/files/", asJson)).json().catch(() => ({}));
    if (!files.length) {
      const link = make("a", "Upload one.", {href: "/upload/async/"});
      find(".verdict", section).replaceChildren("There is no file to race on. ", link);
      return [section, []];
    }
    file = encodeURIComponent(files.reduce((a, b) => b.size > a.size ? b : a).name);
  }
  return [section, all(".variants li", section).map(row => new Runner(row, file))];
}

function offer(pressed) {  // while a race is on, its button stops it; so does the first
  for (const button of races) {
    const stops = pressed && [pressed, races[0]].includes(button);
    button.textContent = stops ? "Stop" : button.dataset.label;
    button.classList.toggle("stops", Boolean(stops));
    button.disabled = pressed && !stops;
  }
  runs.readOnly = Boolean(pressed);
}

async function run(section, heat, times, signal, step) {
  section.classList.add("raced");
  find(".verdict", section).replaceChildren();
  try {
    for (const one of heat) await one.ask(signal).catch(() => signal.throwIfAborted());
    for (let left = times; left; left--) {
      for (const one of heat) {
        await one.run(signal);
        draw(heat);
        step();
      }
      told.textContent = find("#progress").textContent;
    }
  } finally { conclude(section, heat); }
}

async function race(pressed, sections) {
  if (course) return course.abort();
  if (!form.reportValidity()) return;
  const {signal} = course = new AbortController(), times = runs.valueAsNumber;
  const say = text => find("#progress").textContent = text;
  let done = 0, total = 0;
  offer(pressed);
  try {
    const heats = await Promise.all(sections.map(enter));
    total = times * heats.flatMap(([, heat]) => heat).length;
    for (const [section, heat] of heats.filter(([, heat]) => heat.length)) {
      told.textContent = say(`${section.id}: warming up`);
      await run(section, heat, times, signal,
        () => say(`${section.id}: ${++done} of ${total}`));
    }
  } catch (error) { if (!signal.aborted) throw error; } finally {
    told.textContent = say(`${done < total ? "Stopped at" : "Done:"} ${done} of ${total}`);
    offer(course = null);
  }
}

async function unfold({target: details}) {
  const link = details.open && find("summary + p a", details);
  if (!link || find("pre", details)) return;
  const code = make("pre", "…", {tabIndex: 0, role: "region", ariaLabel: link.textContent});
  const copy = make("button", "Copy", {type: "button"});
  copy.onclick = async () => {
    getSelection().selectAllChildren(code);
    await navigator.clipboard?.writeText(code.textContent);
    told.textContent = copy.textContent = navigator.clipboard ? "Copied" : "Selected";
  };
  link.after(" ", copy);
  details.append(code);
  const answer = await fetch(link.href).catch(() => null);
  code.textContent = answer?.ok ? await answer.text() : "The source did not come.";
}

const races = all("button"), raced = all("section:has(button)");
for (const button of races) {
  button.dataset.label = button.textContent;
  button.hidden = false;
}
form.hidden = false;
form.onsubmit = event => { event.preventDefault(); race(races[0], raced); };
for (const section of raced)
  find("button", section).onclick = event => race(event.target, [section]);
document.onkeydown = event => { if (event.key == "Escape") course?.abort(); };
document.addEventListener("toggle", unfold, true);
</script>{% endblock %}
{% block footer %}{% endblock %}
"""


async def index(request):
    """What there is, and the race."""
    experiments = {
        name: {"variants": {k: first_line(v) for k, v in offered(name).items()}}
        for name in EXPERIMENTS
    }
    shown = {
        name: found | {"note": NOTES.get(name), "raced": name not in UNRACED}
        for name, found in experiments.items()
    }
    return represent(request, "index.html", {"experiments": experiments}, shown=shown)


async def show_source(request, experiment, variant):
    """A variant's own source, as plain text."""
    if not (view := EXPERIMENTS.get(experiment, {}).get(variant)):
        raise Http404("No such experiment or variant.")
    code = inspect.getsource(getattr(view, "view_class", view))
    return HttpResponse(code, content_type="text/plain; charset=utf-8")


def process_status():
    """The process's threads and resident bytes, as the kernel counts them."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {"threads": threading.active_count(), "rss_bytes": None}
    found = dict(line.split(":", 1) for line in lines)
    return {
        "threads": int(found["Threads"]),
        "rss_bytes": 1024 * int(found["VmRSS"].split()[0]),
    }


async def status(request):
    """How the server is doing, always in JSON."""
    lanes = application.lanes
    engine = "PostgreSQL" if "postgresql" in DATABASE["ENGINE"] else "SQLite"
    aiohttp_is = f"httpx {httpx.__version__} over aiohttp {aiohttp.__version__}"
    data = process_status() | {
        "requests_in_flight": application.in_flight,
        "lanes": {
            "size": lanes.size,
            "busy": len(lanes.workers) - len(lanes.idle),
            "waiting": len(lanes.waiting),
        },
        "upstream_in_flight": LAB.upstream_in_flight,
        "event_loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
        "http_parser": application.http_parser,
        "http_client": aiohttp_is,
        "python": sys.version.split()[0],
        "django": django.__version__,
        "uvicorn": uvicorn.__version__,
        "database": engine,
        "upstream": readings_source(),
    }
    return JsonResponse(data)


# ------------------------------------------------------------------------ URLconf


async def pitfall(request, **kwargs):
    """404, where the pitfalls are not served."""
    raise Http404("This is a pitfall: start the lab with DEBUG=1 to see it.")


def routes():
    """A path for every variant, with the methods that it takes."""
    for experiment, variants in EXPERIMENTS.items():
        for variant, view in variants.items():
            name = f"{experiment}/{variant}"
            served = view if variant in offered(experiment) else pitfall
            served = noted(require_http_methods(methods(view))(served))
            if experiment == "files":
                yield path(f"{name}/", require_safe(files_root))
                yield path(f"{name}/<name>", served, name=name)
            else:
                yield path(f"{name}/", served, name=name)


def methods(view):
    """GET and HEAD, and POST where the view handles a form."""
    return ["GET", "HEAD", "POST"] if hasattr(view, "takes_form") else ["GET", "HEAD"]


async def files_root(request):
    """A variant of `files` without a name leads to the list."""
    return HttpResponse(status=302, headers={"Location": "/files/"})


urlpatterns = [
    path("", noted(require_safe(index))),
    path("status/", noted(require_safe(status))),
    path("source/<experiment>/<variant>/", noted(require_safe(show_source))),
    path("files/", noted(require_safe(files_list))),
    *routes(),
]


# --------------------------------------------------------- The embedded upstream

#: A gauge's place; its discharge (ft3/s) in winter and in June; its stage (ft) in June
Gauge = namedtuple("Gauge", "latitude longitude huc county winter june stage")
GAUGES = {
    "06191500": Gauge(45.1121194, -110.7936667, "10070002", "30067", 950, 13000, 7.1),
    "06192500": Gauge(45.5972111, -110.5664972, "10070002", "30067", 1250, 15500, 6.6),
    "06214500": Gauge(45.8001194, -108.4680306, "10070007", "30111", 2500, 27000, 9.2),
    "06295000": Gauge(46.2666361, -106.6913028, "10100001", "30087", 4600, 38000, 8.4),
    "06309000": Gauge(46.4207722, -105.8600333, "10100001", "30017", 4900, 41000, 9.9),
    "06329500": Gauge(47.67741389, -104.1554111, "10100004", "30083", 5200, 43000, 10),
}
MOUNTAIN = ZoneInfo("America/Denver")
VARIABLES = {
    "00060": ("Streamflow, ft&#179;/s", "Discharge, cubic feet per second", "ft3/s"),
    "00065": ("Gage height, ft", "Gage height, feet", "ft"),
}
#: A qualifier's name in the newer service.
OGC_QUALIFIERS = {"e": "ESTIMATED", "Ice": "ICE"}
IV_ANSWER = """\
{"name":"ns1:timeSeriesResponseType",
"declaredType":"org.cuahsi.waterml.TimeSeriesResponseType",
"scope":"javax.xml.bind.JAXBElement$GlobalScope","value":{"queryInfo":{
"queryURL":%(url)s,"criteria":{"locationParam":"[%(sites)s]","variableParam":
"[%(codes)s]","parameter":[]},"note":[{"value":"[%(sites)s]","title":"filter:sites"},
{"value":"[mode=LATEST, modifiedSince=null]","title":"filter:timeRange"},
{"value":"methodIds=[ALL]","title":"filter:methodId"},
{"value":"%(when)s","title":"requestDT"},{"value":"%(id)s","title":"requestId"},
{"value":"Provisional data are subject to revision. \
Go to http://waterdata.usgs.gov/nwis/help/?provisional for more information.",
"title":"disclaimer"},{"value":"embedded","title":"server"}]},
"timeSeries":[%(series)s]},"nil":false,"globalScope":true,"typeSubstituted":false}"""
IV_SERIES = """
{"sourceInfo":{"siteName":"%(name)s","siteCode":[{"value":"%(site)s","network":"NWIS",
"agencyCode":"USGS"}],"timeZoneInfo":{"defaultTimeZone":{"zoneOffset":"-07:00",
"zoneAbbreviation":"MST"},"daylightSavingsTimeZone":{"zoneOffset":"-06:00",
"zoneAbbreviation":"MDT"},"siteUsesDaylightSavingsTime":true},"geoLocation":{
"geogLocation":{"srs":"EPSG:4326","latitude":%(latitude)s,"longitude":%(longitude)s},
"localSiteXY":[]},"note":[],"siteType":[],"siteProperty":[{"value":"ST",
"name":"siteTypeCd"},{"value":"%(huc)s","name":"hucCd"},{"value":"30",
"name":"stateCd"},{"value":"%(county)s","name":"countyCd"}]},"variable":{
"variableCode":[{"value":"%(code)s","network":"NWIS","vocabulary":"NWIS:UnitValues",
"variableID":%(oid)s,"default":true}],"variableName":"%(label)s",
"variableDescription":"%(description)s","valueType":"Derived Value","unit":{
"unitCode":"%(unit)s"},"options":{"option":[{"name":"Statistic","optionCode":"00000"}]},
"note":[],"noDataValue":-999999.0,"variableProperty":[],"oid":"%(oid)s"},"values":[{
"value":[{"value":"%(value)s","qualifiers":%(qualifiers)s,"dateTime":"%(local)s"}],
"qualifier":[%(legend)s],"qualityControlLevel":[],"method":[{"methodDescription":"",
"methodID":%(oid)s}],"source":[],"offset":[],"sample":[],"censorCode":[]}],
"name":"USGS:%(site)s:%(code)s:00000"}"""
IV_LEGEND = """
{"qualifierCode":"%s","qualifierDescription":"%s","qualifierID":%d,"network":"NWIS",
"vocabulary":"uv_rmk_cd"}"""
OGC_FEATURE = """
{"type":"Feature","id":"%(id)s","geometry":{"type":"Point","coordinates":[%(longitude)s,
%(latitude)s]},"properties":{"approval_status":"Provisional","last_modified":"%(when)s",
"monitoring_location_id":"USGS-%(site)s","parameter_code":"%(code)s","qualifier":
%(ogc_qualifiers)s,"statistic_id":"00011","time":"%(utc)s","time_series_id":
"0000000000000000000%(site)s%(code)s","unit_of_measure":"%(ogc_unit)s","value":
%(ogc_value)s}}"""
OGC_ERROR = """\
{"code":"InvalidQuery","type":"InvalidQuery",
"description":"At least one requested property wasn't found"}"""


def upstream_error(status, message):
    """A status and its HTML, which comes even where JSON was asked for."""
    return status, (
        "<!DOCTYPE html><html><head><title>Error report</title></head>"
        f"<body><h1>HTTP Status {status} - {message}</h1></body></html>"
    )


def gauge_flow(gauge, observed):
    """The discharge in ft³/s: a crest in June, a wave a day and a little noise."""
    day = observed.timestamp() / 86400
    since_crest = day % 365.25 - 163
    swell = math.exp(-((since_crest / (70 if since_crest > 0 else 42)) ** 2))
    wave = 0.02 * math.sin(day * math.tau)
    noise = random.Random(f"{gauge} {observed}").gauss(0, 0.004)  # nosec B311 - no secret
    return gauge.winter * (gauge.june / gauge.winter) ** swell * (1 + wave + noise)


def gauge_reading(site, code, when):
    """Time, value (None under ice) and qualifiers of the latest reading."""
    # A station reports when its turn on the satellite comes, so some lag behind.
    observed = when - timedelta(minutes=15 * (int(site) // 500 % 3))
    flow = gauge_flow(GAUGES[site], observed)
    icy = site in ("06309000", "06329500") and observed.month in (12, 1, 2)
    qualifiers = ["P", "Ice"] if icy else ["P", "e"] if int(flow) % 20 == 0 else ["P"]
    if code == "00065":
        stage = GAUGES[site].stage * math.sqrt(flow / GAUGES[site].june)
        return observed, f"{stage:.2f}", qualifiers
    if site == "06329500" and observed.month in (1, 2):
        return observed, None, qualifiers
    return observed, f"{float(f'{flow:.3g}'):.0f}", qualifiers


def sensor(site, code, when):
    """What IV_SERIES and OGC_FEATURE tell about a sensor."""
    label, description, unit = VARIABLES[code]
    observed, value, qualifiers = gauge_reading(site, code, when)
    legend = [(q, QUALIFIERS[q.lower()], n) for n, q in enumerate(qualifiers)]
    ogc_qualifiers = [OGC_QUALIFIERS[q] for q in qualifiers if q != "P"] or None
    return GAUGES[site]._asdict() | {
        "site": site,
        "name": SITES[site],
        "code": code,
        "oid": 45807137 + int(code),
        "label": label,
        "description": description,
        "unit": unit,
        "ogc_unit": unit.replace("ft3", "ft^3"),
        "value": value or "-999999",
        "ogc_value": json.dumps(value),
        "qualifiers": json.dumps(qualifiers),
        "ogc_qualifiers": json.dumps(ogc_qualifiers),
        "legend": ",".join(IV_LEGEND % row for row in legend),
        "local": observed.astimezone(MOUNTAIN).isoformat(timespec="milliseconds"),
        "utc": observed.isoformat(),
        "when": when.isoformat(timespec="microseconds"),
        "id": uuid.uuid5(uuid.NAMESPACE_URL, f"{site} {code} {when}"),
    }


def serve_iv(query, when):
    """The older service: instantaneous values, the unknown left out without a word."""
    sites = query.get("sites", "")
    codes = query.get("parameterCd", "00060,00065")
    if query.get("format") != "json":
        return upstream_error(400, "format must be json")
    # One bad number, even an empty one, spoils the whole question.
    if not re.fullmatch("(,[0-9]{8,15})+;(,[0-9]{5})+", f",{sites};,{codes}"):
        return upstream_error(400, "sites and parameterCd must be lists of numbers")
    url = "&".join(f"{name}={value}" for name, value in query.items())
    asked = set(sites.split(",") + codes.split(","))
    found = [(s, c) for s in SITES for c in VARIABLES if {s, c} <= asked]
    return 200, IV_ANSWER % {
        "url": json.dumps(f"http://waterservices.usgs.gov/nwis/iv/{url}"),
        "sites": ", ".join(f"ALL:{site}" for site in sites.split(",")),
        "codes": codes.replace(",", ", "),
        "when": f"{when:%Y-%m-%dT%H:%M:%S.000Z}",
        "id": uuid.uuid5(uuid.NAMESPACE_URL, f"{url} {when}"),
        "series": ",".join(IV_SERIES % sensor(*pair, when) for pair in found),
    }


def serve_items(query, when):
    """The newer service: features with the properties asked for, ten if not more."""
    pairs = [(site, code) for site in SITES for code in VARIABLES]
    found = [json.loads(OGC_FEATURE % sensor(*pair, when)) for pair in pairs]
    limit = query.get("limit", "10")
    asked = query.keys() - {"f", "lang", "limit", "skipGeometry"}
    known = found[0]["properties"].keys()
    if asked - known or not re.fullmatch("[1-9][0-9]{0,4}", limit):
        return 400, OGC_ERROR
    for name in asked:
        values = query[name].split(",")
        found = [one for one in found if one["properties"][name] in values]
    if query.get("skipGeometry") == "true":
        found = [one | {"geometry": None} for one in found]
    page = {"features": found[: int(limit)], "type": "FeatureCollection"}
    return 200, json.dumps(page | {"numberReturned": len(page["features"])})


#: Title, text and how many days are left
PROMOTIONS = [
    ("Three for two", "Buy three paperbacks, and the cheapest one is on us.", 2),
    ("River week", "A fifth off everything that happens on or by the water.", 6),
    ("First lines", "Name the novel from its first line and save a tenth.", 4),
    ("Long winter", "Every book of more than 600 pages at half its price.", 9),
    ("Old friends", "Bring back a book that you have read for two off the next.", 13),
]
BOOKS = [
    ("Adventures of Huckleberry Finn", "Mark Twain", 9.95),
    ("Frankenstein", "Mary Shelley", 7.99),
    ("Great Expectations", "Charles Dickens", 10.49),
    ("Jane Eyre", "Charlotte Brontë", 9.25),
    ("Middlemarch", "George Eliot", 12.99),
    ("Moby-Dick", "Herman Melville", 11.75),
    ("Pride and Prejudice", "Jane Austen", 7.49),
    ("War and Peace", "Leo Tolstoy", 15.99),
]


def serve_promo(query, when):
    """Three promotions of the day."""
    day = when.date()
    picks = random.Random(day.toordinal()).sample(PROMOTIONS, 3)  # nosec B311
    rows = [(title, text, str(day + timedelta(left))) for title, text, left in picks]
    names = "title", "text", "ends"
    return 200, json.dumps(
        {"promotions": [dict(zip(names, row, strict=True)) for row in rows]}
    )


def serve_recco(query, when):
    """Six books of the day."""
    picks = random.Random(when.toordinal()).sample(BOOKS, 6)  # nosec B311
    names = "title", "author", "price"
    return 200, json.dumps(
        {"books": [dict(zip(names, pick, strict=True)) for pick in picks]}
    )


RATES_ANSWER = """\
{"success":true,"timeseries":true,"start_date":"%s","end_date":"%s","base":"%s",
"rates":%s}"""
#: Currencies, with what a euro bought in 2016 where that matters
CURRENCIES = """
AED4.06 AFN ALL AMD ANG AOA ARS AUD1.49 AWG AZN BAM1.956 BBD BDT BGN1.956 BHD BIF BMD
BND BOB BRL3.86 BSD BTN BWP BYN BYR BZD CAD1.47 CDF CHF1.087 CLF CLP CNY7.33 COP COU
CRC CUC CUP CVE CZK27.03 DJF DKK7.445 DOP DZD EGP ERN ETB EUR1 FJD FKP GBP0.82 GEL GHS
GIP GMD GNF GTQ GYD HKD8.58 HNL HRK HTG HUF311 IDR14720 ILS4.25 INR74.3 IQD IRR
ISK133 JMD JOD JPY120 KES KGS KHR KMF KPW KRW1284 KWD KYD KZT LAK LBP LKR LRD LSL LTL
LVL LYD MAD MDL MGA MKD MMK MNT MOP MRO MUR MVR MWK MXN20.7 MXV MYR4.58 MZN NAD NGN NIO
NOK9.28 NPR NZD1.59 OMR PAB PEN PGK PHP52.6 PKR PLN4.36 PYG QAR RON4.49 RSD RUB74 RWF
SAR4.15 SBD SCR SDG SEK9.47 SGD1.53 SHP SLL SOS SRD SSP STD SVC SYP SZL THB39 TJS TMT
TND TOP TRY3.34 TTD TWD35.7 TZS UAH28.3 UGX USD1.107 UYU UZS VEF VND VUV WST XAF XAG XAU
XCD XDR XOF XPD XPF XPT YER ZAR16.2 ZMW ZWL
"""
#: A code read as a number, which it is in base 36, does for the rest.
LEVELS = {
    word[:3]: float(word[3:] or int(word, 36) % 1000 + 1) for word in CURRENCIES.split()
}


def rate(code, day):
    """How much of a currency a euro bought on a day, in slow waves."""
    return LEVELS[code] * (1 + math.sin(day / 30 + int(code, 36)) / 200)


@functools.lru_cache(maxsize=4)
def rates_between(first, last, base, symbols):
    """Each date's rates, as JSON, which takes a while for a year."""
    rates = {}
    for day in range(first.toordinal(), last.toordinal() + 1):
        unit = rate(base, day)
        of_day = {code: round(rate(code, day) / unit, 6) for code in symbols}
        rates[str(date.fromordinal(day))] = of_day
    return json.dumps(rates, separators=(",", ":"))


def rates_error(code, kind):
    """The rates service's own error, with its own code."""
    return 400, json.dumps({"success": False, "error": {"code": code, "type": kind}})


def serve_rates(query, when):
    """Every currency's rate on each day, a year of days at most."""
    base = query.get("base") or "EUR"
    symbols = tuple(query["symbols"].split(",") if query.get("symbols") else LEVELS)
    try:
        first = date.fromisoformat(query["start_date"])
        last = date.fromisoformat(query["end_date"])
    except (KeyError, ValueError):
        return rates_error(501, "no_timeframe_supplied")
    if not 0 <= (last - first).days <= 365:
        return rates_error(504, "invalid_time_frame")
    if not {base, *symbols} <= LEVELS.keys():
        return rates_error(202, "invalid_currency_symbols")
    rates = rates_between(first, last, base, symbols)
    return 200, RATES_ANSWER % (first, last, base, rates)


ANSWERS = {
    "/nwis/iv/": serve_iv,
    "/ogcapi/v1/collections/latest-continuous/items": serve_items,
    "/promo/": serve_promo,
    "/recco/": serve_recco,
    "/exchangerates_data/timeseries": serve_rates,
}


@functools.lru_cache(maxsize=32)
def upstream_answer(failing, method, path, query, quarter):
    """The ASGI messages that answer a question, the same for a quarter hour."""
    if failing:
        status, text = upstream_error(503, "Service Unavailable")
    elif path not in ANSWERS:
        status, text = upstream_error(404, "Not Found")
    elif method != "GET":
        status, text = upstream_error(405, "Method Not Allowed")
    else:
        query = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        when = datetime.fromtimestamp(quarter, UTC)
        status, text = ANSWERS[path](query, when)
    body = text.encode()
    kind = b"text/html" if text.startswith("<") else b"application/json"
    headers = [(b"content-type", kind + b";charset=utf-8")]
    headers += [(b"content-length", b"%d" % len(body))]
    headers += [(b"allow", b"GET")] * (status == 405)
    return [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    ]


async def upstream(scope, receive, send):
    """Answer as the real services do: late, and at times not at all."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    failing = random.random() < UPSTREAM_FAILURES  # nosec B311
    question = scope["method"], scope["path"], scope["query_string"]
    messages = upstream_answer(failing, *question, int(time.time()) // 900 * 900)
    await asyncio.sleep(UPSTREAM_LATENCY)
    for message in messages:
        await send(message)


# ---------------------------------------------------------------------- The lanes

# Django gives each asynchronous request a thread of its own at its first synchronous
# call. Its signals and its end are such calls, so ten thousand that wait hold ten thousand
# threads. This section lends threads instead, to who has synchronous work, for as long
# as the request lasts. Of the other sections it needs Door alone.


class LanesBusy(Exception):
    """No thread for synchronous work became free in time.

    It is a 500, unless the site's handler500 makes it a 503.
    """

    def __init__(self):
        super().__init__("every lane is busy")


class Worker(threading.Thread):
    """A thread that runs one call after the other, and keeps its database connections."""

    def __init__(self, number):
        super().__init__(name=f"lane-{number}", daemon=True)
        self.jobs = SimpleQueue()
        self.connected = False  # whether it has a database connection to look after
        self.start()

    def run(self):
        while job := self.jobs.get():
            try:
                job()
            except Exception:  # a connection that cannot be closed: the worker lives
                logging.getLogger("django").exception("%s: housekeeping", self.name)
            del job  # or a finished request would live on until the next one comes

    def call(self, future, function):
        """Run a function for whoever awaits its future, unless nobody does any more."""
        if not future.set_running_or_notify_cancel():
            return
        try:
            outcome, tell = function(), future.set_result
        except BaseException as error:
            outcome, tell = error, future.set_exception
        self.connected = any(connections.all(initialized_only=True))
        tell(outcome)


def housekeeping():
    """What Django does about connections and caches as a request begins and ends."""
    reset_queries()
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:  # left open: nobody will end it any more
            connection.close()
            del connections[connection.alias]
    close_old_connections()


class Lanes:
    """A fixed number of workers, each lent to one request at a time.

    A request waits for one so many seconds as there is patience.
    """

    def __init__(self, size, patience=10):
        self.size, self.patience, self.lock = size, patience, threading.Lock()
        self.workers, self.idle, self.waiting = [], [], {}

    def lend(self, lane):
        """A worker for this lane, or None and a place in the queue."""
        if self.idle:
            return self.idle.pop()
        if len(self.workers) < self.size:
            self.workers.append(Worker(len(self.workers) + 1))
            return self.workers[-1]
        self.waiting[lane] = None  # a dictionary is a queue that one can leave
        return None

    def take_back(self, worker):
        """Lend the worker to who has waited longest, or put it by."""
        with self.lock:
            if self.waiting:
                lane = next(iter(self.waiting))
                del self.waiting[lane]
                lane.board(worker)
            else:
                self.idle.append(worker)

    def close(self):
        """Let every worker end what it does, close its connections, and end."""
        for worker in self.workers:
            worker.jobs.put(connections.close_all)
            worker.jobs.put(None)
        ends = time.monotonic() + 1
        for worker in self.workers:
            worker.join(max(0, ends - time.monotonic()))


class Lane(Executor):
    """One request's synchronous work: one call at a time, on one borrowed worker.

    It is the executor of the request's ThreadSensitiveContext. It has no thread until
    the first call, so a request that only awaits keeps none.
    """

    def __init__(self, lanes):
        self.lanes, self.worker, self.calls = lanes, None, []
        self.last = self.timer = None
        self.refused = False

    def submit(self, function, /, *args, **kwargs):
        """Run a function on the request's worker. Its future may hold LanesBusy."""
        future = Future()
        call = future, functools.partial(function, *args, **kwargs)
        with self.lanes.lock:
            if self.refused:
                future.set_exception(LanesBusy())
                return future
            self.last = future
            if self.worker:
                self.worker.jobs.put(functools.partial(self.worker.call, *call))
            else:
                self.calls.append(call)
                self.queue_up()
        return future

    def queue_up(self):
        """Board an idle worker, or wait for one as long as there is patience."""
        if self.timer:
            return
        if worker := self.lanes.lend(self):
            self.board(worker)
        else:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(self.lanes.patience, self.leave)

    def board(self, worker):
        """Have the calls made on a worker that is this request's from now on."""
        self.worker = worker
        worker.jobs.put(housekeeping)
        while self.calls:
            worker.jobs.put(functools.partial(worker.call, *self.calls.pop(0)))

    def leave(self):
        """Wait no longer: every call, and every later one, is refused."""
        with self.lanes.lock:
            if self.worker is None:
                self.refuse()

    def refuse(self):
        """Refuse every call that waits or comes later."""
        self.refused = True
        self.lanes.waiting.pop(self, None)
        while self.calls:
            future, _ = self.calls.pop()
            if future.set_running_or_notify_cancel():
                future.set_exception(LanesBusy())

    def is_idle(self):
        """Whether all calls were made: as it goes in order, whether the last one was."""
        return self.last is None or (self.last.done() and not self.last.cancelled())

    def release(self):
        """The request is over: once its last call has ended, the worker is free."""
        with self.lanes.lock:  # a call may just be coming from another thread
            self.refuse()
        if self.timer:
            self.timer.cancel()
        if not self.worker:
            return
        if self.is_idle() and not self.worker.connected:
            self.lanes.take_back(self.worker)  # nothing to clean up: let it sleep
        else:
            self.worker.jobs.put(housekeeping)
            self.worker.jobs.put(functools.partial(self.lanes.take_back, self.worker))


class Visit(asyncio.Timeout):
    """A block whose awaiting is cancelled, and which ends, when the visitor leaves."""

    def __init__(self, receive):
        super().__init__(None)
        self.receive = receive

    async def __aenter__(self):
        self.watching = asyncio.ensure_future(self.watch())
        return await super().__aenter__()

    async def __aexit__(self, *error):
        self.watching.cancel()
        try:
            return await super().__aexit__(*error)
        except TimeoutError:  # his time is up
            return True

    async def watch(self):
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.reschedule(0)


#: Django's housekeeping, which here is done where a worker is lent and taken back.
#: (reset_urlconf has nothing to do: a request's URLconf ends with its own context.)
HOUSEKEEPING = [
    (signals.request_started, reset_queries),
    (signals.request_started, close_old_connections),
    (signals.request_finished, close_old_connections),
    (signals.request_finished, close_caches),
    (signals.request_finished, reset_urlconf),
]


class LanesHandler(ASGIHandler):
    """Django's ASGI handler, on lanes: any site's `application = LanesHandler()`.

    Django's own gives each request a thread for its signals and its end, even if it
    only awaits. This one gives it a lane, which has no thread until it needs one.

    A request keeps its lane from its first synchronous call to its end. Middleware that
    is synchronous, as most of Django's is, makes that call at once. A task that outlives
    its request has no lane, so begin it in a context of its own: `context=Context()`.
    """

    #: What of a whole body is sent at once, in bytes: Django's 64 KB make sixteen of a MB.
    chunk_size = 2**20

    def __init__(self, size=40, patience=10):
        django.setup(set_prefix=False)
        super().__init__()
        self.lanes, self.door, self.in_flight = Lanes(size, patience), None, 0
        self.ready, self.starting = False, asyncio.Lock()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.lifespan(receive, send)
        if scope["type"] != "http":
            raise ValueError(f"This is no HTTP request, but {scope['type']}.")
        if not self.ready:
            await self.startup()
        loop = asyncio.get_running_loop()
        if self.door is None or self.door.loop is not loop:
            self.door = Door(loop)
        self.in_flight += 1
        lane = scope["lane"] = Lane(self.lanes)
        try:
            await self.door.enter()
            async with ThreadSensitiveContext(executor=lane):
                await self.handle(scope, receive, send)
        finally:
            lane.release()
            self.in_flight -= 1

    async def lifespan(self, receive, send):
        """Start and stop with the server."""
        await receive()
        await self.startup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    async def startup(self):
        """Make ready, once, where a server has no lifespan at the first request."""
        async with self.starting:
            if not self.ready:
                await self.open()
                self.ready = True

    async def shutdown(self):
        """Leave everything as it was."""
        self.ready = False
        await self.close()

    async def open(self):
        """Take Django's housekeeping off the requests' way."""
        self.lanes = Lanes(self.lanes.size, self.lanes.patience)
        for signal, receiver in HOUSEKEEPING:
            signal.disconnect(receiver)

    async def close(self):
        """Close the lanes, and give Django its housekeeping back."""
        await asyncio.to_thread(self.lanes.close)
        for signal, receiver in HOUSEKEEPING:
            signal.connect(receiver)

    async def handle(self, scope, receive, send):
        """One request, from its body to its end."""
        try:
            body = await self.read_body(scope, receive)
        except RequestAborted:
            return
        with closing(body):
            set_script_prefix(get_script_prefix(scope))
            await signals.request_started.asend(sender=type(self), scope=scope)
            request, refusal = self.create_request(scope, body)
            if request is None:
                await self.send_response(refusal, send)
                await self.close_response(refusal, plain=False)
            else:
                await self.answer(request, receive, send)

    async def read_body(self, scope, receive):
        """The body in a file, as Django reads it. Raises RequestAborted."""
        return await super().read_body(receive)

    async def answer(self, request, receive, send):
        """Make the response, send it and close it.

        If closing takes a thread, the answer's last message waits for it: else a
        visitor on a kept connection would ask faster than his requests are closed.
        It does not wait for a call that the view has given up.
        """
        response, last, lane = None, [], request.scope["lane"]
        plain = self.closes_plainly(request, response)

        async def send_but_last(message):
            body = message["type"] == "http.response.body"
            if body and not message.get("more_body") and lane.is_idle():
                last.append(message | {"body": b""})
                message = message | {"more_body": True}
            await send(message)

        async with Visit(receive):
            response = await self.run_get_response(request)
            plain = self.closes_plainly(request, response)
            sender = send if plain else send_but_last
            sender = yielding(sender) if response.streaming else sender
            await self.send_response(response, sender)
        try:
            await self.close_response(response, plain)
        finally:
            for message in last:
                await send(message)

    def closes_plainly(self, request, response):
        """Whether to close the response needs no thread: there is nothing to do."""
        return not signals.request_finished.receivers and (
            response is None
            or response._resource_closers == [request.close]
            and not hasattr(request, "_files")
            and not caches.all(initialized_only=True)
        )

    async def close_response(self, response, plain):
        """Close what the response holds, on the lane, or elsewhere if none is free."""
        if plain:
            if response is not None:
                response.close()
            return

        def close():
            if response is None:
                signals.request_finished.send(sender=type(self))
            else:
                response.close()
            close_caches()

        def close_elsewhere():
            try:
                close()
            finally:
                connections.close_all()  # a pool's thread keeps none

        try:
            await sync_to_async(close)()
        except LanesBusy:
            await sync_to_async(close_elsewhere, thread_sensitive=False)()


def yielding(send):
    """Let the event loop turn after each chunk.

    uvicorn takes what is sent to a visitor who has left, at once and for ever: a stream
    that awaits nothing else would never notice, and nobody else would be served.
    """

    async def send_and_yield(message):
        await send(message)
        await asyncio.sleep(0)

    return send_and_yield


# ---------------------------------------------------------------- The application


class StartError(Exception):
    """What keeps the lab from starting, in one line."""


class Refusal(Exception):
    """A request that is turned away at the door: a status and a sentence."""

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status = status


def briefly(record):
    """A filter of log records: that all lanes are busy takes no traceback to tell."""
    if record.exc_info and isinstance(record.exc_info[1], LanesBusy):
        record.exc_info = None
    return True


def not_of_upstream(record):
    """A filter of log records: the embedded upstream tells of its troubles alone."""
    return record.threadName != "upstream" or record.levelno > logging.INFO


class Lab:
    """What runs beside the views: folders, tables, the embedded upstream, a count."""

    def __init__(self):
        self.lock, self.started = threading.Lock(), False
        self.upstream_url, self.upstream_in_flight = None, 0

    def start(self):
        """Make ready what every page needs. Called again, it does nothing."""
        with self.lock:
            if not self.started:
                # The site's own, under `stock` as well: nothing of Django's changes.
                connection_created.connect(count_queries)
                make_folders()
                self.start_database()
                put_template()
                if not UPSTREAM_URL:
                    self.start_upstream()
                self.started = True

    def start_database(self):
        """Make the tables. Raises StartError."""
        try:
            make_tables()
        except DatabaseError as error:
            what = str(error).partition("\n")[0]
            raise StartError(f"The database cannot be used: {what}") from None

    def start_upstream(self):
        """Serve the upstream on a thread and an event loop of its own.

        On the views' loop, a view that blocks would wait for itself.
        """
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        config = uvicorn.Config(upstream, log_config=None)
        for name in ("uvicorn.access", "uvicorn.error"):
            logging.getLogger(name).addFilter(not_of_upstream)
        self.server = uvicorn.Server(config)
        serve = functools.partial(self.server.run, sockets=[listener])
        self.thread = threading.Thread(target=serve, name="upstream", daemon=True)
        self.thread.start()
        self.upstream_url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def stop(self):
        """Close the upstream and the idle lines to it."""
        if self.upstream_url:
            self.server.should_exit = True
            self.thread.join(2)
        for lines in Line.idle.values():
            while lines:
                lines.pop().client.close()
        shutil.rmtree(INCOMING, ignore_errors=True)
        self.started, self.upstream_url = False, None


def make_folders():
    """Make DATA_DIR and sweep what a killed server left. Raises StartError."""
    try:
        for folder in (UPLOADS, INCOMING):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in INCOMING.parent.iterdir():
            if folder == INCOMING or not is_running(folder.name):
                shutil.rmtree(folder, ignore_errors=True)  # others sweep too
        INCOMING.mkdir(exist_ok=True)
        settings.FILE_UPLOAD_TEMP_DIR = str(INCOMING)
    except OSError as error:
        raise StartError(
            f"DATA_DIR={DATA_DIR} cannot be used: {error.strerror}."
        ) from None


def is_running(pid):
    """Whether a process of this number lives."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def put_template():
    """Write the certificate's template, unless somebody has put a better one there."""
    if not TEMPLATE.exists():
        with arriving_file() as part, suppress(FileExistsError):
            part.write_bytes(certificate_template())
            os.link(part, TEMPLATE)


class Application(LanesHandler):
    """The lab's handler: it starts the lab, and refuses at the door what is too much."""

    def __init__(self):
        super().__init__(LANES, DEADLINE)
        self.http_parser = None

    async def __call__(self, scope, receive, send):
        scope["started"] = time.perf_counter()
        if self.http_parser is None and scope["type"] == "http":
            module = type(getattr(receive, "__self__", receive)).__module__
            if module.startswith("uvicorn.protocols.http."):
                self.http_parser = module.rpartition(".")[2].removesuffix("_impl")
        await super().__call__(scope, receive, send)

    async def lifespan(self, receive, send):
        """Start and stop with the server; what keeps from it is told in one line."""
        try:
            await super().lifespan(receive, send)
        except StartError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})

    async def open(self):
        """Start what runs beside the views, and change what is global."""
        pool = ThreadPoolExecutor(FILE_THREADS, thread_name_prefix="pool")
        asyncio.get_running_loop().set_default_executor(pool)
        await asyncio.to_thread(LAB.start)
        await super().open()
        logging.getLogger("django.request").addFilter(briefly)
        gc.collect()
        gc.freeze()

    async def close(self):
        """Close clients, lanes and the upstream; leave what is global as it was."""
        if client := async_clients.pop(asyncio.get_running_loop(), None):
            await client.aclose()
        await super().close()
        await asyncio.to_thread(LAB.stop)
        logging.getLogger("django.request").removeFilter(briefly)
        gc.unfreeze()

    async def handle(self, scope, receive, send):
        """One request, or its refusal."""
        try:
            await super().handle(scope, receive, send)
        except Refusal as refusal:
            await self.refuse(scope, send, refusal)

    async def read_body(self, scope, receive):
        """The body, within its limits. Raises Refusal and RequestAborted."""
        return await read_body(scope, receive)

    def create_request(self, scope, body):
        """Django's request. Raises Refusal where it can make none."""
        try:
            request, refusal = super().create_request(scope, body)
        except (BadRequest, ValueError, LookupError):  # an odd Content-Type
            request = refusal = None
        if request is None:
            raise Refusal(400, "The query is not UTF-8, or the type unclear.")
        return request, refusal

    async def refuse(self, scope, send, refusal):
        """Answer at the door, without what the visitor still sends, and hang up."""
        headers = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
        plain = scope | {"query_string": b"", "headers": headers}
        request = self.request_class(plain, BytesIO())
        note_arrival(request)
        response = error_page(request, refusal.status, str(refusal))
        response.headers["Connection"] = "close"
        await self.send_response(dress(request, response), send)


async def read_body(scope, receive):
    """A request's body in a file that spills to disk. Raises Refusal, RequestAborted."""
    headers = dict(scope["headers"])
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if scope["method"] in ("GET", "HEAD") and not length and not coding:
        return BytesIO()
    upload = scope["path"] in [f"/upload/{name}/" for name in EXPERIMENTS["upload"]]
    limit = MAX_UPLOAD_BYTES if upload else MAX_BODY_BYTES
    too_large = Refusal(413, f"The body is larger than {limit} bytes.")
    if length and length.isdigit() and int(length) > limit:
        raise too_large
    body, size = SpooledTemporaryFile(SPOOL_BYTES, dir=INCOMING), 0  # noqa: SIM115
    try:
        async for chunk in body_chunks(receive):
            size += len(chunk)
            if size > limit:
                raise too_large
            if size > SPOOL_BYTES:
                await asyncio.to_thread(body.write, chunk)
            else:
                body.write(chunk)
        check_ending(body, headers.get(b"content-type", b""))
    except BaseException as error:
        with suppress(OSError):  # on a full disk, closing fails again
            body.close()
        if isinstance(error, OSError):
            raise Refusal(507, "The body could not be stored.") from None
        raise
    if not length:  # Django reads no form without one
        scope["headers"] = [*scope["headers"], (b"content-length", b"%d" % size)]
    return body


async def body_chunks(receive):
    """The chunks of a body, until it ends. Raises Refusal where it pauses too long."""
    more = True
    while more:
        try:
            async with asyncio.timeout(BODY_PAUSE):
                message = await receive()
        except TimeoutError:
            raise Refusal(408, "The rest of the body did not come.") from None
        if message["type"] == "http.disconnect":
            raise RequestAborted
        yield message.get("body", b"")
        more = message.get("more_body", False)


def check_ending(body, content_type):
    """Refuse a form whose last boundary is missing: Django would take what there is."""
    boundary = re.search(rb'(?i)boundary=(?:"([^"]+)"|([^\s";,]+))', content_type)
    if content_type.lower().startswith(b"multipart/") and boundary:
        body.seek(-min(body.tell(), 1024), os.SEEK_END)
        if b"--" + (boundary[1] or boundary[2]) + b"--" not in body.read():
            raise Refusal(400, "The form's body stops before its end.")
    body.seek(0)


LAB = Lab()
application = Application()
stock = get_asgi_application()

# --------------------------------------------------------------- The command line

#: Seconds until a server must be up, and until a request of the race has failed.
STARTUP, PATIENCE = 30, DEADLINE + 10
#: What a race tells of the stack, from /status/.
STACK = ["python", "django", "uvicorn", "event_loop", "http_parser", "http_client"]
STACK += ["database"]
#: What comes of asking something that is not the lab, or is not well.
MISHAPS = (aiohttp.ClientError, OSError, LookupError, TypeError, ValueError)
#: The form that `--post` sends.
CAR = {"engine": "V8 engine", "name": "Maker", "location": "Store"}


class RaceError(Exception):
    """What keeps a race from being run, in one line."""


class RaceParser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message):
        self.exit(2, f"{message}\n")


def whole_number(text):
    """A number from 1 to 999999."""
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up.")
    return int(text)


def race_options(arguments):
    """What the command line asks for. One that makes no sense ends the program."""
    parser = RaceParser("app.py race", description="Race the variants of experiments.")
    add = parser.add_argument
    add("experiments", nargs="*", metavar="EXPERIMENT", help="e.g. rivers, cars?n=1500")
    add("--runs", type=whole_number, default=5, help="requests of a user to a variant")
    add("--users", type=whole_number, default=1, help="how many ask at once")
    add("--post", action="store_true", help="race the POST of cars")
    add("--url", help="race a server that runs already, at this address")
    add("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_intermixed_args(arguments)
    options.experiments = options.experiments or ["cars"] * options.post
    able = ["cars"] if options.post else [x for x in EXPERIMENTS if x not in UNRACED]
    for text in options.experiments:
        if text.partition("?")[0] not in able:
            parser.error(f"{text!r} cannot be raced so; give any of {', '.join(able)}.")
    return options


@contextmanager
def serving(target, folder, **variables):
    """The address of a uvicorn in a process of its own, which ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    here, log = str(Path(__file__).resolve().parent), Path(folder, f"{address[1]}.log")
    command = [sys.executable, "-m", "uvicorn", target, "--app-dir", here]
    command += [f"--port={address[1]}", "--workers=1", "--lifespan=on"]
    command += ["--log-level=warning", "--no-access-log", "--no-use-colors"]
    command += ["--timeout-graceful-shutdown=1"]
    variables |= {"DATA_DIR": folder, "ALLOWED_HOSTS": "127.0.0.1"}
    with log.open("w") as out:
        variables = os.environ | variables
        process = subprocess.Popen(  # nosec B603 - a fixed command, no shell
            command, env=variables, stdout=out, stderr=out
        )
    try:
        wait_for(process, address, log)
        yield f"http://127.0.0.1:{address[1]}"
    finally:
        on_signal(SIGINT, SIG_IGN)  # a second Ctrl-C would leave the process behind
        end_process(process)


def wait_for(process, address, log):
    """Return once it listens, as uvicorn does when all is ready. Raises RaceError."""
    ends = time.monotonic() + STARTUP
    while process.poll() is None and time.monotonic() < ends:
        with suppress(OSError), socket.create_connection(address):
            return
        time.sleep(0.02)
    told = log.read_text(errors="replace").replace("ERROR:", "").splitlines()
    told = [line.strip() for line in told if "Application startup" not in line]
    raise RaceError(f"The server did not start: {' '.join(told[-1:])}")


def end_process(process):
    """End a process, and kill it where it does not heed."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    process.kill()
    process.wait()


@contextmanager
def own_server():
    """The address of a lab of the race's own: its own folder, the user's DATABASE_URL."""
    with TemporaryDirectory(prefix="race-") as folder:
        Path(folder, "uploads").mkdir()
        with Path(folder, "uploads", "64-MB.bin").open("wb") as file:
            file.truncate(64 * 2**20)
        started = serving("app:upstream", folder)
        with nullcontext(UPSTREAM_URL) if UPSTREAM_URL else started as url:
            with serving("app:application", folder, UPSTREAM_URL=url) as base:
                yield base


class Entrant:
    """One variant in the race: what it is asked, and what came of it."""

    def __init__(self, experiment, variant, request):
        self.experiment, self.variant, self.request = experiment, variant, request
        self.times, self.errors, self.runs, self.seconds = [], [], 0, 0

    def add(self, outcomes, seconds):
        """Take in a run of all users, which took so many seconds together."""
        self.times += [x for x in outcomes if not isinstance(x, str)]
        self.errors += [x for x in outcomes if isinstance(x, str)]
        self.runs, self.seconds = self.runs + 1, self.seconds + seconds

    def median(self):
        """The median of the times, in seconds; None where no request succeeded."""
        return statistics.median(self.times) if self.times else None

    def result(self, users, rival):
        """What came of it, beside the median of its rival, which is `sync`."""
        times, median = sorted(self.times), self.median()
        return {
            "experiment": self.experiment,
            "variant": self.variant,
            "runs": self.runs,
            "users": users,
            "median_s": median,
            "p95_s": times[math.ceil(0.95 * len(times)) - 1] if times else None,
            "requests_per_s": len(times) / self.seconds,
            "failed": len(self.errors),
            "speedup": rival / median if rival and median else None,
        }


class Race:
    """Variants that are asked in turn, again and again, by many users at once."""

    def __init__(self, options):
        self.options, self.entrants = options, []
        self.stack, self.threads, self.memory = {}, 0, 0

    async def run(self, base):
        """Let the variants of the lab at this address race. Raises RaceError."""
        self.base = base.rstrip("/")
        async with aiohttp.ClientSession(
            # A server hangs up on who is silent for long: do not meet it at that.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(PATIENCE),
            headers={"Accept": "application/json"},
        ) as self.session:
            try:
                await self.enter()
            except MISHAPS:
                raise RaceError(f"{base!r} does not answer as the lab does.") from None
            watch = asyncio.create_task(self.watch())
            try:
                await self.go()
            finally:
                watch.cancel()
                show_progress("")

    async def enter(self):
        """Enter the variants that the lab lists."""
        status = await self.sample()
        self.stack = {key: dig(status, key) for key in STACK}
        self.stack["processors"] = os.cpu_count()
        listed = (await self.get("/"))["experiments"]
        request = await self.form() if self.options.post else {"method": "GET"}
        every = [name for name in listed if name not in UNRACED]
        for text in self.options.experiments or every:
            name, _, query = text.partition("?")
            file = await self.largest_file() if name == "files" else ""
            for variant in listed[name]["variants"] if file is not None else ():
                if request["method"] in methods(dig(EXPERIMENTS, name, variant)):
                    url = f"{self.base}/{name}/{variant}/{file}?{query}"
                    self.entrants.append(Entrant(text, variant, request | {"url": url}))
        if not self.entrants:
            raise RaceError(f"{self.base} has nothing to race.")

    async def get(self, address):
        """The JSON that the lab has at an address."""
        limit = aiohttp.ClientTimeout(5)
        async with self.session.get(self.base + address, timeout=limit) as answer:
            return await answer.json()

    async def largest_file(self):
        """The name of the largest file, as an address has it; None where none is."""
        files = (await self.get("/files/"))["files"]
        if files:
            return quote(max(files, key=lambda file: file["size"])["name"], safe="")
        if self.options.experiments:
            raise RaceError("There is no file to race with: upload one.")
        return None

    async def form(self):
        """What makes a request a POST of `cars`: the form and its token."""
        url = f"{self.base}/cars/sync/"
        async with self.session.get(url) as answer:
            token = answer.cookies["csrftoken"].value
        headers = {"X-CSRFToken": token, "Cookie": f"csrftoken={token}", "Referer": url}
        return {"method": "POST", "data": CAR, "headers": headers}

    async def sample(self):
        """What /status/ says; threads and memory at their highest are kept."""
        status = await self.get("/status/")
        self.threads = max(self.threads, dig(status, "threads") or 0)
        self.memory = max(self.memory, dig(status, "rss_bytes") or 0)
        return status

    async def watch(self):
        """Take samples, seldom enough not to weigh on what is measured."""
        while True:
            await asyncio.sleep(0.1)
            with suppress(*MISHAPS):
                await self.sample()

    async def go(self):
        """A warm-up, then the runs, each of all variants: so a drift hits all alike."""
        turns = list(product(range(self.options.runs + 1), self.entrants))
        for number, (run, entrant) in enumerate(turns, 1):
            show_progress(
                f"{number} of {len(turns)}: {entrant.experiment} {entrant.variant}"
            )
            started = time.perf_counter()
            users = [self.ask(entrant.request) for _ in range(self.options.users)]
            outcomes = await asyncio.gather(*users)
            if run:
                entrant.add(outcomes, time.perf_counter() - started)

    async def ask(self, request):
        """Seconds from a request's sending to its answer's last byte, or what failed."""
        started = time.perf_counter()
        try:
            async with self.session.request(**request, allow_redirects=False) as answer:
                body = b""
                async for chunk in answer.content.iter_any():
                    body = chunk if answer.content_type != NDJSON else body + chunk
        except MISHAPS as error:
            return str(error) or f"no answer in {PATIENCE:g} seconds"
        seconds = time.perf_counter() - started
        if answer.status != (201 if self.options.post else 200):
            return f"{answer.status} {answer.reason}"
        lines = body.splitlines() if answer.content_type == NDJSON else ()
        if lines and all(b'"error": "' in line for line in lines):
            return "every gauge failed"  # its 200 was sent before it knew
        return seconds

    def report(self):
        """What came of the race, as `--json` prints it."""
        ran, users = [x for x in self.entrants if x.runs], self.options.users
        sync = {x.experiment: x.median() for x in ran if x.variant == "sync"}
        return {
            "stack": self.stack,
            "peak_threads": self.threads or None,
            "peak_rss_bytes": self.memory or None,
            "results": [x.result(users, sync.get(x.experiment)) for x in ran],
        }


def show_progress(progress):
    """Show how far the race is, on one line, to who sits at a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)


def in_ms(seconds):
    """Seconds as people read them."""
    return f"{1000 * seconds:,.1f} ms"


#: The table's columns: key of a result, heading, and how its value is shown.
COLUMNS = {
    "experiment": ("experiment", str),
    "variant": ("variant", str),
    "runs": ("runs", str),
    "users": ("users", str),
    "median_s": ("median", in_ms),
    "p95_s": ("95 %", in_ms),
    "requests_per_s": ("requests/s", "{:,.1f}".format),
    "failed": ("failed", str),
    "speedup": ("speed-up", "{:.2f}".format),
}


def table_lines(results):
    """The lines of a table for people; a dash stands where there is no value."""
    rows = [[heading for heading, _ in COLUMNS.values()]]
    for result in results:
        cells = ((show, result[key]) for key, (_, show) in COLUMNS.items())
        rows.append(["-" if value is None else show(value) for show, value in cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    line = "{:%d}  {:%d}" + "  {:>%d}" * (len(widths) - 2)
    return [(line % tuple(widths)).format(*row) for row in rows]


def print_report(report, entrants):
    """Print a report for people, and why requests failed, one reason a variant."""
    if not report["results"]:
        print("Nothing has been measured.")
        return
    print(*table_lines(report["results"]), "", sep="\n")
    for entrant in entrants:
        if entrant.errors:
            print(f"{entrant.experiment} {entrant.variant}: {entrant.errors[0]}")
    threads, memory = report["peak_threads"], (report["peak_rss_bytes"] or 0) / 2**20
    print(f"The server at its highest: {threads} threads, {memory:.0f} MB of memory.")
    print(", ".join(f"{key} {value}" for key, value in report["stack"].items()))


def race(arguments):
    """Race, print what came of it, and return the exit status."""
    options = race_options(arguments)
    on_signal(SIGINT, default_int_handler)  # a shell's background jobs ignore it
    on_signal(SIGTERM, lambda *_: raise_signal(SIGINT))
    server = own_server() if options.url is None else nullcontext(options.url)
    loop = uvicorn.Config(None, log_config=None).get_loop_factory()
    racing, status = Race(options), 0
    try:
        with server as base, asyncio.Runner(loop_factory=loop) as runner:
            runner.run(racing.run(base))
    except KeyboardInterrupt:
        status = 130
    except RaceError as error:
        print(error, file=sys.stderr)
        return 2
    report = racing.report()
    if options.json:
        print(json.dumps(report))
    else:
        print_report(report, racing.entrants)
    return status or int(any(x["failed"] for x in report["results"]))


def main(arguments):
    """Serve, race, or do what Django's own commands do."""
    options = {"app_dir": str(Path(__file__).parent), "timeout_graceful_shutdown": 10}
    if not arguments:
        uvicorn.run("app:application", **options)
    elif arguments[0] == "race":
        sys.exit(race(arguments[1:]))
    elif arguments[0] == "runserver":
        address = re.fullmatch(
            r"(?:(.+):)?([0-9]{1,5})", " ".join(arguments[1:]) or "8000"
        )
        if not address:
            sys.exit("Give [address:]port, as in 127.0.0.1:8000.")
        host, port = (address[1] or "127.0.0.1").strip("[]"), int(address[2])
        options |= {"reload_dirs": [options["app_dir"]], "host": host, "port": port}
        uvicorn.run("app:application", reload=True, **options)
    else:
        with suppress(OSError):  # SQLite makes its file, not its folder
            DATA_DIR.mkdir(parents=True, exist_ok=True)
        execute_from_command_line(["app.py", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
