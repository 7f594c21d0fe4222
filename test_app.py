"""The lab's tests: pytest -q test_app.py

Each server is a process of its own on a free port and is asked over real sockets.
What runs at once is told by counts, as the upstream sees them, and never by the clock.
With LAB_CI=1 what is missing (a browser, PostgreSQL) is a failure instead of a skip.
"""

# ------------------------------------------------------------------------ Imports

import asyncio
import gzip
import importlib.util
import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given, settings
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
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as player:
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
    app.rows([check_reading(app.parse_iv, data)]).encode()


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
