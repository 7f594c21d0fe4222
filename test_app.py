"""The lab's tests: pytest -q test_app.py

Each server is a process of its own on a free port and is asked over real sockets.
What runs at once is told by counts, as the upstream sees them, and never by the clock.
With LAB_CI=1 what is missing (a browser, PostgreSQL) is a failure instead of a skip.
"""

# ------------------------------------------------------------------------ Imports

import ast
import asyncio
import contextlib
import gc
import gzip
import importlib.util
import io
import itertools
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from hypothesis import example, given, settings
from hypothesis import strategies as st


def words(text):
    """The words of a text: shorter to read than a list of them."""
    return text.split()


HERE = Path(__file__).resolve().parent
SCRATCH = tempfile.TemporaryDirectory(prefix="lab-")
#: The lab's own variables: the tests set what they need, whatever the shell has set.
VARIABLES = words("""DEBUG SECRET_KEY ALLOWED_HOSTS DATA_DIR DATABASE_URL UPSTREAM_URL USGS_URL
PROMO_URL RECCO_URL RATES_URL USGS_API_KEY RATES_API_KEY UPSTREAM_LATENCY
UPSTREAM_FAILURES DEADLINE THREADS LANES MAX_UPLOAD_BYTES""")
for name in VARIABLES:
    os.environ.pop(name, None)
os.environ["DATA_DIR"] = SCRATCH.name

# ruff: noqa: E402 - the module reads its environment as it is imported
import app

JSON, HTML = {"Accept": "application/json"}, {"Accept": "text/html"}

# ------------------------------------------------------------------------ Servers


def missing(what):
    """Skip a test for want of something, or fail where CI promised to have it."""
    (pytest.fail if os.environ.get("LAB_CI") == "1" else pytest.skip)(what)


def until(condition, seconds=10):
    """Wait for a state by asking for it again and again; what it is then."""
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, "the awaited state did not come"
        time.sleep(0.01)
    return found


def free_port():
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def end(process):
    """Stop a process and its children, by force if it takes too long."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def apart(function, *arguments):
    """What a function returns in a thread of its own, where no event loop runs."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def in_a_loop(work):
    """What a coroutine returns; Playwright keeps an event loop in this thread."""
    return apart(asyncio.run, work)


class Server:
    """A running server, and the ways to ask it."""

    def __init__(self, process, url, log_path):
        self.process, self.pid, self.url = process, process.pid, url
        self.log_path = log_path
        self.client = httpx.Client(base_url=url, timeout=30, trust_env=False)

    @property
    def log(self):
        return self.log_path.read_text()

    def get(self, path, **options):
        return self.client.get(path, **options)

    def json(self, path):
        return self.get(path, headers=JSON).json()

    def status(self):
        return self.json("/status/")

    def raw(self, data):
        """What the server sends, up to the end of the connection, for these bytes."""
        with self.connect(data) as visitor:
            return b"".join(iter(lambda: visitor.recv(65536), b""))

    def connect(self, data):
        """A socket on which these bytes have been sent."""
        address = urlsplit(self.url)
        visitor = socket.create_connection((address.hostname, address.port), 30)
        visitor.sendall(data)
        return visitor

    def memory(self):
        """The most bytes that the process has had resident."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", text)[1])

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def environment(**variables):
    """The shell's environment with these of the lab's variables and no others."""
    others = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    # Without the bytecode, each start would compile the module again.
    ours = {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": ""}
    return others | ours | variables


def python(*arguments, **env):
    """Run a program of Python's to its end; what came of it."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE,
        env=environment(**{"DATA_DIR": SCRATCH.name, **env}),
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


@contextmanager
def run(command, **env):
    """Start a command that serves on {port}, and wait until it answers."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        port = free_port()
        log_path = Path(folder, "server.log")
        process = subprocess.Popen(
            [sys.executable, *(part.format(port=port) for part in command.split())],
            cwd=folder,
            env=environment(**{"DATA_DIR": f"{folder}/data", **env}),
            stdin=subprocess.DEVNULL,
            stdout=log_path.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        server = Server(process, f"http://127.0.0.1:{port}", log_path)
        try:
            until(lambda: answers(server), 30)
            yield server
        finally:
            server.client.close()
            end(process)


def answers(server):
    """Whether the server answers anything yet. Fails when it has ended."""
    assert server.process.poll() is None, f"the server ended: {server.log}"
    with suppress(httpx.TransportError):
        return server.get("/", headers=JSON)


def serve(target="app:application", **env):
    """A uvicorn that serves the target on a free port with these variables."""
    return run(f"-m uvicorn {target} --port {{port}} --no-access-log", **env)


@pytest.fixture(scope="session")
def lab():
    """The lab as it comes, on its embedded upstream, which answers at once."""
    with serve(UPSTREAM_LATENCY="0") as server:
        yield server


@pytest.fixture
def postgres():
    """The address of a fresh database on PostgreSQL."""
    psycopg = pytest.importorskip("psycopg")
    place = os.environ.get("LAB_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
    name = f"lab_{os.getpid()}_{time.monotonic_ns()}"
    try:
        server = psycopg.connect(f"{place}/postgres", autocommit=True)
    except psycopg.OperationalError as error:
        missing(f"no PostgreSQL: {error}")
    with server:
        server.execute(f"CREATE DATABASE {name}")
        yield f"{place}/{name}"
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def browser():
    """A Chromium, as Debian packages it or as Playwright does."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    with sync_playwright() as player:
        path = shutil.which("chromium") or player.chromium.executable_path
        if not Path(path).exists():
            missing("no Chromium")
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = player.chromium.launch(executable_path=path, args=options)
        yield chromium
        chromium.close()


# --------------------------------------------------- What the real services answer

WHEN, WHEN_UTC = "2021-05-03T22:00:00.000-06:00", "2021-05-04T04:00:00+00:00"
Q, H = app.DISCHARGE, app.GAGE_HEIGHT


def iv_series(site, code, *blocks):
    """A time series as the older service sends it: a block of values a sensor."""
    return {
        "sourceInfo": {
            "siteName": "HARPETH RIVER NEAR KINGSTON SPRINGS, TN",
            "siteCode": [{"value": site, "network": "NWIS", "agencyCode": "USGS"}],
            "timeZoneInfo": {"siteUsesDaylightSavingsTime": True},
            "siteProperty": [{"value": "ST", "name": "siteTypeCd"}],
        },
        "variable": {
            "variableCode": [{"value": code, "network": "NWIS", "default": True}],
            "variableName": "Streamflow, ft&#179;/s",
            "unit": {"unitCode": "ft3/s"},
            "noDataValue": -999999.0,
        },
        "values": [
            {
                "value": [
                    dict(zip(("value", "qualifiers", "dateTime"), row, strict=True))
                    for row in block
                ],
                "qualifier": [{"qualifierCode": "P", "network": "NWIS"}],
                "method": [{"methodDescription": "", "methodID": 131283}],
            }
            for block in blocks
        ],
        "name": f"USGS:{site}:{code}:00000",
    }


def iv(*series):
    """An answer of the older service."""
    note = [{"value": "[mode=LATEST, modifiedSince=null]", "title": "filter:timeRange"}]
    return {
        "name": "ns1:timeSeriesResponseType",
        "declaredType": "org.cuahsi.waterml.TimeSeriesResponseType",
        "value": {"queryInfo": {"note": note}, "timeSeries": list(series)},
        "nil": False,
    }


def ogc_feature(site, code, value, when=WHEN_UTC, **properties):
    """A reading as the newer service sends it."""
    return {
        "geometry": None,
        "id": "2ccf9208-befe-4486-9ce2-0c0e4cff7127",
        "properties": {
            "approval_status": "Provisional",
            "last_modified": "2026-08-07T18:55:07.672769+00:00",
            "monitoring_location_id": f"USGS-{site}",
            "parameter_code": code,
            "qualifier": None,
            "statistic_id": "00011",
            "time": when,
            "unit_of_measure": "ft^3/s" if code == Q else "ft",
            "value": value,
        }
        | properties,
        "type": "Feature",
    }


def ogc(*features):
    """An answer of the newer service."""
    count = len(features)
    found = {"features": list(features), "numberReturned": count}
    return found | {"type": "FeatureCollection"}


#: What every gauge says, where nothing goes wrong: discharge, gage height.
TRUTH = {site: (1000.0 + n, 2.25 + n) for n, site in enumerate(app.SITES)}
READINGS = [
    {
        "site": site,
        "name": app.SITES[site],
        "discharge_ft3_s": flow,
        "discharge_observed": "2021-05-03T22:00:00-06:00",
        "gage_height_ft": stage,
        "gage_height_observed": "2021-05-03T22:00:00-06:00",
        "qualifiers": ["P"],
        "error": None,
    }
    for site, (flow, stage) in TRUTH.items()
]
OTHER_SERVICES = {
    "/promo/": {"promotions": [{"title": "A", "text": "B", "ends": "2030-01-01"}]},
    "/recco/": {"books": [{"title": "A", "author": "B", "price": 9.5}]},
    "/exchangerates_data/timeseries": {
        "success": True,
        "timeseries": True,
        "start_date": "2016-01-02",
        "end_date": "2016-01-03",
        "base": "EUR",
        "rates": {"2016-01-02": {"USD": 1.08, "AUD": 1.4}, "2016-01-03": {"USD": 1.09}},
    },
}


def good_answer(path, sites):
    """What a service answers on a good day."""
    if path in OTHER_SERVICES:
        return OTHER_SERVICES[path]
    asked = [(site, code, TRUTH[site][code == H]) for site in sites for code in (Q, H)]
    if path.endswith("/items"):
        return ogc(*(ogc_feature(site, code, str(v)) for site, code, v in asked))
    rows = [(site, code, [(str(v), ["P"], WHEN)]) for site, code, v in asked]
    return iv(*(iv_series(*row) for row in rows))


# -------------------------------------------- An upstream that goes wrong on demand


def http(body=b"{}", status="200 OK", kind="application/json", length=None, more=""):
    """An answer's bytes."""
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n"
    return (head + more + "\r\n").encode() + body


def as_json(value):
    return http(json.dumps(value).encode())


def bad_numbers(*values):
    """An answer in which every value of every gauge is one of these, as they stand."""
    text = json.dumps(
        iv(
            *(
                iv_series(s, c, *([("#", ["P"], WHEN)] for _ in values))
                for s in TRUTH
                for c in (Q, H)
            )
        )
    )
    turns = itertools.cycle(values)
    return http(re.sub('"#"', lambda match: next(turns), text).encode())


class Fault(NamedTuple):
    """What is sent, how the connection goes on then, and what the page has to say."""

    says: str
    parts: tuple = ()
    ending: str = "stay"
    pause: float = 0


BROKEN = "could not be reached|broke off"
BOMB = gzip.compress(bytes(60_000_000))
PAGE = b"<!DOCTYPE html><html><head><title>Error report</title></head></html>"
#: The slow ones, which cost a page all its time: 504 where all six gauges are so.
SLOW = {
    "hangs": Fault("in time", ending="hang"),
    "a byte a second in the header": Fault(
        "in time", tuple(b"%c" % byte for byte in http()), pause=1
    ),
    "a byte a second in the body": Fault(
        "in time", (http(length=50), *[b" "] * 50), pause=1
    ),
}
#: The fast ones: 502 where all six gauges are so.
FAST = {
    "closes at once": Fault(BROKEN, ending="close"),
    "resets before the header": Fault(BROKEN, ending="reset"),
    "resets in the header": Fault(BROKEN, (b"HTTP/1.1 200 OK\r\nCont",), "reset"),
    "resets after the header": Fault(BROKEN, (http(b"", length=9),), "reset"),
    "resets in the body": Fault(BROKEN, (http(b"{", length=9),), "reset"),
    "403": Fault("403", (http(b'{"error": {}}', "403 Forbidden"),)),
    "404 with an empty body": Fault("404", (http(b"", "404 Not Found"),)),
    "429": Fault(
        "429", (http(b"", "429 Too Many Requests", more="Retry-After: 1\r\n"),)
    ),
    "500": Fault("500", (http(PAGE, "500 Internal Server Error", "text/html"),)),
    "503": Fault("503", (http(PAGE, "503 Service Unavailable", "text/html"),)),
    "599, which has no name": Fault("599", (http(b"", "599 "),)),
    "204": Fault("204", (b"HTTP/1.1 204 No Content\r\n\r\n",)),
    "redirects to itself": Fault(
        "302", (http(b"", "302 Found", more="Location: \r\n"),)
    ),
    "redirects to another host": Fault(
        "301", (http(b"", "301 Moved", more="Location: http://{other}/\r\n"),)
    ),
    "redirects to a file": Fault(
        "307", (http(b"", "307 Moved", more="Location: file:///etc/passwd\r\n"),)
    ),
    "HTML": Fault("not JSON", (http(PAGE, kind="text/html"),)),
    "an empty body": Fault("not JSON", (http(b""),)),
    "half a JSON": Fault("not JSON", (http(b'{"value": {"timeSer'),)),
    "no UTF-8": Fault("not JSON", (http(b'{"value": "\xff\xfe"}'),)),
    "JSON of another shape": Fault("no reading", (as_json([{"value": ["x", None]}]),)),
    "deeply nested JSON": Fault("not JSON", (http(b"[" * 100_000 + b"]" * 100_000),)),
    "NaN": Fault("no reading", (bad_numbers('"NaN"', '"-Infinity"', '"nan"'),)),
    "huge numbers": Fault("no reading", (bad_numbers("1e999", '"1e999"', "9" * 400),)),
    "NaN as a number": Fault("not JSON|no reading", (bad_numbers("NaN", "Infinity"),)),
    "a number too long": Fault("not JSON", (bad_numbers("9" * 5000),)),
    "a length too long": Fault(BROKEN, (http(b"{}", length=9),), "close"),
    "a length too short": Fault("not JSON|broke", (http(b'{"value": 1}', length=5),)),
    "a length that is no number": Fault(BROKEN, (http(length="many"),), "close"),
    "not HTTP": Fault(BROKEN, (b"220 ready when you are\r\n\r\n",), "close"),
    "an endless header": Fault(
        BROKEN, (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 10**6), "close"
    ),
    "gzip that unfolds": Fault(
        "encoded", (http(BOMB, more="Content-Encoding: gzip\r\n"),)
    ),
}
#: The heavy ones, whose work is felt by all who are served meanwhile.
HEAVY = {
    "100 MB": Fault(
        "larger than 8 MB", (http(b"", length=10**8), *[b" " * 10**6] * 100)
    ),
    "100 MB in chunks": Fault(
        "larger than 8 MB",
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            *[b"F4240\r\n" + b" " * 10**6 + b"\r\n"] * 100,
        ),
    ),
}
FAULTS = FAST | HEAVY | SLOW


class Call:
    """One request to the upstream, and the connection that it came on."""

    def __init__(self, head, writer, number):
        target, *lines = head.decode("latin-1").split("\r\n")
        self.target = urlsplit(target.split()[1])
        self.path, self.query = self.target.path, parse_qs(self.target.query)
        pairs = (line.partition(": ") for line in lines if line)
        self.headers = {name.lower(): value for name, _, value in pairs}
        asked = self.query.get("sites") or self.query.get("monitoring_location_id")
        self.sites = re.findall(r"\d{8}", asked[0]) if asked else []
        self.writer, self.number = writer, number

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    def reset(self):
        """End the connection with an RST, unsent data and all."""
        linger = struct.pack("ii", 1, 0)
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


class Upstream:
    """The services on raw sockets, as rude as wished, on a thread of their own.

    `fault(call)` is the Fault that a call meets, or None; `ready(call)` tells when
    it may be answered, which is `grace` seconds later, so that one call too many would
    be seen. Calls in flight are those that have yet to be answered.
    """

    def __init__(self):
        self.loop, self.port, self.server = asyncio.new_event_loop(), 0, None
        self.writers = set()
        self.start_over()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.listen()

    def begin(self):
        """Forget the test before, its connections too."""
        self.wait_for(self.close_connections())
        until(lambda: self.in_flight == 0)
        self.start_over()

    def start_over(self):
        """Forget what was counted, and be good."""
        self.calls, self.in_flight, self.most, self.left = [], 0, 0, 0
        self.fault = lambda call: None
        self.ready, self.grace = lambda call: True, 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def listen(self):
        """Accept connections, again on the same port."""
        self.wait_for(self.start_listening())

    def refuse(self):
        """Accept no connections, and close those that there are."""
        self.wait_for(self.stop_listening())

    def wait_for(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    async def start_listening(self):
        place = "127.0.0.1", self.port
        self.server = await asyncio.start_server(self.visit, *place, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop_listening(self):
        self.server.close()
        await self.close_connections()

    async def close_connections(self):
        for writer in list(self.writers):
            writer.transport.abort()

    def fail(self, fault, *sites):
        """Let calls for one of these gauges, or all calls, meet the fault so named."""
        ill = {*(sites or TRUTH)}
        self.fault = lambda call: FAULTS[fault] if ill & {*call.sites} else None

    async def visit(self, reader, writer):
        """One connection: a task for each request, until either side hangs up."""
        self.writers.add(writer)
        data, task = b"", None
        with closing(writer), suppress(ConnectionError):
            for number in itertools.count(1):
                while b"\r\n\r\n" not in data:
                    if not (more := await reader.read(65536)):
                        break
                    data += more
                else:
                    call, data = Call(data[:-4], writer, number), b""
                    task = asyncio.create_task(self.meet(call))
                    continue
                break
        self.writers.discard(writer)
        if task and not task.done():
            self.left += 1
            task.cancel()

    async def meet(self, call):
        """Count a call, and answer it for good or ill."""
        self.calls.append(call)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        gone = False
        try:
            while not self.ready(call):
                await asyncio.sleep(0.005)
            if fault := self.fault(call):
                await self.do(fault, call)
                return
            body = json.dumps(good_answer(call.path, call.sites)).encode()
            await asyncio.sleep(self.grace)
            self.in_flight, gone = self.in_flight - 1, True
            await call.send(http(body, more="Set-Cookie: visitor=1; Path=/\r\n"))
        except ConnectionError:
            pass
        finally:
            self.in_flight -= not gone

    async def do(self, fault, call):
        """Send what the fault sends, and end as it ends."""
        for part in fault.parts:
            await call.send(part.replace(b"{other}", b"localhost:%d" % self.port))
            await asyncio.sleep(fault.pause)
        if fault.ending == "hang":
            await asyncio.Event().wait()
        elif fault.ending == "reset":
            await asyncio.sleep(0.01)  # or what was sent would be lost on the way
            call.reset()
        elif fault.ending == "close":
            call.writer.close()


@pytest.fixture(scope="session")
def faulty_server():
    """A lab whose services are an Upstream, with two seconds for a page."""
    upstream = Upstream()
    with serve(UPSTREAM_URL=upstream.url, DEADLINE="2", DEBUG="1") as server:
        server.upstream = upstream
        yield server


@pytest.fixture
def faulty(faulty_server):
    """The lab on an Upstream that is good, and to which nobody is connected."""
    faulty_server.upstream.begin()
    return faulty_server


# ------------------------------------------------------------------------- Rivers

#: Variant: how many of its calls are in flight at once.
RIVERS = {
    "sync": 1,
    "threaded": 3,
    "async": 6,
    "streamed": 6,
    "batched": 1,
    "shared": 6,
    "async_to_sync": 6,
    "sync_to_async": 1,
    "sync_to_async_pool": 6,
    "blocking": 1,
}
#: All but the one that stops the event loop, and so the others.
POLITE = [variant for variant in RIVERS if variant != "blocking"]
ONE_BY_ONE = [variant for variant in POLITE if variant != "batched"]


class Rivers(NamedTuple):
    """A page of rivers: its status, the gauges in order, its calls, its seconds."""

    status: int
    sites: list
    calls: int | None
    seconds: float


def ask(server, variant):
    """A page of rivers in JSON."""
    began = time.monotonic()
    answer = server.get(f"/rivers/{variant}/", headers=JSON)
    seconds = time.monotonic() - began
    if variant == "streamed":
        sites = [json.loads(line) for line in answer.text.splitlines()]
        sites.sort(key=lambda site: site["site"])
        return Rivers(answer.status_code, sites, None, seconds)
    data = answer.json()
    assert "sites" in data, data
    return Rivers(answer.status_code, data["sites"], data["upstream_calls"], seconds)


def ask_all(server, variants):
    """Pages of rivers by variant, asked for at the same time."""
    with ThreadPoolExecutor(len(variants)) as pool:
        pages = pool.map(lambda variant: ask(server, variant), variants)
        return dict(zip(variants, pages, strict=True))


def test_rivers_variants_are_all_here():
    assert list(app.EXPERIMENTS["rivers"]) == list(RIVERS)


@pytest.mark.parametrize("variant", RIVERS)
def test_rivers_has_six_gauges_in_order(faulty, variant):
    page = ask(faulty, variant)
    assert (page.status, page.sites) == (200, READINGS)


@pytest.mark.parametrize("variant", [v for v in RIVERS if v != "streamed"])
def test_rivers_json(faulty, variant):
    data = faulty.json(f"/rivers/{variant}/")
    calls = 1 if variant == "batched" else 6
    assert data.pop("sites") == READINGS
    assert 0 < data.pop("load_time") < 30
    assert data == {
        "experiment": "rivers",
        "variant": variant,
        "upstream_calls": calls,
        "source": f"{faulty.upstream.url}/nwis/iv/",
    }


@pytest.mark.parametrize("variant", RIVERS)
def test_rivers_calls_in_flight(faulty, variant):
    upstream, most = faulty.upstream, RIVERS[variant]
    upstream.ready, upstream.grace = lambda call: upstream.most >= most, 0.03
    assert ask(faulty, variant).status == 200
    calls = 1 if variant == "batched" else 6
    assert (upstream.most, len(upstream.calls)) == (most, calls)


@pytest.mark.parametrize("variant", RIVERS)
def test_rivers_html(faulty, variant):
    text = faulty.get(f"/rivers/{variant}/", headers=HTML).text
    html = " ".join(text.split())
    places = [html.index(name) for name in app.SITES.values()]
    assert variant == "streamed" or places == sorted(places)
    for flow, stage in TRUTH.values():
        assert f"{flow:,.0f} ft³/s" in html
        assert f" {stage:.2f} ft <" in html
    assert html.count('<time datetime="2021-05-03T22:00:00-06:00"') == 12
    assert html.count(" ago<") == 12
    assert html.count("P: provisional") == 6
    assert re.search(rf"<h1>rivers.*{variant}", html)
    assert re.search(r"Made in <strong>\d+\.\d{4} s", html)
    assert ("1 upstream call " if variant == "batched" else "6 upstream calls") in html
    assert f" {faulty.upstream.url}/nwis/iv/" in html
    assert html.endswith("</html>")


def test_rivers_streamed_sends_each_row_as_it_arrives(faulty):
    arrived = []
    faulty.upstream.ready = lambda call: call.sites[0] in arrived
    path = "/rivers/streamed/"
    with faulty.client.stream("GET", path, headers=JSON) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = answer.iter_lines()
        for reading in reversed(READINGS):
            arrived.append(reading["site"])
            assert json.loads(next(lines)) == reading


def test_rivers_streamed_html_begins_before_any_gauge_answers(faulty):
    faulty.upstream.ready = lambda call: False
    path = "/rivers/streamed/"
    with faulty.client.stream("GET", path, headers=HTML) as answer:
        text = ""
        for text in itertools.accumulate(answer.iter_text()):
            if "<tbody>" in text:
                faulty.upstream.ready = lambda call: True
    assert text.index("<tbody>") < text.index("Corwin Springs")
    assert "in time" not in text


def test_rivers_shared_makes_one_call_for_two_visitors(faulty):
    upstream, together = faulty.upstream, threading.Event()
    upstream.ready = lambda call: together.is_set()
    with ThreadPoolExecutor(2) as pool:
        pages = [pool.submit(ask, faulty, "shared") for _ in range(2)]
        until(lambda: faulty.status()["requests_in_flight"] >= 3)
        until(lambda: len(upstream.calls) == 6)
        together.set()
        pages = [page.result() for page in pages]
    assert [page.sites for page in pages] == [READINGS, READINGS]
    assert sorted(page.calls for page in pages) == [0, 6]
    assert (len(upstream.calls), upstream.most) == (6, 6)


def test_rivers_blocking_is_not_served(lab):
    answer = lab.get("/rivers/blocking/", headers=JSON)
    assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert "blocking" not in lab.json("/")["experiments"]["rivers"]["variants"]


@pytest.mark.parametrize("variant", RIVERS)
def test_rivers_thread(faulty, variant):
    timing = faulty.get(f"/rivers/{variant}/").headers["server-timing"]
    is_async = asyncio.iscoroutinefunction(app.EXPERIMENTS["rivers"][variant])
    name = "MainThread" if is_async else r"lane-\d+"
    assert re.search(f'thread;desc="{name}"', timing)


# ------------------------------------------------------- Rivers: a service at fault


def faults_of(page):
    """What a page says of each gauge that has no reading."""
    return {site["site"]: site["error"] for site in page.sites if site["error"]}


@pytest.mark.parametrize("fault", [*FAST | HEAVY])
def test_one_gauge_fails_and_five_are_there(faulty, fault):
    ill = "06214500"
    faulty.upstream.fail(fault, ill)
    pages = ask_all(faulty, ONE_BY_ONE) | {"blocking": ask(faulty, "blocking")}
    for variant, page in pages.items():
        assert page.status == 200, variant
        assert re.search(FAULTS[fault].says, faults_of(page).pop(ill)), variant
        assert page.seconds < 3, variant
    well = [reading for reading in READINGS if reading["site"] != ill]
    rest = {v: [s for s in page.sites if s["site"] != ill] for v, page in pages.items()}
    assert [variant for variant in pages if rest[variant] != well] == []
    assert not [call for call in faulty.upstream.calls if call.path != "/nwis/iv/"]
    assert len(faulty.upstream.calls) == 6 * len(pages)  # so nothing is tried again
    faulty.upstream.start_over()
    assert ask(faulty, "sync").sites == ask(faulty, "async").sites == READINGS


@pytest.mark.parametrize("fault", [*FAST | SLOW])
def test_all_gauges_fail_alike_for_every_variant(faulty, fault):
    faulty.upstream.fail(fault)
    pages = ask_all(faulty, POLITE)
    if fault in FAST:
        pages["blocking"] = ask(faulty, "blocking")
    check_all_failed(pages, 504 if fault in SLOW else 502, FAULTS[fault].says)


def check_all_failed(pages, status, says):
    """All variants have the same status, and say the same of every gauge, in time."""
    for variant, page in pages.items():
        assert page.status == (200 if variant == "streamed" else status), variant
        assert faults_of(page).keys() == app.SITES.keys(), variant
        assert page.seconds < 3, variant
    sentences = {said for page in pages.values() for said in faults_of(page).values()}
    assert len(sentences) == 1 or "|" in says  # the clients may differ in what they see
    assert all(re.search(says, sentence) for sentence in sentences)


def test_all_gauges_refuse(faulty):
    faulty.upstream.refuse()
    try:
        pages = ask_all(faulty, POLITE) | {"blocking": ask(faulty, "blocking")}
    finally:
        faulty.upstream.listen()
    assert faulty.status()["upstream_in_flight"] == 0
    assert ask(faulty, "sync").sites == ask(faulty, "async").sites == READINGS
    check_all_failed(pages, 502, "could not be reached")


def test_an_answer_that_nobody_asked_for(faulty):
    forged = bad_numbers('"666666"')
    good = as_json(good_answer("/nwis/iv/", ["06191500"]))
    twice = Fault("", (good + forged,))
    faulty.upstream.fault = lambda call: twice if "06191500" in call.sites else None
    for variant in ONE_BY_ONE:
        assert ask(faulty, variant).sites == READINGS, variant


@pytest.mark.parametrize("variant", RIVERS)
def test_a_used_connection_is_reset(faulty, variant):
    upstream = faulty.upstream
    ask(faulty, variant)
    upstream.start_over()
    reset = FAULTS["resets before the header"]
    upstream.fault = lambda call: reset if call.number > 1 else None
    page = ask(faulty, variant)
    used = {site for call in upstream.calls if call.number > 1 for site in call.sites}
    assert used
    assert len(upstream.calls) == (1 if variant == "batched" else 6)
    assert faults_of(page).keys() == used
    upstream.start_over()
    assert ask(faulty, variant).sites == READINGS


def test_errors_are_pages_too(faulty):
    faulty.upstream.fail("503")
    html = faulty.get("/rivers/async/", headers=HTML)
    assert (html.status_code, html.text.count("answered 503")) == (502, 6)
    faulty.upstream.fail("503", "06214500")
    html = faulty.get("/rivers/async/", headers=HTML)
    assert (html.status_code, html.text.count("answered 503")) == (200, 1)


def test_slow_gauges_leave_the_rest_their_share(faulty):
    ill = dict(zip(app.SITES, SLOW.values(), strict=False))
    faulty.upstream.fault = lambda call: ill.get(call.sites[0])
    pages = ask_all(faulty, ONE_BY_ONE) | {"blocking": ask(faulty, "blocking")}
    for variant, page in pages.items():
        assert page.seconds < 3, variant
        assert faults_of(page).keys() == ill.keys(), variant
        assert all("in time" in said for said in faults_of(page).values()), variant
        assert page.sites[3:] == READINGS[3:], variant


@pytest.mark.parametrize("fault", [*HEAVY, "gzip that unfolds", "an endless header"])
def test_memory_is_bounded(faulty, fault):
    faulty.upstream.fail(fault)
    pages, most = {}, faulty.memory()
    for variant in RIVERS:
        pages[variant] = ask(faulty, variant)
        most, before = faulty.memory(), most
        assert most - before < 100_000_000, variant
    check_all_failed(pages, 502, FAULTS[fault].says)


def test_a_hundred_rounds_of_faults_end_where_they_began(faulty):
    def state():
        """What is in use, once all has been answered."""
        for variant in POLITE:
            assert ask(faulty, variant).sites == READINGS
        until(lambda: faulty.status()["lanes"]["busy"] == 0)
        until(lambda: faulty.status()["upstream_in_flight"] == 0)
        until(lambda: faulty.status()["requests_in_flight"] == 1)
        now = faulty.status()
        return now["lanes"], faulty.open_files(), now["threads"]

    lanes, files, threads = state()
    rounds = zip(
        itertools.cycle(FAST), itertools.cycle(RIVERS), range(100), strict=False
    )
    for fault, variant, number in rounds:
        faulty.upstream.fail(fault, *(["06309000"] if number % 2 else []))
        ask(faulty, variant)
    faulty.upstream.start_over()
    lanes_after, files_after, threads_after = state()
    assert lanes_after == lanes
    assert files_after <= files + 12
    assert threads_after <= threads + 6


# ----------------------------------------------------- Rivers: visitors who leave


def leave(visitor):
    """Close a visitor's connection at once."""
    visitor.close()


def visit(server, path):
    """A visitor who has asked for a page, and waits."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
    return server.connect(request.encode() + b"\r\n")


@pytest.mark.parametrize(
    "variant", ["async", "streamed", "batched", "shared", "async_to_sync"]
)
def test_who_leaves_stops_his_calls(faulty, variant):
    upstream = faulty.upstream
    upstream.ready = lambda call: False
    calls = 1 if variant == "batched" else 6
    visitor = visit(faulty, f"/rivers/{variant}/")
    until(lambda: upstream.in_flight == calls)
    began = time.monotonic()
    leave(visitor)
    until(lambda: upstream.left == calls)
    assert time.monotonic() - began < 1  # and not only when the page's time is up
    until(lambda: faulty.status()["upstream_in_flight"] == 0)


@pytest.mark.parametrize("variant", POLITE)
def test_who_leaves_leaves_nothing_behind(faulty, variant):
    upstream, stay = faulty.upstream, threading.Event()
    upstream.ready = lambda call: stay.is_set()
    visitor = visit(faulty, f"/rivers/{variant}/")
    until(lambda: upstream.in_flight)
    leave(visitor)
    stay.set()
    until(lambda: faulty.status()["requests_in_flight"] == 1)
    until(lambda: faulty.status()["upstream_in_flight"] == 0)
    until(lambda: faulty.status()["lanes"]["busy"] == 0)
    assert ask(faulty, variant).sites == READINGS


def test_shared_goes_on_for_who_stays(faulty):
    upstream, leaver = faulty.upstream, None
    open_now = threading.Event()
    upstream.ready = lambda call: open_now.is_set()
    leaver = visit(faulty, "/rivers/shared/")
    until(lambda: upstream.in_flight == 6)
    with ThreadPoolExecutor(1) as pool:
        page = pool.submit(ask, faulty, "shared")
        until(lambda: faulty.status()["requests_in_flight"] == 3)
        leave(leaver)
        until(lambda: faulty.status()["requests_in_flight"] == 2)
        assert (upstream.left, len(upstream.calls)) == (0, 6)
        open_now.set()
        assert page.result().sites == READINGS
    assert page.result().calls == 0


# ------------------------------------------------------- Rivers: the two services


@pytest.fixture(scope="session")
def keyed_server():
    """A lab with keys, credentials in an address, and the newer service."""
    upstream = Upstream()
    secret = upstream.url.replace("//", "//user:pass%20word@")
    with serve(
        UPSTREAM_URL=upstream.url,
        USGS_URL=f"{secret}/ogcapi/v1/collections/latest-continuous/items",
        USGS_API_KEY="usgs-key",
        RATES_API_KEY="rates-key",
        THREADS="2",
    ) as server:
        server.upstream = upstream
        yield server


@pytest.fixture
def keyed(keyed_server):
    keyed_server.upstream.begin()
    return keyed_server


UTC_READINGS = [
    one | {"discharge_observed": WHEN_UTC, "gage_height_observed": WHEN_UTC}
    for one in READINGS
]


@pytest.mark.parametrize("variant", POLITE)
def test_newer_service(keyed, variant):
    page = ask(keyed, variant)
    assert (page.status, page.sites) == (200, UTC_READINGS)
    call = keyed.upstream.calls[0]
    sites = [f"USGS-{site}" for site in app.SITES]
    wanted = {"limit", "f", "skipGeometry", "monitoring_location_id", "parameter_code"}
    assert call.query.keys() == wanted
    asked = call.query["monitoring_location_id"][0].split(",")
    assert asked == sites if variant == "batched" else asked[0] in sites
    assert int(call.query["limit"][0]) >= 12


def test_threads_sets_the_threads(keyed):
    upstream = keyed.upstream
    upstream.ready, upstream.grace = lambda call: upstream.most >= 2, 0.03
    assert ask(keyed, "threaded").status == 200
    assert upstream.most == 2


def test_keys_go_to_their_own_service(keyed):
    for experiment in {"rivers", "home", "rates"} & app.EXPERIMENTS.keys():
        for variant in app.offered(experiment):
            keyed.get(f"/{experiment}/{variant}/")
    sent = {
        (call.path.split("/")[1], *map(call.headers.get, ("x-api-key", "apikey")))
        for call in keyed.upstream.calls
    }
    assert sent <= {
        ("ogcapi", "usgs-key", None),
        ("promo", None, None),
        ("recco", None, None),
        ("exchangerates_data", None, "rates-key"),
    }
    assert ("ogcapi", "usgs-key", None) in sent


def test_calls_are_plain(keyed):
    for variant in POLITE * 2:  # twice, or no cookie could have come back
        ask(keyed, variant)
    for call in keyed.upstream.calls:
        assert call.headers["accept-encoding"] == "identity"
        assert "cookie" not in call.headers
        assert call.headers["authorization"] == "Basic dXNlcjpwYXNzIHdvcmQ="


def test_credentials_stay_inside(keyed):
    pages = ["/rivers/sync/", "/rivers/async/", "/status/", "/", "/nothing/"]
    keyed.upstream.fail("resets before the header", "06214500")
    for path in pages:
        for kind in (JSON, HTML):
            text = keyed.get(path, headers=kind).text
            assert not re.search("user:|pass%20word|usgs-key|rates-key", text)
    source = keyed.json("/rivers/async/")["source"]
    path = "/ogcapi/v1/collections/latest-continuous/items"
    assert source == keyed.upstream.url + path
    assert keyed.status()["upstream"] == source


SITE, OTHER = "06191500", "06192500"
ICE = ("-999999", ["P", "Ice"], WHEN)
#: Case: an older answer, and of its reading what it is about.
IV_CASES = {
    "both": (
        iv(iv_series(SITE, Q, [("4740", ["P"], WHEN)]), iv_series(SITE, H, [ICE])),
        {
            "discharge_ft3_s": 4740,
            "discharge_observed": "2021-05-03T22:00:00-06:00",
            "gage_height_ft": None,
            "gage_height_observed": None,
            "qualifiers": ("P", "Ice"),
            "error": None,
        },
    ),
    "no series": (iv(), {"discharge_ft3_s": None, "qualifiers": ()}),
    "a series without blocks": (iv(iv_series(SITE, Q)), {"discharge_ft3_s": None}),
    "an empty block": (iv(iv_series(SITE, Q, [])), {"discharge_ft3_s": None}),
    "data in a later block": (
        iv(iv_series(SITE, Q, [], [], [("5", ["A"], WHEN)])),
        {"discharge_ft3_s": 5, "qualifiers": ("A",)},
    ),
    "ice alone": (
        iv(iv_series(SITE, Q, [ICE])),
        {"discharge_ft3_s": None, "qualifiers": ("P", "Ice")},
    ),
    "no data as a number": (
        iv(iv_series(SITE, Q, [(-999999.0, ["Eqp"], WHEN)])),
        {"discharge_ft3_s": None, "qualifiers": ("Eqp",)},
    ),
    "no data with decimals": (
        iv(iv_series(SITE, Q, [("-999999.00", ["Eqp"], WHEN)])),
        {"discharge_ft3_s": None},
    ),
    "null": (
        iv(iv_series(SITE, Q, [(None, None, None)])),
        {"discharge_ft3_s": None, "qualifiers": ()},
    ),
    "zero": (iv(iv_series(SITE, Q, [("0", ["P"], WHEN)])), {"discharge_ft3_s": 0}),
    "below zero": (
        iv(iv_series(SITE, H, [("-1.5", ["P"], WHEN)])),
        {"gage_height_ft": -1.5},
    ),
    "of another gauge": (
        iv(iv_series(OTHER, Q, [("1", ["P"], WHEN)])),
        {"discharge_ft3_s": None},
    ),
    "in another order": (
        iv(
            iv_series(OTHER, H, [("1", ["P"], WHEN)]),
            iv_series(SITE, H, [("2", ["P"], WHEN)]),
            iv_series(OTHER, Q, [("3", ["P"], WHEN)]),
            iv_series(SITE, Q, [("4", ["P"], WHEN)]),
        ),
        {"discharge_ft3_s": 4, "gage_height_ft": 2},
    ),
    "the newest of a block": (
        iv(
            iv_series(
                SITE,
                Q,
                [
                    ("1", ["P"], "2021-05-03T22:00:00.000-06:00"),
                    ("2", ["P", "e"], "2021-05-03T22:30:00.000-06:00"),
                    ("3", ["P"], "2021-05-03T22:15:00.000-06:00"),
                ],
            )
        ),
        {
            "discharge_ft3_s": 2,
            "discharge_observed": "2021-05-03T22:30:00-06:00",
            "qualifiers": ("P", "e"),
        },
    ),
    "the newest sensor": (
        iv(
            iv_series(
                SITE,
                Q,
                [("1", ["P"], "2021-05-03T22:00:00.000-06:00")],
                [("2", ["P"], "2021-05-03T23:00:00.000-06:00")],
                [("3", ["P"], "2021-05-03T21:00:00.000-06:00")],
            )
        ),
        {"discharge_ft3_s": 2},
    ),
    "the hour that comes twice": (
        iv(
            iv_series(
                SITE,
                Q,
                [
                    ("2", ["P"], "2021-11-07T01:15:00.000-07:00"),
                    ("1", ["P"], "2021-11-07T01:45:00.000-06:00"),
                ],
            )
        ),
        {"discharge_ft3_s": 2, "discharge_observed": "2021-11-07T01:15:00-07:00"},
    ),
    "codes but once": (
        iv(
            iv_series(SITE, Q, [("1", ["P", "e", "P"], WHEN)]),
            iv_series(SITE, H, [("1", ["P"], WHEN)]),
        ),
        {"qualifiers": ("P", "e")},
    ),
    "no time": (
        iv(iv_series(SITE, Q, [("1", ["P"], "yesterday")])),
        {"discharge_ft3_s": 1, "discharge_observed": None},
    ),
    "a time without its offset": (
        iv(
            iv_series(
                SITE, Q, [("1", ["P"], WHEN), ("2", ["P"], "2021-05-04T22:00:00.000")]
            )
        ),
        {"discharge_ft3_s": 1, "discharge_observed": "2021-05-03T22:00:00-06:00"},
    ),
}
#: Case: a newer answer, and of its reading what it is about.
OGC_CASES = {
    "both": (
        ogc(ogc_feature(SITE, H, "1.59"), ogc_feature(SITE, Q, "535")),
        {
            "discharge_ft3_s": 535,
            "discharge_observed": WHEN_UTC,
            "gage_height_ft": 1.59,
            "gage_height_observed": WHEN_UTC,
            "qualifiers": ("P",),
            "error": None,
        },
    ),
    "nothing": (ogc(), {"discharge_ft3_s": None, "qualifiers": ()}),
    "null": (
        ogc(ogc_feature(SITE, Q, None, qualifier=["ICE"])),
        {"discharge_ft3_s": None, "qualifiers": ("P", "ICE")},
    ),
    "-999999": (ogc(ogc_feature(SITE, Q, "-999999")), {"discharge_ft3_s": None}),
    "a qualifier alone": (
        ogc(
            ogc_feature(SITE, Q, "1", qualifier="ESTIMATED", approval_status="Approved")
        ),
        {"discharge_ft3_s": 1, "qualifiers": ("A", "ESTIMATED")},
    ),
    "of another gauge": (ogc(ogc_feature(OTHER, Q, "1")), {"discharge_ft3_s": None}),
    "of another parameter": (
        ogc(ogc_feature(SITE, "00010", "1")),
        {"discharge_ft3_s": None, "gage_height_ft": None, "qualifiers": ()},
    ),
    "the newest": (
        ogc(
            ogc_feature(SITE, Q, "1", "2026-08-07T18:45:00+00:00"),
            ogc_feature(SITE, Q, "2", "2026-08-07T19:00:00+00:00"),
            ogc_feature(SITE, Q, "3", "2026-08-07T18:30:00+00:00"),
        ),
        {"discharge_ft3_s": 2, "discharge_observed": "2026-08-07T19:00:00+00:00"},
    ),
    "an error of the gateway": (
        {"error": {"code": "API_KEY_INVALID", "message": "An invalid api_key"}},
        {"discharge_ft3_s": None},
    ),
    "an error of the query": (
        {"code": "InvalidQuery", "type": "InvalidQuery", "description": "At least one"},
        {"discharge_ft3_s": None},
    ),
}
CASES = [
    *(pytest.param(app.parse_iv, *case, id=f"iv {k}") for k, case in IV_CASES.items()),
    *(
        pytest.param(app.parse_ogc, *case, id=f"ogc {k}")
        for k, case in OGC_CASES.items()
    ),
]


@pytest.mark.parametrize("number", [0, 1, 1.0])
def test_number_that_is_no_string(number):
    answer = iv(iv_series(SITE, Q, [(number, ["P"], WHEN)]))
    assert read(app.parse_iv, answer).discharge_ft3_s == number


def read(parse, data):
    """The reading of SITE in a service's answer."""
    return app.read_gauge(list(parse(data)), SITE)


@pytest.mark.parametrize(("parse", "answer", "expected"), CASES)
def test_reading(parse, answer, expected):
    reading = read(parse, answer)._asdict()
    assert {name: reading[name] for name in expected} == expected
    silent = reading["discharge_ft3_s"] is None and reading["gage_height_ft"] is None
    assert bool(reading["error"]) == silent


def test_sites_left_out_say_so(faulty):
    upstream, kept = faulty.upstream, {"06191500", "06309000"}
    empty = Fault("no reading", (as_json(iv()),))
    upstream.fault = lambda call: None if kept & {*call.sites} else empty
    page = ask(faulty, "async")
    assert page.status == 200
    assert faults_of(page).keys() == app.SITES.keys() - kept
    assert all("no reading" in sentence for sentence in faults_of(page).values())


@pytest.mark.parametrize("variant", ["sync", "streamed"])
def test_half_a_character_in_a_qualifier(faulty, variant):
    rows = [("5", ["\ud83d"], WHEN)]
    odd = as_json(iv(*(iv_series(site, Q, rows) for site in TRUTH)))
    faulty.upstream.fault = lambda call: Fault("", (odd,))
    assert ask(faulty, variant).status == 200
    html = faulty.get(f"/rivers/{variant}/", headers=HTML)
    assert (html.status_code, html.text.count("5 ft³/s")) == (200, 6)


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    ANY_TEXT,
    st.sampled_from([SITE, f"USGS-{SITE}", Q, H, "-999999", "NaN", "1e999", WHEN, "P"]),
    st.datetimes(timezones=st.timezones()).map(str),
)
KEYS = words("""value timeSeries sourceInfo siteCode variable variableCode values qualifiers
dateTime features properties monitoring_location_id parameter_code approval_status
qualifier time""")
ANY_JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(KEYS) | ANY_TEXT, inner, max_size=4),
    ),
    max_leaves=12,
)


@st.composite
def mutants(draw, answer):
    """A good answer in which one thing, somewhere, is something else."""
    here = answer = json.loads(json.dumps(answer))
    while True:
        places = list(here) if isinstance(here, dict) else list(range(len(here)))
        place = draw(st.sampled_from(places))
        deeper = here[place]
        if (
            not isinstance(deeper, dict | list)
            or not deeper
            or not draw(st.integers(0, 5))
        ):
            here[place] = draw(ANY_JSON)
            return answer
        here = deeper


IV_SAMPLE = iv(iv_series(SITE, Q, [("4740", ["P"], WHEN)]), iv_series(SITE, H, [ICE]))
OGC_SAMPLE = ogc(ogc_feature(SITE, Q, "535"), ogc_feature(SITE, H, None))


def check_reading(parse, data):
    """A reading or a sentence, which both kinds of page can show."""
    data = json.loads(json.dumps(data))
    reading = read(parse, data)
    for number in (reading.discharge_ft3_s, reading.gage_height_ft):
        assert number is None or math.isfinite(number)
    silent = reading.discharge_ft3_s is None and reading.gage_height_ft is None
    assert bool(reading.error) == silent
    assert len(set(reading.qualifiers)) == len(reading.qualifiers)
    json.dumps(reading._asdict(), allow_nan=False)
    return reading


EXAMPLES = settings(max_examples=150, deadline=None, database=None)


@EXAMPLES
@given(ANY_JSON | mutants(IV_SAMPLE))
def test_any_json_from_the_older_service(data):
    check_reading(app.parse_iv, data)


@EXAMPLES
@given(ANY_JSON | mutants(OGC_SAMPLE))
def test_any_json_from_the_newer_service(data):
    check_reading(app.parse_ogc, data)


@EXAMPLES
@given(mutants(IV_SAMPLE))
def test_any_reading_has_a_row(data):
    app.rivers_main((check_reading(app.parse_iv, data),), 0).encode()


@EXAMPLES
@given(st.binary(max_size=40) | ANY_JSON.map(lambda data: json.dumps(data).encode()))
def test_any_body_is_json_or_a_sentence(body):
    with suppress(app.UpstreamError):
        app.decode(body)


@pytest.mark.parametrize("depth", [10, 300, 900, 960, 980, 990, 3000, 30_000])
def test_nested_values_give_a_sentence(depth):
    nest = b"[" * depth + b"]" * depth
    for parse, sample in ((app.parse_iv, IV_SAMPLE), (app.parse_ogc, OGC_SAMPLE)):
        for text in ('"06191500"', '"USGS-06191500"', '"00060"', '"4740"', '"535"'):
            body = json.dumps(sample).encode().replace(text.encode(), nest)
            with suppress(app.UpstreamError):
                read(parse, app.decode(body))


# ---------------------------------------------------------- The embedded upstream


def test_embedded_readings(lab):
    data = lab.json("/rivers/batched/")
    assert data["source"] == lab.status()["upstream"] == "embedded"
    assert [site["name"] for site in data["sites"]] == list(app.SITES.values())
    assert not faults_of(Rivers(200, data["sites"], 1, 0))


@pytest.mark.parametrize("variant", POLITE)
def test_embedded_variants_agree(lab, variant):
    def both():
        """The page and the batched one, of the same quarter of an hour."""
        one, other = ask(lab, variant), ask(lab, "batched")
        return one.sites == other.sites

    assert both() or both()


@pytest.fixture(scope="session")
def upstream_alone():
    """The embedded upstream as an application of its own."""
    with serve("app:upstream", UPSTREAM_LATENCY="0") as server:
        yield server


ITEMS = "/ogcapi/v1/collections/latest-continuous/items"


def test_both_services_say_the_same(upstream_alone):
    def readings():
        older = upstream_alone.json(
            f"/nwis/iv/?format=json&sites={SITE}&parameterCd=00060,00065&siteStatus=all"
        )
        newer = upstream_alone.json(
            f"{ITEMS}?monitoring_location_id=USGS-{SITE}&limit=9"
        )
        return read(app.parse_iv, older), read(app.parse_ogc, newer)

    older, newer = readings()
    if older.discharge_ft3_s != newer.discharge_ft3_s:  # a quarter of an hour has begun
        older, newer = readings()
    assert older.discharge_ft3_s == newer.discharge_ft3_s is not None
    assert older.gage_height_ft == newer.gage_height_ft is not None


UPSTREAM_CASES = {
    "/nwis/iv/?format=json&sites=06191500": 200,
    "/nwis/iv/?format=json&sites=06191500,,06192500": 400,
    "/nwis/iv/?format=json": 400,
    "/nwis/iv/?sites=06191500": 400,
    f"{ITEMS}?f=json": 200,
    f"{ITEMS}?f=json&color=blue": 400,
    f"{ITEMS}?limit=0": 400,
    "/promo/": 200,
    "/recco/": 200,
    "/exchangerates_data/timeseries?start_date=2016-01-02&end_date=2017-01-01": 200,
    "/exchangerates_data/timeseries?start_date=2016-01-02&end_date=2017-01-03": 400,
    "/exchangerates_data/timeseries": 400,
    "/nothing/": 404,
}


@pytest.mark.parametrize("path", UPSTREAM_CASES)
def test_upstream_answers(upstream_alone, path):
    assert upstream_alone.get(path).status_code == UPSTREAM_CASES[path]


def test_upstream_leaves_unknown_sites_out(upstream_alone):
    query = "format=json&sites=06191500,06200000&parameterCd=00060"
    data = upstream_alone.json(f"/nwis/iv/?{query}")
    assert [series["name"][5:13] for series in data["value"]["timeSeries"]] == [SITE]


def test_upstream_page_is_ten_features(upstream_alone):
    assert len(upstream_alone.json(f"{ITEMS}?f=json")["features"]) == 10
    assert len(upstream_alone.json(f"{ITEMS}?limit=100")["features"]) == 12


def test_upstream_that_fails():
    with serve(UPSTREAM_FAILURES="1", UPSTREAM_LATENCY="0") as server:
        pages = ask_all(server, POLITE)
    check_all_failed(pages, 502, "answered 503")


def test_upstream_that_is_late():
    with serve(UPSTREAM_LATENCY="0.5", DEADLINE="0.2") as server:
        pages = ask_all(server, POLITE)
    check_all_failed(pages, 504, "in time")


# ----------------------------------------------------------------------- The frame

NUMBERS = ["many", "nan", "-1"]
ADDRESSES = words("""example.org ftp://example.org/ http:// http://:80/ http://[::1
http://example.org:99999/ http://example.org/?a=b http://example.org/#a file:///etc/passwd
""")
#: A variable: values that it refuses, and a word of what it says it accepts.
BAD = {
    "DEBUG": (["", "yes", "2"], "true or false"),
    "UPSTREAM_LATENCY": ([*NUMBERS, "", "inf", "0x10", "60.1"], "from 0 to 60"),
    "UPSTREAM_FAILURES": ([*NUMBERS, "1.01"], "from 0 to 1"),
    "DEADLINE": ([*NUMBERS, "0", "0.09", "300.1"], "from 0.1 to 300"),
    "THREADS": ([*NUMBERS, "0", "65", "1.5"], "from 1 to 64"),
    "LANES": ([*NUMBERS, "0", "1001", "1.5"], "from 1 to 1000"),
    "MAX_UPLOAD_BYTES": ([*NUMBERS, "", "inf", "1e9", "0", "1.5"], "1 or more"),
    "UPSTREAM_URL": ([*ADDRESSES, "http://a b/", "http://a/\n"], "http://"),
    "USGS_URL": (ADDRESSES[:3], "http://"),
    "PROMO_URL": (ADDRESSES[:3], "http://"),
    "RECCO_URL": (ADDRESSES[:3], "http://"),
    "RATES_URL": (ADDRESSES[:3], "http://"),
    "DATABASE_URL": (
        words("""lab.sqlite3 sqlite:// sqlite:/// sqlite:///:memory: mysql://a/b postgresql://
        postgresql://host postgresql:///name postgresql://host:99999/name"""),
        "sqlite:///relative",
    ),
    "USGS_API_KEY": (["schlüssel", "a\nb"], "text"),
    "RATES_API_KEY": (["schlüssel", "a\nb"], "text"),
}
REFUSED = [(name, value) for name, (values, _) in BAD.items() for value in values]
#: Imports in a child each, from one parent that has imported all but the module itself.
IMPORT_EACH = """
import aiofiles, aiohttp, django, json, os, sys, tempfile, httpx
import httpx_aiohttp, uvicorn
from django.core import asgi, management
outcomes = []
for name, value in json.load(sys.stdin):
    with tempfile.TemporaryFile("w+") as errors:
        if not (pid := os.fork()):
            os.dup2(errors.fileno(), 2)
            os.environ[name] = value
            try:
                import app
            except SystemExit as ending:
                os._exit(ending.code)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        errors.seek(0)
        outcomes.append([status, errors.read()])
json.dump(outcomes, sys.stdout)
"""


def import_each(values):
    """Exit status and standard error of importing the module with each of the values."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH],
        input=json.dumps(values),
        env=environment(DATA_DIR=SCRATCH.name),
        capture_output=True,
        check=True,
        text=True,
    )
    return json.loads(ended.stdout)


@pytest.fixture(scope="session")
def imports():
    """What came of importing the module with each of the bad values."""
    with ThreadPoolExecutor(2) as pool:
        even, odd = pool.map(import_each, (REFUSED[::2], REFUSED[1::2]))
    pairs = [
        *zip(REFUSED[::2], even, strict=True),
        *zip(REFUSED[1::2], odd, strict=True),
    ]
    return dict(pairs)


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_bad_value_is_refused(imports, name, value):
    status, errors = imports[name, value]
    assert status == 3
    assert errors.count("\n") == 1
    assert name in errors
    assert repr(value)[1:-1].partition("\\n")[0] in errors
    assert BAD[name][1] in errors


@pytest.mark.parametrize(
    "command", ["-m uvicorn app:application", "-m uvicorn app:stock", "app.py check"]
)
def test_bad_value_ends_every_command(command):
    ended = python(*command.split(), THREADS="65")
    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1)


def test_a_password_is_not_told():
    address = "postgresql://me:hush@host:99999/name"
    ended = python("-c", "import app", DATABASE_URL=address)
    assert ended.returncode == 3
    assert "hush" not in ended.stderr


def test_data_dir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    command = f"-m uvicorn app:application --port {free_port()}"
    ended = python(*command.split(), DATA_DIR=str(tmp_path / "file" / "data"))
    assert ended.returncode == 3
    told = [line for line in ended.stderr.splitlines() if "DATA_DIR" in line]
    assert len(told) == 1
    assert "Traceback" not in ended.stderr


#: An answer's path: its status.
ANSWERS = {
    "/": 200,
    "/rivers/sync/": 200,
    "/rivers/async/": 200,
    "/rivers/streamed/": 200,
    "/status/": 200,
    "/source/rivers/sync/": 200,
    "/rivers/nothing/": 404,
    "/nothing/": 404,
    "/rivers/async": 404,
    "/rivers/blocking/": 404,
    "/source/rivers/nothing/": 404,
    "/nothing/\x00": 404,
    "/%ff/": 404,
}


@pytest.mark.parametrize("kind", [JSON, HTML], ids=["JSON", "HTML"])
@pytest.mark.parametrize("path", ANSWERS)
def test_answer(lab, path, kind):
    answer = lab.get(path.replace("\x00", "%00"), headers=kind)
    assert answer.status_code == ANSWERS[path]
    check_headers(answer)
    if answer.status_code >= 400 and kind is JSON:
        assert list(answer.json()) == ["error"]
        assert answer.json()["error"].endswith(".")
    elif answer.status_code >= 400:
        assert re.search(r'role="alert">[^<]+\.<', answer.text)


def check_headers(answer):
    """The headers that every answer has."""
    headers = answer.headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"unsafe|\*|http", policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"]
    assert headers["cache-control"] == "no-store"
    assert "accept" in headers["vary"].lower()
    assert "set-cookie" not in headers
    timing = r'total;dur=\d+(\.\d+)?, thread;desc="[^"]+"'
    assert re.fullmatch(timing, headers["server-timing"])


@pytest.mark.parametrize(
    ("accept", "kind"),
    {
        None: "text/html",
        "*/*": "text/html",
        "text/html": "text/html",
        "text/html,application/xhtml+xml,*/*;q=0.8": "text/html",
        "application/json": "application/json",
        "application/json, text/html;q=0.9": "application/json",
        "text/html;q=0.5, application/json;q=0.6": "application/json",
        "text/html, application/json;q=0.9": "text/html",
        "image/png": "text/html",
        "nonsense": "text/html",
        "": "text/html",
    }.items(),
)
def test_representation(lab, accept, kind):
    host = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for path in (b"/", b"/rivers/async/", b"/nothing/"):
        header = b"" if accept is None else f"Accept: {accept}\r\n".encode()
        answer = lab.raw(host % path + header + b"\r\n").lower()
        assert f"content-type: {kind}".encode() in answer, path


def test_nonce_is_new_each_time_and_on_every_style(lab):
    nonces = set()
    for path in ("/", "/rivers/async/", "/rivers/async/", "/nothing/"):
        answer = lab.get(path, headers=HTML)
        found = re.findall(
            r"'nonce-([^']+)'", answer.headers["content-security-policy"]
        )
        inline = re.findall(r"<(?:style|script)\b[^>]*>", answer.text)
        assert len(set(found)) == 1
        assert inline
        assert all(f'nonce="{found[0]}"' in tag for tag in inline)
        assert not re.search(r"<[^>]+ (style|on[a-z]+)=", answer.text)
        nonces.add(found[0])
    assert len(nonces) == 4


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/rivers/sync/", "/rivers/async/", "/status/"])
def test_method_that_a_page_does_not_have(lab, method, path):
    answer = lab.client.request(method, path, headers=JSON)
    assert answer.status_code == 405
    assert set(re.findall(r"\w+", answer.headers["allow"])) == {"GET", "HEAD"}
    assert list(answer.json()) == ["error"]
    check_headers(answer)


def test_head_has_the_headers_alone(lab):
    for path in ("/", "/rivers/sync/", "/rivers/async/", "/nothing/"):
        answer = lab.client.head(path)
        assert (answer.status_code, answer.content) == (ANSWERS[path], b"")
        check_headers(answer)


@pytest.mark.parametrize("host", ["example.org", "localhost.example.org", "a b", ""])
def test_foreign_host(lab, host):
    answer = lab.get("/", headers={"Host": host} | JSON)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    check_headers(answer)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:99", "[::1]", "LOCALHOST."])
def test_own_host(lab, host):
    assert lab.get("/", headers={"Host": host}).status_code == 200


RAW = """GET {} HTTP/1.1\r
Host: localhost\r
Accept: application/json\r
Connection: close\r
\r
"""


@pytest.mark.parametrize("path", ["/rivers/async/?a=\xff", "/\xff/", "/?a=\xc3("])
def test_address_that_is_no_utf8(lab, path):
    answer = lab.raw(RAW.format(path).encode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 400")  # httptools refuses it before we see it


ASK_BY_HAND = """
import asyncio, app
async def receive():
    await asyncio.Event().wait()
async def send(message):
    print(message.get("status", ""), message.get("body", b"").decode())
headers = [(b"host", b"localhost"), (b"accept", b"application/json")]
scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
scope |= {"query_string": bytes([255]), "scheme": "http", "http_version": "1.1"}
asyncio.run(app.application(scope, receive, send))
"""


def test_query_that_is_no_utf8_from_a_lenient_server(tmp_path):
    ended = python("-c", ASK_BY_HAND, DATA_DIR=str(tmp_path))
    assert ended.stdout.split(maxsplit=1)[0] == "400"
    assert "UTF-8" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_source_is_the_view(lab):
    for variant, view in app.EXPERIMENTS["rivers"].items():
        answer = lab.get(f"/source/rivers/{variant}/")
        assert answer.headers["content-type"].startswith("text/plain")
        assert re.match(rf"(async )?def {view.__name__}\(", answer.text)
        assert app.first_line(view) in answer.text


def test_index_tells_of_every_variant(lab):
    told = lab.json("/")["experiments"]
    page = lab.get("/", headers=HTML).text
    assert told.keys() == app.EXPERIMENTS.keys()
    for experiment, variants in app.EXPERIMENTS.items():
        served = {k for k in variants if f"{experiment}/{k}" not in app.PITFALLS}
        assert told[experiment]["variants"].keys() == served
        for variant, line in told[experiment]["variants"].items():
            assert line == variants[variant].__doc__.splitlines()[0] != ""
            assert f'href="/{experiment}/{variant}/"' in page


def test_status(lab):
    status = lab.status()
    assert status.keys() == {
        *words("""threads rss_bytes requests_in_flight lanes upstream_in_flight event_loop
        http_parser http_client python django uvicorn database upstream""")
    }
    assert status["lanes"].keys() == {"size", "busy", "waiting"}
    assert status["requests_in_flight"] == 1
    assert (status["lanes"]["size"], status["upstream_in_flight"]) == (40, 0)
    assert status["python"] == sys.version.split()[0]
    assert status["database"] == "SQLite"
    assert lab.get("/status/", headers=HTML).json().keys() == status.keys()


def test_status_tells_of_postgresql(postgres):
    with serve(DATABASE_URL=postgres, UPSTREAM_LATENCY="0") as server:
        assert server.status()["database"] == "PostgreSQL"
        assert postgres not in json.dumps(server.status())


def test_rivers_in_a_browser(lab, browser):
    tab = browser.new_page()
    troubles = []
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.goto(f"{lab.url}/rivers/async/")
    assert tab.locator("tbody tr").count() == 6
    assert tab.locator("h1").inner_text().split() == ["rivers", "async"]
    tab.close()
    assert troubles == []


# --------------------------------------------------------------- The applications

SERVERS = {
    "hypercorn": "-m hypercorn app:application --bind 127.0.0.1:{port}",
    "daphne": "-m daphne -b 127.0.0.1 -p {port} app:application",
    "granian": "-m granian --interface asgi --host 127.0.0.1 --port {port} app:application",
}


@pytest.mark.parametrize("name", SERVERS)
def test_other_servers(name):
    if not importlib.util.find_spec(name):
        pytest.skip(f"{name} is not installed")
    with run(SERVERS[name], UPSTREAM_LATENCY="0") as server:
        for variant in POLITE:
            assert ask(server, variant).status == 200, variant
        check_headers(server.get("/rivers/async/"))
        assert server.status()["lanes"]["busy"] == 0
        assert "Traceback" not in server.log


def test_stock_is_the_same_site():
    with serve("app:stock", UPSTREAM_LATENCY="0") as server:
        for variant in POLITE:
            assert ask(server, variant).status == 200, variant
        check_headers(server.get("/rivers/async/"))
        assert server.status()["requests_in_flight"] in (0, 1)


RECEIVERS = """
import threading
from django.core import signals
{}
import django.db, django.core.cache, django.core.handlers.base, django.test.signals
print(threading.active_count(), *(
    sorted(receiver.__name__ for kind in signal._live_receivers(None) for receiver in kind)
    for signal in (signals.request_started, signals.request_finished)
))
"""


def test_import_changes_nothing_of_django():
    bare = "from django.conf import settings; settings.configure(); import django"
    folder = Path(SCRATCH.name, "none")
    told = [
        python("-c", RECEIVERS.format(first), DATA_DIR=str(folder))
        for first in (bare, "import app")
    ]
    assert told[0].stdout == told[1].stdout
    assert "close_old_connections" in told[0].stdout
    assert not folder.exists()


def test_sigterm_ends_it_cleanly():
    with serve(UPSTREAM_LATENCY="0") as server:
        assert ask(server, "async").status == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) in (0, 143, -signal.SIGTERM)
        assert "Traceback" not in server.log


def test_several_workers_start_at_once():
    command = "-m uvicorn app:application --port {port} --no-access-log --workers 2"
    with ExitStack() as stack:
        server = stack.enter_context(run(command, UPSTREAM_LATENCY="0"))
        assert ask(server, "async").status == 200
        assert "Traceback" not in server.log


# -------------------------------------------------------------------------- Experiments

# -------------------------------------------------------------------- Hello and cpu


def variants_of(*experiments):
    """Every variant of these experiments, or of all, pitfalls too: (name, variant)."""
    return [(name, v) for name in experiments for v in app.EXPERIMENTS[name]]


@pytest.mark.parametrize("variant", ["sync", "async"])
def test_hello(lab, variant):
    data = lab.json(f"/hello/{variant}/")
    assert 0 < data.pop("load_time") < 1
    assert data == {
        "experiment": "hello",
        "variant": variant,
        "greeting": "Hello, world!",
    }
    html = lab.get(f"/hello/{variant}/", headers=HTML)
    assert "Hello, world!" in html.text
    thread = "MainThread" if variant == "async" else "lane-"
    assert f'thread;desc="{thread}' in html.headers["server-timing"]


def test_cpu_has_one_digest(lab, faulty):
    pages = [lab.json("/cpu/sync/"), lab.json("/cpu/threaded/")]
    pages += [faulty.json("/cpu/async/")]  # a pitfall, which DEBUG=1 serves
    assert re.fullmatch("[0-9a-f]{64}", pages[0]["digest"])
    assert len({page["digest"] for page in pages}) == 1
    assert pages[0]["digest"] in lab.get("/cpu/sync/", headers=HTML).text


@pytest.mark.parametrize("pitfall", sorted(app.PITFALLS))
def test_pitfall_is_served_with_debug_alone(lab, faulty, pitfall):
    name, variant = pitfall.split("/")
    answer = lab.get(f"/{pitfall}/", headers=JSON)
    assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert faulty.get(f"/{pitfall}/").status_code == (
        500 if pitfall == "cars/unsafe" else 200
    )
    assert variant not in lab.json("/")["experiments"][name]["variants"]
    assert variant in faulty.json("/")["experiments"][name]["variants"]
    assert lab.get(f"/source/{pitfall}/").status_code == 200


# ----------------------------------------------------------------------------- Home

#: Variant: how many of its calls are in flight at once.
HOME = {"sync": 1, "sequential": 1, "async": 2}
RATES = ["sync", "async"]
PROMO, RECCO = OTHER_SERVICES["/promo/"], OTHER_SERVICES["/recco/"]


@pytest.mark.parametrize("variant", HOME)
def test_home(faulty, variant):
    upstream, most = faulty.upstream, HOME[variant]
    upstream.ready, upstream.grace = lambda call: upstream.most >= most, 0.03
    data = faulty.json(f"/home/{variant}/")
    assert (data["promo"], data["recco"], data["errors"]) == (PROMO, RECCO, {})
    assert (upstream.most, len(upstream.calls)) == (most, 2)
    html = faulty.get(f"/home/{variant}/", headers=HTML).text
    for text in ("<strong>A</strong> B", "by B", "$9.50", "Until 2030-01-01"):
        assert text in html


def test_home_of_the_embedded_upstream(lab):
    data = lab.json("/home/async/")
    assert data["promo"]["promotions"][0].keys() == {"title", "text", "ends"}
    assert data["recco"]["books"][0].keys() == {"title", "author", "price"}
    assert data["promo"] == lab.json("/home/sync/")["promo"]


def pages_of(server, experiment, variants):
    """JSON answers by variant, asked for at the same time, with the seconds of each."""

    def one(variant):
        began = time.monotonic()
        answer = server.get(f"/{experiment}/{variant}/", headers=JSON)
        return answer, time.monotonic() - began

    with ThreadPoolExecutor(len(variants)) as pool:
        return dict(zip(variants, pool.map(one, variants), strict=True))


def says(fault):
    """What a page of these experiments has to say, where rivers has no reading."""
    return FAULTS[fault].says.replace("no reading", "unknown shape|not JSON")


@pytest.mark.parametrize("fault", FAULTS)
def test_home_and_rates_with_a_service_at_fault(faulty, fault):
    both = fault.startswith("a byte")  # then neither may take the other's time
    faulty.upstream.fault = lambda call: (
        FAULTS[fault] if both or call.path != "/recco/" else None
    )
    with ThreadPoolExecutor(2) as pool:
        homes = pool.submit(pages_of, faulty, "home", HOME)
        rates = pool.submit(pages_of, faulty, "rates", RATES)
    for variant, (answer, seconds) in homes.result().items():
        data = answer.json()
        assert (answer.status_code, seconds < 3) == (200, True), variant
        assert (data["promo"], data["recco"]) == (None, None if both else RECCO), (
            variant
        )
        assert data["errors"].keys() == {"promo", *(["recco"] * both)}, variant
        assert re.search(says(fault), data["errors"]["promo"]), variant
    for variant, (answer, seconds) in rates.result().items():
        assert (answer.status_code, seconds < 3) == (
            504 if fault in SLOW else 502,
            True,
        ), variant
        assert re.search(says(fault), answer.json()["error"]), variant
    assert len(faulty.upstream.calls) == 2 * len(HOME) + len(RATES)  # none is repeated


def test_home_with_both_services_at_fault(faulty):
    for fault in ("503", "resets before the header"):
        faulty.upstream.fault = lambda call, fault=fault: FAULTS[fault]
        for variant, (answer, _) in pages_of(faulty, "home", HOME).items():
            data = answer.json()
            assert (answer.status_code, data["promo"], data["recco"]) == (
                200,
                None,
                None,
            )
            assert data["errors"].keys() == {"promo", "recco"}, variant
    html = faulty.get("/home/async/", headers=HTML)
    assert html.status_code == 200
    assert "No promotions just now." in html.text
    assert "No recommendations just now." in html.text


def test_home_and_rates_refused(faulty):
    faulty.upstream.refuse()
    try:
        homes = pages_of(faulty, "home", HOME)
        rates = pages_of(faulty, "rates", RATES)
    finally:
        faulty.upstream.listen()
    for answer, _ in homes.values():
        assert answer.status_code == 200
        assert re.search(BROKEN, answer.json()["errors"]["recco"])
    assert [answer.status_code for answer, _ in rates.values()] == [502, 502]


def answer_with(server, path, body):
    """Have the upstream answer one path with this body."""
    fault = Fault("", (http(body),))
    server.upstream.fault = lambda call: fault if call.path == path else None


EITHER = "either"
BOOK = '{"books": [{"title": %s, "author": "B", "price": %s}]}'
#: What the service of recommendations may send, and whether it is shown.
BOOKS = {
    "no books": ('{"books": []}', True),
    "a title that is null": (BOOK % ("null", "1"), EITHER),
    "a price that is text": (BOOK % ('"A"', '"much"'), False),
    "a price with an exponent": (BOOK % ('"A"', "1e300"), True),
    "null": ('{"books": null}', False),
    "text": ('{"books": "text"}', False),
    "a number": ('{"books": 5}', False),
    "books that are numbers": ('{"books": [1]}', False),
    "books without a price": ('{"books": [{"title": "A", "author": "B"}]}', False),
    "a list": ("[]", False),
    "a price that is NaN": (BOOK % ('"A"', "NaN"), False),
    "a price without end": (BOOK % ('"A"', "1e999"), EITHER),
    "a long price": (BOOK % ('"A"', "9" * 4000), EITHER),
    "half a surrogate": (BOOK % (r'"\ud800"', "1"), EITHER),
    "markup": (BOOK % ('"<script>"', "1"), True),
    "a nest": (BOOK % ("[" * 300 + "]" * 300, "1"), EITHER),
}


@pytest.mark.parametrize("case", BOOKS)
def test_home_shows_books_or_a_sentence(faulty, case):
    body, shown = BOOKS[case]
    answer_with(faulty, "/recco/", body.encode())
    for variant in HOME:
        answer = faulty.get(f"/home/{variant}/", headers=JSON)
        assert answer.status_code == 200
        html = faulty.get(f"/home/{variant}/", headers=HTML)
        assert (html.status_code, "<script>" in html.text) == (200, False)
        data = json.loads(answer.text, parse_constant=pytest.fail)
        assert data["promo"] == PROMO
        assert (data["recco"] is None) == ("recco" in data["errors"])
        assert shown in (EITHER, data["recco"] is not None)


def test_home_of_nests(faulty):
    for depth in [*range(940, 996, 3), 3000, 30_000]:
        body = BOOK % ("[" * depth + "]" * depth, "1")
        answer_with(faulty, "/recco/", body.encode())
        for kind in (JSON, HTML):
            assert faulty.get("/home/async/", headers=kind).status_code == 200


# ---------------------------------------------------------------------------- Rates


@pytest.mark.parametrize("variant", RATES)
def test_rates(lab, variant):
    data = lab.json(f"/rates/{variant}/")
    assert 160 <= data.pop("currencies") <= 180
    assert 0 < data.pop("load_time") < 5
    assert data == {
        "experiment": "rates",
        "variant": variant,
        "base": "EUR",
        "start_date": "2016-01-02",
        "end_date": "2017-01-01",
        "days": 366,
    }


@pytest.mark.parametrize("variant", RATES)
@pytest.mark.parametrize("symbol", ["", "?symbol=JPY", "?symbol=jpy", "?symbol=EUR"])
def test_rates_are_drawn(lab, variant, symbol):
    html = lab.get(f"/rates/{variant}/{symbol}", headers=HTML).text
    svg = html[html.index("<svg") : html.index("</svg>")]
    points = re.search('points="([^"]+)"', svg)[1].split()
    assert len(points) == 366
    for point in points:
        x, y = map(float, point.split(","))
        assert 0 <= x <= 800 and 0 <= y <= 260
    for name in ("lowest", "highest", "last"):
        assert re.search(rf">{name} [\d.e+]+</text>", svg)
    assert (symbol[-3:].upper() or "USD") in re.search('aria-label="([^"]+)', svg)[1]


@pytest.mark.parametrize("symbol", ["", "XXX", "US", "<b>", "%00", "%F0%9F%8E%89", "1"])
def test_rates_of_no_currency(lab, symbol):
    for variant in RATES:
        answer = lab.get(f"/rates/{variant}/?symbol={symbol}", headers=JSON)
        assert (answer.status_code, answer.json()["field"]) == (400, "symbol")
        assert lab.get(f"/rates/{variant}/?symbol={symbol}").text.count("<b>") == 0


DAYS = '{"base": "EUR", "rates": %s}'
#: What the service of rates may send, and the page's status for it.
DAYS_CASES = {
    "one day": (DAYS % '{"2016-01-02": {"USD": 1.5}}', 200),
    "a day without the currency": (
        DAYS % '{"2016-01-02":{"USD":1},"2016-01-03":{}}',
        200,
    ),
    "days in another order": (
        DAYS % '{"2016-01-03": {"USD": 2}, "2016-01-02": {"USD": 1}}',
        200,
    ),
    "no days": (DAYS % "{}", 502),
    "null": (DAYS % "null", 502),
    "a list": (DAYS % "[1, 2]", 502),
    "text": (DAYS % '"text"', 502),
    "a day that is none": (DAYS % '{"yesterday": {"USD": 1}}', 502),
    "a day that is null": (DAYS % '{"2016-01-02": null}', 502),
    "a rate that is null": (DAYS % '{"2016-01-02": {"USD": null}}', 400),
    "a rate that is a list": (DAYS % '{"2016-01-02": {"USD": [1]}}', 400),
    "a rate that is NaN": (DAYS % '{"2016-01-02": {"USD": NaN}}', 502),
    "a rate that is text for NaN": (DAYS % '{"2016-01-02": {"USD": "nan"}}', 400),
    "a rate without end": (DAYS % '{"2016-01-02": {"USD": 1e999}}', 400),
    "a long rate": (DAYS % ('{"2016-01-02": {"USD": %s}}' % ("9" * 400)), 400),
    "a base that is null": ('{"base": null, "rates": {"2016-01-02": {"USD": 1}}}', 502),
    "half a surrogate": (
        r'{"base": "\ud800", "rates": {"2016-01-02": {"USD": 1}}}',
        502,
    ),
    "a refusal": ('{"success": false, "error": {"code": 104}}', 502),
}


@pytest.mark.parametrize("case", DAYS_CASES)
def test_rates_of_another_shape(faulty, case):
    body, status = DAYS_CASES[case]
    answer_with(faulty, "/exchangerates_data/timeseries", body.encode())
    for variant in RATES:
        for kind in (JSON, HTML):
            answer = faulty.get(f"/rates/{variant}/", headers=kind)
            assert answer.status_code == status
            assert "nan" not in answer.text


# ----------------------------------------------------------------------------- Cars

READERS = ["sync", "async", "sync_to_async", "prefetched"]
MAKERS = ["sync", "async", "sync_to_async"]
TOKEN = "a" * 32
#: A form's token, as the cookie and as the header.
FORM = JSON | {"Cookie": f"csrftoken={TOKEN}", "X-CSRFToken": TOKEN}
CAR = {"engine": "V12 engine", "name": "Maker X", "location": "Store X"}
POSTGRES = "postgresql://postgres@127.0.0.1:5432"
#: Rows that belong to no car, and cars that lack a part or a store.
TORN = """
SELECT (SELECT count(*) FROM app_carparts p WHERE NOT EXISTS
    (SELECT 1 FROM app_car_car_parts j WHERE j.carparts_id = p.id))
  + (SELECT count(*) FROM app_store s WHERE NOT EXISTS
    (SELECT 1 FROM app_car_store j WHERE j.store_id = s.id))
  + (SELECT count(*) FROM app_manufacturer m WHERE NOT EXISTS
    (SELECT 1 FROM app_car c WHERE c.manufacturer_id = m.id))
  + (SELECT count(*) FROM app_car c WHERE NOT EXISTS
    (SELECT 1 FROM app_car_car_parts j WHERE j.car_id = c.id))
  + (SELECT count(*) FROM app_car c WHERE NOT EXISTS
    (SELECT 1 FROM app_car_store j WHERE j.car_id = c.id))
"""
#: Triggers on the last thing that a POST inserts: one refuses, one takes its time.
REFUSES = {
    "SQLite": """CREATE TRIGGER trap BEFORE INSERT ON app_car_car_parts
        BEGIN SELECT RAISE(ABORT, 'no'); END""",
    "PostgreSQL": """CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE TRIGGER trap BEFORE INSERT ON app_car_car_parts
        EXECUTE FUNCTION trap()""",
}
DAWDLES = {
    "SQLite": """CREATE TRIGGER trap BEFORE INSERT ON app_car_car_parts BEGIN
        SELECT count(*) FROM (WITH RECURSIVE c(x) AS
        (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000000000) SELECT x FROM c);
        END""",
    "PostgreSQL": """CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
        CREATE TRIGGER trap BEFORE INSERT ON app_car_car_parts
        FOR EACH ROW EXECUTE FUNCTION trap()""",
}
UNTRAP = {
    "SQLite": "DROP TRIGGER trap",
    "PostgreSQL": "DROP TRIGGER trap ON app_car_car_parts; DROP FUNCTION trap()",
}


class Database:
    """A database of the lab's, and a way to it beside the lab."""

    def __init__(self, kind, url, name):
        self.kind, self.url, self.name = kind, url, name

    def connect(self):
        if self.kind == "SQLite":
            return sqlite3.connect(self.name, timeout=10, isolation_level=None)
        import psycopg

        return psycopg.connect(self.url, autocommit=True)

    def run(self, sql):
        """The first row's first value, if there is one."""
        with closing(self.connect()) as connection:
            found = connection.execute(sql)
            row = found.fetchone() if found.description else None
            return row and row[0]

    @contextmanager
    def trap(self, triggers):
        self.run(triggers[self.kind])
        try:
            yield
        finally:
            self.run(UNTRAP[self.kind])

    def state(self):
        """How many cars there are, and how many rows are torn."""
        return self.run("SELECT count(*) FROM app_car"), self.run(TORN)

    def connections(self, server):
        """How many the server keeps open."""
        if self.kind == "PostgreSQL":
            return self.run(
                "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                f" AND datname = '{self.name}'"
            )
        opened = Path(f"/proc/{server.pid}/fd").iterdir()
        return [os.readlink(file) for file in opened].count(self.name)


@contextmanager
def database(kind):
    """A new database of this kind, which is gone afterwards."""
    if kind == "SQLite":
        with tempfile.TemporaryDirectory(prefix="lab-") as folder:
            name = f"{folder}/cars.sqlite3"
            yield Database(kind, f"sqlite:///{name}", name)
        return
    psycopg = pytest.importorskip("psycopg")
    name = f"lab_{os.getpid()}_{time.monotonic_ns()}"
    try:
        admin = psycopg.connect(f"{POSTGRES}/postgres", autocommit=True)
    except psycopg.OperationalError:
        missing("PostgreSQL does not answer")
    with closing(admin):
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield Database(kind, f"{POSTGRES}/{name}", name)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


#: An address where nobody answers, so that no upstream is started.
NOBODY = "http://127.0.0.1:9"
KINDS = ["SQLite", "PostgreSQL"]


@contextmanager
def lab_on(kind):
    """A lab with eight lanes on a new database of this kind."""
    with ExitStack() as stack:
        base = stack.enter_context(database(kind))
        variables = {"DATABASE_URL": base.url, "LANES": "8", "UPSTREAM_URL": NOBODY}
        server = stack.enter_context(serve(**variables))
        server.database = base
        yield server


@pytest.fixture(scope="session")
def on_sqlite():
    with lab_on("SQLite") as server:
        yield server


@pytest.fixture(scope="session")
def on_postgresql():
    with lab_on("PostgreSQL") as server:
        yield server


@pytest.fixture(params=KINDS)
def cars(request):
    """A lab on a database of each kind."""
    return request.getfixturevalue(f"on_{request.param.lower()}")


def create(server, variant, **fields):
    """The answer to the form of a new car."""
    return server.client.post(f"/cars/{variant}/", data=CAR | fields, headers=FORM)


def table_of(server, variant, n):
    """The first ten rows of the page."""
    html = server.get(f"/cars/{variant}/?n={n}", headers=HTML).text
    rows = re.findall("<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", html)
    assert f"{n} cars, read with" in html
    return rows


@pytest.mark.parametrize("n", [1, 25])
def test_cars_are_the_same_in_every_variant(cars, n):
    tables = [table_of(cars, variant, n) for variant in READERS]
    assert len(tables[0]) == min(n, 10)
    assert tables == [tables[0]] * len(READERS)
    assert tables[0][0] == ("1", "Store 1", "–")
    pages = {variant: cars.json(f"/cars/{variant}/?n={n}") for variant in READERS}
    assert {page["cars"] for page in pages.values()} == {n}
    queries = {variant: page["queries"] for variant, page in pages.items()}
    assert queries.pop("prefetched") == 3
    assert set(queries.values()) == {1 + 3 * n}
    assert pages["sync"].keys() == {
        *words("experiment variant load_time cars queries"),
    }


def test_cars_limits(cars):
    assert cars.json("/cars/prefetched/?n=1500")["cars"] == 1500
    assert cars.json("/cars/sync/")["cars"] == 50


def read_each_way(n):
    """The cars as each variant's function reads them."""
    app.make_folders()
    app.make_tables()
    try:
        asynchronously = app.async_to_sync(app.read_cars_async)(n)
        return app.read_cars(n), app.read_cars_prefetched(n), asynchronously
    finally:
        app.connections.close_all()


def test_cars_read_in_process_are_the_same():
    one, other, third = apart(read_each_way, 150)
    assert one == other == third
    assert sum(engine is not None for *_, engine in one) == 50
    assert (one[0], one[29]) == (
        (1, "Store 1", None),
        (30, "Store 24", "V8 engine 29"),
    )


@pytest.mark.parametrize(
    "n", words("0 1501 -1 1.5 1e3 0x10 many nan %D9%A3 10%00 99999999999999999999")
)
def test_cars_number_out_of_range(cars, n):
    for variant in READERS:
        answer = cars.get(f"/cars/{variant}/?n={n}", headers=JSON)
        assert answer.status_code == 400
        assert re.match("n is .* from 1 to 1500", answer.json()["error"])


@pytest.mark.parametrize("variant", MAKERS)
def test_car_is_created(cars, variant):
    before = cars.database.state()[0]
    answer = create(cars, variant, engine="V12 <engine> ü", location="L" * 150)
    assert answer.status_code == 201
    car = answer.json()["car"]
    assert cars.database.state() == (before + 1, 0)
    made = cars.database.run(f"""
        SELECT p.engine || m.name || s.location FROM app_car c
        JOIN app_manufacturer m ON m.id = c.manufacturer_id
        JOIN app_car_car_parts cp ON cp.car_id = c.id
        JOIN app_carparts p ON p.id = cp.carparts_id
        JOIN app_car_store cs ON cs.car_id = c.id
        JOIN app_store s ON s.id = cs.store_id WHERE c.id = {car}""")
    assert made == "V12 <engine> üMaker X" + "L" * 150
    html = cars.client.post(f"/cars/{variant}/", data=CAR, headers=FORM | HTML)
    assert html.status_code == 201
    assert "was created" in html.text


#: Fields of a new car: the one that is refused.
FIELDS = {
    "engine": [{"engine": ""}, {"engine": "x" * 1001}, {"engine": " "}],
    "name": [{"name": ""}, {"name": "x" * 151}, {"name": "a\0b"}],
    "location": [{"location": ""}, {"location": "x" * 151}],
}


@pytest.mark.parametrize("variant", MAKERS)
def test_car_with_a_wrong_field(cars, variant):
    before = cars.database.state()
    for field, wrong in FIELDS.items():
        for fields in wrong:
            answer = create(cars, variant, **fields)
            assert (answer.status_code, answer.json()["field"]) == (400, field)
            assert answer.json()["error"]
    answer = cars.client.post(f"/cars/{variant}/", headers=FORM)
    assert (answer.status_code, answer.json()["field"]) == (400, "engine")
    assert create(cars, variant, name="x" * 150, engine="y" * 1000).status_code == 201
    assert cars.database.state() == (before[0] + 1, 0)


@pytest.mark.parametrize("variant", MAKERS)
def test_car_without_its_token(cars, variant):
    before, path = cars.database.state(), f"/cars/{variant}/"
    for headers in (JSON, JSON | {"X-CSRFToken": TOKEN}, FORM | {"X-CSRFToken": "b"}):
        with httpx.Client(base_url=cars.url) as stranger:
            answer = stranger.post(path, data=CAR, headers=headers)
        assert (answer.status_code, list(answer.json())) == (403, ["error"])
    assert cars.database.state() == before


@pytest.mark.parametrize("path", ["/cars/sync/", "/cars/async/", "/upload/async/"])
def test_form_sets_the_token_that_it_wants(lab, path):
    with httpx.Client(base_url=lab.url, headers=HTML) as visitor:
        field = re.search(
            'name="csrfmiddlewaretoken" value="(.+?)"', visitor.get(path).text
        )
        assert list(visitor.cookies) == ["csrftoken"]
        data = CAR | {"csrfmiddlewaretoken": field[1]}
        answer = visitor.post(path, data=data, files={"file": ("a", b"a")})
        assert answer.status_code in (201, 303)


@pytest.mark.parametrize("variant", ["prefetched", "unsafe"])
def test_car_cannot_be_posted_where_there_is_no_form(faulty, variant):
    answer = create(faulty, variant)
    assert answer.status_code == 405
    assert set(re.findall(r"\w+", answer.headers["allow"])) == {"GET", "HEAD"}


def test_cars_unsafe_shows_the_refusal(faulty):
    answer = faulty.get("/cars/unsafe/", headers=JSON)
    assert answer.status_code == 500
    assert "SynchronousOnlyOperation" in answer.json()["error"]
    html = faulty.get("/cars/unsafe/", headers=HTML).text
    for way_out in ("/cars/async/", "/cars/sync_to_async/"):
        assert f'href="{way_out}"' in html


@pytest.mark.parametrize("variant", MAKERS)
def test_car_is_made_whole_or_not_at_all(cars, variant):
    before = cars.database.state()
    with cars.database.trap(REFUSES):
        answer = create(cars, variant)
    assert (answer.status_code, list(answer.json())) == (500, ["error"])
    assert cars.database.state() == before == (before[0], 0)
    assert create(cars, variant).status_code == 201


@pytest.mark.parametrize("variant", MAKERS)
def test_car_of_a_visitor_who_leaves(cars, variant):
    body = "engine=a&name=b&location=c"
    for _ in range(20):
        head = f"POST /cars/{variant}/ HTTP/1.1\r\nHost: localhost\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in FORM.items())
        head += "Content-Type: application/x-www-form-urlencoded\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n{body}"
        leave(cars.connect(head.encode()))
    # A connection that is still to be accepted begins its request after a first look.
    until(lambda: quiet(cars) and cars.database.state()[1] == 0)


def quiet(server):
    """Whether nothing is under way but this question."""
    status = server.status()
    return (status["requests_in_flight"], status["lanes"]["busy"]) == (1, 0)


def test_cars_connections_are_no_more_than_lanes(cars):
    def visit_often(number):
        variant = (READERS + MAKERS)[number % 7]
        if number % 7 < len(READERS):
            return cars.get(f"/cars/{variant}/?n=2").status_code
        return create(cars, variant).status_code

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(visit_often, range(200))) == {200, 201}
    assert 1 <= cars.database.connections(cars) <= 8


@pytest.mark.parametrize("kind", KINDS)
def test_cars_are_there_once_whatever_the_workers(kind):
    command = "-m uvicorn app:application --port {port} --workers 2"
    with ExitStack() as stack:
        base = stack.enter_context(database(kind))
        server = stack.enter_context(run(command, DATABASE_URL=base.url))
        until(lambda: server.log.count("Application startup complete") == 2, 30)
        assert base.state() == (1500, 0)
        assert "Traceback" not in server.log
        assert server.status()["database"] == kind
        # The embedded upstream is a uvicorn too, and must not silence the lab's.
        assert f"Uvicorn running on {server.url}" in server.log
        until(lambda: '"GET /status/ HTTP/1.1" 200' in server.log)
        assert "/nwis/" not in server.log


def test_a_locked_database_is_a_503(on_sqlite):
    server = on_sqlite
    with closing(server.database.connect()) as holder, ThreadPoolExecutor(3) as pool:
        holder.execute("BEGIN IMMEDIATE")
        before = server.database.state()
        answers = pool.map(lambda variant: create(server, variant), MAKERS)
        until(lambda: server.status()["requests_in_flight"] == 4)
        for variant in READERS:  # who only reads need not wait
            assert server.json(f"/cars/{variant}/?n=2")["cars"] == 2
        for answer in answers:
            assert (answer.status_code, list(answer.json())) == (503, ["error"])
        holder.execute("ROLLBACK")
    assert server.database.state() == before
    assert [create(server, variant).status_code for variant in MAKERS] == [201] * 3


def cut(base):
    """End every connection of the lab to its database."""
    base.run(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        f" WHERE pid <> pg_backend_pid() AND datname = '{base.name}'"
    )


@pytest.mark.parametrize("variant", READERS)
def test_connections_cut_between_requests(on_postgresql, variant):
    for _ in range(2):
        assert on_postgresql.json(f"/cars/{variant}/?n=2")["cars"] == 2
        cut(on_postgresql.database)
    for maker in MAKERS:
        assert create(on_postgresql, maker).status_code == 201
        cut(on_postgresql.database)


@pytest.mark.parametrize("variant", MAKERS)
def test_connection_cut_in_a_request(on_postgresql, variant):
    base = on_postgresql.database
    busy = f"""SELECT count(*) FROM pg_stat_activity
        WHERE datname = '{base.name}' AND wait_event = 'PgSleep'"""
    before = base.state()
    with ThreadPoolExecutor(1) as pool, base.trap(DAWDLES):
        answer = pool.submit(create, on_postgresql, variant)
        until(lambda: base.run(busy))
        cut(base)
        answer = answer.result()
    assert (answer.status_code, list(answer.json())) == (503, ["error"])
    assert base.state() == before
    assert create(on_postgresql, variant).status_code == 201


def test_database_that_takes_no_connections(on_postgresql):
    base = on_postgresql.database
    elsewhere = Database("PostgreSQL", f"{POSTGRES}/postgres", base.name)
    before = base.state()
    elsewhere.run(f"ALTER DATABASE {base.name} ALLOW_CONNECTIONS false")
    try:
        cut(elsewhere)
        for variant in READERS:
            answer = on_postgresql.get(f"/cars/{variant}/", headers=JSON)
            assert (answer.status_code, list(answer.json())) == (503, ["error"])
        for variant in MAKERS:
            assert create(on_postgresql, variant).status_code == 503
        assert on_postgresql.json("/hello/sync/")["greeting"]
    finally:
        elsewhere.run(f"ALTER DATABASE {base.name} ALLOW_CONNECTIONS true")
    assert base.state() == before
    for variant in READERS:
        assert on_postgresql.json(f"/cars/{variant}/?n=2")["cars"] == 2


@pytest.mark.parametrize(
    ("kind", "variant"), list(zip(KINDS, ["sync_to_async", "sync"], strict=True))
)
def test_sigkill_in_a_car(kind, variant):
    with ExitStack() as stack:
        base = stack.enter_context(database(kind))
        server = stack.enter_context(serve(DATABASE_URL=base.url, UPSTREAM_URL=NOBODY))
        with base.trap(DAWDLES), ThreadPoolExecutor(1) as pool:
            answer = pool.submit(create, server, variant)
            until(lambda: server.status()["lanes"]["busy"])
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                answer.result()
            server.process.wait()
            if kind == "PostgreSQL":
                cut(base)
        assert base.state() == (1500, 0)


# ---------------------------------------------------------------------- Certificate


@pytest.fixture(scope="session")
def store():
    """A lab with a folder that the tests know."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        with serve(UPSTREAM_LATENCY="0", DATA_DIR=folder) as server:
            server.folder = Path(folder)
            server.uploads = server.folder / "uploads"
            yield server


STAMP = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.mark.parametrize("variant", ["sync", "async"])
@pytest.mark.parametrize("kind", [JSON, HTML], ids=["JSON", "HTML"])
def test_certificate(store, variant, kind):
    template = (store.folder / "certificate-template.pdf").read_bytes()
    answer = store.get(f"/certificate/{variant}/", headers=kind)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pdf"
    disposition = answer.headers["content-disposition"]
    assert disposition == "attachment; filename=certificate.pdf"
    places = [match.span() for match in re.finditer(STAMP, answer.content)]
    assert len(places) >= 2
    assert len(answer.content) == len(template)
    for begin, until_here in places:
        assert until_here - begin == 20
        assert template[begin:until_here] == b"%timestamp%" + b" " * 9
    assert re.sub(STAMP, b"%timestamp%" + b" " * 9, answer.content) == template


def test_certificate_is_a_valid_pdf(store, tmp_path):
    (tmp_path / "a.pdf").write_bytes(store.get("/certificate/async/").content)
    if not shutil.which("qpdf"):
        missing("qpdf is not installed")
    command = ["qpdf", "--check", tmp_path / "a.pdf"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WARNING" not in checked.stdout + checked.stderr


def test_certificate_is_read_strictly(store):
    pypdf = pytest.importorskip("pypdf")
    answer = store.get("/certificate/sync/").content
    reader = pypdf.PdfReader(io.BytesIO(answer), strict=True)
    stamp = re.search(STAMP, answer)[0].decode()
    assert len(reader.pages) == 1
    assert stamp in reader.pages[0].extract_text()
    assert stamp in reader.metadata.subject


#: A template of one's own, and what the page then answers.
TEMPLATES = {
    "own": (b"%PDF mine %timestamp%          end", 200),
    "no placeholder": (b"%PDF nothing", 500),
    "a placeholder too short": (b"%timestamp%        .", 500),
    "empty": (b"", 500),
    "missing": (None, 500),
    "a folder": ("folder", 500),
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_certificate_from_a_template(store, case):
    text, status = TEMPLATES[case]
    place = store.folder / "certificate-template.pdf"
    kept = place.rename(store.folder / "kept.pdf")
    try:
        if text == "folder":
            place.mkdir()
        elif text is not None:
            place.write_bytes(text)
        for variant in ("sync", "async"):
            answer = store.get(f"/certificate/{variant}/", headers=JSON)
            assert answer.status_code == status
            if status == 200:
                assert re.fullmatch(rb"%PDF mine " + STAMP + b" end", answer.content)
            else:
                assert place.name in answer.json()["error"]
                assert str(store.folder) not in answer.text
    finally:
        if place.is_dir():
            place.rmdir()
        kept.replace(place)


# ---------------------------------------------------------------------------- Files

CONTENT = bytes(range(250)) * 4
FILES = ["sync", "async"]


@pytest.fixture(scope="session")
def file(store):
    """A file of 1,000 bytes, and its headers."""
    (store.uploads / "file.bin").write_bytes(CONTENT)
    headers = store.get("/files/async/file.bin").headers
    store.tag, store.modified = headers["etag"], headers["last-modified"]
    return store


@pytest.mark.parametrize("variant", FILES)
def test_file(file, variant):
    answer = file.get(f"/files/{variant}/file.bin")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-length"] == "1000"
    assert answer.headers["content-disposition"] == 'attachment; filename="file.bin"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"


def test_file_headers(file):
    headers = file.get("/files/async/file.bin").headers
    assert re.fullmatch('"[^"]+"', headers["etag"])
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-type"] == "application/octet-stream"
    info = (file.uploads / "file.bin").stat()
    assert headers["last-modified"] == app.http_date(int(info.st_mtime))


#: A `Range`: the status, and the first and last byte.
RANGES = {
    "bytes=0-99": (206, 0, 99),
    "bytes=100-": (206, 100, 999),
    "bytes=-100": (206, 900, 999),
    "bytes=-1": (206, 999, 999),
    "bytes=0-0": (206, 0, 0),
    "bytes=0-": (206, 0, 999),
    "bytes=999-999": (206, 999, 999),
    "bytes=990-2000": (206, 990, 999),
    "bytes=-2000": (206, 0, 999),
    f"bytes=5-{'9' * 100}": (206, 5, 999),
    f"bytes=-{'9' * 100}": (206, 0, 999),
    "bytes=1000-": (416, 0, 0),
    "bytes=1000-1001": (416, 0, 0),
    f"bytes={'9' * 100}-": (416, 0, 0),
    "bytes=-0": (416, 0, 0),
    "bytes=5-4": (200, 0, 999),
    "bytes=-": (200, 0, 999),
    "bytes=": (200, 0, 999),
    "bytes=a-b": (200, 0, 999),
    "bytes=1-2-3": (200, 0, 999),
    "bytes=--1": (200, 0, 999),
    "bytes=+1-2": (200, 0, 999),
    "bytes=0x1-2": (200, 0, 999),
    f"bytes={'9' * 5000}-": (200, 0, 999),
    "items=0-1": (200, 0, 999),
    "0-1": (200, 0, 999),
    "": (200, 0, 999),
    "bytes=0-1,4-5": (200, 0, 999),
    "bytes=0-1,": (200, 0, 999),
}


@pytest.mark.parametrize("asked", RANGES, ids=lambda asked: asked[:20])
def test_range(file, asked):
    status, first, last = RANGES[asked]
    answer = file.get("/files/async/file.bin", headers={"Range": asked})
    assert answer.status_code == status
    told = answer.headers.get("content-range")
    assert (
        told
        == {200: None, 206: f"bytes {first}-{last}/1000", 416: "bytes */1000"}[status]
    )
    if status != 416:
        assert answer.content == CONTENT[first : last + 1]
        assert answer.headers["content-length"] == str(last + 1 - first)
    head = file.client.head("/files/async/file.bin", headers={"Range": asked})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == "1000"


def test_range_of_an_empty_file(file):
    (file.uploads / "empty").touch()
    for asked in ("bytes=0-", "bytes=-5", "bytes=0-0"):
        answer = file.get("/files/async/empty", headers={"Range": asked})
        assert answer.status_code == 416
        assert answer.headers["content-range"] == "bytes */0"
    answer = file.get("/files/async/empty")
    assert (answer.status_code, answer.content) == (200, b"")
    assert file.get("/files/sync/empty").status_code == 200


LONG_AGO, LATER = "Sat, 29 Oct 1994 19:43:31 GMT", "Fri, 29 Oct 2094 19:43:31 GMT"
#: Headers of a condition, where {tag} and {modified} are the file's: the status.
CONDITIONS = [
    ({"If-None-Match": "{tag}"}, 304),
    ({"If-None-Match": '"other", {tag}'}, 304),
    ({"If-None-Match": "W/{tag}"}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": '"other"'}, 200),
    ({"If-None-Match": "other"}, 200),
    ({"If-Modified-Since": "{modified}"}, 304),
    ({"If-Modified-Since": LATER}, 304),
    ({"If-Modified-Since": LONG_AGO}, 200),
    ({"If-Modified-Since": "yesterday"}, 200),
    ({"If-None-Match": '"other"', "If-Modified-Since": "{modified}"}, 200),
    ({"If-None-Match": "{tag}", "If-Modified-Since": LONG_AGO}, 304),
    ({"If-Match": "{tag}"}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": '"other"'}, 412),
    ({"If-Match": "W/{tag}"}, 412),
    ({"If-Unmodified-Since": "{modified}"}, 200),
    ({"If-Unmodified-Since": LONG_AGO}, 412),
    ({"If-Match": "{tag}", "If-Unmodified-Since": LONG_AGO}, 200),
    ({"If-Range": "{tag}", "Range": "bytes=0-9"}, 206),
    ({"If-Range": "{modified}", "Range": "bytes=0-9"}, 206),
    ({"If-Range": '"other"', "Range": "bytes=0-9"}, 200),
    ({"If-Range": "W/{tag}", "Range": "bytes=0-9"}, 200),
    ({"If-Range": LONG_AGO, "Range": "bytes=0-9"}, 200),
    ({"If-Range": LATER, "Range": "bytes=0-9"}, 200),
    ({"If-Range": '"other"', "Range": "bytes=2000-"}, 200),
    ({"If-Range": "{tag}"}, 200),
    ({"If-None-Match": "{tag}", "Range": "bytes=0-9"}, 304),
    ({"If-None-Match": "{tag}", "Range": "bytes=2000-"}, 304),
    ({"If-Match": '"other"', "Range": "bytes=0-9"}, 412),
    ({"If-Match": "{tag}", "Range": "bytes=0-9"}, 206),
]


@pytest.mark.parametrize(("condition", "status"), CONDITIONS, ids=str)
def test_condition(file, condition, status):
    names = {"tag": file.tag, "modified": file.modified}
    headers = {name: value.format(**names) for name, value in condition.items()}
    answer = file.get("/files/async/file.bin", headers=headers)
    assert answer.status_code == status
    if status != 412:
        assert answer.headers["etag"] == file.tag
        assert answer.headers["cache-control"] == "no-cache"
    if status == 304:
        assert (answer.content, "content-range" in answer.headers) == (b"", False)
    head = file.client.head("/files/async/file.bin", headers=headers)
    assert head.status_code == (200 if status == 206 else status)


BIG = bytes(range(251)) * 9600  # a bit more than two chunks
EDGES = [0, 1, app.CHUNK - 1, app.CHUNK, app.CHUNK + 1, 2 * app.CHUNK, len(BIG) - 1]
PLACES = st.sampled_from(EDGES) | st.integers(0, len(BIG) + 10)


@settings(max_examples=60, deadline=None, database=None)
@given(PLACES, PLACES | st.none())
@example(0, None)
@example(app.CHUNK - 1, 2 * app.CHUNK)
def test_any_range_is_the_bytes_of_the_file(file, first, last):
    if not (file.uploads / "big.bin").exists():
        (file.uploads / "big.bin").write_bytes(BIG)
    upto = "" if last is None else last
    headers = {"Range": f"bytes={first}-{upto}"}
    answer = file.get("/files/async/big.bin", headers=headers)
    if last is not None and last < first:
        assert (answer.status_code, answer.content) == (200, BIG)
    elif first >= len(BIG):
        assert answer.status_code == 416
    else:
        end = len(BIG) if last is None else last + 1
        assert (answer.status_code, answer.content) == (206, BIG[first:end])


NAMES = [
    "plain.txt",
    "año nuevo.txt",
    "日本語.png",
    "🎉.txt",
    'say "hi".txt',
    "back\\slash.txt",
    "semi;colon, comma.txt",
    "percent%20.txt",
    "question?hash#.txt",
    "<b>&amp;.html",
    "-dash",
    ".hidden",
    "x" * 255,
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:12])
@pytest.mark.parametrize("variant", FILES)
def test_file_of_any_name(store, variant, name):
    (store.uploads / name).write_bytes(name.encode())
    listed = {one["name"]: one for one in store.json("/files/")["files"]}
    answer = store.get(listed[name]["url"].replace("async", variant, 1))
    assert (answer.status_code, answer.content) == (200, name.encode())
    assert name_of(answer.headers["content-disposition"]) == name
    assert answer.headers["x-content-type-options"] == "nosniff"
    html = store.get("/files/", headers=HTML).text
    assert f'href="/files/{variant}/{app.quote(name, safe="")}"' in html
    assert "<b>&amp;.html" not in html


def name_of(disposition):
    """The name that a browser reads in a Content-Disposition."""
    assert disposition.startswith("attachment; filename")
    if extended := re.search(r"filename\*=utf-8''(\S+)", disposition):
        return app.unquote(extended[1])
    return re.sub(r"\\(.)", r"\1", re.search('filename="(.*)"$', disposition)[1])


def test_files_list(file):
    data = file.json("/files/")
    found = {one["name"]: one for one in data["files"]}["file.bin"]
    assert found.keys() == {"name", "size", "modified", "url"}
    assert (found["size"], found["url"]) == (1000, "/files/async/file.bin")
    assert app.datetime.fromisoformat(found["modified"]).tzinfo
    for variant in FILES:
        answer = file.get(f"/files/{variant}/")
        assert answer.status_code in (301, 302, 303, 307, 308)
        assert answer.headers["location"] == "/files/"


#: What is no upload: its path as it is sent.
ODD = [
    *words("""nothing ../lab.sqlite3 ..%2flab.sqlite3 %2e%2e%2flab.sqlite3 .. . %2e%2e
    ..%5clab.sqlite3 %2fetc%2fpasswd /etc/passwd //etc/passwd %00 file.bin%00
    file.bin/ file.bin/. file%0abin %ff %c3%28 %ed%a0%80 %e2%80%ae link inner loop dir dir/
    dir%2finside linked%2finside fifo socket dangling
    ....//lab.sqlite3 %252e%252e%252flab.sqlite3 file.bin%20 FILE.BIN/"""),
    "x" * 256,
    "x" * 5000,
    "%f0%9f%8e%89" * 300,
]


@pytest.fixture(scope="session")
def odd(file):
    """A folder in which there is what is no regular file."""
    uploads = file.uploads
    (uploads / "dir").mkdir()
    (uploads / "dir" / "inside").write_bytes(b"secret")
    (uploads / "link").symlink_to("/etc/passwd")
    (uploads / "inner").symlink_to("file.bin")
    (uploads / "loop").symlink_to("loop")
    (uploads / "dangling").symlink_to("nowhere")
    (uploads / "linked").symlink_to("dir")
    (uploads / os.fsdecode(b"no\xffutf8")).touch()
    os.mkfifo(uploads / "fifo")
    file.listener = socket.socket(socket.AF_UNIX)
    file.listener.bind(str(uploads / "socket"))
    with closing(file.listener):
        yield file


@pytest.mark.parametrize("variant", FILES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_no_file_is_a_404(odd, method, variant):
    for name in ODD:
        answer = odd.raw(
            RAW.format(f"/files/{variant}/{name}").replace("GET", method, 1).encode()
        )
        moved = name in ("..", ".", "%2e%2e")
        assert re.match(rb"HTTP/1.1 (404|302)" if moved else b"HTTP/1.1 404", answer), (
            name
        )
        assert b"root:" not in answer
        assert b"SQLite format" not in answer
        assert str(odd.folder).encode() not in answer


def test_what_is_no_file_is_not_listed(odd):
    names = {one["name"] for one in odd.json("/files/")["files"]}
    assert "file.bin" in names
    assert not names & {*words("dir link inner loop dangling linked fifo socket")}


def first_part(server, path):
    """A visitor who has read the beginning of an answer, and no more."""
    visitor = server.connect(RAW.format(path).encode())
    return visitor, visitor.recv(1024)


def to_the_end(visitor):
    """What else a visitor gets."""
    with visitor:
        return b"".join(iter(lambda: visitor.recv(2**20), b""))


def test_file_replaced_midway_is_one_version(store):
    size, place = 30_000_000, store.uploads / "replaced"
    place.write_bytes(b"a" * size)
    visitor, begun = first_part(store, "/files/async/replaced")
    other = store.folder / "other"
    other.write_bytes(b"b" * size)
    other.replace(place)
    body = (begun + to_the_end(visitor)).partition(b"\r\n\r\n")[2]
    assert (len(body), body.count(b"a")) == (size, size)
    assert store.get("/files/async/replaced").content == b"b" * size
    place.unlink()


def test_file_deleted_or_cut_midway(store):
    size, place = 30_000_000, store.uploads / "cut"
    for change in (place.unlink, lambda: os.truncate(place, 10)):
        place.write_bytes(b"a" * size)
        visitor, begun = first_part(store, "/files/async/cut")
        change()
        body = begun + to_the_end(visitor)
        assert set(body.partition(b"\r\n\r\n")[2]) == {ord("a")}
        assert store.json("/hello/async/")["greeting"]
    place.unlink()


def forget_peak(server):
    """Have the kernel count the most memory anew; what is resident now."""
    try:
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    except PermissionError:
        missing("the kernel does not forget how much memory there was")
    return server.memory()


def test_memory_of_a_large_file(store):
    with (store.uploads / "large").open("wb") as large:
        large.truncate(2**27)
    store.get("/files/async/file.bin")
    before, size = forget_peak(store), 0
    with store.client.stream("GET", "/files/async/large") as answer:
        for chunk in answer.iter_raw():
            size += len(chunk)
    assert size == 2**27
    assert store.memory() - before < 2**25
    (store.uploads / "large").unlink()


@pytest.mark.parametrize("variant", FILES)
def test_file_is_closed_when_the_visitor_leaves(store, variant):
    with (store.uploads / "left").open("wb") as large:
        large.truncate(2**23)
    assert store.json("/hello/sync/")
    until(lambda: quiet(store))
    before = store.open_files()
    visitors = [first_part(store, f"/files/{variant}/left")[0] for _ in range(10)]
    opened = [os.readlink(f) for f in Path(f"/proc/{store.pid}/fd").iterdir()]
    assert variant == "sync" or opened.count(str(store.uploads / "left")) == 10
    for visitor in visitors:
        leave(visitor)
    until(lambda: store.open_files() <= before)
    until(lambda: quiet(store))
    (store.uploads / "left").unlink()


# --------------------------------------------------------------------------- Upload

WRITERS = ["sync", "async"]
KIND = "multipart/form-data; boundary=b"


def part(data, name="file", filename="a.bin"):
    """A part of a form's body, whose names go out as they are."""
    said = f'form-data; name="{name}"; filename="{filename}"'
    return b"--b\r\nContent-Disposition: %s\r\n\r\n%s\r\n" % (said.encode(), data)


END = b"--b--\r\n"


def post(server, variant, body, kind=KIND, **headers):
    """The answer to a form of these bytes."""
    headers = FORM | {"Content-Type": kind} | headers
    return server.client.post(f"/upload/{variant}/", content=body, headers=headers)


def upload(server, variant, data, name="a.bin"):
    """The answer to the upload of a file."""
    return post(server, variant, part(data, filename=name) + END)


def kept(server):
    """What is stored, and what is still arriving."""
    parts = [path for path in (server.folder / "incoming").rglob("*") if path.is_file()]
    return sorted(os.listdir(server.uploads)), parts


#: The name of a file as it is sent, and the one that it gets.
STORED = {
    "report.pdf": "report.pdf",
    "año nuevo.txt": "año_nuevo.txt",
    "e\u0301te\u0301.txt": "été.txt",
    "日本語.png": "日本語.png",
    "a.b.tar.gz": "a.b.tar.gz",
    "../x": "x",
    "..%2fx": "2fx",
    "..\\x": "x",
    "/etc/passwd": "passwd",
    "C:\\dir\\file.txt": "file.txt",
    "con": "con",
    "a\0b": "ab",
    "a\u202egpj.exe": "agpj.exe",
    "\u200fa\u200b.txt": "a.txt",
    ".htaccess": "htaccess",
    "...": "file",
    "-rf": "-rf",
    "🎉.txt": "txt",
    "<script>.html": "script.html",
    "a;b=c.txt": "abc.txt",
    "a\tb\x7f.txt": "ab.txt",
    "  spaced  .txt": "spaced__.txt",
    "x" * 900: "x" * 200,
    "x" * 900 + ".txt": "x" * 196 + ".txt",
    "é" * 300 + ".txt": "é" * 98 + ".txt",
    "a." + "x" * 200: "a." + "x" * 15,
    "x" * 5000: None,
}


@pytest.mark.parametrize("variant", WRITERS)
@pytest.mark.parametrize("name", STORED, ids=lambda name: ascii(name[:12]))
def test_upload_name(store, variant, name):
    for place in store.uploads.iterdir():
        if place.is_file() and place.name in STORED.values():
            place.unlink()
    before = set(kept(store)[0])
    answer = upload(store, variant, name.encode(), name)
    if STORED[name] is None:
        assert (answer.status_code, set(kept(store)[0])) == (400, before)
        return
    assert answer.status_code == 201
    data = answer.json()
    assert {*kept(store)[0]} - before == {data["name"]}
    assert data["name"] == STORED[name]
    assert (data["size"], data["variant"]) == (len(name.encode()), variant)
    assert data["url"] == f"/files/async/{app.quote(data['name'], safe='')}"
    assert store.get(data["url"]).content == name.encode()
    assert kept(store)[1] == []


ANY_NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@EXAMPLES
@given(ANY_NAME)
@example("ß" * 300 + "." + "ß" * 300)
@example("\ufdfa" * 300)
def test_any_name_is_safe(name):
    safe = app.safe_name(name)
    assert safe == app.safe_name(safe) or len(safe.encode()) > 190
    assert 1 <= len(safe.encode()) <= 240
    assert safe.isprintable()
    assert not re.search(r"[/\\\0]|^\.", safe)
    assert app.upload_path(safe).parent == app.UPLOADS


def test_upload_form_in_a_browser(store):
    with httpx.Client(base_url=store.url, headers=HTML) as visitor:
        for variant in WRITERS:
            form = visitor.get(f"/upload/{variant}/").text
            field = re.search('name="csrfmiddlewaretoken" value="(.+?)"', form)[1]
            answer = visitor.post(
                f"/upload/{variant}/",
                data={"csrfmiddlewaretoken": field},
                files={"file": ("browser.txt", b"text")},
            )
            assert answer.status_code == 303
            assert answer.headers["location"] == "/files/"
    assert "browser.txt" in kept(store)[0]


@pytest.mark.parametrize("variant", WRITERS)
@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3_000_001])
def test_upload_of_any_size(store, variant, size):
    data = (b"0123456789" * (size // 10 + 1))[:size]
    answer = upload(store, variant, data, "size.bin")
    assert (answer.status_code, answer.json()["size"]) == (201, size)
    assert store.get(answer.json()["url"]).content == data


def test_uploads_of_one_name_at_once(store):
    with ThreadPoolExecutor(12) as pool:
        answers = pool.map(
            lambda n: upload(store, WRITERS[n % 2], b"%d" % n * 400_000, "same.txt"),
            range(12),
        )
        names = [answer.json()["name"] for answer in answers]
    assert len(set(names)) == 12
    assert "same.txt" in names
    for number, name in enumerate(names):
        assert re.fullmatch(r"same(_\w+)?\.txt", name)
        assert (store.uploads / name).read_bytes() == b"%d" % number * 400_000


MANY = b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n" * 10_000
NAMELESS = b"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n"
#: A body that is no good form: what is sent, and as what kind.
BODIES = {
    "nothing": (b"", KIND),
    "no file": (END, KIND),
    "a field that is no file": (
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\na\r\n' + END,
        KIND,
    ),
    "a file in another field": (part(b"a", name="other") + END, KIND),
    "a file without a name": (part(b"a", filename="") + END, KIND),
    "a file of a name that is none": (part(b"a", filename="..") + END, KIND),
    "two files": (part(b"a") * 2 + END, KIND),
    "a part without a name": (NAMELESS + END, KIND),
    "ten thousand parts": (MANY + END, KIND),
    "ten thousand parts without a name": (NAMELESS * 10_000 + END, KIND),
    "ten thousand files": (part(b"a") * 10_000 + END, KIND),
    "no final boundary": (part(b"a" * 1000), KIND),
    "no final boundary of a large one": (part(b"a" * 3_000_000), KIND),
    "half a final boundary": (part(b"a" * 1000) + b"--b-", KIND),
    "another boundary": (part(b"a").replace(b"--b", b"--c") + b"--c--", KIND),
    "no boundary": (part(b"a") + END, "multipart/form-data"),
    "an empty boundary": (part(b"a") + END, "multipart/form-data; boundary="),
    "a long boundary": (part(b"a") + END, "multipart/form-data; boundary=" + "b" * 500),
    "a boundary of no ASCII": (part(b"a") + END, "multipart/form-data; boundary=\xe9"),
    "not multipart": (b"file=a", "application/x-www-form-urlencoded"),
    "JSON": (b'{"file": "a"}', "application/json"),
    "no kind": (part(b"a") + END, ""),
    "a charset that is none": (
        b"file=a",
        "application/x-www-form-urlencoded; charset=x",
    ),
    "a header that is none": (b"--b\r\n:::\r\n\r\na\r\n" + END, KIND),
    "a header without end": (b"--b\r\n" + b"x" * 100_000 + END, KIND),
    "base64 that is none": (
        part(b"=" * 99).replace(
            b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1
        )
        + END,
        KIND,
    ),
}


@pytest.mark.parametrize("variant", WRITERS)
@pytest.mark.parametrize("case", BODIES)
def test_upload_of_no_good_form(store, variant, case):
    body, kind = BODIES[case]
    before = kept(store)
    answer = post(store, variant, body, kind.encode("latin-1"))
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")
    assert kept(store) == before


@pytest.mark.parametrize("variant", WRITERS)
def test_upload_without_its_token(store, variant):
    before = kept(store)
    for token in ("", "b" * 32, "x"):
        answer = post(store, variant, part(b"a") + END, **{"X-CSRFToken": token})
        assert (answer.status_code, list(answer.json())) == (403, ["error"])
    assert kept(store) == before


def upload_head(variant, length=None):
    """The header of an upload, whose length is announced or not."""
    size = (
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    )
    lines = [f"POST /upload/{variant}/ HTTP/1.1", "Host: localhost", size]
    lines += [f"{name}: {value}" for name, value in FORM.items()]
    return "\r\n".join([*lines, f"Content-Type: {KIND}", "", ""]).encode()


@pytest.fixture(scope="session")
def small():
    """A lab that takes uploads of two million bytes."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        variables = {"DATA_DIR": folder, "MAX_UPLOAD_BYTES": "2000000"}
        with serve(UPSTREAM_LATENCY="0", **variables) as server:
            server.folder, server.uploads = Path(folder), Path(folder, "uploads")
            yield server


@pytest.mark.parametrize("variant", WRITERS)
@pytest.mark.parametrize("path", ["upload", "cars", "hello"])
def test_too_large_a_body_that_is_announced(small, variant, path):
    size = 2_000_001 if path == "upload" else 2**20 + 1
    head = upload_head(variant, size).replace(b"upload", path.encode(), 1)
    answer = small.raw(head)  # of the body not a byte, and yet the connection ends
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize("variant", WRITERS)
def test_too_large_a_body_that_is_not_announced(small, variant):
    before, chunk = kept(small), b"%x\r\n%s\r\n" % (100_000, b"a" * 100_000)
    with small.connect(upload_head(variant)) as visitor:
        sent = 0
        with suppress(ConnectionError):
            while sent < 1000 and not readable(visitor):
                visitor.sendall(chunk)
                sent += 1
        answer = visitor.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()
    assert 20 <= sent < 900
    assert kept(small) == before
    until(lambda: quiet(small))


def readable(visitor):
    """Whether something has arrived."""
    return select.select([visitor], [], [], 0)[0]


@pytest.mark.parametrize("variant", WRITERS)
def test_largest_body(small, variant):
    data = b"a" * (2_000_000 - len(part(b"") + END))
    assert upload(small, variant, data).status_code == 201
    assert upload(small, variant, data + b"a").status_code == 413


def test_body_in_chunks(small):
    body = part(b"a" * 1_500_000) + END
    for variant in WRITERS:
        pieces = (body[at : at + 999] for at in range(0, len(body), 999))
        answer = post(small, variant, pieces)
        assert (answer.status_code, answer.json()["size"]) == (201, 1_500_000)


@pytest.mark.parametrize("variant", WRITERS)
def test_body_that_stops(store, variant):
    files, before = store.open_files(), kept(store)
    for sent in (0, 100, 1_500_000):
        body = part(b"a" * 3_000_000) + END
        visitor = store.connect(upload_head(variant, len(body)) + body[:sent])
        until(lambda: store.status()["requests_in_flight"] == 2)
        assert kept(store)[0] == before[0]  # nothing appears before it is whole
        with visitor:
            visitor.shutdown(socket.SHUT_WR)
            assert visitor.recv(100)[9:12] in (b"", b"400")
        until(lambda: quiet(store))
    assert kept(store) == before
    until(lambda: store.open_files() <= files + 2)


@pytest.mark.parametrize(
    "name",
    [
        "upload/async",
        pytest.param("cars/async"),
        pytest.param("cars/sync_to_async"),
    ],
)
def test_form_is_parsed_off_the_event_loop(name):
    parsed_on = []

    class Form(app.HttpRequest):
        """A request that notes the threads on which its form is asked for."""

        def note(self, value=None):
            parsed_on.append(threading.current_thread())
            return {}

        POST = property(note, lambda self, value: None)

    request, (experiment, variant) = Form(), name.split("/")
    request.method = "POST"
    answer = in_a_loop(app.EXPERIMENTS[experiment][variant](request))
    assert answer.status_code == 403
    assert parsed_on[0] is not threading.main_thread()


def test_bodies_that_trickle_keep_nobody_waiting(store):
    with ExitStack() as visitors:
        slow = [
            visitors.enter_context(store.connect(upload_head("async", 10**6)))
            for _ in range(60)
        ]
        until(lambda: store.status()["requests_in_flight"] == 61)
        for visitor in slow:
            visitor.send(b"-")
        for path in ("/hello/sync/", "/hello/async/", "/cars/sync/?n=1"):
            assert store.get(path).status_code == 200
        assert upload(store, "async", b"a").status_code == 201
    until(lambda: quiet(store))


@pytest.mark.parametrize("variant", WRITERS)
def test_memory_of_a_large_upload(store, variant):
    upload(store, variant, b"a", "first")
    head, size, block = part(b"", filename="large")[:-2], 2**27, bytes(2**20)
    length = len(head) + size + 2 + len(END)
    before, ended = forget_peak(store), threading.Event()

    def send():
        """The upload's answer."""
        with store.connect(upload_head(variant, length) + head) as visitor:
            for _ in range(size // len(block)):
                visitor.sendall(block)
            visitor.sendall(b"\r\n" + END)
            answer = visitor.recv(65536)
        ended.set()
        return answer

    with ThreadPoolExecutor(1) as pool:
        answer, served = pool.submit(send), 0
        while not ended.is_set():
            assert store.json("/hello/async/")["greeting"]
            served += 1
        assert answer.result().startswith(b"HTTP/1.1 201")
    assert served >= 5
    assert store.memory() - before < 2**25
    assert (store.uploads / "large").stat().st_size == size
    (store.uploads / "large").unlink()


# ------------------------------------------------------------ A machine that is at fault


@pytest.fixture(scope="session")
def full():
    """A lab whose folder is on a disk of four million bytes."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        disk = Path(folder, "disk")
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4000k", "lab", disk]
        if (
            os.name != "posix"
            or subprocess.run(mount, capture_output=True, check=False).returncode
        ):
            missing("a small disk cannot be mounted here")
        try:
            variables = {
                "DATA_DIR": str(disk),
                "DATABASE_URL": f"sqlite:///{folder}/lab.sqlite3",
            }
            with serve(UPSTREAM_LATENCY="0", **variables) as server:
                server.folder, server.uploads = disk, disk / "uploads"
                yield server
        finally:
            subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("variant", WRITERS)
def test_read_only_disk(full, variant):
    remount = ["mount", "-o"]
    subprocess.run([*remount, "remount,ro", full.folder], check=True)
    try:
        for size in (10, 3_000_000):
            answer = upload(full, variant, b"a" * size)
            assert (answer.status_code, list(answer.json())) == (507, ["error"])
        assert full.get("/files/").status_code == 200
        assert full.get("/certificate/async/").status_code == 200
    finally:
        subprocess.run([*remount, "remount,rw", full.folder], check=True)
    assert upload(full, variant, b"a", "small").status_code == 201
    (full.uploads / "small").unlink()


#: What does not fit: the body, its file, the copy of it.
SIZES = [6_000_000, 3_000_000, 1_900_000]


@pytest.mark.parametrize("variant", WRITERS)
@pytest.mark.parametrize("size", SIZES)
def test_full_disk(full, variant, size):
    used, before = full.uploads / "used", kept(full)
    used.write_bytes(b"a" * 500_000 if size < 2_000_000 else b"")
    answer = upload(full, variant, b"a" * size)
    used.unlink()
    assert answer.status_code == 507
    assert size == 6_000_000 or list(answer.json()) == ["error"]
    until(lambda: not {*kept(full)[1]} - {*before[1]}, 2)
    assert full.json("/files/")["files"] == []
    assert upload(full, variant, b"a" * 100_000, "small").status_code == 201
    (full.uploads / "small").unlink()


@pytest.mark.parametrize("variant", WRITERS)
def test_files_that_may_not_grow(store, variant):
    before, unlimited = kept(store), (resource.RLIM_INFINITY,) * 2
    resource.prlimit(store.pid, resource.RLIMIT_FSIZE, (500_000, unlimited[1]))
    try:
        for size in (600_000, 3_000_000):
            answer = upload(store, variant, b"a" * size)
            assert (answer.status_code, list(answer.json())) == (507, ["error"])
    finally:
        resource.prlimit(store.pid, resource.RLIMIT_FSIZE, unlimited)
    assert kept(store) == before
    assert upload(store, variant, b"a").status_code == 201


def test_sigkill_in_an_upload_and_the_next_start(tmp_path):
    folder, body = tmp_path / "data", part(b"a" * 3_000_000) + END
    with serve(DATA_DIR=str(folder), UPSTREAM_URL=NOBODY) as server:
        server.folder, server.uploads = folder, folder / "uploads"
        with server.connect(upload_head("async", len(body)) + body[:2_000_000]):
            until(lambda: server.status()["requests_in_flight"] == 2)
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
        assert kept(server)[0] == []
    for number in range(300):  # what more of such ends would have left
        left = folder / "incoming" / str(10**7 + number)
        left.mkdir()
        (left / "part").write_bytes(b"half")
    command = "-m uvicorn app:application --port {port} --no-access-log --workers 2"
    with run(command, DATA_DIR=str(folder), UPSTREAM_URL=NOBODY) as server:
        server.folder, server.uploads = folder, folder / "uploads"
        until(lambda: re.search("failed|(?s:startup complete.*){2}", server.log), 30)
        assert "failed" not in server.log
        assert kept(server) == ([], [])
        assert upload(server, "async", b"a").status_code == 201
    assert os.listdir(folder / "incoming") == []


# ------------------------------------------------------------- Visitors of every page

#: Every page that is served with DEBUG=0.
EVERY = [
    *words("/ /status/ /files/ /source/hello/sync/ /source/rivers/blocking/"),
    *(
        f"/{name}/{variant}/" + "file.bin" * (name == "files")
        for name in app.EXPERIMENTS
        for variant in app.offered(name)
    ),
]
FORMS = [f"/cars/{variant}/" for variant in MAKERS] + [
    "/upload/sync/",
    "/upload/async/",
]


def civil(answer):
    """An answer's bytes, which tell nothing of the machine."""
    for secret in (b"Traceback", b'File "', b"site-packages", b"/lab-", b"/app.py"):
        assert secret not in answer
    assert str(HERE).encode() not in answer
    assert not re.match(rb"HTTP/1.1 5(?!03)", answer)
    return answer


@pytest.mark.parametrize("method", words("POST PUT DELETE PATCH OPTIONS TRACE"))
def test_methods_that_pages_do_not_have(file, method):
    for path in EVERY:
        if method == "POST" and path in FORMS:
            continue
        answer = file.client.request(method, path, headers=JSON)
        assert (answer.status_code, list(answer.json())) == (405, ["error"]), path
        allowed = {"GET", "HEAD"} | ({"POST"} if path in FORMS else set())
        assert set(re.findall(r"\w+", answer.headers["allow"])) == allowed, path


def test_foreign_host_of_every_page(file):
    for path in EVERY:
        for kind in (JSON, HTML):
            answer = file.get(path, headers={"Host": "example.org"} | kind)
            assert answer.status_code == 400, path
            civil(answer.content)


def test_head_of_every_page(file):
    for path in EVERY:
        answer = file.client.head(path, headers=JSON)
        assert (answer.status_code, answer.content) == (200, b""), path
        assert ("set-cookie" in answer.headers) == (path in FORMS), path


#: Lines of a header: what the answer to them may be.
LINES = {
    "two hosts": ("Host: example.org", "400"),
    "two hosts alike": ("Host: localhost", "200|400"),
    "two kinds": ("Accept: text/html", "200"),
    "two cookies": ("Cookie: csrftoken=a\r\nCookie: csrftoken=b", "200"),
    "a cookie that is none": ("Cookie: =;;=\x80, a", "200"),
    "two lengths": ("Content-Length: 0\r\nContent-Length: 5", "400"),
    "a length of no number": ("Content-Length: many", "400"),
    "a length below zero": ("Content-Length: -1", "400"),
    "a length with a sign": ("Content-Length: +1", "400"),
    "a length without end": (f"Content-Length: {'9' * 30}", "400|413"),
    "a length that is too large": (f"Content-Length: {2**40}", "413"),
    "a length and chunks": (
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        "200|400",
    ),
    "chunks that are none": ("Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "400|"),
    "an unknown coding": ("Transfer-Encoding: rot13", "200|400|501|"),
    "a long line": ("X: " + "a" * 70_000, "200|400|431"),
    "ten thousand lines": ("X: a\r\n" * 10_000 + "Y: b", "200|400|431"),
    "a line without a colon": ("nonsense", "400"),
    "a line of no text": ("X: \x00\x01", "400"),
    "a folded line": ("X: a\r\n b", "200|400"),
    "a name with a space": ("X Y: a", "400"),
    "a range twice": ("Range: bytes=0-0\r\nRange: bytes=1-1", "200"),
    "a date that is none": ("If-Modified-Since: Thu, 99 Foo 9999 99:99:99 GMT", "200"),
    "a tag that is none": ('If-None-Match: "', "200"),
    "a kind that is none": ("Content-Type: \xff; charset=\xff", "200"),
    "an expectation": ("Expect: 100-continue", "100|200"),
    "a body where none is": ("Content-Length: 5\r\n\r\nhello", "200"),
}


@pytest.mark.parametrize("case", LINES)
def test_header_that_is_bad(file, case):
    line, status = LINES[case]
    for path in (
        "/hello/sync/",
        "/hello/async/",
        "/files/async/file.bin",
        "/upload/sync/",
    ):
        head = RAW.format(path)[:-2].replace("Connection: close\r\n", "")
        lines = f"Connection: close\r\n{line}\r\n\r\n"
        answer = civil(file.raw(head.encode() + lines.encode("latin-1")))
        assert re.match(
            f"HTTP/1.1 ({status})" if answer else status + "$", answer.decode("latin-1")
        ), path
    assert file.json("/hello/async/")["greeting"]


@pytest.mark.parametrize("odd", ["%ff", "\xff", "%00", "%c3%28", "%ed%a0%80", "\xc3("])
def test_bytes_that_are_no_utf8(file, odd):
    for path in EVERY:
        for target in (f"{path}{odd}", f"{path}?n={odd}&symbol={odd}&{odd}"):
            request = RAW.format(target).encode("latin-1")
            answer = civil(file.raw(request))
            assert re.match(rb"HTTP/1.1 (200|400|404)", answer), target
    assert file.json("/hello/async/")["greeting"]


@pytest.mark.parametrize("stage", ["sending", "waiting", "receiving"])
def test_visitor_of_every_page_who_leaves(file, stage):
    file.get("/hello/sync/")
    until(lambda: quiet(file))
    files = file.open_files()
    for path in EVERY:
        request = RAW.format(path).encode()
        if stage == "receiving":
            visitor, _ = first_part(file, path)
        else:
            end = len(request) // 2 if stage == "sending" else None
            visitor = file.connect(request[:end])
        leave(visitor)
    until(lambda: quiet(file))
    until(lambda: file.open_files() <= files + 12)  # what lanes and lines keep
    assert file.json("/hello/sync/")["greeting"]


def test_no_answer_tells_of_the_machine(file):
    for path in [
        *EVERY,
        "/nothing/",
        "/rivers/blocking/",
        "/source/a/b/",
        "/files/async/",
    ]:
        for kind in (JSON, HTML):
            answer = file.get(path, headers=kind)
            if "/source/" not in path:
                civil(answer.content)
            if path in FORMS:
                civil(file.client.post(path, headers=kind).content)


def test_error_has_its_sentence_with_debug_too(faulty):
    answer = faulty.get("/cars/sync/?n=0", headers=JSON)
    assert (answer.status_code, answer.json()["error"][:4]) == (400, "n is")


# --------------------------------------------------------- A source in another project

#: What a project has of its own: its page, and a place for what is under way.
PROJECT = """
class LAB:
    lock, upstream_in_flight, upstream_url = threading.Lock(), 0, None

def page(request, template, data, status=200, main=None, **extra):
    return JsonResponse(data, status=status)

def error_page(request, status, sentence, **fields):
    return JsonResponse({"error": sentence}, status=status)

def prefers_json(request):
    return True
"""
SETTINGS = """
from pathlib import Path
DEBUG, SECRET_KEY, ALLOWED_HOSTS, ROOT_URLCONF = True, "secret", ["*"], "urls"
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "DIRS": [Path(__file__).with_name("templates")],
}]
"""
ASGI = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.asgi import get_asgi_application
application = get_asgi_application()
"""
PASTED = [
    f"{name}/{variant}"
    for name in ("hello", "rivers", "home", "rates", "cpu", "certificate")
    for variant in app.EXPERIMENTS[name]
]


def names_in(node):
    """The names that a statement reads and does not make itself."""
    found = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    made = {one.id for one in found if isinstance(one.ctx, ast.Store)}
    made |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    made |= {one.name for one in ast.walk(node) if isinstance(one, ast.FunctionDef)}
    return {one.id for one in found} - made


def binds(node):
    """The names that a statement at the top of a module makes."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {one.asname or one.name.partition(".")[0] for one in node.names}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {
            one.id
            for target in targets
            for one in ast.walk(target)
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
        }
    return {node.name} if hasattr(node, "name") else set()


def pasted(sources):
    """A module of these sources, with the imports and helpers that they name."""
    module = ast.parse(Path(app.__file__).read_text())
    has = set().union(*(binds(node) for node in ast.parse(PROJECT).body))
    makers = {name: node for node in module.body for name in binds(node) - has}
    given = ast.parse(PROJECT + sources).body
    wanted = set().union(*map(names_in, given))
    while more := {
        name
        for want in wanted & makers.keys()
        for name in names_in(makers[want]) - wanted
    }:
        wanted |= more
    own = set().union(*(binds(node) for node in ast.parse(sources).body))
    chosen = [node for node in module.body if binds(node) & (wanted - own) - has]
    imports = [node for node in chosen if isinstance(node, ast.Import | ast.ImportFrom)]
    rest = [ast.unparse(node) for node in chosen if node not in imports]
    return "\n".join([*map(ast.unparse, imports), PROJECT, *rest, sources])


@pytest.fixture(scope="session")
def project(lab):
    """A Django project whose views are sources that the lab has shown."""
    upstream = Upstream()
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, ExitStack() as stack:
        sources = "\n".join(lab.get(f"/source/{name}/").text for name in PASTED)
        views = {name: name.replace("/", "_") for name in PASTED}
        urls = [f'path("{name}/", {view}),' for name, view in views.items()]
        code = pasted(sources) + "\nfrom django.urls import path\nurlpatterns = ["
        Path(folder, "urls.py").write_text("\n".join([code, *urls, "]"]))
        Path(folder, "settings.py").write_text(SETTINGS)
        Path(folder, "asgi.py").write_text(ASGI)
        Path(folder, "templates").mkdir()
        for name, text in app.PAGES.items():
            Path(folder, "templates", name).write_text(text)
        Path(folder, "data").mkdir()
        template = Path(folder, "data", "certificate-template.pdf")
        template.write_bytes(app.certificate_template())
        variables = {"UPSTREAM_URL": upstream.url, "DATA_DIR": str(template.parent)}
        command = f"-m uvicorn asgi:application --app-dir {folder} --port {{port}}"
        yield stack.enter_context(run(command, PYTHONPATH=folder, **variables))


@pytest.mark.parametrize("name", PASTED)
def test_source_works_in_another_project(project, name):
    answer = project.get(f"/{name}/")
    assert answer.status_code == 200, project.log[-2000:]
    experiment, _, variant = name.partition("/")
    if experiment == "rivers" and variant == "streamed":
        sites = [json.loads(line) for line in answer.text.splitlines()]
        assert sorted(sites, key=lambda site: site["site"]) == READINGS
    elif experiment == "rivers":
        assert answer.json()["sites"] == READINGS
    elif experiment == "home":
        assert answer.json() == {"promo": PROMO, "recco": RECCO, "errors": {}}
    elif experiment == "certificate":
        assert re.search(STAMP, answer.content)
    else:
        assert answer.json()


#: Another project's views, which wait for each other.
WAITING = """
import asyncio, threading
from django.apps import apps
from django.http import JsonResponse
from django.urls import path

gate, held = asyncio.Event(), []

async def wait(request):
    held.append(request)
    await gate.wait()
    return JsonResponse({})

async def seen(request):
    return JsonResponse({"held": len(held), "threads": threading.active_count()})

def release(request):
    apps.check_apps_ready()
    gate._loop.call_soon_threadsafe(gate.set)
    return JsonResponse({"thread": threading.current_thread().name})

urlpatterns = [path("wait/", wait), path("seen/", seen), path("release/", release)]
"""
LANES_ASGI = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
"""


def test_lanes_work_in_another_project(tmp_path):
    lanes = pasted("application = LanesHandler(size=2)")
    assert "LAB." not in lanes.replace(PROJECT, "")
    for name, text in {
        "urls.py": WAITING,
        "settings.py": SETTINGS,
        "asgi.py": LANES_ASGI + lanes,
    }.items():
        Path(tmp_path, name).write_text(text)
    command = f"-m uvicorn asgi:application --app-dir {tmp_path} --port {{port}}"
    with run(command, PYTHONPATH=str(tmp_path)) as server:
        before = server.json("/seen/")["threads"]
        visitors = lane_visit(server, *["/wait/"] * 100)
        until(lambda: server.json("/seen/")["held"] == 100)
        assert server.json("/seen/")["threads"] <= before + 1
        assert server.json("/release/")["thread"].startswith("lane-")
        assert {status_of(rest(visitor)) for visitor in visitors} == {200}


# ---------------------------------------------------------------------- The application

# ------------------------------------------------------------- A site of views to try

#: Views that hang, count and tell, beside the lab's own. A hung view waits for a file.
LANE_SITE = '''
import asyncio, json, os, threading, time
from pathlib import Path

import app
from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async
from contextvars import ContextVar
from django.conf import settings
from django.core import signals
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import get_script_prefix, path, set_script_prefix
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

app.BODY_PAUSE = float(os.environ.get("BODY_PAUSE", 30))
GATES = Path(os.environ.get("GATES", "."))
began, ended, told, held = [], [], [], []
local, variable = Local(), ContextVar("variable")


class TellingCache(LocMemCache):
    def close(self, **kwargs):
        told.append("cache closed")


settings.CACHES = {"default": {"BACKEND": "site_to_try.TellingCache"}}


def here():
    return threading.current_thread().name


def is_open(key):
    return (GATES / key).exists()


def hang(request, key):
    began.append(key)
    while not is_open(key):
        time.sleep(0.005)
    ended.append(key)
    return JsonResponse({"thread": threading.get_ident()})


async def wait(request, key):
    began.append(key)
    while not is_open(key):
        await asyncio.sleep(0.01)
    ended.append(key)
    return JsonResponse({"key": key})


async def give_up(request, key):
    """Wait for synchronous work no longer than a moment."""
    try:
        async with asyncio.timeout(0.01):
            await sync_to_async(hang)(request, key)
    except TimeoutError:
        response = JsonResponse({"key": key})
        response._resource_closers.append(lambda: told.append([f"closed {key}", here()]))
        return response


event = asyncio.Event()


async def idle(request):
    held.append(1)
    try:
        await event.wait()
    finally:
        held.pop()
    return JsonResponse({})


async def release(request):
    event.set()
    await asyncio.sleep(0.05)
    event.clear()
    return JsonResponse({})


async def seen(request):
    """What has been told since the last time, and what has not been forgotten."""
    found = {"began": began, "ended": ended, "told": told[:], "held": len(held)}
    found |= {"starts": starts, "most": most}
    if "forget" in request.GET:
        told.clear()
    return JsonResponse(found)


starts, start = 0, threading.Thread.start


def count_start(thread):
    global starts
    starts += 1
    start(thread)


threading.Thread.start = count_start


def closer(request, name):
    def close():
        told.append([name, here(), app.Car.objects.order_by("id").exists()])

    return close


async def threads(request):
    """The thread of every synchronous call that this request makes, and of its close."""
    call = sync_to_async(threading.get_ident)

    def nested():
        return [threading.get_ident(), async_to_sync(call)(), async_to_sync(deep)()]

    async def deep():
        return await asyncio.create_task(sync_to_async(lambda: async_to_sync(call)())())

    first = await call(), *await asyncio.gather(*(call() for _ in range(5)))
    response = JsonResponse({"idents": [*first, *await sync_to_async(nested)()]})
    response._resource_closers.append(lambda: told.append(threading.get_ident()))
    return response


def ident(request):
    return JsonResponse({"ident": threading.get_ident(), "name": here()})


def leave_traces(request):
    """Change all that a request may change, and fail."""
    found = [variable.get(None), getattr(local, "mark", None), get_script_prefix()]
    found += [timezone.get_current_timezone_name(), connection.in_atomic_block]
    found.append(transaction.get_autocommit())
    variable.set(1)
    local.mark = 1
    set_script_prefix("/traces/")
    timezone.activate("Europe/Berlin")
    connection.cursor().execute("SELECT 1")
    if "autocommit" in request.GET:
        transaction.set_autocommit(False)
        app.Store.objects.create(location="trace")
    if "atomic" in request.GET:
        transaction.atomic().__enter__()
        app.Store.objects.create(location="trace")
    if "fail" in request.GET:
        raise ValueError("a trace")
    stores = app.Store.objects.filter(location="trace").count()
    return JsonResponse({"found": found, "stores": stores, "thread": here()})


check = BaseDatabaseWrapper.close_if_unusable_or_obsolete


def note_check(self):
    told.append(["check", here()])
    check(self)
    if breaks:
        raise RuntimeError("This connection cannot be looked after.")


breaks = []
BaseDatabaseWrapper.close_if_unusable_or_obsolete = note_check
close = BaseDatabaseWrapper._close


def note_close(self):
    told.append(["closed", here()])
    return close(self)


BaseDatabaseWrapper._close = note_close
made = []
connection_created.connect(lambda **kwargs: made.append(here()), weak=False)


def orm(request):
    number = app.Car.objects.count()
    told.append(["view", here()])
    if "old" in request.GET:
        connection.close_at = 0
    breaks[:] = [1] * ("break" in request.GET)
    return JsonResponse({"cars": number, "made": len(made), "thread": here()})


async def orm_async(request):
    return JsonResponse({"cars": await app.Car.objects.acount(), "made": len(made)})


def notice(sender, **kwargs):
    told.append(["finished", here(), app.Car.objects.count()])


async def notice_async(sender, **kwargs):
    told.append(["finished async", here(), await app.Car.objects.acount()])


async def receivers(request, what):
    act = getattr(signals.request_finished, what)
    for handler in (notice, notice_async):
        act(handler)
    return JsonResponse({})


async def close_page(request):
    response = JsonResponse({"name": request.GET.get("name", "closer")})
    response._resource_closers.append(closer(request, "closer"))
    return response


async def close_stream(request):
    async def parts():
        while True:
            yield b"x" * 65536
            if "endless" not in request.GET:
                break

    response = StreamingHttpResponse(parts())
    response._resource_closers.append(closer(request, "stream closer"))
    return response


def bad_stream(request):
    async def parts():
        yield b"x"
        raise ValueError("in the middle")

    response = StreamingHttpResponse(parts())
    response._resource_closers.append(closer(request, "bad stream closer"))
    return response


@csrf_exempt
async def take_file(request):
    file = await sync_to_async(lambda: request.FILES["file"])()
    held_files.append(file)
    close = file.close
    file.close = lambda: [told.append(["file closed", here()]), close()]
    return JsonResponse({"size": file.size})


held_files = []


async def files(request):
    return JsonResponse({"closed": [file.closed for file in held_files]})


@csrf_exempt
async def body(request):
    return JsonResponse({"method": request.method, "body": request.body.decode()})


async def cached(request):
    return JsonResponse({"cached": await cache.aget("x")})


def cached_sync(request):
    return JsonResponse({"cached": cache.get("x")})


def call(request):
    """A page of this same server."""
    url = f"http://{request.get_host()}/{request.GET['path']}"
    try:
        return HttpResponse(bytes(app.fetch("promo", url)))
    except app.UpstreamError as error:
        return app.error_page(request, 502, str(error))


most = 0


async def count(request):
    """How many requests there are at most, this one and those not closed yet."""
    global most
    most = max(most, app.application.in_flight)
    response = HttpResponse(b"x")
    if "hop" in request.GET:
        response._resource_closers.append(lambda: None)
    return response


app.urlpatterns += [
    path("try/hang/<key>/", hang), path("try/wait/<key>/", wait),
    path("try/idle/", idle), path("try/release/", release), path("try/seen/", seen),
    path("try/threads/", threads), path("try/ident/", ident),
    path("try/traces/", leave_traces), path("try/orm/", orm),
    path("try/orm_async/", orm_async), path("try/receivers/<what>/", receivers),
    path("try/close/", close_page), path("try/close_stream/", close_stream),
    path("try/bad_stream/", bad_stream), path("try/take/", take_file),
    path("try/files/", files), path("try/body/", body), path("try/cached/", cached),
    path("try/cached_sync/", cached_sync), path("try/call/", call),
    path("try/count/", count), path("try/give_up/<key>/", give_up),
]
application, stock = app.application, app.stock
'''

MIB = 2**20
COUNTER = itertools.count()
PLACE = Path(SCRATCH.name, "site")
GATES = PLACE / "gates"
GATES.mkdir(parents=True)
(PLACE / "site_to_try.py").write_text(LANE_SITE)


def serve_site(target="application", options="", **env):
    """The lab with the views to try, its services at once unless told otherwise."""
    places = {"PYTHONPATH": f"{PLACE}{os.pathsep}{HERE}", "GATES": str(GATES)}
    env = {"UPSTREAM_LATENCY": "0"} | places | env
    return serve(f"site_to_try:{target} {options}", **env)


@pytest.fixture(scope="module")
def site_server():
    upstream = Upstream()
    with serve_site(LANES="4", DEADLINE="20", UPSTREAM_URL=upstream.url) as server:
        server.upstream = upstream
        yield server


@pytest.fixture
def site(site_server):
    """The site with four lanes and all the time, on which nothing goes on."""
    site_server.upstream.start_over()
    at_rest(site_server)
    site_server.json("/try/seen/?forget=1")
    return site_server


@pytest.fixture(scope="module")
def small_server():
    limits = {"MAX_UPLOAD_BYTES": str(2 * 2**20), "BODY_PAUSE": "0.5"}
    with serve_site(LANES="2", DEADLINE="0.6", **limits) as server:
        yield server


@pytest.fixture
def lane_small(small_server):
    """Two lanes, 0.6 seconds for a page, half a second's pause in a body."""
    at_rest(small_server)
    small_server.json("/try/seen/?forget=1")
    return small_server


def at_rest(server):
    """Wait until no request is there but the one that asks."""
    return until(lambda: is_at_rest(server.status()))


def is_at_rest(status):
    lanes = status["lanes"]
    quiet = status["requests_in_flight"] == 1 and not lanes["busy"] + lanes["waiting"]
    return status if quiet else None


def get(path, more="", close=True):
    """The bytes of a request."""
    more += "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


def lane_post(path, body, more=""):
    more += f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode() + body


def rest(visitor):
    """What a socket still has to say, to the end."""
    with visitor:
        return b"".join(iter(lambda: visitor.recv(65536), b""))


def status_of(answer):
    return int(answer.split(maxsplit=2)[1]) if answer else None


def body_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def lane_visit(server, *paths):
    """Visitors who have asked for these paths, and not read yet."""
    return [server.connect(get(path, "Accept: application/json\r\n")) for path in paths]


def hang(server, *keys):
    """Visitors whose synchronous views are running, and end when their gate opens."""
    visitors = lane_visit(server, *(f"/try/hang/{key}/" for key in keys))
    until(lambda: set(keys) <= set(server.json("/try/seen/")["began"]))
    return visitors


def open_gates(*keys):
    for key in keys:
        (GATES / key).touch()


def new_keys(n):
    """Names of gates that no test has used."""
    return [f"gate{next(COUNTER)}" for _ in range(n)]


@contextlib.contextmanager
def hanging(server, n):
    """While this lasts, so many lanes are taken by views that hang."""
    keys = new_keys(n)
    visitors = hang(server, *keys)
    try:
        yield keys
    finally:
        open_gates(*keys)
        for visitor in visitors:
            rest(visitor)


# ----------------------------------------------------------- Waiting costs no thread


def threads_while_waiting(server, n):
    """Threads before and while so many visitors wait for an asynchronous view."""
    server.json("/hello/async/")
    before = server.status()["threads"]
    visitors = lane_visit(server, *["/try/idle/"] * n)
    until(lambda: server.json("/try/seen/")["held"] == n)
    during = server.status()
    server.json("/try/release/")
    assert {status_of(rest(visitor)) for visitor in visitors} == {200}
    return before, during


def test_waiting_visitors_take_no_thread(site):
    before, during = threads_while_waiting(site, 300)
    assert during["threads"] <= before + 2
    assert during["lanes"]["busy"] == during["lanes"]["waiting"] == 0
    assert during["requests_in_flight"] == 301


def test_stock_takes_a_thread_for_each_waiting_visitor():
    with serve_site("stock") as server:
        before, during = threads_while_waiting(server, 100)
        assert during["threads"] >= before + 95


def test_visitors_of_shared_take_no_thread_and_no_calls(site):
    upstream, before = site.upstream, site.status()["threads"]
    upstream.ready = lambda call: False
    visitors = lane_visit(site, *["/rivers/shared/"] * 300)
    until(lambda: site.status()["requests_in_flight"] == 301)
    until(lambda: len(upstream.calls) == 6)
    during = site.status()
    upstream.ready = lambda call: True
    assert {status_of(rest(visitor)) for visitor in visitors} == {200}
    assert during["threads"] <= before + 2
    assert during["upstream_in_flight"] == len(upstream.calls) == 6
    assert at_rest(site)["upstream_in_flight"] == 0


# ------------------------------------------------------------------------------ Lanes


def test_a_request_keeps_to_one_thread_to_its_close(site):
    idents = site.json("/try/threads/")["idents"]
    assert len(idents) == 9
    assert len(set(idents)) == 1
    told = until(lambda: site.json("/try/seen/")["told"])
    assert told == idents[:1]


def test_workers_are_as_many_as_lanes_and_are_used_again(site):
    def idents(n):
        answers = map(rest, lane_visit(site, *["/try/ident/"] * n))
        return {body_of(answer)["ident"] for answer in answers}

    found = idents(100)
    assert 1 <= len(found) <= 4
    starts = site.json("/try/seen/")["starts"]
    threads = site.status()["threads"]
    assert len(found | idents(100)) <= 4
    for _ in range(20):
        found.add(site.json("/try/ident/")["ident"])
    assert len(found) <= 4
    assert site.json("/try/seen/")["starts"] - starts <= 4
    assert site.status()["threads"] <= threads + 3


def test_asynchronous_pages_start_no_thread(site):
    starts = site.json("/try/seen/")["starts"]
    for _ in range(50):
        site.json("/hello/async/")
    assert site.json("/try/seen/")["starts"] == starts
    assert site.status()["lanes"]["busy"] == 0


def test_threads_are_those_of_the_kernel(site):
    with hanging(site, 2):
        tasks = len(os.listdir(f"/proc/{site.pid}/task"))
        assert site.status()["threads"] == tasks


@pytest.mark.parametrize("trace", ["plain", "fail=1", "autocommit=1"])
def test_a_request_leaves_no_trace_on_its_worker(site, trace):
    clean = [None, None, "/", "UTC", False, True]
    first = site.get(f"/try/traces/?{trace}", headers=JSON)
    assert first.status_code == (500 if "fail" in trace else 200)
    at_rest(site)
    second = site.json("/try/traces/")
    if trace != "fail=1":
        assert second["thread"] == first.json()["thread"]
    assert (second["found"], second["stores"]) == (clean, 0)


def test_an_open_transaction_is_not_the_next_request_s():
    with serve_site(LANES="1") as server:
        answer = server.get("/try/traces/?atomic=1", headers=JSON)
        assert answer.json()["stores"] == 1
        at_rest(server)
        after = server.json("/try/traces/")
        assert (after["found"][4], after["stores"]) == (False, 0)


def test_an_exception_stays_with_its_request(site):
    paths = [f"/try/traces/?fail={n % 2 or ''}" for n in range(40)]
    paths = [path if n % 2 else "/try/ident/" for n, path in enumerate(paths)]
    found = [status_of(rest(visitor)) for visitor in lane_visit(site, *paths)]
    assert found == [200, 500] * 20


def test_requests_wait_in_order(site):
    turns, (mine, *others) = new_keys(6), new_keys(4)
    visitors = hang(site, mine, *others)
    for n, turn in enumerate(turns, 1):
        visitors += lane_visit(site, f"/try/hang/{turn}/")
        until(lambda n=n: site.status()["lanes"]["waiting"] == n)
    lanes = site.status()["lanes"]
    assert lanes == {"size": 4, "busy": 4, "waiting": 6}
    open_gates(*turns, mine)
    until(lambda: set(turns) <= set(site.json("/try/seen/")["ended"]))
    assert site.json("/try/seen/")["began"][-6:] == turns
    open_gates(*others)
    assert {status_of(rest(visitor)) for visitor in visitors} == {200}


def test_who_leaves_the_queue_is_not_served(site):
    gone, stays = new_keys(2)
    with hanging(site, 4):
        leaver, stayer = lane_visit(site, f"/try/hang/{gone}/", f"/try/hang/{stays}/")
        until(lambda: site.status()["lanes"]["waiting"] == 2)
        leaver.close()
        until(lambda: site.status()["lanes"]["waiting"] == 1)
        assert site.status()["requests_in_flight"] == 6
        open_gates(gone, stays)
    assert status_of(rest(stayer)) == 200
    assert at_rest(site)
    began = site.json("/try/seen/")["began"]
    assert (stays in began, gone in began) == (True, False)


def test_a_worker_is_free_when_its_view_has_ended_not_when_its_visitor_has_left(site):
    keys = new_keys(4)
    for visitor in hang(site, *keys):
        visitor.close()
    until(lambda: site.status()["requests_in_flight"] == 1)
    assert site.status()["lanes"] == {"size": 4, "busy": 4, "waiting": 0}
    (waiter,) = lane_visit(site, "/try/ident/")
    until(lambda: site.status()["lanes"]["waiting"] == 1)
    assert not set(keys) & set(site.json("/try/seen/")["ended"])
    open_gates(keys[0])
    assert status_of(rest(waiter)) == 200
    until(lambda: site.status()["lanes"]["busy"] == 3)
    open_gates(*keys)
    assert at_rest(site)


def test_hung_views_hold_up_no_asynchronous_page(site):
    with hanging(site, 4) as keys:
        assert site.json("/hello/async/")["greeting"]
        assert ask(site, "async").status == ask(site, "shared").status == 200
        assert not set(keys) & set(site.json("/try/seen/")["ended"])


def test_who_waits_for_a_lane_too_long_gets_a_503(lane_small):
    with hanging(lane_small, 2):
        paths = ["/hello/sync/", "/cars/async/", "/try/threads/", "/cpu/sync/"]
        began = time.monotonic()
        answers = list(map(rest, lane_visit(lane_small, *paths)))
        assert time.monotonic() - began < 2
        assert [status_of(answer) for answer in answers] == [503] * 4
        assert all("busy" in body_of(answer)["error"] for answer in answers)
        assert "Traceback" not in lane_small.log
        assert lane_small.status()["lanes"] == {"size": 2, "busy": 2, "waiting": 0}
        assert lane_small.json("/hello/async/")["greeting"]
    assert lane_small.get("/hello/sync/").status_code == 200


def test_hung_views_hold_up_no_asynchronous_error(lane_small):
    with hanging(lane_small, 2):
        assert lane_small.get("/none/").status_code == 404
        assert lane_small.get("/source/none/none/").status_code == 404
        assert lane_small.get("/files/async/none").status_code == 404


def test_a_page_that_calls_this_server_works_while_lanes_are_free(lane_small):
    for path in ("hello/sync/", "hello/async/", "try/call/?path=hello/async/"):
        answer = lane_small.get("/try/call/", params={"path": path}, headers=JSON)
        assert (answer.status_code, path) == (200, path)


def test_pages_that_call_this_server_on_the_last_lanes_end_in_time(lane_small):
    began = time.monotonic()
    visitors = lane_visit(lane_small, *["/try/call/?path=hello/sync/"] * 8)
    found = {status_of(rest(visitor)) for visitor in visitors}
    assert found <= {200, 502, 503}
    assert time.monotonic() - began < 4
    assert at_rest(lane_small)
    assert lane_small.get("/hello/sync/").status_code == 200


# --------------------------------------------------------------- Looking after connections


def test_connections_are_checked_before_and_after_use(site):
    site.json("/try/orm/")
    at_rest(site)
    site.json("/try/seen/?forget=1")
    thread = site.json("/try/orm/")["thread"]
    at_rest(site)
    told = [
        entry for entry in site.json("/try/seen/")["told"] if entry != "cache closed"
    ]
    assert told == [["check", thread], ["view", thread], ["check", thread]]


@pytest.mark.parametrize("path", ["/try/orm/", "/try/orm_async/"])
def test_connections_are_kept_for_the_next_request(site, path):
    for visitor in lane_visit(site, *["/try/orm/"] * 40):
        rest(visitor)
    found = {site.json(path)["made"] for _ in range(20)}
    at_rest(site)
    assert max(found) - min(found) <= 3  # the workers that had none yet
    before = site.json(path)["made"]
    assert {site.json(path)["made"] for _ in range(20)} == {before}


def test_an_old_connection_is_replaced(site):
    site.json("/try/orm/")
    at_rest(site)
    first = site.json("/try/orm/?old=1")
    at_rest(site)
    second = site.json("/try/orm/")
    assert (second["thread"], second["made"]) == (first["thread"], first["made"] + 1)
    assert ["closed", first["thread"]] in site.json("/try/seen/")["told"]


def test_a_connection_that_cannot_be_looked_after_costs_no_lane(site):
    for _ in range(6):
        assert site.get("/try/orm/?break=1").status_code == 200
        until(lambda: site.status()["requests_in_flight"] == 1)
    assert site.get("/try/orm/").status_code == 200
    assert at_rest(site)


def connections_of(server):
    """How many times the process has the database's file open."""
    folder, found = Path(f"/proc/{server.pid}/fd"), 0
    for entry in folder.iterdir():
        with suppress(OSError):
            found += os.readlink(entry).endswith("lab.sqlite3")
    return found


def test_connections_are_as_many_as_lanes(site):
    paths = ["/cars/sync/?n=1", "/cars/async/?n=1", "/cars/sync_to_async/?n=1"]
    for _ in range(3):
        visitors = lane_visit(site, *paths * 20)
        assert {status_of(rest(visitor)) for visitor in visitors} == {200}
    assert at_rest(site)
    assert 1 <= connections_of(site) <= 4


RECEIVED = [["finished async", "MainThread", 1500], ["finished", "lane", 1500]]


def received(server):
    """What the receivers of request_finished have told, when they have."""
    notes = server.json("/try/seen/")["told"]
    notes = [[n[0], n[1].partition("-")[0], n[2]] for n in notes if "finished" in n[0]]
    return all(note in notes for note in RECEIVED) and notes


@contextlib.contextmanager
def receiving(server):
    """While this lasts, request_finished has two receivers more."""
    server.json("/try/receivers/connect/")
    try:
        at_rest(server)
        server.json("/try/seen/?forget=1")
        yield
    finally:
        server.json("/try/receivers/disconnect/")
        at_rest(server)


@pytest.mark.parametrize(
    "path", ["/hello/async/", "/hello/sync/", "/try/close_stream/"]
)
def test_receivers_of_ones_own_run_where_the_orm_may_be_used(site, path):
    with receiving(site):
        site.get(path)
        notes = until(lambda: received(site))
        assert [note for note in notes if note not in RECEIVED] == []


def test_receivers_run_when_the_visitor_has_left(site):
    with receiving(site):
        (visitor,) = lane_visit(site, "/try/idle/")
        until(lambda: site.json("/try/seen/")["held"])
        visitor.close()
        until(lambda: not site.json("/try/seen/")["held"])
        until(lambda: site.status()["requests_in_flight"] == 1)


@pytest.mark.parametrize("path", ["close/", "close_stream/", "close_stream/?endless=1"])
def test_closers_run_on_a_lane(site, path):
    name = "stream closer" if "stream" in path else "closer"
    (visitor,) = lane_visit(site, f"/try/{path}")
    assert visitor.recv(12) == b"HTTP/1.1 200"
    visitor.close()
    told = until(lambda: [n for n in site.json("/try/seen/")["told"] if name in n])
    assert [[n[0], n[1].partition("-")[0], n[2]] for n in told] == [
        [name, "lane", True]
    ]
    assert at_rest(site)


def test_uploaded_files_are_closed(site):
    for size in (10, 900_000):
        answer = site.client.post("/try/take/", files={"file": ("a", b"x" * size)})
        assert answer.json() == {"size": size}
    at_rest(site)
    assert site.json("/try/files/")["closed"][-2:] == [True, True]
    told = [n for n in site.json("/try/seen/")["told"] if n[0] == "file closed"]
    assert len(told) == 2
    assert "MainThread" not in {thread for _, thread in told}


@pytest.mark.parametrize("path", ["/try/cached/", "/try/cached_sync/"])
def test_caches_are_closed(site, path):
    site.json(path)
    until(lambda: "cache closed" in site.json("/try/seen/")["told"], 1)


@pytest.mark.parametrize("path", ["/try/close/", "/try/receivers/connect/"])
def test_what_a_response_holds_is_closed_though_every_lane_is_busy(lane_small, path):
    try:
        with hanging(lane_small, 2):
            assert lane_small.get(path).status_code == 200
            until(lambda: lane_small.status()["requests_in_flight"] == 3)
            told = {entry[0] for entry in lane_small.json("/try/seen/")["told"]}
    finally:
        if "receivers" in path:
            lane_small.json("/try/receivers/disconnect/")
    assert "Exception in ASGI application" not in lane_small.log
    assert told & {"closer", "finished"}


# ------------------------------------------------------ Closing keeps up with answering


def connections_to(server, n):
    """As many connections at once, each a pair of a reader and a writer."""
    port = int(server.url.rpartition(":")[2])
    opened = (asyncio.open_connection("127.0.0.1", port) for _ in range(n))
    return asyncio.gather(*opened)


async def visits(reader, writer, path):
    """Ask again and again, as soon as answered; yield at each answer."""
    with closing(writer):
        while True:
            writer.write(get(path, close=False))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = re.search(rb"(?i)content-length: (\d+)", head)[1]
            await reader.readexactly(int(length))
            yield


async def crowd(server, path, visitors, rounds):
    """Visitors who ask on kept connections, so many times each."""

    async def one(reader, writer):
        async with aclosing(visits(reader, writer, path)) as answers:
            for _ in range(rounds):
                await anext(answers)

    opened = await connections_to(server, visitors)
    await asyncio.gather(*(one(*streams) for streams in opened))


@pytest.mark.parametrize("path", ["/try/count/", "/try/count/?hop=1"])
def test_closing_keeps_up_with_answering(site, path):
    in_a_loop(crowd(site, path, 30, 10))
    before = site.memory()
    in_a_loop(crowd(site, path, 30, 100))
    assert site.json("/try/seen/")["most"] <= 3 * 30
    assert at_rest(site)
    assert site.memory() - before < 20 * 2**20


def test_an_answer_does_not_wait_for_a_call_that_was_given_up(site):
    key, *_ = new_keys(1)
    try:
        answer = rest(*lane_visit(site, f"/try/give_up/{key}/"))
        assert body_of(answer) == {"key": key}
        assert key not in site.json("/try/seen/")["ended"]
    finally:
        open_gates(key)
    told = [f"closed {key}"]
    until(lambda: told in [entry[:1] for entry in site.json("/try/seen/")["told"]])


def test_synchronous_pages_keep_up(site):
    in_a_loop(crowd(site, "/hello/sync/", 30, 20))
    assert at_rest(site)["lanes"] == {"size": 4, "busy": 0, "waiting": 0}


# ------------------------------------------------------- New visitors are soon let in


async def answers_until_all_are_in(server, n):
    """Answers that visitors have had when the last of them, come together, has one."""
    answered, waiting = 0, set(range(n))

    async def one(number, streams):
        nonlocal answered
        async with aclosing(visits(*streams, "/hello/async/")) as answers:
            async for _ in answers:
                answered += 1
                waiting.discard(number)
                if not waiting:
                    return

    os.kill(server.pid, signal.SIGSTOP)
    try:
        opened = await connections_to(server, n)
        visitors = [asyncio.ensure_future(one(*each)) for each in enumerate(opened)]
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await asyncio.gather(*visitors)
    return answered


def test_new_visitors_wait_for_few_requests_of_others(lab):
    """In turns that held all requests, the sixtieth waited for some 1,800 answers."""
    assert in_a_loop(answers_until_all_are_in(lab, 60)) < 60 * 12


async def turns_of(visits):
    """The turn of the event loop in which each visit ended; None for a cancelled one."""
    turn, loop = 0, asyncio.get_running_loop()

    def tick():
        nonlocal turn, ticking
        turn, ticking = turn + 1, loop.call_soon(tick)

    async def timed(visit):
        with suppress(asyncio.CancelledError):
            await visit
            return turn

    ticking = loop.call_soon(tick)
    tasks = [asyncio.ensure_future(timed(visit)) for visit in visits]
    await asyncio.sleep(0)
    tasks[20].cancel()
    turns = await asyncio.gather(*tasks)
    ticking.cancel()
    return turns


async def shared_by_forty():
    """The turns in which forty visitors who share a call go on."""

    async def fetch(question):
        await asyncio.sleep(0.05)

    return await turns_of([app.share_flights(fetch, "ab") for _ in range(40)])


async def forty_at_a_door():
    door = app.Door(asyncio.get_running_loop())
    return await turns_of([door.enter() for _ in range(40)])


@pytest.mark.parametrize("crowd", [shared_by_forty, forty_at_a_door])
def test_a_crowd_goes_on_a_few_a_turn_in_order(crowd):
    turns = in_a_loop(crowd())
    assert turns.pop(20) is None
    assert turns == sorted(turns)
    assert max(turns.count(turn) for turn in turns) <= 2 * app.Door.A_TURN


def test_who_boards_as_the_last_one_leaves_has_a_flight_of_his_own():
    async def fly():
        held, started = asyncio.Event(), []

        async def fetch(site):
            started.append(site)
            await held.wait()
            return site

        first = asyncio.create_task(app.share_flights(fetch, ["a"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        second = asyncio.create_task(app.share_flights(fetch, ["a"]))
        await asyncio.sleep(0)
        held.set()
        return await second, started

    assert in_a_loop(fly()) == ((["a"], 1), ["a", "a"])


def test_who_shares_goes_on_though_the_first_has_left():
    """On a lane of the first visitor's, the call would end with his request."""

    async def fly():
        held, lanes = asyncio.Event(), app.Lanes(2)

        async def fetch(site):
            await held.wait()
            return await sync_to_async(str)(site)

        async def visit():
            lane = app.Lane(lanes)
            try:
                async with ThreadSensitiveContext(executor=lane):
                    return await app.share_flights(fetch, ["a"])
            finally:
                lane.release()

        visitors = [asyncio.ensure_future(visit()) for _ in range(2)]
        await asyncio.sleep(0)
        visitors[0].cancel()
        await asyncio.wait(visitors[:1])
        held.set()
        try:
            return await visitors[1]
        finally:
            await asyncio.to_thread(lanes.close)

    assert in_a_loop(fly()) == (["a"], 0)


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError])
def test_what_goes_wrong_in_a_shared_call_is_told_to_each(error):
    async def fetch(site):
        await asyncio.sleep(0)
        raise error(site)

    async def fly():
        visits = (app.share_flights(fetch, "ab") for _ in range(9))
        return await asyncio.gather(*visits, return_exceptions=True)

    kind = KeyError if error is KeyError else app.UpstreamError
    told = in_a_loop(fly())
    assert [type(one) for one in told] == [kind] * 9
    if error is KeyError:
        frames = traceback.extract_tb(told[-1].__traceback__)
        assert "fetch" in [frame.name for frame in frames]
    assert not app.Flight.under_way


def test_who_cannot_board_the_second_flight_leaves_the_first():
    async def fly():
        async def fetch(site):
            await asyncio.Event().wait()

        with pytest.raises(TypeError):
            await app.share_flights(fetch, ["a", []])
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert in_a_loop(fly()) == 1
    assert not app.Flight.under_way


async def seconds_of_departure(n):
    """The computing time that so many visitors cost who share calls and leave at once."""

    async def never(site):
        await asyncio.Event().wait()

    shared = (app.share_flights(never, "abcdef") for _ in range(n))
    visitors = [asyncio.ensure_future(visit) for visit in shared]
    await asyncio.sleep(0)
    before = time.process_time()
    for visitor in visitors:
        visitor.cancel()
    await asyncio.wait(visitors)
    return time.process_time() - before


def test_a_crowd_that_leaves_costs_no_more_than_each_for_himself():
    """Four times as many cost four times as much; once it was sixteen times."""

    def best(n):
        return min(in_a_loop(seconds_of_departure(n)) for _ in range(5))

    assert best(4000) < 9 * best(1000)


# --------------------------------------------------------------- The two applications

#: Asks the application by hand, for the status of a page.
ASK = """
import asyncio
import app


async def ask(path):
    answers = []

    async def receive():
        if answers == []:
            answers.append(None)
            return {"type": "http.request"}
        await asyncio.Event().wait()

    async def send(message):
        answers.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"",
             "headers": [(b"host", b"localhost")], "http_version": "1.1"}
    await app.application(scope, receive, send)
    return [a for a in answers if a][0]["status"]
"""
#: Starts and stops the application twice, by hand, and prints what is left of it.
DRIVE = (
    ASK
    + """
import os, threading
from django.core import signals


def receivers():
    return [
        sorted(r.__name__ for kind in signal._live_receivers(None) for r in kind)
        for signal in (signals.request_started, signals.request_finished)
    ]


async def drive():
    inbox, outbox = asyncio.Queue(), asyncio.Queue()
    life = app.application({"type": "lifespan"}, inbox.get, outbox.put)
    task = asyncio.ensure_future(life)
    await inbox.put({"type": "lifespan.startup"})
    print((await outbox.get())["type"], receivers())
    for path in ("/hello/sync/", "/cars/async/", "/rivers/threaded/", "/rivers/async/"):
        assert await ask(path) == 200
    await inbox.put({"type": "lifespan.shutdown"})
    print((await outbox.get())["type"], receivers() == before)
    await task


def open_files():
    for number in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            pass


before = receivers()
for _ in range(2):
    asyncio.run(drive())
    names = [t.name for t in threading.enumerate()]
    print([n for n in names if n.startswith(("lane", "upstream", "pool"))])
    print([name for name in open_files() if "sqlite3" in name or "socket" in name])
print(os.listdir(app.INCOMING.parent))
"""
)


def test_application_stops_and_all_is_as_it_was(tmp_path):
    done = python("-c", DRIVE, DATA_DIR=str(tmp_path), UPSTREAM_LATENCY="0")
    once = [
        "lifespan.startup.complete [[], []]",
        "lifespan.shutdown.complete True",
        *["[]", "[]"],
    ]
    assert done.stdout.splitlines() == [*once * 2, "[]"], done.stderr


#: Ends an event loop amid a crowd's requests, and serves on another.
ANOTHER_LOOP = (
    ASK
    + """
async def crowd(n, **how):
    visitors = [asyncio.ensure_future(ask("/hello/async/")) for _ in range(n)]
    done, _ = await asyncio.wait(visitors, **how)
    return [visitor.result() for visitor in done]


asyncio.run(crowd(1))
asyncio.run(crowd(200, return_when=asyncio.FIRST_COMPLETED))
print(asyncio.run(asyncio.wait_for(crowd(6), 10)))
"""
)


def test_another_loop_may_follow():
    done = python("-c", ANOTHER_LOOP, UPSTREAM_LATENCY="0")
    assert done.stdout.strip() == str([200] * 6), done.stderr


def test_server_without_lifespan():
    with serve_site(options="--lifespan off", LANES="3") as server:
        assert ask(server, "sync").status == ask(server, "async").status == 200
        assert at_rest(server)["lanes"]["size"] == 3


# --------------------------------------------------------------------------- Shutdown


def is_listening(url):
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1).close()
        return True
    return False


def group_is_gone(server):
    """Whether no process of the server is left."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, 0)
        return False
    return True


def check_end(server):
    """Wait for the server's end, which leaves nothing behind."""
    assert server.process.wait(10) in (0, 143, -signal.SIGTERM)
    assert group_is_gone(server)
    assert not re.search(r"Traceback|never retrieved|was destroyed", server.log)
    assert list(Path(server.log_path.parent, "data", "incoming").iterdir()) == []


@pytest.mark.parametrize("terms", [1, 2])
def test_sigterm_lets_requests_finish_and_takes_no_new_ones(terms):
    keys, upstream = new_keys(3), Upstream()
    upstream.ready = lambda call: False
    with serve_site(LANES="1", UPSTREAM_URL=upstream.url) as server:
        visitors = hang(server, keys[0])
        visitors += lane_visit(server, f"/try/hang/{keys[1]}/", f"/try/wait/{keys[2]}/")
        until(lambda: server.status()["lanes"]["waiting"] == 1)
        until(lambda: keys[2] in server.json("/try/seen/")["began"])
        visitors += lane_visit(server, "/rivers/streamed/")
        visitors.append(server.connect(lane_post("/try/body/", b"whole")[:-2]))
        until(lambda: server.status()["requests_in_flight"] == 6)
        until(lambda: len(upstream.calls) == 6)
        for _ in range(terms):
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not is_listening(server.url))
        assert server.process.poll() is None
        visitors[-1].sendall(b"le")
        upstream.ready = lambda call: True
        open_gates(*keys)
        answers = [rest(visitor) for visitor in visitors]
        assert [status_of(answer) for answer in answers] == [200] * 5
        assert answers[3].count(b'"name"') == 6
        assert body_of(answers[4])["body"] == "whole"
        check_end(server)
        until(lambda: not upstream.writers)


def test_slow_downloads_and_hung_views_are_cut_in_time():
    with serve_site(options="--timeout-graceful-shutdown 1", LANES="13") as server:
        uploads = Path(server.log_path.parent, "data", "uploads")
        with Path(uploads, "large.bin").open("wb") as file:
            file.truncate(64 * MIB)
        slow = lane_visit(server, "/files/async/large.bin", "/files/sync/large.bin")
        assert [visitor.recv(12) for visitor in slow] == [b"HTTP/1.1 200"] * 2
        hung = hang(server, *new_keys(12))
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) in (0, 143, -signal.SIGTERM)
        assert 1 <= time.monotonic() - began < 5
        assert group_is_gone(server)
        assert all(len(rest(visitor)) < 64 * MIB for visitor in slow)
        assert [visitor.close() for visitor in hung]


def test_python_app_is_graceful_for_ten_seconds():
    code = (
        "import uvicorn, app; uvicorn.run = lambda *a, **k: print(a, k); app.main([])"
    )
    told = python("-c", code).stdout
    assert "app:application" in told
    assert "'timeout_graceful_shutdown': 10" in told


# --------------------------------------------------------------------------- The door


def head(path, *lines, method="POST"):
    """A request's header, with these lines besides."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]
    return "\r\n".join(lines).encode()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


TOO_LARGE = [("/try/body/", MIB), ("/cars/sync/", MIB), ("/upload/sync/", 2 * MIB)]


@pytest.mark.parametrize(("path", "limit"), TOO_LARGE)
def test_an_announced_body_is_refused_before_it_is_sent(lane_small, path, limit):
    asked = head(path, f"Content-Length: {limit + 1}", "Expect: 100-continue")
    answer = rest(lane_small.connect(asked))
    assert status_of(answer) == 413
    assert f"larger than {limit} bytes".encode() in answer
    assert b"onnection: close" in answer
    assert at_rest(lane_small)


@pytest.mark.parametrize(("path", "limit"), TOO_LARGE)
def test_a_body_is_refused_as_soon_as_it_is_too_large(lane_small, path, limit):
    visitor = lane_small.connect(head(path, "Transfer-Encoding: chunked"))
    for _ in range(limit // 65536):
        visitor.sendall(chunk(b"x" * 65536))
    visitor.settimeout(0.2)
    with pytest.raises(TimeoutError):
        visitor.recv(1)
    visitor.settimeout(30)
    visitor.sendall(chunk(b"x"))
    assert status_of(rest(visitor)) == 413
    assert at_rest(lane_small)
    assert arriving(lane_small) == []


def test_a_body_as_large_as_allowed_is_taken(lane_small):
    answer = rest(lane_small.connect(lane_post("/try/body/", b"x" * MIB)))
    assert body_of(answer)["body"] == "x" * MIB
    answer = rest(lane_small.connect(lane_post("/upload/sync/", b"x" * 2 * MIB)))
    assert status_of(answer) == 403  # for want of a token: the door let it in


def test_who_sends_too_much_reads_why(lane_small):
    for _ in range(5):
        answer = lane_small.client.post(
            "/try/body/", content=b"x" * 8 * MIB, headers=JSON
        )
        assert (answer.status_code, list(answer.json())) == (413, ["error"])


def arriving(server):
    """The files of bodies that are arriving."""
    return list(
        Path(server.log_path.parent, "data/incoming", str(server.pid)).iterdir()
    )


HALVES = {
    "with a length": (head("/try/body/", "Content-Length: 10"), b"half"),
    "in chunks": (head("/try/body/", "Transfer-Encoding: chunked"), chunk(b"half")),
    "in the first chunk": (
        head("/try/body/", "Transfer-Encoding: chunked"),
        b"ff\r\nx",
    ),
    "before its first byte": (head("/try/body/", "Content-Length: 10"), b""),
    "of an upload": (
        head("/upload/sync/", f"Content-Length: {2 * MIB}"),
        b"x" * (MIB + 65536),
    ),
}


@pytest.mark.parametrize("case", HALVES)
def test_who_stops_in_the_middle_of_a_body_is_let_go(lane_small, case):
    began = time.monotonic()
    answer = rest(lane_small.connect(b"".join(HALVES[case])))
    assert status_of(answer) == 408
    assert 0.5 <= time.monotonic() - began < 3
    assert at_rest(lane_small)
    assert arriving(lane_small) == []


@pytest.mark.parametrize("case", HALVES)
def test_who_leaves_in_the_middle_of_a_body_is_forgotten(site, case):
    visitor = site.connect(b"".join(HALVES[case]))
    until(lambda: site.status()["requests_in_flight"] == 2)
    visitor.close()
    assert at_rest(site)
    assert arriving(site) == []


def test_a_slow_body_is_taken(lane_small):
    visitor = lane_small.connect(
        head("/try/body/", "Content-Length: 4", "Connection: close")
    )
    for byte in b"slow":
        until(lambda: lane_small.status()["requests_in_flight"] == 2)
        visitor.sendall(bytes([byte]))
    assert body_of(rest(visitor))["body"] == "slow"


def test_chunks_make_a_body(lane_small):
    sent = head("/try/body/", "Transfer-Encoding: chunked", "Connection: close")
    sent += b"".join(map(chunk, [b"one ", b"body", b""]))
    assert body_of(rest(lane_small.connect(sent)))["body"] == "one body"


def test_who_asks_first_is_told_to_go_on(lane_small):
    lines = "Content-Length: 4", "Expect: 100-continue", "Connection: close"
    visitor = lane_small.connect(head("/try/body/", *lines))
    assert visitor.recv(100).startswith(b"HTTP/1.1 100 ")
    visitor.sendall(b"body")
    assert body_of(rest(visitor))["body"] == "body"


BAD_LENGTHS = ["abc", "-1", "+1", "1, 2", "1\r\nContent-Length: 2", "1" * 30, "0x1", ""]


@pytest.mark.parametrize("length", BAD_LENGTHS)
def test_a_bad_length_is_refused(lane_small, length):
    asked = head("/try/body/", f"Content-Length: {length}", "Connection: close")
    answer = rest(lane_small.connect(asked + b"xx"))
    assert status_of(answer) == 400 or (length == "" and status_of(answer) == 200)
    assert at_rest(lane_small)


def test_a_length_and_chunks_are_refused(lane_small):
    lines = "Content-Length: 4", "Transfer-Encoding: chunked"
    answer = rest(lane_small.connect(head("/try/body/", *lines) + chunk(b"")))
    assert status_of(answer) == 400


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_any_method_may_have_a_body(lane_small, method):
    lines = "Content-Length: 4", "Connection: close"
    answer = rest(
        lane_small.connect(head("/try/body/", *lines, method=method) + b"body")
    )
    assert body_of(answer) == {"method": method, "body": "body"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_limits_are_for_every_method(lane_small, method):
    asked = head("/try/body/", f"Content-Length: {MIB + 1}", method=method)
    assert status_of(rest(lane_small.connect(asked))) == 413


def test_requests_in_a_row_on_one_connection_are_answered_in_order(lane_small):
    bodies = [b"one", b"two", b"three"]
    asked = b"".join(
        head("/try/body/", f"Content-Length: {len(body)}") + body for body in bodies
    )
    asked += get("/hello/sync/", close=False) + get("/none/", close=False)
    answer = rest(lane_small.connect(asked + get("/hello/async/")))
    places = [answer.index(b'"%s"' % body) for body in bodies]
    assert places == sorted(places)
    found = re.findall(rb"HTTP/1.1 (\d+)", answer)
    assert found == [b"200", b"200", b"200", b"200", b"404", b"200"]


def test_after_a_refusal_nothing_more_is_read(lane_small):
    asked = head("/try/body/", f"Content-Length: {MIB + 1}")
    answer = rest(lane_small.connect(asked + get("/hello/sync/")))
    assert answer.count(b"HTTP/1.1") == 1


def test_http_1_0(lane_small):
    answer = rest(
        lane_small.connect(b"GET /hello/async/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
    )
    assert status_of(answer) == 200
    sent = b"POST /try/body/ HTTP/1.0\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok"
    assert body_of(rest(lane_small.connect(sent)))["body"] == "ok"


# ------------------------------------------------------------------- Lanes under stress


class Crowd:
    """Requests of all kinds on a few lanes, and which of them each thread has served."""

    def __init__(self, seed, patience, size=4):
        self.random, self.lanes = random.Random(seed), app.Lanes(size, patience)
        self.served, self.outliving, self.answered = {}, [], 0

    def work(self, number):
        """A synchronous call: note whose it is, and take a moment."""
        thread = threading.current_thread()
        self.served.setdefault(thread, []).append(number)
        time.sleep(self.random.random() / 500)
        if self.random.random() < 0.1:
            raise LookupError

    def bridge(self, number):
        """A synchronous call that awaits, in which synchronous calls are made."""
        self.work(number)
        async_to_sync(self.call)(self.work, number)
        async_to_sync(self.call)(self.inner_bridge, number)

    def inner_bridge(self, number):
        async_to_sync(self.call)(self.work, number)

    async def call(self, function, number):
        await sync_to_async(function)(number)

    async def elsewhere(self, number):
        """Calls from another thread, with an event loop of its own."""
        await asyncio.to_thread(asyncio.run, self.call(self.work, number))

    async def page(self, number):
        kind = self.random.randrange(7)
        if kind == 1:
            await asyncio.gather(*(self.call(self.work, number) for _ in range(4)))
        elif kind == 2:
            await self.call(self.bridge, number)
        elif kind == 3:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.random.random() / 500):
                    await self.call(self.work, number)
            await self.call(self.work, number)
        elif kind == 4:
            task = asyncio.ensure_future(self.call(self.work, number))
            self.outliving.append(task)
            await asyncio.sleep(self.random.random() / 500)
        elif kind == 5:
            await self.elsewhere(number)
        else:
            await self.call(self.work, number)

    async def request(self, number):
        """A request as the application runs it, whose visitor may leave at any time."""
        lane = app.Lane(self.lanes)
        patience = self.random.choice([None, None, 0, 0.001, 0.005, 0.02])
        try:
            async with asyncio.timeout(patience):
                async with ThreadSensitiveContext(executor=lane):
                    await self.page(number)
            self.answered += 1
        except (LookupError, TimeoutError, app.LanesBusy, RuntimeError):
            pass
        finally:
            lane.release()

    async def come(self, requests, at_once):
        """All requests, so many at once; and all tasks that outlived theirs."""
        numbers = iter(range(requests))

        async def take_turns():
            for number in numbers:
                await self.request(number)

        await asyncio.gather(*(take_turns() for _ in range(at_once)))
        await asyncio.gather(*self.outliving, return_exceptions=True)


@pytest.mark.parametrize("patience", [10, 0.004])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_lanes_hold_under_stress(patience):
    crowd = Crowd(seed=patience, patience=patience)
    lanes = crowd.lanes
    in_a_loop(asyncio.wait_for(crowd.come(2000, 40), 20))
    until(lambda: len(lanes.idle) == len(lanes.workers))
    assert len(set(lanes.idle)) == len(lanes.workers) == 4
    assert not lanes.waiting
    assert crowd.answered > 100
    homes = {}
    for thread, numbers in crowd.served.items():
        assert thread in lanes.workers
        runs = [
            n
            for n, before in zip(numbers, [None, *numbers], strict=False)
            if n != before
        ]
        assert len(runs) == len(set(runs)), "two requests at once on one worker"
        assert homes.keys().isdisjoint(runs), "one request on two workers"
        homes |= dict.fromkeys(runs)
    lanes.close()
    assert not any(worker.is_alive() for worker in lanes.workers)


def test_a_call_after_the_end_is_refused():
    lanes = app.Lanes(1)
    for late in (app.Lane(lanes), app.Lane(lanes)):
        late.release()
        with pytest.raises(app.LanesBusy):
            late.submit(print).result(1)
        assert len(lanes.idle) == len(lanes.workers)
    lanes.close()


def test_a_call_from_a_thread_without_a_loop_waits_too():
    lanes = app.Lanes(1)
    gate = threading.Event()
    first, second = app.Lane(lanes), app.Lane(lanes)
    first.submit(gate.wait)
    with suppress(RuntimeError):
        second.submit(print)
    second.release()
    gate.set()
    first.release()
    until(lambda: len(lanes.idle) == 1, 1)
    lanes.close()


def test_finished_requests_are_forgotten():
    class Thing:
        pass

    async def serve_one():
        lane, thing = app.Lane(lanes), Thing()
        things.append(weakref.ref(thing))
        async with ThreadSensitiveContext(executor=lane):
            await sync_to_async(id)(thing)
        lane.release()

    lanes, things = app.Lanes(2), []
    in_a_loop(serve_one())
    gc.collect()
    until(lambda: things[0]() is None, 2)
    lanes.close()


# --------------------------------------------------------- The race on the command line

APP = Path(__file__).with_name("app.py")
RACE_KEYS = "experiment variant runs users median_s p95_s requests_per_s failed speedup"
STATUS = {"threads": 3, "rss_bytes": None}
INDEX = {"experiments": {"hello": {"variants": {"sync": "", "async": ""}}}}


@pytest.fixture
def own_temp(tmp_path, monkeypatch):
    """A temporary folder of the test's own, which a race leaves as it found it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("UPSTREAM_LATENCY", "0.02")
    tempfile.tempdir = None
    yield
    assert not list(tmp_path.glob("race-*"))


def start(*arguments, **options):
    command = [sys.executable, str(APP), "race", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, start_new_session=True, **pipes | options)


def race(*arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def results(*arguments):
    """Exit status and results, by experiment and variant."""
    status, out, err = race("--json", *arguments)
    assert err == ""
    report = json.loads(out)
    found = {(x["experiment"], x["variant"]): x for x in report["results"]}
    return status, report, found


@contextmanager
def bad_server(answer):
    """The address of a server that hands each connection to `answer`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@contextmanager
def fake_lab(pages, index=INDEX):
    """A lab's address; `pages(handler)` answers for the variants."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        json = {"/": index, "/files/": {"files": []}, "/status/": STATUS}

        def do_GET(self):
            if self.path in self.json:
                self.reply(200, json.dumps(self.json[self.path]).encode())
            else:
                seen.append(self.path)
                pages(self)

        def reply(self, status, body, length=None):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(length or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", seen
    server.shutdown()
    server.server_close()


def processes(session):
    """The processes of a session that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


@pytest.mark.usefixtures("own_temp")
def test_json_has_the_shape_of_the_contract():
    status, report, found = results("rivers", "cars?n=5", "--runs", "2", "--users", "2")
    assert status == 0
    assert list(report) == ["stack", "peak_threads", "peak_rss_bytes", "results"]
    assert report["stack"]["event_loop"] and report["stack"]["processors"] >= 1
    assert report["peak_threads"] >= 2 and report["peak_rss_bytes"] > 2**20
    assert all(list(x) == RACE_KEYS.split() for x in found.values())
    assert all(
        (x["runs"], x["users"], x["failed"]) == (2, 2, 0) for x in found.values()
    )
    assert found["rivers", "sync"]["speedup"] == 1
    fast = found["rivers", "async"]
    assert 2 < fast["speedup"] < 7 and fast["median_s"] <= fast["p95_s"]
    assert fast["speedup"] == found["rivers", "sync"]["median_s"] / fast["median_s"]
    assert ("cars?n=5", "prefetched") in found and ("rivers", "blocking") not in found


@pytest.mark.usefixtures("own_temp")
def test_table_and_stack_for_people():
    status, out, err = race("hello", "--runs", "1")
    head, sync, asynchronous, _, highest, stack = out.splitlines()
    assert (status, err) == (0, "")
    assert head.split()[:2] == ["experiment", "variant"] and head.endswith("speed-up")
    assert sync.split()[:4] == ["hello", "sync", "1", "1"] and sync.endswith("1.00")
    assert len(head) == len(sync) == len(asynchronous)
    assert "threads" in highest and "MB" in highest
    assert "uvicorn" in stack and "processors" in stack


@pytest.mark.usefixtures("own_temp")
def test_post_races_the_variants_that_take_a_form():
    status, _, found = results("--post", "--runs", "2")
    assert status == 0
    assert {v for _, v in found} == {"sync", "async", "sync_to_async"}


@pytest.mark.usefixtures("own_temp")
@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["upload"],
        ["rivers/sync"],
        ["hello", "nonsense"],
        ["--post", "rivers"],
        ["--runs", "0"],
        ["--runs", "-1"],
        ["--users", "many"],
        ["--users", "1.5"],
        ["--runs"],
        ["--nonsense"],
        ["hello", "--url", "http://127.0.0.1:1"],
        ["hello", "--url", "nonsense"],
        ["hello", "--url", ""],
    ],
    ids=" ".join,
)
def test_what_cannot_be_raced_gets_one_line_and_status_2(arguments):
    status, out, err = race(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert len(err) > 20 and err.endswith("\n")


@pytest.mark.usefixtures("own_temp")
@pytest.mark.parametrize(
    "answer",
    [
        lambda connection: connection.close(),
        lambda connection: (connection.sendall(b"SSH-2.0-x\r\n"), connection.close()),
        lambda connection: connection.sendall(
            b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}"
        ),
    ],
    ids=["closes", "ssh", "500"],
)
def test_what_is_not_the_lab_gets_one_line_and_status_2(answer):
    with bad_server(answer) as url:
        status, out, err = race("--url", url)
    assert (status, out) == (2, "")
    assert err == f"'{url}' does not answer as the lab does.\n"


@pytest.mark.usefixtures("own_temp")
def test_lab_without_the_experiment_gets_one_line():
    with fake_lab(lambda handler: handler.reply(200, b"{}")) as (url, _):
        status, out, err = race("rivers", "--url", url)
    assert (status, out, err.count("\n")) == (2, "", 1)


@pytest.mark.usefixtures("own_temp")
def test_lab_without_files_gets_one_line():
    index = {"experiments": {"files": {"variants": {"sync": ""}}}}
    with fake_lab(lambda handler: handler.reply(200, b"{}"), index) as (url, _):
        assert race("files", "--url", url)[0] == 2
        assert race("--url", url)[2].count("\n") == 1


@pytest.mark.usefixtures("own_temp")
def test_runs_are_interleaved_after_one_warm_up():
    with fake_lab(lambda handler: handler.reply(200, b"{}")) as (url, seen):
        assert race("hello", "--runs", "2", "--url", url)[0] == 0
    assert [path.strip("/?") for path in seen] == ["hello/sync", "hello/async"] * 3


@pytest.mark.usefixtures("own_temp")
@pytest.mark.parametrize(
    ("fail", "why"),
    [
        (lambda handler: handler.reply(500, b"{}"), "500"),
        (lambda handler: handler.reply(302, b"{}"), "302"),
        (lambda handler: handler.wfile.close(), "disconnected"),
        (lambda handler: handler.connection.close(), "closed"),
        (lambda handler: handler.reply(200, b"{}", 9) or handler.finish(), "payload"),
    ],
    ids=["500", "redirects", "closes", "closes", "stops in the middle"],
)
def test_failed_requests_end_the_race_with_status_1(fail, why):
    def pages(handler):
        handler.close_connection = True
        if "async" in handler.path:
            fail(handler)
            handler.connection.close()
        else:
            handler.reply(200, b"{}")

    with fake_lab(pages) as (url, _):
        status, report, found = results("--runs=2", "--users=2", "--url", url)
    assert status == 1
    assert found["hello", "sync"]["failed"] == 0
    bad = found["hello", "async"]
    assert (bad["failed"], bad["requests_per_s"]) == (4, 0)
    assert bad["median_s"] is bad["p95_s"] is bad["speedup"] is None


def wait_for_runs(process, theirs, runs):
    """Read a race's terminal until so many of its turns have begun."""
    text, ends = b"", time.monotonic() + 30
    while f"{runs} of".encode() not in text:
        assert time.monotonic() < ends, text
        text += os.read(theirs, 1000)


@pytest.mark.usefixtures("own_temp")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_with_what_it_has(number):
    ours, theirs = os.openpty()
    kept = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # as for a job in the background
    process = start("rivers", "--runs", "200", stderr=theirs)
    signal.signal(signal.SIGINT, kept)
    wait_for_runs(process, ours, 25)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
        time.sleep(0.1)
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    os.close(theirs)
    assert process.returncode == 130
    assert "rivers      sync " in out and "uvloop" in out
    assert b"Traceback" not in os.read(ours, 100000)
    os.close(ours)
    assert processes(process.pid) == []


@pytest.mark.usefixtures("own_temp")
@pytest.mark.parametrize("after", [0, 0.7, 1.4])
def test_ctrl_c_while_the_servers_start(tmp_path, after):
    process = start("rivers", "--json", "--runs", "200")
    while not list(tmp_path.glob("race-*/*.log")):
        time.sleep(0.01)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert processes(process.pid) == []
    assert (process.returncode, err) == (130, "")
    assert "results" in json.loads(out)


@pytest.mark.usefixtures("own_temp")
def test_own_server_that_does_not_start_says_why(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/lab.sqlite3")
    status, out, err = race("hello")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "did not start" in err and "database file" in err


@pytest.mark.usefixtures("own_temp")
def test_data_of_ones_own_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "mine"))
    assert race("--post", "--runs=1")[0] == 0
    assert not (tmp_path / "mine").exists()


# ------------------------------------------------------------ What fresh eyes found


@pytest.mark.parametrize("n", ["0000000019999", "00000000199999999999999999999999"])
def test_number_of_cars_cannot_hide_behind_noughts(lab, n):
    assert lab.get(f"/cars/prefetched/?n={n}", headers=JSON).status_code == 400


def test_content_type_that_cannot_be_read(lab):
    headers = JSON | {"Content-Type": "text/plain; a*=nope''x"}
    answer = lab.get("/hello/sync/", headers=headers)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    check_headers(answer)


def test_address_that_is_no_upload_s_takes_a_megabyte(lab):
    answer = lab.client.post("/upload/none/", content=b"a" * 2**21, headers=JSON)
    assert answer.status_code == 413


def test_boundary_with_a_blank_behind_it(lab):
    token = lab.get("/upload/async/").cookies["csrftoken"]
    body = b"--abc\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\na\r\n--abc--"
    headers = JSON | {"X-CSRFToken": token, "Cookie": f"csrftoken={token}"}
    headers |= {"Content-Type": "multipart/form-data; boundary=abc ; charset=utf-8"}
    answer = lab.client.post("/upload/async/", content=body, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "arguments",
    [["check", "--deploy"], ["migrate"], ["shell", "-c", "pass"]],
    ids=" ".join,
)
def test_django_s_own_commands(tmp_path, arguments):
    done = python(str(HERE / "app.py"), *arguments, DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert "WARNINGS" not in done.stderr


def test_runserver_wants_an_address(tmp_path):
    done = python(str(HERE / "app.py"), "runserver", "abc", DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_requirements_stand_in_the_script_too():
    script = re.search(r"(?s)# /// script\n(.*?)# ///", (HERE / "app.py").read_text())[
        1
    ]
    assert re.findall(r'"(.+)",?\n', script)[1:] == (
        (HERE / "requirements.txt").read_text().splitlines()
    )


def test_readme_is_finished():
    assert "@@" not in (HERE / "README.md").read_text()


# ----------------------------------------------------------------- The race on the page

#: Where an axe.min.js of the npm package axe-core is; without it axe is left out.
AXE = os.environ.get("AXE")


@pytest.fixture(scope="module")
def server():
    """A lab whose services take long enough to be seen to."""
    with serve(UPSTREAM_LATENCY="0.05") as server:
        (server.log_path.parent / "data/uploads/file.bin").write_bytes(b"a" * 10_000)
        yield server


@pytest.fixture
def browser_page(browser, server):
    """The front page; a mistake in its script, or against its policy, fails the test."""
    errors = []
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: "Policy" in said.text and errors.append(said.text))
    page.goto("/")
    yield page
    context.close()
    assert errors == []


def start_on_page(page, name, runs):
    """Begin a race by its button."""
    page.get_by_label("Runs").fill(str(runs))
    page.get_by_role("button", name=f"Race {name}", exact=True).click()


def wait_for(page, words):
    """Wait until the progress line says these words; the whole line."""
    page.locator(f"#progress:has-text('{words}')").wait_for(timeout=60_000)
    return page.inner_text("#progress")


def race_on_page(page, name, runs):
    """Race to the verdict; the table's rows, as lists of text."""
    start_on_page(page, name, runs)
    wait_for(page, "Done")
    rows = page.locator(f"#{name} tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def test_the_front_page_is_one_small_request(browser, server):
    page, seen = browser.new_page(), []
    page.on("request", lambda request: seen.append(request.url))
    answer = page.goto(server.url)
    page.wait_for_load_state("networkidle")
    assert len(seen) == 1
    assert len(answer.body()) < 60_000
    assert answer.header_value("set-cookie") is None


def test_the_front_page_in_json_is_the_table_of_experiments(browser_page):
    headers = {"accept": "application/json"}
    data = browser_page.request.get("/", headers=headers).json()
    assert set(data) == {"experiments"}
    assert set(data["experiments"]["hello"]) == {"variants"}
    assert list(data["experiments"]["hello"]["variants"]) == ["sync", "async"]


def test_a_race_of_hello_comes_to_a_verdict_and_a_table(browser_page):
    rows = race_on_page(browser_page, "hello", 2)
    assert browser_page.inner_text("#progress") == "Done: 4 of 4"
    assert [row[:2] for row in rows] == [["sync", "2"], ["async", "2"]]
    assert all(row[2].endswith(" ms") and "× as fast" in row[5] for row in rows)
    assert browser_page.locator("#hello .fastest").count() == 1
    verdict = browser_page.inner_text("#hello .verdict")
    assert all(word in verdict for word in ("Result:", "Why:", "Choose:"))
    bar = browser_page.locator("#hello .track i").first
    assert bar.evaluate("bar => bar.getBoundingClientRect().width") > 10


def test_a_race_of_rivers_tells_how_many_times_faster(browser_page):
    rows = {row[0]: row for row in race_on_page(browser_page, "rivers", 1)}
    assert "blocking" not in rows
    verdict = browser_page.inner_text("#rivers .verdict")
    assert "times as fast as sync" in verdict
    assert f"sync ({rows['sync'][2]}, calls: 6)" in verdict
    speed = float(rows["async"][5].split()[0])
    assert speed > 2


def test_runs_are_interleaved_after_one_warm_up_each(browser_page):
    asked = []
    browser_page.on("request", lambda request: asked.append(request.url.split("/")[-2]))
    race_on_page(browser_page, "hello", 2)
    assert asked == ["sync", "async"] * 3


def test_one_button_races_them_all_and_stops(browser_page):
    start_on_page(browser_page, "all", 50)
    wait_for(browser_page, " of ")
    assert browser_page.locator("section button:enabled").count() == 0
    browser_page.get_by_role("button", name="Stop").click()
    assert wait_for(browser_page, "Stopped").startswith("Stopped at ")
    assert "Result:" in browser_page.inner_text("#hello .verdict")
    assert browser_page.locator("button:disabled").count() == 0


def test_a_variant_that_fails_says_so_and_the_race_goes_on(browser_page):
    refusal = {"status": 503, "json": {"error": "Every “thread” is busy."}}
    browser_page.route("**/hello/async/", lambda route: route.fulfill(**refusal))
    rows = race_on_page(browser_page, "hello", 2)
    remark = browser_page.locator("#hello [data-variant=async] .remark")
    assert remark.inner_text() == "2 of 2 failed: 503, Every “thread” is busy."
    assert rows[1][1:3] == ["2, 2 failed", "–"]
    assert rows[0][1] == "2"
    assert "Only sync came through" in browser_page.inner_text("#hello .verdict")
    browser_page.route("**/hello/sync/", lambda route: route.abort())
    race_on_page(browser_page, "hello", 1)
    assert "No variant came through" in browser_page.inner_text("#hello .verdict")
    browser_page.unroute_all()
    race_on_page(browser_page, "hello", 1)
    assert remark.is_hidden()


def test_the_keyboard_alone_sets_runs_races_stops_and_reads_a_source(browser_page):
    press = browser_page.keyboard.press
    browser_page.get_by_label("Runs").focus()
    press("ControlOrMeta+a")
    browser_page.keyboard.type("50")
    press("Tab")
    press("Enter")
    wait_for(browser_page, " of ")
    press("Enter")  # the same button, which is Stop now
    wait_for(browser_page, "Stopped")
    browser_page.locator("#hello button").last.focus()
    press("Space")
    wait_for(browser_page, "hello: ")
    press("Escape")
    wait_for(browser_page, "Stopped")
    browser_page.locator("#hello summary").first.focus()
    press("Enter")
    browser_page.locator("#hello pre:has-text('def hello_sync')").wait_for()
    ring = browser_page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle"
    )
    assert ring == "solid"


def test_a_source_opens_in_place_and_is_copied(browser_page):
    browser_page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    browser_page.locator("#hello summary").first.click()
    browser_page.locator("#hello pre:has-text('def hello_sync')").wait_for()
    browser_page.get_by_role("button", name="Copy").click()
    browser_page.get_by_role("button", name="Copied").wait_for()
    copied = browser_page.evaluate("navigator.clipboard.readText()")
    assert copied == browser_page.request.get("/source/hello/sync/").text()


def test_a_stream_of_nothing_but_errors_is_a_failure(browser_page):
    lines = {"content_type": "application/x-ndjson", "body": '{"error": "Late."}\n' * 6}
    browser_page.route("**/rivers/*/", lambda route: route.fulfill(**lines))
    row = race_on_page(browser_page, "rivers", 1)[3]
    assert row[:2] == ["streamed", "1, 1 failed"]


@pytest.mark.parametrize("runs", ["0", "51", "2.5", ""])
def test_runs_beyond_1_to_50_start_nothing(browser_page, runs):
    start_on_page(browser_page, "hello", runs)
    assert browser_page.inner_text("#progress") == ""
    assert browser_page.evaluate("document.activeElement.type") == "number"


def test_the_largest_file_is_raced_and_none_is_told(browser_page):
    if not browser_page.locator("#files").count():
        pytest.skip("There is no experiment with files here.")
    names, asked = [("a", 3), ("ß #1", 9), ("c", 5)], []
    files = [{"name": name, "size": size} for name, size in names]
    browser_page.route("**/files/", lambda route: route.fulfill(json={"files": files}))

    def answer(route):
        asked.append(route.request.url.split("/", 4)[-1])
        route.fulfill(body="content")

    browser_page.route("**/files/*/*", answer)
    race_on_page(browser_page, "files", 1)
    assert asked == ["sync/%C3%9F%20%231", "async/%C3%9F%20%231"] * 2
    files.clear()
    race_on_page(browser_page, "files", 1)
    assert "no file to race on" in browser_page.inner_text("#files .verdict")


def test_a_phone_scrolls_no_page_sideways_and_motion_can_be_reduced(browser_page):
    browser_page.set_viewport_size({"width": 390, "height": 844})
    browser_page.emulate_media(reduced_motion="reduce")
    for summary in browser_page.locator(".variants summary").all():
        summary.click()
    race_on_page(browser_page, "hello", 1)
    assert browser_page.evaluate("document.documentElement.scrollWidth") == 390
    bar = browser_page.locator("#hello .track i").first
    assert bar.evaluate("bar => getComputedStyle(bar).transitionProperty") == "none"


def test_without_javascript_links_and_sources_remain(browser, server):
    page = browser.new_page(java_script_enabled=False)
    page.goto(server.url)
    assert page.locator("button:visible, input:visible, .results:visible").count() == 0
    assert page.locator("a[href='/hello/async/']").is_visible()
    page.locator("#hello summary").first.click()
    assert page.locator("a[href='/source/hello/sync/']").is_visible()


@pytest.mark.skipif(not AXE, reason="AXE does not say where an axe.min.js is.")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(browser, server, scheme):
    page = browser.new_page(bypass_csp=True, color_scheme=scheme, base_url=server.url)
    for address in (
        "/nothing/",
        "/rivers/batched/",
        "/upload/async/",
        "/cars/sync/",
        "/files/",
        "/",
    ):
        page.goto(address)
        if address == "/":
            page.locator("#hello summary").first.click()
            race_on_page(page, "hello", 1)
        page.evaluate(Path(AXE).read_text())
        found = page.evaluate("axe.run()")["violations"]
        assert found == [], json.dumps([each["id"] for each in found])
