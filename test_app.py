"""The lab's tests: pytest -n 3 test_app.py (or without -n, which takes longer)

Each server is a process of its own on a free port and is asked over real sockets.
What runs at once is shown by counts, as the upstream sees them, and never by the clock.
With LAB_CI=1, what is missing (a browser, PostgreSQL) is a failure instead of a skip.
"""

import ast
import asyncio
import gc
import gzip
import io
import itertools
import json
import operator
import os
import re
import resource
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from http.client import HTTPResponse, parse_headers
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

settings.register_profile("lab", max_examples=80, deadline=None, database=None)
settings.load_profile("lab")
HERE = Path(__file__).resolve().parent
SCRATCH = tempfile.TemporaryDirectory(prefix="lab-")
#: The lab's own variables: the tests set what they need, whatever the shell has set.
OWN = """DEBUG SECRET_KEY ALLOWED_HOSTS DATA_DIR DATABASE_URL UPSTREAM_URL USGS_URL PROMO_URL
RECCO_URL RATES_URL USGS_API_KEY RATES_API_KEY UPSTREAM_LATENCY UPSTREAM_FAILURES DEADLINE
LANES MAX_UPLOAD_BYTES"""
for name in OWN.split():
    os.environ.pop(name, None)
os.environ["DATA_DIR"] = SCRATCH.name
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores

# ruff: noqa: E402 - the module reads its environment as it is imported
import app

JSON, HTML = {"Accept": "application/json"}, {"Accept": "text/html"}
TOKEN = "a" * 32
#: The headers of a POST that has its token.
FORM = JSON | {"Cookie": f"csrftoken={TOKEN}", "X-CSRFToken": TOKEN}


def missing(what):
    """Skip a test for want of something, or fail where CI promised to have it."""
    (pytest.fail if os.environ.get("LAB_CI") == "1" else pytest.skip)(what)


def until(condition, seconds=20):
    """Return what a condition returns, as soon as it is true; fail if it never is."""
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, "The awaited state did not come."
        time.sleep(0.01)
    return found


def run_async(coroutine):
    """Return a coroutine's result; Playwright keeps an event loop in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def at_once(function, items):
    """Return {item: function(item)}, where all the calls are made at the same time."""
    with ThreadPoolExecutor(len(items)) as pool:
        return dict(zip(items, pool.map(function, items), strict=True))


def variants_of(experiment, pitfalls=True):
    """Return an experiment's variants, with or without the pitfalls among them."""
    names = app.EXPERIMENTS[experiment]
    return [n for n in names if pitfalls or f"{experiment}/{n}" not in app.PITFALLS]


def raw_request(method, path, headers=(), body=b"", close=True):
    """Return a request's bytes; `headers` is a dict, or lines to send as they are."""
    if isinstance(headers, dict):
        headers = [f"{name}: {value}" for name, value in headers.items()]
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    lines += ["Connection: close"] * close
    if body and not re.search("Content-Length|Transfer-Encoding", str(headers)):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*parts, end=True, trailers=()):
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts]
    last = "".join(f"{line}\r\n" for line in ("0", *trailers, "")) if end else ""
    return b"".join(chunks) + last.encode("latin-1")


def multipart(*parts, end=True):
    """Return a form's body and Content-Type; a part is (field, data[, file name])."""
    body = b""
    for field, data, *filename in parts:
        about = "".join(f'; filename="{name}"' for name in filename)
        head = f'Content-Disposition: form-data; name="{field}"{about}'
        body += os.fsencode(f"--b\r\n{head}\r\n\r\n") + data + b"\r\n"
    return body + b"--b--\r\n" * end, "multipart/form-data; boundary=b"


def parse_responses(data, method="GET"):
    """Return the responses in these bytes, in order, without any `100 Continue`."""
    stream, found = io.BytesIO(data), []
    stream.close = lambda: None  # HTTPResponse closes it after the first response
    peer = SimpleNamespace(makefile=lambda mode: stream)
    while stream.tell() < len(data):
        found.append(response := HTTPResponse(peer, method=method))
        response.begin()
        response.body = response.read()
        response.json = partial(json.loads, response.body)
    return found


def read_all(connection):
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


class Server:
    """A running server, and the ways to ask it. `data` is its usual DATA_DIR."""

    def __init__(self, process, port, folder):
        self.process, self.pid, self.port = process, process.pid, port
        self.folder, self.data = folder, folder / "data"
        self.url = f"http://127.0.0.1:{port}"
        options = {"timeout": 60, "limits": httpx.Limits(keepalive_expiry=2)}
        self.client = httpx.Client(base_url=self.url, trust_env=False, **options)
        self.get = self.client.get

    @property
    def log(self):
        return (self.folder / "server.log").read_text()

    def answer(self):
        """Return what the front page tells programs, if the server is there yet."""
        assert self.process.poll() is None, f"The server ended: {self.log}"
        with suppress(httpx.TransportError):
            return self.get("/", headers=JSON).text

    def json(self, path):
        return self.get(path, headers=JSON).json()

    def status(self):
        """Return /status/, with what it says of the lanes beside all else, too."""
        status = self.json("/status/")
        return status | status["lanes"]

    def at_rest(self):
        """Return /status/ once no request is there but the one that asks for it."""
        keys = "requests_in_flight", "busy", "waiting"
        return until(lambda: (s := self.status()) and sum(map(s.get, keys)) == 1 and s)

    def connect(self, data=b""):
        connection = socket.create_connection(("127.0.0.1", self.port), 60)
        connection.sendall(data)
        return connection

    def ask(self, method, path, *request, **options):
        """Return the response to a raw request; the arguments are raw_request's."""
        data = read_all(self.connect(raw_request(method, path, *request, **options)))
        return parse_responses(data, method)[0]

    def send(self, *paths):
        """Return a connection for each path, on which it has been asked for."""
        return [self.connect(raw_request("GET", path, JSON)) for path in paths]

    def rivers(self, variant):
        """Return a page of rivers: its status, its gauges in order, and their errors."""
        response = self.get(f"/rivers/{variant}/", headers=JSON)
        lines = [json.loads(line) for line in response.text.splitlines()]
        sites = lines if variant == "streamed" else lines[0]["sites"]
        sites = sorted(sites, key=operator.itemgetter("site"))
        errors = {row["site"]: row["error"] for row in sites if row["error"]}
        return SimpleNamespace(status=response.status_code, sites=sites, errors=errors)

    def create_car(self, variant, **fields):
        return self.client.post(f"/cars/{variant}/", data=FIELDS | fields, headers=FORM)

    def upload(self, variant, data, name="a.bin", **options):
        own = {"content": multipart(("file", data, name))[0], "headers": UPLOAD}
        return self.client.post(f"/upload/{variant}/", **own | options)

    def memory(self):
        text = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", text)[1])

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def free_port():
    """Return a free port below those that the kernel gives to outgoing connections."""
    while True:  # not from the seeded generator, which is alike in all workers of xdist
        port = 10_000 + int.from_bytes(os.urandom(2), "big") % 22_000
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def environment(**variables):
    """Return the shell's environment, with only these of the lab's variables."""
    # With the bytecode, no start compiles the module again.
    ours = {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": ""}
    return os.environ | ours | variables


def python(*arguments, **env):
    options = {"env": environment(**env), "capture_output": True, "text": True}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=HERE, timeout=120, check=False, **options)


@contextmanager
def run(command, **env):
    """Start a Python command that serves on {port}, and wait until it answers."""
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        own = {"cwd": folder, "stdin": subprocess.DEVNULL, "start_new_session": True}
        own["env"] = environment(**{"DATA_DIR": f"{folder}/data"} | env)
        command = [sys.executable, *command.format(port=port).split()]
        with (folder / "server.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **own)
        server = Server(process, port, folder)
        server.program = Path(own["env"]["PYTHONPATH"], "app.py")
        try:
            until(server.answer, 60)
            yield server
        finally:
            server.client.close()
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def serve(target="app:application", **env):
    return run(f"-m uvicorn {target} --port {{port}} --no-access-log", **env)


def shared(serving, *arguments, **env):
    """Return a fixture: one server for all the tests, which this call starts."""

    @pytest.fixture(scope="session")
    def fixture():
        with serving(*arguments, **env) as server:
            yield server

    return fixture


@pytest.fixture(scope="session")
def lab():
    """Serve the lab as it is by default, on an upstream that answers at once."""
    with serve(UPSTREAM_LATENCY="0") as server:
        (server.data / "uploads" / "page.bin").write_bytes(b"page")
        yield server


@contextmanager
def new_database(kind):
    """Return the address of a new database, which is deleted at the end."""
    if kind == "SQLite":
        yield f"sqlite:///{SCRATCH.name}/{time.monotonic_ns()}.sqlite3"
        return
    place = os.environ.get("LAB_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
    name = f"lab_{os.getpid()}_{time.monotonic_ns()}"
    try:
        import psycopg

        with psycopg.connect(f"{place}/postgres", autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
            yield f"{place}/{name}"
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    except Exception as error:
        missing(f"There is no PostgreSQL: {error}")


@pytest.fixture(scope="session")
def browser():
    options = {"args": ["--no-sandbox", "--disable-dev-shm-usage"]}
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as player:
            path = shutil.which("chromium")
            yield player.chromium.launch(executable_path=path, **options)
    except Exception as error:
        missing(f"There is no Chromium: {error}")


# ------------------------------------------- The services, real and as faulty as wanted
ITEMS = "/ogcapi/v1/collections/latest-continuous/items"
CODES = DISCHARGE, GAGE_HEIGHT = "00060", "00065"
WHEN = "2021-05-04T04:00:00+00:00"


def ogc_feature(site, code, value, when=WHEN, **properties):
    """Return a reading as the USGS service sends it; `properties` replace its own."""
    own = {"approval_status": "Provisional", "qualifier": None, "value": value}
    own |= {"monitoring_location_id": f"USGS-{site}", "parameter_code": code}
    own |= {"time": when, "unit_of_measure": "ft^3/s" if code == DISCHARGE else "ft"}
    return {"type": "Feature", "geometry": None, "properties": own | properties}


#: What every gauge says, where nothing goes wrong: discharge, gage height.
TRUTH = {site: (1000.0 + n, 2.25 + n) for n, site in enumerate(app.SITES)}
ALIKE = {"discharge_observed": WHEN, "gage_height_observed": WHEN}
ALIKE |= {"qualifiers": ["P"], "error": None}
READINGS = [
    {"site": s, "name": app.SITES[s], "discharge_ft3_s": q, "gage_height_ft": h} | ALIKE
    for s, (q, h) in TRUTH.items()
]
RATES_PATH = "/exchangerates_data/timeseries"
DAYS = {"2016-01-02": {"USD": 1.08, "AUD": 1.4}, "2016-01-03": {"USD": 1.09}}
RATES = {"base": "EUR", "success": True, "rates": DAYS}
BOOKS = {"books": [{"title": "A", "author": "B", "price": 9.5}]}
PROMOTIONS = {"promotions": [{"title": "A", "text": "B", "ends": "2030-01-01"}]}
SERVICES = {"/promo/": PROMOTIONS, "/recco/": BOOKS, RATES_PATH: RATES}


def readings_of(sites, *values):
    """Return the gauges' readings; each has these values, as JSON writes them, if any."""
    rows = [*itertools.product(sites, (0, 1), values or [None])]
    features = [ogc_feature(site, CODES[n], "#") for site, n, _ in rows]
    texts = (v or f'"{TRUTH.get(site, (1.0, 1.0))[n]}"' for site, n, v in rows)
    text = json.dumps({"type": "FeatureCollection", "features": features})
    return re.sub('"#"', lambda match: next(texts), text).encode()


def http(body=b"{}", status="200 OK", kind="application/json", length=None, more=""):
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n"
    return (head + more + "\r\n").encode() + body


#: What the page has to say, what is sent, and how the connection goes on then.
Fault = namedtuple("Fault", "says parts ending pause", defaults=[(), "stay", 0])
#: The slow ones, which cost a page all its time: 504 where all the gauges are so.
SLOW = {"hangs": Fault("in time", [b""], pause=3600)}
SLOW["drips in the header"] = Fault("in time", [b"%c" % x for x in http()], pause=1)
SLOW["drips in the body"] = Fault("in time", [http(length=50), *[b" "] * 50], pause=1)
#: What is sent before a connection ends that should have gone on: by a FIN, or an RST.
CLOSES = {"closes at once": b"", "not HTTP": b"220 ready when you are\r\n\r\n"}
CLOSES["an endless header"] = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6
CLOSES |= {"a length too long": http(length=9), "length 'a'": http(length="a")}
RESETS = {"resets at once": b"", "resets in the header": b"HTTP/1.1 200 OK\r\nCont"}
RESETS |= {"resets after it": http(b"", length=9), "later": http(b"{", length=9)}
PAGE = b"<!DOCTYPE html><html><head><title>Error report</title></head></html>"
#: Bodies that are not JSON, or JSON of another shape.
NOT_JSON = {"HTML": PAGE, "an empty body": b"", "half a JSON": b'{"features": [{"prop'}
NOT_JSON |= {"a list": b'[{"features": []}]', "no features": b'{"features": null}'}
NOT_JSON["features of another shape"] = b'{"features": [null, [], "x", {}]}'
NOT_JSON["deeply nested JSON"] = b"[" * 100_000 + b"]" * 100_000
NOT_JSON["a number too long"] = readings_of(TRUTH, "9" * 5000)
NOT_JSON["odd values"] = readings_of(TRUTH, "{}", "[1]", "true", '"Ice"', "null")
NOT_JSON["no UTF-8"] = b'{"features": "\xff\xfe"}'
#: Gauges without a number. They are readable: `rivers` is a 200 where all are so.
NO_READING = {"ice": ["null"], "NaN": ['"NaN"', '"-Infinity"', '"nan"']}
NO_READING |= {"bare NaN": ["NaN", "Infinity"], "huge": ["1e999", '"1e999"', "9" * 400]}
#: The fast ones: 502 where all the gauges are so, but for NO_READING.
FAST = {k: Fault("connection", [v], "close") for k, v in CLOSES.items()}
FAST |= {k: Fault("connection", [v], "reset") for k, v in RESETS.items()}
FAST |= {k: Fault("unknown shape", [http(v)]) for k, v in NOT_JSON.items()}
for k, v in NO_READING.items():
    FAST[k] = Fault("no value|unknown shape", [http(readings_of(TRUTH, *v))])
#: Statuses that are not 200, each with every header that might mislead a client.
MORE = "Retry-After: 1\r\nLocation: http://localhost:{port}/promo/\r\n"
for k in map(str, [301, 302, 307, 308, 401, 403, 404, 429, 500, 503, 599]):
    FAST[k] = Fault(k, [http(PAGE, f"{k} No", "text/html", more=MORE)])
FAST["204"] = Fault("204", [b"HTTP/1.1 204 No Content\r\n\r\n"])
FAST["a length too short"] = Fault("shape|connection", [http(b'{"a": 1}', length=5)])
BOMB = http(gzip.compress(bytes(60_000_000), 1), more="Content-Encoding: gzip\r\n")
FAST["gzip that unfolds"] = Fault("unknown shape", [BOMB])
#: The heavy ones, whose work may slow down other requests.
CHUNKED, MB = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b" " * 10**6
HEAVY = {"100 MB": Fault("larger than", [http(b"", length=10**8), *[MB] * 100])}
HEAVY["in chunks"] = Fault("larger than", [CHUNKED, *[chunked(MB, end=False)] * 100])
FAULTS = FAST | HEAVY | SLOW


class Upstream:
    """The services on raw sockets, on a thread of their own.

    A call waits for `ready(call)`, and `grace` seconds more, so that one too many would
    be seen; then it meets the Fault `fault(call)`, if any. `in_flight` and `most` count
    those that wait, `left` those whose client has gone.
    """

    def __init__(self):
        self.loop, self.port, self.in_flight = asyncio.new_event_loop(), 0, 0
        self.server, self.writers = None, set()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.start_over()
        self.url = f"http://127.0.0.1:{self.port}"

    def start_over(self, listens=True):
        """Answer well, or refuse connections; forget the test before, and close its."""
        asyncio.run_coroutine_threadsafe(self.renew(listens), self.loop).result(30)
        until(lambda: not self.writers)
        self.calls, self.most, self.left, self.grace = [], 0, 0, 0
        self.fault, self.ready = lambda call: None, lambda call: True

    async def renew(self, listens):
        if not listens:
            self.server.close()
        elif not (self.server and self.server.is_serving()):
            place = {"host": "127.0.0.1", "port": self.port, "backlog": 1024}
            self.server = await asyncio.start_server(self.connection, **place)
            self.port = self.server.sockets[0].getsockname()[1]
        for writer in self.writers:
            writer.transport.abort()

    def fail(self, fault, site=""):
        """Let calls for this gauge (for all, if none) meet the named fault."""
        self.fault = lambda c: FAULTS[fault] if site in ("", *c.sites) else None

    async def connection(self, reader, writer):
        """Answer one connection's calls, numbered from 1; notice its end meanwhile."""
        self.writers.add(writer)
        task = None
        with closing(writer), suppress(EOFError, ConnectionError):
            for number in itertools.count(1):
                head = await reader.readuntil(b"\r\n\r\n")
                request, _, lines = head.partition(b"\r\n")
                url = urlsplit(request.split()[1].decode())
                call = SimpleNamespace(path=url.path, query=url.query, number=number)
                call.headers = parse_headers(io.BytesIO(lines))
                call.sites = re.findall(r"USGS-(\d{8,15})", url.query)
                task = asyncio.create_task(self.answer(call, writer))
        self.writers.discard(writer)
        if task and not task.done():
            self.left += 1
            task.cancel()

    async def answer(self, call, writer):
        """Count a call, and answer it well, or send and end as its fault does."""
        self.calls.append(call)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            while not self.ready(call):
                await asyncio.sleep(0.005)
            await asyncio.sleep(self.grace)
        finally:
            self.in_flight -= 1
        other = json.dumps(SERVICES.get(call.path)).encode()
        body = readings_of(call.sites) if call.sites else other
        good = http(body, more="Set-Cookie: visitor=1; Path=/\r\n")
        fault = self.fault(call) or Fault("", [good])
        with suppress(ConnectionError):
            for part in fault.parts:
                writer.write(part.replace(b"{port}", b"%d" % self.port))
                await writer.drain()
                await asyncio.sleep(fault.pause)
            if fault.ending == "reset":  # an RST
                await asyncio.sleep(0.01)  # or what was sent would be lost on the way
                linger = socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, *linger)
                writer.transport.abort()
            elif fault.ending == "close":
                writer.close()


@pytest.fixture(scope="session")
def on_upstream():
    """Serve two labs on an Upstream: one is in a hurry, one has keys and passwords."""
    one, two = Upstream(), Upstream()
    env = {"UPSTREAM_URL": two.url.replace("//", "//me:hush@"), "DEADLINE": "60"}
    env["USGS_URL"] = two.url.replace("//", "//user:pass%20word@") + "/usgs"
    env["RATES_URL"] = two.url + RATES_PATH
    env |= {"USGS_API_KEY": "usgs-key", "RATES_API_KEY": "rates-key", "DEBUG": "1"}
    with serve(UPSTREAM_URL=one.url, DEADLINE="6", DEBUG="1") as hurried:
        with serve(**env) as patient:
            hurried.upstream, patient.upstream = one, two
            yield hurried, patient


@pytest.fixture
def faulty(on_upstream):
    """Return the lab on an Upstream that is good, and to which nobody is connected."""
    on_upstream[0].upstream.start_over()
    return on_upstream[0]


# ------------------------------------------------------------------------- Rivers
#: Variant: how many of its calls are in flight at once.
RIVERS = dict.fromkeys(app.EXPERIMENTS["rivers"], 6)
RIVERS |= {"sync": 1, "threaded": 3, "batched": 1, "sync_to_async": 1, "blocking": 1}
#: Those that leave the event loop free, and those with a call for each gauge.
FREE = [variant for variant in RIVERS if variant != "blocking"]
SINGLE = [variant for variant in RIVERS if variant != "batched"]
#: Fault: three variants that meet it, and another one for each fault.
TURNS = zip(FAULTS, itertools.cycle(SINGLE), strict=False)
SPREAD = {fault: {"sync", "async", "async_httpx", other} for fault, other in TURNS}
SITE, ILL = "06191500", "06214500"
SECRETS = "user:|pass%20word|hush|usgs-key|rates-key"


def check_failed(pages, status, says):
    """Check that all variants have this status, and say the same of every gauge."""
    for variant, page in pages.items():
        expected = 200 if variant == "streamed" else status, app.SITES.keys()
        assert (page.status, page.errors.keys()) == expected, variant
    said = {error for page in pages.values() for error in page.errors.values()}
    assert all(re.search(says, sentence) for sentence in said), said
    assert len(said) == 1 or "|" in says  # the clients may differ in what they see


@pytest.fixture
def patient(on_upstream):
    """Return it; fail if it does not recover, or logs a mistake of the app or a secret."""
    server = on_upstream[1]
    server.upstream.start_over()
    before = len(server.log)
    yield server
    server.upstream.start_over()
    assert server.rivers("sync").sites == server.rivers("async").sites == READINGS
    server.at_rest()
    logged = server.log[before:]
    assert not re.search(f"Traceback|Unclosed|never (re|aw)|{SECRETS}", logged), logged


@pytest.mark.parametrize("variant", RIVERS)
def test_rivers_calls_in_flight_json_and_html(patient, variant):
    upstream, most, path = patient.upstream, RIVERS[variant], f"/rivers/{variant}/"
    upstream.ready, upstream.grace = lambda call: upstream.most >= most, 0.03
    response, number = patient.get(path, headers=JSON), 1 if variant == "batched" else 6
    sites = sorted(site for call in upstream.calls for site in call.sites)
    assert (upstream.most, sites, len(upstream.calls)) == (most, [*app.SITES], number)
    source = f"{upstream.url}/usgs"  # without the password
    if variant != "streamed":
        data = response.json()
        assert 0 < data.pop("load_time") < 60
        shape = {"experiment": "rivers", "variant": variant, "sites": READINGS}
        assert data == shape | {"upstream_calls": number, "source": source}
    html = " ".join(patient.get(path, headers=HTML).text.split())
    places = [html.index(name) for name in app.SITES.values()]
    assert variant == "streamed" or places == sorted(places)
    for flow, stage in TRUTH.values():
        assert re.search(rf"> ?{flow:.0f} ft³/s ?<.*> ?{stage:.2f} ft ?<", html)
    assert html.count(WHEN) == 12
    assert re.search(rf"<h1> ?rivers.*{variant}.* {number} calls? .* {source}", html)
    assert html.endswith("</html>")


@pytest.mark.parametrize("kind", [JSON, HTML], ids=["JSON", "HTML"])
def test_rivers_streamed_begins_at_once_and_sends_each_row_as_it_arrives(patient, kind):
    arrived = []
    patient.upstream.ready = lambda call: call.sites[0] in arrived
    with patient.client.stream("GET", "/rivers/streamed/", headers=kind) as response:
        texts = itertools.accumulate(response.iter_text())
        assert kind is JSON or any("<tbody>" in text for text in texts)
        for site, (flow, _) in reversed(TRUTH.items()):
            arrived.append(site)
            assert any(f"{flow:.0f}" in text for text in texts)


def test_rivers_shared_makes_one_set_of_calls_for_all_that_wait(patient):
    upstream, threads = patient.upstream, patient.status()["threads"]
    upstream.ready = lambda call: False
    clients = patient.send(*["/rivers/shared/"] * 200)
    during = until(lambda: (s := patient.status())["requests_in_flight"] == 201 and s)
    clients.pop(0).close()  # which began the calls; they go on for the others
    until(lambda: patient.status()["requests_in_flight"] == 200)
    upstream.ready = lambda call: True
    pages = [parse_responses(read_all(client))[0].json() for client in clients]
    assert all(p["sites"] == READINGS and p["upstream_calls"] == 0 for p in pages)
    assert (len(upstream.calls), upstream.most, upstream.left) == (6, 6, 0)
    assert during["threads"] <= threads + 6  # the pool of name look-ups may grow
    assert during["busy"] + during["waiting"] == 0
    assert patient.json("/rivers/shared/")["upstream_calls"] == 6  # the others ended


@pytest.mark.parametrize("error", [None, KeyError, asyncio.CancelledError])
def test_five_thousand_share_a_call_and_half_of_them_leave(error):
    calls, done = [], [0]

    async def call():
        calls.append(held := asyncio.Event())
        await held.wait()
        if error:
            raise error
        return "rows"

    async def crowd():
        loop = asyncio.get_running_loop()
        clients = [loop.create_task(app.share_call(call)) for _ in range(5000)]
        while not calls:
            await asyncio.sleep(0)
        # With n callbacks on one future, it costs n² steps when those who wait leave.
        futures = [x for x in gc.get_objects() if issubclass(type(x), asyncio.Future)]
        counts = [len(x._callbacks or ()) for x in futures if x.get_loop() is loop]
        assert max(counts) == 1
        for leaving in clients[::2]:  # the one that began the call is among them
            leaving.cancel()
        calls[0].set()
        async with asyncio.timeout(20):
            while done[-1] < 2500:
                await asyncio.sleep(0)
                done.append(sum(client.done() for client in clients[1::2]))
        return await asyncio.gather(*clients[1::2], return_exceptions=True)

    stayed = run_async(crowd())
    assert len(calls) == 1
    assert error or stayed == [("rows", False)] * 2500
    assert not error or all(isinstance(one, (Exception, error)) for one in stayed)
    # The event loop goes on with a few at a time, so that others have their turns.
    assert max(map(operator.sub, done[1:], done)) <= 8


@pytest.mark.parametrize("fault", FAST | HEAVY)
def test_one_gauge_at_fault_leaves_five_and_all_are_a_502(patient, fault):
    patient.upstream.fail(fault, ILL)
    before, pages = patient.memory(), at_once(patient.rivers, SPREAD[fault])
    for variant, page in pages.items():
        assert (page.status, *page.errors) == (200, ILL), variant
        assert page.sites[:2] + page.sites[3:] == READINGS[:2] + READINGS[3:], variant
        assert re.search(FAULTS[fault].says, page.errors[ILL]), variant
    sites = [call.sites[0] for call in patient.upstream.calls]
    assert {call.path for call in patient.upstream.calls} == {"/usgs"}
    # Nothing is tried again, but for a kept connection that turns out to be broken.
    most = len(pages) * (2 if fault in {*CLOSES, *RESETS, "a length too short"} else 1)
    assert all(len(pages) <= sites.count(site) <= most for site in app.SITES)
    patient.upstream.fail(fault)
    pages = {name: patient.rivers(name) for name in [*SPREAD[fault], "batched"]}
    assert patient.memory() - before < 250_000_000  # six of 100 MB; 8 of each are kept
    check_failed(pages, 200 if fault in NO_READING else 502, FAULTS[fault].says)
    html = patient.get("/rivers/async/", headers=HTML)
    assert html.status_code == pages["async"].status
    assert len(re.findall(f'class="bad">[^<]*({FAULTS[fault].says})', html.text)) == 6
    for value in ("null", '"5"'):
        ways = {ILL: Fault("", [http(readings_of(TRUTH, value))])}
        patient.upstream.fault = lambda c, w=ways: w.get(c.sites[0], FAULTS[fault])
        assert patient.rivers("async").status == 200


def test_gauges_that_hang_cost_the_others_nothing_and_all_are_a_504(faulty):
    upstream, ask = faulty.upstream, faulty.rivers
    ways = dict(zip(app.SITES, SLOW.values(), strict=False))
    upstream.fault = lambda call: ways.get(call.sites[0])
    pages = at_once(ask, [v for v in SINGLE if v != "blocking"])
    for variant, page in (pages | {"blocking": ask("blocking")}).items():
        assert page.errors == dict.fromkeys(ways, page.sites[0]["error"]), variant
        assert "in time" in page.sites[0]["error"], variant
        assert page.sites[3:] == READINGS[3:], variant

    upstream.start_over()
    ways = dict(zip(app.SITES, [*SLOW.values()] * 2, strict=True))
    upstream.fault = lambda call: ways[call.sites[0]]
    began = time.monotonic()
    check_failed(at_once(ask, FREE), 504, "in time")
    assert time.monotonic() - began < 11.5  # two whole deadlines in turn would be 12
    calls = [call.sites[0] for call in upstream.calls if len(call.sites) == 1]
    assert {*map(calls.count, app.SITES)} == {len(SINGLE) - 1}
    upstream.fault = lambda c: FAULTS["503" if ILL in c.sites else "hangs"]
    assert ask("async").status == 502


def test_calls_made_at_once_have_all_of_the_deadline(patient):
    began = time.monotonic()
    patient.upstream.ready = lambda call: time.monotonic() > began + 6.5  # httpx has 5
    together = [v for v in FREE if RIVERS[v] == 6 or v == "batched"]
    assert not any(page.errors for page in at_once(patient.rivers, together).values())


@pytest.mark.parametrize("variant", RIVERS)
def test_kept_connections_carry_nothing_over(patient, variant):
    upstream, reset = patient.upstream, FAULTS["resets at once"]
    patient.rivers(variant)
    upstream.calls.clear()
    upstream.fault = lambda call: reset if call.number > 1 else None
    page = patient.rivers(variant)
    used = {site for call in upstream.calls if call.number > 1 for site in call.sites}
    assert page.errors.keys() <= used
    upstream.start_over()  # which ends all connections once more
    assert patient.rivers(variant).sites == READINGS
    if variant not in ("batched", "async_httpx"):
        # A response that was not asked for is not read. In async_httpx, httpx takes it
        # for the next call's, if it has come with the one before.
        two = http(readings_of([SITE])) + http(readings_of(TRUTH, '"666666"'))
        upstream.fault = lambda call: Fault("", [two]) if SITE in call.sites else None
        assert [patient.rivers(variant).sites for _ in range(2)] == [READINGS] * 2


def test_faults_and_refused_connections_leave_no_thread_and_no_file_behind(patient):
    def resources():
        # In turn, because what is kept depends on how many calls are made at once.
        pages = [patient.rivers(variant) for variant in RIVERS]
        assert [page.sites for page in pages] == [READINGS] * len(RIVERS)
        return patient.at_rest()["threads"], patient.open_files()

    for _ in range(3):  # lanes, pools and idle connections grow to what they need
        before = resources()
    for fault, variant in zip(FAST, itertools.cycle(RIVERS), strict=False):
        patient.upstream.fail(fault)
        patient.rivers(variant)
    patient.upstream.start_over(listens=False)
    check_failed({name: patient.rivers(name) for name in RIVERS}, 502, "connection")
    patient.upstream.start_over()
    assert all(b <= a + 12 for a, b in zip(before, resources(), strict=True))


@pytest.mark.parametrize("fault", [None, "ice", "503", "closes at once"])
def test_keys_reach_their_own_service_alone_and_cookies_nobody(patient, fault):
    patient.upstream.fault = lambda call: FAULTS.get(fault)
    paths = [f"/{x}/{v}/" for x in ("rivers", "home", "rates") for v in variants_of(x)]
    # The second page's calls would bring the first one's cookie.
    paths += ["/status/", "/", "/nothing/"]
    for path, kind in itertools.product(paths, (JSON, HTML)):
        response = patient.get(path, headers=kind)
        assert fault or response.status_code == (404 if "nothing" in path else 200)
        text = f"{response.headers} {response.text}"
        assert not re.search(f"{SECRETS}|embedded", text), path
    names = "x-api-key", "apikey", "authorization", "accept-encoding", "cookie"
    calls = patient.upstream.calls
    found = {(call.path, *map(call.headers.get, names)) for call in calls}
    own = {("/usgs", "usgs-key", None, "Basic dXNlcjpwYXNzIHdvcmQ=")}
    own |= {(path, None, None, "Basic bWU6aHVzaA==") for path in ("/promo/", "/recco/")}
    own.add((RATES_PATH, None, "rates-key", None))
    assert found == {(*one, "identity", None) for one in own}
    assert patient.status()["upstream"]["recent"] is None
    for call in (call for call in calls if call.sites):
        assert int(re.search(r"limit=(\d+)", call.query)[1]) >= 2 * len(call.sites)


@pytest.mark.parametrize("variant", FREE)
def test_a_client_that_leaves_leaves_nothing_behind(patient, variant):
    upstream, calls = patient.upstream, RIVERS[variant]
    upstream.ready = lambda call: False
    (client,) = patient.send(f"/rivers/{variant}/")
    until(lambda: upstream.in_flight == calls)
    client.close()
    if variant in ("async", "async_httpx", "streamed", "batched", "new_client"):
        until(lambda: upstream.left == calls)  # though no call has been answered
        patient.at_rest()
    upstream.ready = lambda call: True
    patient.at_rest()
    assert patient.rivers(variant).sites == READINGS


flow = partial(ogc_feature, SITE, DISCHARGE)
#: Case: features, what they make of discharge, and of its codes and time if not as here.
SHAPES = {"a number": ([flow(535.5)], 535.5), "as text": ([flow("535")], 535)}
SHAPES |= {"zero": ([flow("0")], 0), "below zero": ([flow("-1.5")], -1.5)}
OTHERS_ROWS = [ogc_feature(ILL, DISCHARGE, "1"), ogc_feature(SITE, "00010", "1")]
SHAPES |= {"nothing": ([], None, (), None), "others": (OTHERS_ROWS, None, (), None)}
SHAPES["ice"] = [flow(None, qualifier=["ICE"])], None, ("P", "ICE"), None
SHAPES["codes once"] = [flow("1", qualifier=["e", "P", "e"])], 1, ("P", "e")
SHAPES["half a character"] = [flow("1", qualifier=["\ud83d"])], 1
SHAPES["another approval"] = [flow("1", approval_status="?")], 1, ()
SHAPES["a time without offset"] = [flow("1", WHEN[:19])], 1
SHAPES["a time in Z"] = [flow("1", f"{WHEN[:19]}Z")], 1
EARLIER = flow("3", "2020-12-31T23:00Z")
SHAPES["the newest"] = [flow("1", "2021-05-04T03:00Z"), flow("2"), EARLIER], 2
ONE, TWO = "2021-11-07T01:15:00-07:00", "2021-11-07T01:45:00-06:00"
SHAPES["an hour in November twice"] = [flow("2", ONE), flow("1", TWO)], 2, ("P",), ONE


def make_reading(body):
    reading, error = app.read_json(200, body, app.parse_reading, SITE)
    return reading or app.Reading(SITE, app.SITES[SITE], error=error)


@pytest.mark.parametrize("case", SHAPES)
def test_reading_of_an_answer(case):
    features, value, *others = SHAPES[case]
    codes, observed = [*others, *(("P",), WHEN)[len(others) :]]
    reading = make_reading(json.dumps({"features": features}).encode())
    assert (reading.discharge_ft3_s, reading.discharge_observed) == (value, observed)
    assert (reading.qualifiers, reading.gage_height_ft) == (codes, None)
    assert bool(reading.error) == (value is None)


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
LEAVES |= st.sampled_from([SITE, f"USGS-{SITE}", *CODES, "NaN", "1e999", "9" * 999])
LEAVES |= st.datetimes(timezones=st.timezones()).map(str)
ANY = st.recursive(LEAVES, lambda x: st.lists(x) | st.dictionaries(ANY_TEXT, x))
GOOD = readings_of([SITE]).decode()
PARTS = []  # the JSON of all objects in it, and of all their values
json.loads(GOOD, object_hook=lambda x: PARTS.extend([x, *x.values()]) or x)
PARTS = [*map(json.dumps, PARTS)]
CHANGE = st.sampled_from(PARTS), ANY.map(json.dumps), st.sampled_from([1, -1])
ANSWERS = (st.builds(GOOD.replace, *CHANGE) | ANY.map(json.dumps)).map(str.encode)


@settings(max_examples=250)
@given(ANSWERS | st.binary())
def test_any_answer_is_a_reading_that_can_be_shown(body):
    reading = make_reading(body)
    numbers = reading.discharge_ft3_s, reading.gage_height_ft
    assert all(number is None or abs(number) < float("inf") for number in numbers)
    assert bool(reading.error) == (numbers == (None, None))
    assert len({*reading.qualifiers}) == len(reading.qualifiers)
    json.dumps(reading._asdict(), allow_nan=False)
    app.render_row(reading).encode()


# ------------------------------------------------------------ Pages and environment
TEXT = Path(app.__file__).read_text()
#: Variables, words of what they say they accept, what they refuse, what they accept.
VALUES = r"""
DEBUG | true or false | yes 2 | 0 1 true False
ALLOWED_HOSTS | commas | http://a a:1 a,/ | * a.org,.b,[::1]
UPSTREAM_LATENCY | 0 to 60 | many nan -1 inf 60.1 | 0 60
UPSTREAM_FAILURES | 0 to 1 | many nan -1 1.01 | 0 0.5 1
DEADLINE | 0.1 to 300 | many nan -1 0 0.09 300.1 | 0.1 300
LANES | 1 to 1000 | many nan -1 0 1001 1.5 | 1 1000
MAX_UPLOAD_BYTES | 1 to | many nan -1 0 1e9 1.5 | 1 1073741824
UPSTREAM_URL | http:// | a.org ftp://a/ http:// http://:80/ http://[::1 http://a:99999/ http://a/?a=b http://a/#a http://a/\n http://me:hush@a/?a=b me:hush@a http://a/?api_key=hush | http://[::1]:8001
USGS_URL | http:// | example.org ftp://me:hush@a/ | https://me:hush@a.org/b/
PROMO_URL RECCO_URL RATES_URL | http:// | example.org | http://a:1
DATABASE_URL | sqlite:///relative | a.sqlite3 sqlite:/// sqlite:///:memory: mysql://a/b postgresql://a postgresql:///b postgresql://me:hush@a:x/b postgresql://me:x/hush@a:x/b postgresql:me:hush@a/b postgresql://a/b?password=hush | sqlite:///a sqlite:////tmp/a
USGS_API_KEY RATES_API_KEY | ASCII | schlüssel a\nb | k3y
"""
COMMANDS = """app.py;app.py runserver;app.py check;app.py race hello;app.py export hello/sync
uvicorn app:application;uvicorn app:stock;uvicorn app:upstream"""
IMPORTS = """
import aiofiles, aiohttp, django.test.signals, httpx, io, json, os, runpy, signal, sys
import threading, uvicorn, django.core.asgi, django.core.management, django.db.models
import asyncio, django.forms, django.views.decorators.csrf, urllib.request
from django.conf import settings
from django.core.signals import request_started, request_finished
"""
#: Runs commands in a child each, forked once all but the module has been imported.
RUN_EACH = """
for name, value, command in json.loads(sys.argv[1]):
    if not os.fork():
        os.environ[name], sys.argv, status = value, command.split(), 0
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        try:
            runpy.run_module(sys.argv[0].removesuffix(".py"), None, "__main__", True)
        except SystemExit as ending:
            status = ending.code or 0
        print(json.dumps([status, sys.stderr.getvalue()]), file=sys.__stdout__, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("line", VALUES.strip().split("\n"), ids=lambda x: x.split()[0])
def test_bad_value_ends_every_command_with_one_line_without_a_password(line):
    names, form, refused, accepted = line.split(" | ")
    refused = [value.replace(r"\n", "\n") for value in refused.split()]
    values = refused + accepted.split()
    runs = [*itertools.product(names.split(), values, ["app.py --help"])]
    if names == "LANES":
        runs += [("LANES", "0", command) for command in re.split("[;\n]", COMMANDS)]
    ended = python("-c", IMPORTS + RUN_EACH, json.dumps(runs)).stdout.splitlines()
    ended = map(json.loads, ended)
    for (name, value, command), (status, errors) in zip(runs, ended, strict=True):
        if value in refused:
            assert (status, errors.count("\n")) == (3, 1), (value, command, errors)
            assert name in errors and form in errors
            shown = repr(value)[1:-1].partition("\\n")[0] in errors
            assert "hush" not in errors if "hush" in value else shown, errors
        else:
            assert (status, errors) == (0, ""), value


#: What neither an import nor an event loop that has served may change: receivers,
#: threads, files, signals, Django's classes. Serving keeps lanes, and some sockets.
CHANGES = """
def state(serving):
    for kind in (request_started, request_finished):
        yield sorted(found.__qualname__ for found in kind._live_receivers(None)[0])
    fds = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    yield sorted(name for name in fds if "sqlite3" in name or not serving)
    names = [thread.name for thread in threading.enumerate()]
    yield sorted(name for name in names if name[:5] != "lane-" or not serving)
    yield [signal.getsignal(n) for n in signal.valid_signals()], {**os.environ}
    yield sys.path[:], os.getcwd(), serving and {**settings.SERVICES}
def parts():
    for cls in (k for c in object.__subclasses__() for k in [c, *type.__subclasses__(c)]):
        yield cls, {n: p for n, p in vars(cls).items() if type(p) is type(state)}
async def serve():
    server = uvicorn.Server(uvicorn.Config(app.application, port=0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    url = "http://%s:%s/" % server.servers[0].sockets[0].getsockname()
    for path in ["hello/sync/", "cars/async/", "rivers/threaded/", "rivers/async/"]:
        await asyncio.to_thread(urllib.request.urlopen, url + path)
    server.should_exit = True
    await serving
before, known = [*state(False)], dict(parts())
import app
assert [*state(False)] == before, [*state(False)]
assert not (odd := [cls for cls, own in parts() if known.get(cls, own) != own]), odd
assert not os.path.exists(os.environ["DATA_DIR"])
before = [*state(True)]
for _ in range(2):
    asyncio.run(serve())
    assert [*state(True)] == before, [*state(True)]
"""


def test_import_and_event_loops_in_turn_change_nothing_global(tmp_path):
    done = python("-c", IMPORTS + CHANGES, DATA_DIR=f"{tmp_path}/new")
    assert (done.returncode, done.stderr) == (0, "")


def serve_text(text, **env):
    """Serve a program that stands alone as `app.py` in an empty folder."""
    folder = tempfile.mkdtemp(dir=SCRATCH.name)
    Path(folder, "app.py").write_text(text)
    return serve(PYTHONPATH=folder, **env)


STATUS = """busy database django event_loop extra gil http_clients http_parser lanes
python requests_in_flight rss_bytes size threads upstream uvicorn waiting"""


def test_defaults_and_status():
    with serve_text(TEXT, DATA_DIR="") as server:
        assert (server.program.parent / "data" / "uploads" / "sample.bin").exists()
        assert server.json("/home/async/")["errors"] == {}
        status = server.at_rest()
        assert (sorted(status), type(status["gil"])) == (STATUS.split(), bool)
        lanes = {"size": 40, "busy": 0, "waiting": 0, "extra": 0}
        assert (status["lanes"], status["database"]) == (lanes, "SQLite")
        assert re.match("httpx .* aiohttp ", " ".join(status["http_clients"].values()))
        assert status["upstream"].keys() == {"address", "in_flight", "recent"}
        (one, two), (three, four) = status["upstream"]["recent"]
        assert two - one > 0.19 and four - three > 0.19
        headers = JSON | {"Content-Length": str(2**30 + 1), "Expect": "100-continue"}
        assert server.ask("POST", "/upload/async/", headers).status == 413
    assert app.settings.DEADLINE == 10


NAMES = [name for name in app.EXPERIMENTS if name != "files"]
ALL = [f"/{name}/{variant}/" for name in NAMES for variant in variants_of(name)]
#: Path: status, and the content type where it is the same for all clients.
PAGES = dict.fromkeys(["/", "/files/", *ALL], (200, ""))
PAGES |= {path: (200, "application/pdf") for path in ALL if "certificate" in path}
BYTES, PLAIN = (200, "application/octet-stream"), (200, "text/plain")
PAGES |= {"/files/sync/page.bin": BYTES, "/files/async/page.bin": BYTES}
PAGES |= {"/status/": (200, "application/json"), "/source/cars/async/": PLAIN}
EVERY = [*PAGES]
ERRORS = """/nothing/ /rivers/nothing/ /rivers/async /source/rivers/nothing/ /%ff/ /nothing/%00
/source/nothing/sync/app.py /files/sync/nothing /hello/sync/x/"""
PAGES |= dict.fromkeys(ERRORS.split(), (404, "")) | {"/cars/unsafe/": (500, "")}
PAGES |= dict.fromkeys(["/cars/sync/?n=0", "/rates/async/?symbol=%00"], (400, ""))
FORMS = [path for path in ALL if re.match("/upload|/cars/.*sync", path)]
METHODS = "GET POST PUT DELETE PATCH OPTIONS TRACE"


def check(response, path, status):
    """Check a response's status and headers; it must tell nothing of the machine."""
    headers, html = response.headers, response.text
    assert response.status_code == status, (path, response.request.headers)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and not re.search(r"unsafe|\*|http", policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert ("set-cookie" in headers) == (path in FORMS and response.is_success)
    if path in PAGES and not PAGES[path][1]:
        assert "accept" in headers["vary"].lower()
    if path in ALL:
        assert headers["cache-control"] == "no-store"
        _, experiment, variant, _ = path.split("/")
        is_async = asyncio.iscoroutinefunction(app.EXPERIMENTS[experiment][variant])
        thread = "MainThread" if is_async else "lane"
        thread = thread if response.is_success else '[^"]'
        timing = rf'^total;dur=[\d.]+, thread;desc="{thread}[^"]*", held;dur=[\d.]+$'
        assert re.search(timing, headers["server-timing"])
    if "html" in headers.get("content-type", ""):
        for _, inline in re.findall(r"(?s)<(style|script)\b[^>]*>(.*?)</\1>", html):
            assert b64encode(sha256(inline.encode()).digest()).decode() in policy
    if "/source/" not in path:
        assert not re.search(f'Traceback|File "|site-packages|/lab-|{HERE}', html)


@pytest.mark.parametrize("kind", [JSON, HTML], ids=["JSON", "HTML"])
@pytest.mark.parametrize("path", PAGES)
def test_page(lab, path, kind):
    response, (status, fixed) = lab.get(path, headers=kind), PAGES[path]
    told, lines = response.headers["content-type"], "x-ndjson" * ("streamed" in path)
    wanted = fixed or kind["Accept"].replace("json", lines or "json")
    assert told.split(";")[0] == wanted
    if status >= 400 and "unsafe" not in path:
        text = response.json()["error"] if kind is JSON else response.text
        assert re.search(r"\w\.$" if kind is JSON else r'role="alert">.*\w\.<', text)
    head = lab.client.head(path, headers=kind)
    assert (head.content, head.headers["content-type"]) == (b"", told)
    check(response, path, status)
    check(head, path, status)


LONG = f"{'application/json,a/b':,<1000}"
AS_JSON = ["application/json", "application/json, text/html;q=0.9"]
AS_JSON += ["text/html;q=0.5, application/json;q=0.6", LONG]
AS_HTML = """*/*|text/html|image/png|nonsense||,|text/html, application/json;q=0.9|\xff/a
text/html,application/xhtml+xml,*/*;q=0.8"""
#: Issue 11: what cannot be parsed (row 1), and what is too long to be parsed (row 2).
HUGE = ["a/b;x*=nonsense''%41", f"a/b;{'x' * 10_001}", "a;b," * 15_000, f"{LONG},"]
ACCEPTS = [*AS_JSON, *re.split("[|\n]", AS_HTML), *HUGE]


@pytest.mark.parametrize("accept", ACCEPTS, ids=lambda text: ascii(text)[1:40])
def test_every_accept_header_gets_a_normal_response(lab, accept):
    paths = EVERY if accept in HUGE else ["/", "/hello/sync/", "/hello/async/"]
    for path in [*paths, "/nothing/", "/cars/sync/?n=0"]:
        response = lab.ask("GET", path, [f"Accept: {accept}"])
        kind = PAGES[path][1] or ("json" if accept in AS_JSON else "text/html")
        assert kind in response.headers["content-type"], path
        assert response.status == PAGES[path][0], path
    assert len(lab.status()["upstream"]["recent"]) <= 100


def test_other_methods_get_a_405_and_foreign_hosts_a_400(lab):
    takes = {path: {"GET", "HEAD"} for path in EVERY} | {"/verdict/": {"POST"}}
    takes |= {path: {"GET", "HEAD", "POST"} for path in FORMS}
    for path, method in itertools.product(takes, METHODS.split()):
        if method not in takes[path]:
            response = lab.client.request(method, path, headers=JSON)
            allowed = {*re.findall(r"\w+", response.headers["allow"])}
            assert ([*response.json()], allowed) == (["error"], takes[path]), path
            check(response, path, 405)
    hosts = ["localhost.example.org", "a b", "", "localhost:x", "\xff"]
    pairs = [*itertools.product(PAGES, ["a.org"]), *itertools.product("/", hosts)]
    for (path, host), kind in itertools.product(pairs, (JSON, HTML)):
        response = lab.get(path, headers={"Host": host.encode("latin-1")} | kind)
        check(response, path, 400)
    for host in ("localhost", "127.0.0.1:99", "[::1]", "LOCALHOST."):
        assert lab.get("/", headers={"Host": host}).status_code == 200, host


BOTH = [path for path in ALL if re.match("/(home|rates)", path)]
FAILS = "503;302;hangs;HTML;a list;100 MB;closes at once;gzip that unfolds"


@pytest.mark.parametrize("fault", FAILS.split(";"))
def test_home_is_there_and_rates_are_not_where_a_service_fails(faulty, fault):
    faulty.upstream.fault = lambda call: None if "recco" in call.path else FAULTS[fault]
    assert faulty.get("/home/async/", headers=HTML).status_code == 200
    found = at_once(lambda path: faulty.get(path, headers=JSON), BOTH)
    for path, response in found.items():
        data, status = response.json(), 504 if fault in SLOW else 502
        assert response.status_code == (200 if "home" in path else status), path
        if "home" in path:
            assert data["errors"].keys() == {"promo"}
            assert [data["promo"], data["recco"]] == [None, BOOKS]
    for path in ("/nothing/", "/cars/unsafe/", "/cars/sync/?n=0"):  # with DEBUG, too
        response = faulty.get(path, headers=JSON)
        assert "error" in response.json() and response.status_code == PAGES[path][0]


alone = shared(serve, "app:upstream", UPSTREAM_LATENCY="0")


def test_first_half_alone_serves_every_experiment(alone):
    half, _ = re.split(r"(?m)^#.* The laboratory$", TEXT)
    form = {"data": {"engine": "V8", "name": "A", "location": "B"}}
    form["files"] = {"file": ("page.bin", b"page")}
    urls = {"UPSTREAM_URL": alone.url, "PROMO_URL": f"{alone.url}/promo/"}
    with serve_text(half, **urls) as server:
        for path in FORMS:
            response = server.client.post(path, headers=FORM, **form)
            assert response.status_code == 201, path
        paths = [path for path in EVERY if not re.match("/s[to]", path)]
        for path, accept in itertools.product(paths, (JSON, HTML)):
            status = server.get(path, headers=accept).status_code
            assert status == PAGES[path][0], path
        assert len(server.json("/rivers/async/")["sites"]) == len(app.SITES)
        assert server.json("/home/async/")["errors"] == {}


GAUGE = '    "06327500": "Yellowstone River at Glendive MT",\n'
#: An experiment without docstring, template, note and source (issue 11, rows 14 and 15).
VIEW = """import cmath as c
LOW, TIDES = c.pi, 3
if sys.argv == ["nothing"]:
    PLACES = []
else:
    PLACES = ["promo", "sea"]
HTML["sea/level.html"] = "<p>{{ error }}</p>"
def tide(request):
    return page(request, "hello.html", {"upstream_calls": TIDES})
def level(request):
    'Match "\\\\d", say "high"'
    error = fetch(PLACES[-1], "", 1, dict)[1]
    return page(request, "sea/level.html", {"error": error}, 502)
"""
LINE = '    "tides": {"sync": tide, "own": lambda request: HttpResponse("own")},\n'
README = (HERE / "README.md").read_text()
VIEW += re.search("(?s)```python\n(.*?)```", README)[1]
OFFERS = re.search('`("offers": .*?,)`', README)[1]
LINE += f'    {OFFERS}\n    "sea": {{"sync": functools.partial(level)}},\n'
SERVICE = '    "sea": "http://127.0.0.1:9/sea/",\n'  # at a port where nothing listens

#: A lab with one gauge, one service and three experiments more.
NEW = TEXT.replace("\nSITES = {\n", f"\nSITES = {{\n{GAUGE}")
NEW = NEW.replace("\nDEFAULT_URLS = {\n", f"\nDEFAULT_URLS = {{\n{SERVICE}")
NEW = NEW.replace("\nEXPERIMENTS = {\n", f"\n\n{VIEW}\nEXPERIMENTS = {{\n{LINE}")
extended = shared(serve_text, NEW, UPSTREAM_LATENCY="0", ALLOWED_HOSTS="127.0.0.1,a.b")


def test_gauge_is_one_line_and_experiment_a_view_and_a_line(extended):
    for variant, page in at_once(extended.rivers, RIVERS).items():
        assert (len(page.sites), page.errors) == (7, {}), variant
        headers = HTML | {"Host": "a.b"}
        html = extended.get(f"/rivers/{variant}/", headers=headers).text
        calls = " 1 call" if variant == "batched" else " 7 calls"
        assert html.count("Glendive") == 1 and calls in html
    variants = extended.json("/")["experiments"]["tides"]
    assert variants == {"variants": {"sync": "", "own": ""}, "pitfalls": []}
    assert "/tides/own/" in extended.get("/", headers=HTML).text
    assert extended.json("/tides/sync/")["upstream_calls"] == 3
    assert "3 calls" in extended.get("/tides/sync/", headers=HTML).text
    assert extended.get("/tides/own/").text == "own"
    assert "def tide(" in extended.get("/source/tides/sync/").text
    assert "Three for two" in extended.json("/offers/async/")["greeting"]
    program = str(extended.program)
    words = f"race tides sea --runs 1 --json --url {extended.url}".split()
    assert "makes up to 2 calls to outside services" in python(program, *words).stderr
    rows = json.loads(python(program, *words, "--yes").stdout)["results"]
    assert [row["failed"] for row in rows] == [0, 0, 1]
    tides, sea = (
        python(program, "export", x).stdout for x in ("tides/sync", "sea/sync")
    )
    assert "cmath as c\nLOW, TIDES = " in tides and "rivers" not in tides
    assert all(x in sea for x in ("else:", '["sea/level.html"]', SERVICE, '"promo":'))
    (doc,) = extended.json("/")["experiments"]["sea"]["variants"].values()
    assert ast.get_docstring(ast.parse(sea)) == doc == 'Match "\\d", say "high"'
    assert extended.json("/sea/sync/")["error"] == app.FAILED


def test_upstream_has_the_layout_and_the_refusals_of_the_real_services(alone):
    point = {"coordinates": [-92.6863888888889, 40.2343333333333], "type": "Point"}
    own = {"last_modified": "2026-08-07T18:55:07.672769+00:00", "statistic_id": "00011"}
    own["time_series_id"] = "622c17455f9e4a4286e1d75dde4d8470"
    real = ogc_feature("06904500", DISCHARGE, "535", WHEN, **own)
    real |= {"geometry": point, "id": "2ccf9208-befe-4486-9ce2-0c0e4cff7127"}
    for site in ("06904500", SITE):  # the first is none of SITES
        query = f"monitoring_location_id=USGS-{site}&parameter_code={DISCHARGE}"
        data = alone.json(f"{ITEMS}?f=json&{query}")
        texts = (json.dumps(x, sort_keys=True) for x in (data["features"].pop(), real))
        assert len({re.sub("[0-9a-f]+", "x", text) for text in texts}) == 1
        assert data.pop("type") == "FeatureCollection"
        assert data == {"features": [], "numberReturned": 1}
    data = alone.json(f"{RATES_PATH}?start_date=2012-05-01&end_date=2012-05-01")
    assert {"USD", "AUD", "CAD"} < data["rates"].pop("2012-05-01").keys()
    day = dict.fromkeys(("start_date", "end_date"), "2012-05-01") | {"rates": {}}
    assert data == day | {"success": True, "timeseries": True, "base": "EUR"}
    assert alone.json("/promo/")["promotions"][0].keys() == {"title", "text", "ends"}
    assert alone.json("/recco/")["books"][0].keys() == {"title", "author", "price"}
    asked = {"f=json": 10, "limit=100": 12, "parameter_code=00065": 6}  # 0: refused
    asked |= {"limit=3&skipGeometry=true": 3, "monitoring_location_id=USGS-99999999": 2}
    asked |= dict.fromkeys(["limit=x", "limit=0", "color=blue", "sites=1"], 0)
    for query, number in asked.items():
        response = alone.get(f"{ITEMS}?{query}")
        assert response.status_code == (200 if number else 400), query
        assert len(response.json().get("features", ())) == number, query
    assert alone.json(f"{ITEMS}?color=blue") == app.REFUSAL
    assert alone.get(RATES_PATH).status_code == 400
    for method, path, status in (("GET", "/nothing/", 404), ("POST", ITEMS, 405)):
        response = alone.client.request(method, path, headers=JSON)
        assert response.status_code == status
        assert response.headers["content-type"].startswith("text/html")


BODY = "Content-Length: 5\r\n\r\nhello"
#: The statuses that a line of a header may get; "" where the connection is closed.
LINES = {"200": ["Cookie: =;;=\x80, a", BODY, "Connection: close"]}
LINES |= {"400": ["Host: a.org", "Content-Length: many", "nonsense", "X: \x00\x01"]}
LINES["400|"] = [f"Transfer-Encoding: {x}" for x in ("chunked\r\n\r\nxyz", "rot13")]
LINES["200|400|413|431"] = [f"X: {0:070000}", "X: a\r\n" * 10_000, "Content-Type: \xff"]


def test_odd_headers_and_addresses_that_are_no_utf8(lab):
    paths = "/hello/sync/", "/hello/async/", "/upload/async/"
    good = ["Accept: application/json", "Connection: close"]
    for statuses, path in itertools.product(LINES, paths):
        for line in LINES[statuses]:
            data = raw_request("GET", path, [*good, line], close=False)
            response = read_all(lab.connect(data)).decode("latin-1")
            assert re.match(f"(HTTP/1.1 )?({statuses})(?(1) |$)", response), line[:99]
            assert "Traceback" not in response
    odds = "%ff", "\xff", "%00", "%c3%28", "%ed%a0%80", "%"
    for path, odd in itertools.product(EVERY, odds):
        for target in (f"{path}{odd}", f"{path}?n={odd}&symbol={odd}&{odd}"):
            response = lab.ask("GET", target, JSON)
            assert response.status in (200, 400, 404) or "unsafe/?" in target, target
            assert b"Traceback" not in response.body


@pytest.mark.parametrize("path", BOTH)
def test_odd_bodies_of_a_service(faulty, path):
    book = '{"books": [{"title": %s, "author": "B", "price": %s}]}'
    day = '{"base": "EUR", "rates": {"2016-01-02": {"USD": %s}}}'
    numbers, home = ["null", "[1]", "NaN", "1e999", "true"], "home" in path
    refused = ["{}", "[]", "5", "null", '{"base": "EUR", "rates": {"yesterday": {}}}']
    refused += ['{"books": null}', '{"books": [1]}', '{"books": "a"}']
    titles = "null", r'"\ud800"', "[" * 950 + "]" * 950
    refused += [book % (title, 1) for title in titles] + [day % '"1"']
    refused += [text for n in numbers for text in (book % ('"A"', n), day % n)]
    shown = [book % ('"<script>"', "1e300"), '{"books": []}'] if home else [day % 1.5]
    either = [day % ("9" * 400), day % ("9" * 4000), book % ('"A"', "9" * 4000)]
    for body in refused + shown + either:
        fault = Fault("", [http(body.encode())])
        faulty.upstream.fault = lambda call, f=fault: call.path != "/promo/" and f
        response, html = (faulty.get(path, headers=kind) for kind in (JSON, HTML))
        data = json.loads(response.text, parse_constant=pytest.fail)
        good = not data["errors"] if home else response.status_code == 200
        assert body in either or good == (body in shown), body[:99]
        assert response.status_code == html.status_code, body[:99]
        assert response.status_code in ([200] if home else [200, 400, 502])
        assert "<script>" not in html.text


@pytest.mark.parametrize("variant", app.EXPERIMENTS["rates"])
def test_rates(lab, variant):
    data, path = lab.json(f"/rates/{variant}/"), f"/rates/{variant}/?symbol="
    assert 160 <= data.pop("currencies") <= 180 and data.pop("load_time") > 0
    period = {"start_date": "2016-01-02", "end_date": "2017-01-01", "days": 366}
    assert data == period | {"experiment": "rates", "variant": variant, "base": "EUR"}
    for symbol in ("USD", "jpy", "EUR"):
        html = lab.get(path + symbol, headers=HTML).text
        assert len(re.search('points="([^"]+)"', html)[1].split()) == 366
    for symbol in ("", "XXX", "US", "<b>", "%00", "%F0%9F%8E%89", "1"):
        response = lab.get(path + symbol, headers=JSON)
        assert (response.status_code, response.json()["field"]) == (400, "symbol")


@pytest.mark.parametrize("variant", app.EXPERIMENTS["certificate"])
def test_certificate_is_stamped_with_the_time(lab, variant, tmp_path):
    stamp, place = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "%timestamp%" + " " * 9
    path, pdf = lab.data / "certificate-template.pdf", tmp_path / "a.pdf"
    path.unlink(missing_ok=True)  # issue 11, row 6: it is made again
    begins = datetime.now(UTC).replace(microsecond=0)
    response = lab.get(f"/certificate/{variant}/", headers=JSON)
    assert "attachment; filename=certificate.pdf" in response.headers.values()
    text = response.content.decode("latin-1")
    stamps = {*re.findall(stamp, text)}
    times = sorted(map(datetime.fromisoformat, stamps))
    assert begins <= times[0] <= times[-1] <= datetime.now(UTC)
    assert re.sub(stamp, place, text).encode("latin-1") == path.read_bytes()
    pdf.write_bytes(response.content)
    for text in (f"{place}end", "%PDF", f"{place[:-1]}.", ""):
        path.write_text(text)  # a template of one's own
        found = lab.get(f"/certificate/{variant}/", headers=JSON)
        says, status = (f"^{stamp}end$", 200) if place in text else (path.name, 500)
        assert found.status_code == status and re.search(says, found.text)
    path.unlink()
    reader = pytest.importorskip("pypdf").PdfReader(pdf, strict=True)
    for text in (reader.pages[0].extract_text(), str(reader.metadata)):
        assert stamps & {*re.findall(stamp, text)}
    qpdf = shutil.which("qpdf") or missing("No qpdf.")
    subprocess.run([qpdf, "--check", pdf], check=True)


def test_upstream_fails_is_late_and_moves_with_the_clock(monkeypatch):
    cases = ("UPSTREAM_FAILURES", "1", 502), ("UPSTREAM_LATENCY", "60", 504)
    for name, value, status in cases:
        own, paths = {"UPSTREAM_LATENCY": "0", name: value}, [*BOTH, "/rivers/async/"]
        with serve(DEADLINE="0.5", **own) as server:
            found = at_once(lambda path: server.get(path, headers=JSON), paths)
        statuses = [response.status_code for response in found.values()]
        assert statuses == [200] * 3 + [status] * 3

    def at(minutes):
        monkeypatch.setattr(time, "time", lambda: 1.8e9 + 60 * minutes)
        transport = httpx.ASGITransport(app=app.upstream)
        client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        return run_async(client.get(f"{ITEMS}?limit=12")).json()["features"]

    assert at(1) == at(14) != at(16)  # a quarter of an hour has one answer
    for month in range(12):  # ice has no discharge, but a qualifier
        for found in (feature["properties"] for feature in at(month * 43_800)):
            assert found["qualifier"] or float(found["value"]) > 0
            age = time.time() - datetime.fromisoformat(found["time"]).timestamp()
            assert 0 <= age < 7200


def test_index_sources_hello_and_cpu_show_every_variant(lab):
    experiments, html = lab.json("/")["experiments"], lab.get("/", headers=HTML).text
    assert [*experiments] == [*app.EXPERIMENTS]
    for name, views in app.EXPERIMENTS.items():
        lines = {v: (views[v].__doc__ or "").partition("\n")[0] for v in views}
        pitfalls = [v for v in views if f"{name}/{v}" in app.PITFALLS]
        assert experiments[name] == {"variants": lines, "pitfalls": pitfalls}
        for variant, view in views.items():
            source = lab.get(f"/source/{name}/{variant}/").text
            assert [node.name for node in ast.parse(source).body] == [view.__name__]
            assert lines[variant] in source and f"/{name}/{variant}/" in html
    for path in (path for path in ALL if re.match("/(hello|cpu)", path)):
        data, (experiment, variant) = lab.json(path), path[1:-1].split("/")
        name = "greeting" if experiment == "hello" else "digest"
        same = lab.json(f"/{experiment}/sync/")[name]
        assert 0 < data.pop("load_time") < 60
        assert data == {"experiment": experiment, "variant": variant, name: same}
        assert same in lab.get(path, headers=HTML).text


# ------------------------------------------------- Cars, on SQLite and on PostgreSQL
READERS = variants_of("cars", pitfalls=False)
MAKERS = ["sync", "async", "sync_to_async"]
FIELDS = {"engine": "V12 <engine> ü", "name": "Maker X", "location": "L" * 150}
#: Where each whole car has one row more.
CAR_TABLES = ["car", "carparts", "manufacturer", "store", "car_store", "car_car_parts"]
COUNTS = "SELECT " + ", ".join(f"(SELECT count(*) FROM app_{x})" for x in CAR_TABLES)
#: Statuses and errors of `use_all`.
ALL_WELL = {(200, None), (201, None)}
NO_DATABASE = {(503, "The database is unavailable.")}
#: Count the others' connections to PostgreSQL; cut all but one that holds a lock.
CONNECTIONS = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
CUT = CONNECTIONS.replace("*", "pg_terminate_backend(pid, 9000)")
CUT += " AND state <> 'idle in transaction'"
#: What makes a table refuse all new rows, and what ends that: SQLite, PostgreSQL.
TRAPS = """CREATE TRIGGER trap BEFORE INSERT ON app_{} BEGIN SELECT RAISE(ABORT, ''); END
DROP TRIGGER trap
ALTER TABLE app_{} ADD CONSTRAINT trap CHECK (false) NOT VALID
ALTER TABLE app_{} DROP CONSTRAINT trap"""
each_maker = pytest.mark.parametrize("variant", MAKERS)


def connect(url):
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    return pytest.importorskip("psycopg").connect(url, autocommit=True)


def execute(url, sql):
    with closing(connect(url)) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone() if cursor.description else None


@pytest.fixture(scope="session", params=["SQLite", "PostgreSQL"])
def cars(request):
    with new_database(request.param) as url, serve(DATABASE_URL=url) as server:
        server.database = url
        yield server


def use_all(server, readers=READERS, makers=MAKERS):
    """Ask all variants at once. Return the statuses and errors."""
    calls = [lambda v=v: server.get(f"/cars/{v}/?n=2", headers=JSON) for v in readers]
    calls += [lambda v=v: server.create_car(v) for v in makers]
    responses = at_once(lambda call: call(), calls).values()
    return {(x.status_code, x.json().get("error")) for x in responses}


def cut_within(server, variant, table, kill=False):
    """Cut the connection by which a new car waits at a table; return its response."""
    with ThreadPoolExecutor(1) as pool, closing(connect(server.database)) as other:
        other.execute(f"BEGIN; LOCK app_{table}")
        response, url = pool.submit(server.create_car, variant), server.database
        waiting = f"{CONNECTIONS} AND wait_event_type = 'Lock'"
        until(lambda: execute(url, waiting) == (1,))
        if kill:
            server.process.kill()
        execute(url, f"{CUT} AND wait_event_type <> 'Lock'")  # idle ones are gone first
        execute(url, CUT)
    return response


@pytest.mark.parametrize("n", [1, 50, 500, 1500])
def test_all_variants_read_the_same_cars(cars, n):
    variants = READERS if n <= 50 else ["prefetched"]
    pages = {v: cars.json(f"/cars/{v}/?n={n}") for v in variants}
    numbers = {v: (n, 3 if v == "prefetched" else 3 * n + 1) for v in variants}
    assert {v: (x["cars"], x["queries"]) for v, x in pages.items()} == numbers
    html = [cars.get(f"/cars/{v}/?n={n}", headers=HTML).text for v in variants]
    row = r"<tr>\s*" + r"<td>(.*?)</td>\s*" * 3 + "</tr>"
    first, *others = [re.findall(row, page) for page in html]
    assert others == [first] * len(others)
    assert [int(car) for car, *_ in first] == [*range(1, min(n, 10) + 1)]
    assert n == 1 or 0 < sum(part != "–" for *_, part in first) < 10


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_django_finds_no_issues_and_its_shell_reads_the_same_cars(tmp_path, kind):
    code = """from app import *
one, two = read_cars(150), read_cars_prefetched(1500)
print(connections["default"].vendor, one == two[:150], len({*two}))
print(one[:30] == async_to_sync(read_cars_async)(30))"""
    with new_database(kind) as url:
        for words in (["check"], ["check", "--deploy"], ["shell", "-c", code]):
            env = {"DATA_DIR": str(tmp_path / "new"), "DATABASE_URL": url}
            done = python(str(HERE / "app.py"), *words, **env)
            assert (done.returncode, done.stderr) == (0, "")
            assert ("identified no issues (" in done.stdout) == ("check" in words)
    assert done.stdout.split()[-4:] == [kind.lower(), "True", "1500", "True"]


def test_pages_say_what_is_wrong(lab):
    bad = "0 1501 -1 +1 1.5 1e3 0x10 nan %D9%A3 10%00 00000000199999 9999999999999999"
    for variant, n in itertools.product(app.EXPERIMENTS["cars"], ["", *bad.split()]):
        response = lab.get(f"/cars/{variant}/?n={n}", headers=JSON)
        assert (response.status_code, response.json()["field"]) == (400, "n")
        assert "from 1 to 1500" in response.json()["error"]
    for kind in (JSON, HTML):
        text = lab.get("/cars/unsafe/", headers=kind).text
        assert "SynchronousOnlyOperation: You cannot call this" in text
    for path in ("/cars/async/", "/source/cars/async/"):  # issue 11, row 17
        assert "a crash leaves what was made" in lab.get(path, headers=HTML).text


@each_maker
def test_form_creates_one_row_of_each_and_none_if_it_is_wrong(cars, variant):
    before, url = execute(cars.database, COUNTS), f"{cars.url}/cars/{variant}/"
    bad = [("engine", value) for value in ("", " ", "x" * 1001, "a\0b")]
    bad += itertools.product(("name", "location"), ("", "x" * 151))
    for field, value in bad:
        response = cars.create_car(variant, **{field: value})
        assert (response.status_code, response.json()["field"]) == (400, field)
        assert response.json()["error"]
    for token in ({}, {"X-CSRFToken": TOKEN}, FORM | {"X-CSRFToken": "b" * 32}):
        response = httpx.post(url, data=FIELDS, headers=JSON | token)
        assert (response.status_code, [*response.json()]) == (403, ["error"])
    assert execute(cars.database, COUNTS) == before
    with httpx.Client(base_url=url) as browser:
        html = browser.get("?n=1", headers=HTML).text
        token = re.search('name="(csrfmiddlewaretoken)" value="(.+?)"', html)
        data = FIELDS | {token[1]: token[2]}
        assert browser.post("", data=data, headers=JSON).status_code == 201
    assert execute(cars.database, COUNTS) == tuple(n + 1 for n in before)
    for (field, value), table in zip(FIELDS.items(), CAR_TABLES[1:4], strict=True):
        newest = f"SELECT {field} FROM app_{table} ORDER BY id DESC"
        assert execute(cars.database, newest) == (value,)


@each_maker
@pytest.mark.parametrize("step", ["store", "car", "car_car_parts"])
def test_car_is_created_whole_or_not_at_all(cars, variant, step):
    before, is_file = execute(cars.database, COUNTS), "sqlite" in cars.database
    begins, ends = TRAPS.split("\n")[:2] if is_file else TRAPS.split("\n")[2:]
    execute(cars.database, begins.format(step))
    response = cars.create_car(variant)
    execute(cars.database, ends.format(step))
    assert (response.status_code, [*response.json()]) == (500, ["error"])
    if not is_file:
        response = cut_within(cars, variant, step).result()
        assert (response.status_code, response.json()["error"]) in NO_DATABASE
    assert execute(cars.database, COUNTS) == before
    headers = FORM | {"Content-Type": "application/x-www-form-urlencoded"}
    form = "POST", f"/cars/{variant}/", headers, b"engine=a&name=b&location=c"
    for wait in range(20):
        with cars.connect(raw_request(*form)):
            time.sleep(wait / 1000)  # each client leaves at another step
    assert cars.create_car(variant).status_code == 201  # all others were accepted
    until(cars.at_rest)
    assert len({*map(operator.sub, execute(cars.database, COUNTS), before)}) == 1


def test_sigkill_leaves_whole_cars_where_there_is_a_transaction():
    with new_database("PostgreSQL") as url:
        with serve(DATABASE_URL=url) as server:
            server.database, before = url, execute(url, COUNTS)
            response = cut_within(server, "sync", "car_car_parts", kill=True)
            assert isinstance(response.exception(), httpx.TransportError)
        assert execute(url, COUNTS) == before


@pytest.mark.parametrize("cars", ["SQLite"], indirect=True)
def test_locked_sqlite_is_a_503_for_writers_only(cars):
    before = execute(cars.database, COUNTS)
    with closing(connect(cars.database)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN IMMEDIATE")
        writers = pool.submit(use_all, cars, [])
        until(lambda: cars.status()["requests_in_flight"] == 4)
        assert use_all(cars, makers=[]) == {(200, None)}
        assert writers.result() == NO_DATABASE
    assert execute(cars.database, COUNTS) == before
    assert use_all(cars) == ALL_WELL


@pytest.mark.parametrize("cars", ["PostgreSQL"], indirect=True)
def test_postgresql_without_connections_is_a_503_and_sixty_that_wait_stop_nobody(cars):
    before = execute(cars.database, COUNTS)
    place, _, name = cars.database.rpartition("/")
    allow = f"ALTER DATABASE {name} ALLOW_CONNECTIONS "
    with closing(connect(f"{place}/postgres")) as other:
        other.execute(allow + "false")
        other.execute(CUT.replace("current_database()", f"'{name}'"))
        for _ in range(2):  # a pool that fails for long tries again more seldom
            assert use_all(cars) == NO_DATABASE
        other.execute(allow + "true")
    assert execute(cars.database, COUNTS) == before
    for _ in range(3):  # connections cut between requests are replaced
        assert use_all(cars) == ALL_WELL
        execute(cars.database, CUT)
        assert cars.create_car("sync").status_code == 201
    with closing(connect(cars.database)) as other:
        other.execute("BEGIN; LOCK app_car")
        clients = cars.send(*["/cars/async/?n=10"] * 60)
        until(lambda: cars.status()["requests_in_flight"] == 61)
        until(lambda: execute(cars.database, CONNECTIONS) == (21,))  # `other`, too
        assert cars.ask("GET", "/hello/sync/").status == 200
        assert len(select.select(clients, [], [], 0)[0]) < 60
    responses = [parse_responses(read_all(client))[0] for client in clients]
    found = {(r.status, r.json().get("cars")) for r in responses}
    assert {(200, 10)} <= found <= {(200, 10), (503, None)}  # one waits five seconds
    assert execute(cars.database, CONNECTIONS) <= (20,)


# ------------------------------------------------------ Files: downloads and uploads
ERROR, MULTIPART = ["error"], "multipart/form-data; boundary=b"
UPLOAD = FORM | {"Content-Type": MULTIPART}
CONTENT, BIG = bytes(range(250)) * 4, bytes(range(251)) * 9600
#: Ranges and conditions (`If-…`, without the If-), by the status that they get; a part
#: has its place behind `>`. TAG and TIME are the file's. Source: RFC 9110, 13 and 14.
GETS = {
    200: """|bytes=5-4|bytes=-|bytes=|bytes=a-b|bytes=1-2-3|bytes=--1|bytes=+1-2|items=0-1
0-1|bytes=0x1-2|bytes=1_0-|bytes=0-1,4-5|bytes=0-1,|bytes=٣-|bytes=MANY-|Range: TAG
None-Match: "o"|None-Match: o|Modified-Since: AGO|Match: TAG|Match: "o", TAG|Match: *
Modified-Since: no|None-Match: "o" + Modified-Since: TIME|Unmodified-Since: TIME
Unmodified-Since: no|Match: TAG + Unmodified-Since: AGO|Range: "o" + bytes=0-9
Range: W/TAG + bytes=0-9|Range: AGO + bytes=0-9|Range: LATER + bytes=0-9
Range: "o" + bytes=2000-""",
    206: """bytes=0-99 > 0-99|bytes=100- > 100-999|bytes=-100 > 900-999|bytes=0-0 > 0-0
bytes=-1 > 999-999|bytes=999-999 > 999-999|bytes=990-2000 > 990-999|bytes=-2000 > 0-999
bytes=5-NINES > 5-999|bytes=-NINES > 0-999|Range: TAG + bytes=0-9 > 0-9
Range: TIME + bytes=0-9 > 0-9|Match: TAG + bytes=0-9 > 0-9""",
    304: """None-Match: TAG|None-Match: "o", TAG|None-Match: W/TAG|None-Match: *
Modified-Since: TIME|Modified-Since: LATER|None-Match: TAG + Modified-Since: AGO
None-Match: TAG + bytes=0-9|Match: TAG + None-Match: TAG|None-Match: TAG + bytes=2000-""",
    412: """Match: "o"|Match: W/TAG|Unmodified-Since: AGO|Match: "o" + bytes=0-9""",
    416: "bytes=1000-|bytes=1000-1001|bytes=-0|bytes=NINES-|Range: TAG + bytes=2000-",
}
GETS = [(status, get) for status in GETS for get in re.split("[|\n]", GETS[status])]
WORDS = {"AGO": "Sat, 29 Oct 1994 19:43:31 GMT", "NINES": "9" * 100, "MANY": "9" * 5000}
WORDS |= {"LATER": "Fri, 29 Oct 2094 19:43:31 GMT"}
EDGES = [x + n for x in (2**16, 2**20, 2**21, len(BIG)) for n in (-1, 0, 1)]
PLACES = st.integers(0, len(BIG) + 10) | st.sampled_from(EDGES)
each_kind = pytest.mark.parametrize("variant", ["sync", "async"])


@pytest.fixture
def uploads(site):
    """Return the folder of uploads, in which there is one file, of 2020."""
    folder = site.data / "uploads"
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "file.bin").write_bytes(CONTENT)
    os.utime(folder / "file.bin", (1_600_000_000, 1_600_000_000))
    return folder


@each_kind
def test_file_of_any_name_is_listed_and_sent_as_an_attachment(site, uploads, variant):
    names = """plain.txt|año nuevo.txt|日本語.png|🎉.txt|say "hi".txt|back\\slash.txt|-dash
semi;colon, comma.txt|percent%20.txt|question?hash#.txt|<b>&amp;.html|.hidden"""
    names = [*re.split("[|\n]", names), "x" * 255, "é" * 127]
    for name in names:
        (uploads / name).write_bytes(name.encode())
    files = {one["name"]: one for one in site.json("/files/")["files"]}
    about = {"size": 1000, "modified": "2020-09-13T12:26:40+00:00"}
    about |= {"name": "file.bin", "url": "/files/async/file.bin"}
    assert files["file.bin"] == about and [*files] == sorted([*names, "file.bin"])
    assert site.get(f"/files/{variant}/").headers["location"] == "/files/"
    html = site.get("/files/", headers=HTML).text
    for name in names:
        url = files[name]["url"]
        assert f'href="{url}"' in html and "<b>&amp;.html" not in html
        response = site.ask("GET", url.replace("async", variant, 1))
        assert (response.status, response.body) == (200, name.encode())
        assert response.headers.get_content_disposition() == "attachment"
        assert response.headers.get_filename() == name


@pytest.mark.parametrize(("status", "asked"), GETS)
def test_range_and_condition_are_kept(site, uploads, status, asked):
    path = "/files/async/file.bin"
    own = site.get(path).headers
    assert own["last-modified"] == "Sun, 13 Sep 2020 12:26:40 GMT"
    words = WORDS | {"TIME": own["last-modified"], "TAG": own["etag"]}
    asked, _, span = re.sub("[A-Z]{3,}", lambda x: words[x[0]], asked).partition(" > ")
    lines = [f"If-{x}" if ": " in x else f"Range: {x}" for x in asked.split(" + ")]
    pairs = [*JSON.items(), *(line.split(": ", 1) for line in lines)]
    headers = httpx.Headers(pairs, encoding="utf-8")
    response = site.get(path, headers=headers)
    spans = {206: f"bytes {span}/1000", 416: "bytes */1000"}
    told = response.headers.get("content-range")
    assert (response.status_code, told) == (status, spans.get(status))
    if status in (200, 206):
        first, last = map(int, (span or "0-999").split("-"))
        assert response.content == CONTENT[first : last + 1]
        assert response.headers["content-length"] == str(last + 1 - first)
    assert status < 400 or response.json()["error"].endswith(".")
    assert status > 400 or response.headers["etag"] == own["etag"]
    head = site.client.head(path, headers=headers)
    assert head.status_code == (status if status in (304, 412) else 200)


@given(PLACES, PLACES, st.sampled_from([BIG, b""]))
@example(2**20 - 1, 2**21, BIG)
def test_any_range_is_the_bytes_of_the_file(site, first, last, data):
    (site.data / "uploads" / f"{len(data)}.bin").write_bytes(data)
    headers = {"Range": f"bytes={first}-{last}"}
    response = site.get(f"/files/async/{len(data)}.bin", headers=headers)
    status = 200 if last < first else 206 if first < len(data) else 416
    sent = {200: data, 206: data[first : last + 1], 416: response.content}
    assert (response.status_code, response.content) == (status, sent[status])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_only_regular_files_are_listed_and_sent(site, uploads, method):
    odd = """nothing ../lab.sqlite3 ..%2flab.sqlite3 %2e%2e%2flab.sqlite3 .. . %2e%2e %2e
..%5clab.sqlite3 %2fetc%2fpasswd /etc/passwd //etc/passwd %00 file.bin%00 FILE.BIN/ fifo
file.bin/ file.bin/. line%0abreak %ff %c3%28 %ed%a0%80 %e2%80%ae link inner loop socket
dir dir/ dir%2finside linked%2finside dangling no%ffutf8 ....//lab.sqlite3 file.bin%20"""
    odd = [*odd.split(), "x" * 256, "x" * 5000, "%f0%9f%8e%89" * 300]
    (uploads / "dir").mkdir()
    links = "link=/etc/passwd inner=file.bin linked=dir loop=loop dangling=nowhere"
    for name, target in re.findall(r"(\w+)=(\S+)", links):
        (uploads / name).symlink_to(target)
    for name in (os.fsdecode(b"no\xffutf8"), "line\nbreak", "dir/inside"):
        (uploads / name).touch()
    os.mkfifo(uploads / "fifo")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(uploads / "socket"))
    assert [one["name"] for one in site.json("/files/")["files"]] == ["file.bin"]
    for name, variant in itertools.product(odd, ["sync", "async"]):
        response = site.ask(method, f"/files/{variant}/{name}", JSON)
        assert (name, response.status) == (name, 404)
        assert method == "HEAD" or [*response.json()] == ERROR


@pytest.mark.parametrize("change", ["replaced", "deleted", "cut"])
def test_file_that_changes_is_sent_in_one_version_with_its_tag(site, uploads, change):
    size, path, other = 30_000_000, uploads / "changing", uploads / "other"
    tags = set()  # each is strong
    for content, when in ((b"one", 2e9), (b"two", 2e9), (b"six", 1e9)):
        other.write_bytes(content)
        os.utime(other, (when, when))
        other.replace(path)
        tags.add(site.get("/files/async/changing").headers["etag"])
    assert len([tag for tag in tags if re.fullmatch('"[^"]+"', tag)]) == 3
    path.write_bytes(b"a" * size)
    other.write_bytes(b"b" * size)
    client = site.connect(raw_request("GET", "/files/async/changing", close=False))
    data = client.recv(1024)
    if change == "cut":
        os.truncate(path, 10)  # what comes is too short, and the connection ends
    else:
        other.replace(path) if change == "replaced" else path.unlink()
        client.sendall(raw_request("GET", "/nothing/"))
    body = (data + read_all(client)).partition(b"\r\n\r\n")[2]
    body = body.partition(b"HTTP/1.1 404")[0]
    assert ({*body}, len(body) == size) == ({*b"a"}, change != "cut")


@each_kind
def test_issue_11_row_4_slow_readers_keep_nobody_waiting(site, uploads, variant):
    (uploads / "slow").write_bytes(bytes(2**23))
    site.at_rest()
    before, asked = site.open_files(), raw_request("GET", f"/files/{variant}/slow")
    readers = [site.connect(asked) for _ in range(8)]  # on two lanes
    assert all(reader.recv(1024) for reader in readers)
    for path in ("/hello/sync/", "/cars/sync/?n=1", "/hello/async/"):
        assert site.get(path).status_code == 200
    assert site.status()["requests_in_flight"] == 9
    assert site.open_files() >= before + (8 if variant == "sync" else 16)
    for reader in readers:
        reader.close()
    until(lambda: site.open_files() <= before)  # the file is closed as they leave


FILE, END = multipart(("file", b"a", "a"), end=False)[0], b"--b--\r\n"
LENGTH, CHUNKS = {"Content-Length": 3_000_000}, {"Transfer-Encoding": "chunked"}
LIMITS = {"/upload/sync/": 4_000_000, "/upload/async/": 4_000_000, "/cars/sync/": 2**20}
LIMITS |= {"/cars/async/": 2**20, "/hello/async/": 2**20, "/nothing/": 2**20}


def files_in(folder):
    """Return the files in the folders of DATA_DIR, stored or still arriving."""
    return sorted(str(path) for path in folder.glob("*/**/*") if not path.is_dir())


@pytest.fixture
def kept(site):
    """Return the site. No file may come or go, when what is left has been closed."""
    site.at_rest()
    before = files_in(site.data)
    yield site
    site.at_rest()
    assert files_in(site.data) == before


def next_response(connection):
    """Return the status and the JSON's keys; the connection stays open."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, [*json.loads(response.read())]


@each_kind
def test_upload_of_any_size_is_stored_under_a_safe_name(site, uploads, variant):
    # A name as it is sent, and the one that the file gets (issue 11, row 12).
    names = """report.pdf>report.pdf|año nuevo.txt>año_nuevo.txt|日本語.png>日本語.png|con>con
e\u0301te\u0301.txt>été.txt|a.b.tar.gz>a.b.tar.gz|../x>x|..%2fx>2fx|..\\x>x|-rf>-rf
/etc/passwd>passwd|C:\\dir\\file.txt>file.txt|a\0b>ab|a\u202egpj.exe>agpj.exe|...>file
\u200fa\u200b.txt>a.txt|.htaccess>htaccess|???.txt>file.txt|🎉.txt>file.txt|<b.html>b.html
a;b=c.txt>abc.txt|a\tb\x7f.txt>ab.txt|a  b  .txt>a__b__.txt"""
    names = dict(pair.split(">") for pair in re.split("[|\n]", names))
    names |= {"x" * 900 + ".txt": "x" * 180 + ".txt", "a." + "x" * 99: "a." + "x" * 15}
    names |= dict.fromkeys(["", ".", "..", "a/", "x" * 5000])  # refused
    (uploads / "file.bin").unlink()
    sizes = itertools.cycle([0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3_000_001])
    for (sent, name), size in zip(names.items(), sizes, strict=False):
        data = (BIG * 2)[:size]
        response = site.upload(variant, data, sent)
        assert (sent, response.status_code) == (sent, 201 if name else 400)
        assert os.listdir(uploads) == [name] * bool(name)
        if name:
            url = f"/files/async/{quote(name, safe='')}"
            about = {"name": name, "size": size, "variant": variant, "url": url}
            assert about.items() <= response.json().items()
            assert site.get(url).content == data
            (uploads / name).unlink()
    data = {n: b"%d" % n * 200_000 for n in range(12)}  # of one name, at once
    send = partial(site.upload, name="same.txt")
    found = at_once(lambda n: send(["sync", "async"][n % 2], data[n]), data)
    stored = {n: response.json()["name"] for n, response in found.items()}
    assert "same.txt" in stored.values() and len({*stored.values()}) == 12
    assert {n: (uploads / name).read_bytes() for n, name in stored.items()} == data
    response = site.upload(variant, b"", headers=UPLOAD | HTML)
    assert response.headers["location"] == "/files/"
    assert "parsed on " in site.log and "parsed on MainThread" not in site.log


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
@example("ß" * 300 + "." + "\ufdfa" * 300)
def test_any_name_becomes_one_printable_path_component(name):
    safe = app.safe_name(name)
    assert 1 <= len(safe.encode()) <= 240 and safe.isprintable()
    assert not re.search(r"[/\\\0]|^\.", safe)


@each_kind
def test_wrong_upload_is_refused_with_a_sentence(kept, variant):
    no_name = FILE.replace(b'; name="file"; filename="a"', b"")
    base64 = b"\r\nContent-Transfer-Encoding: base64\r\n\r\n="
    bodies = [END, FILE * 2 + END, b"", FILE * 10_000 + END, no_name * 10_000 + END]
    bodies += [multipart(part)[0] for part in (("file", b"a"), ("other", b"a", "a"))]
    bodies += [b"--b\r\n:::\r\n\r\na\r\n" + END, b"--b\r\n" + b"x" * 100_000 + END]
    bodies += [FILE.replace(b"\r\n\r\n", base64) + END]
    kinds = ["", "application/json", "boundary=é", MULTIPART[:-1], f"{MULTIPART:b<500}"]
    kinds += [f"{MULTIPART}; charset={name}" for name in ("idna", "hex")]
    cases = [(400, {}, body) for body in bodies]
    cases += [(400, {"Content-Type": kind}, FILE + END) for kind in kinds]
    cases += [(403, {"X-CSRFToken": x}, FILE + END) for x in ("", "b" * 32, "x")]
    for n in (20, 60):  # issue 11, row 8: a client that sends all first reads its 413
        body = [bytes(10**6)] * n
        cases += [(413, {}, b"".join(body)), (413, CHUNKS, chunked(*body))]
    for status, headers, body in cases:
        response = kept.ask("POST", f"/upload/{variant}/", UPLOAD | headers, body)
        assert response.status == status, (headers, body[:99])
        assert response.json()["error"].strip()
        assert body not in bodies[:2] or response.json()["field"] == "file"


@each_kind
def test_trailers_are_no_headers_and_half_an_upload_leaves_nothing(kept, variant):
    last = chunked(trailers=[f"{k}: {FORM[k]}" for k in ("Cookie", "X-CSRFToken")])
    for announced, late in ((1, 0), (0, 1), (1, 1)):
        lines = [f"Content-Type: {MULTIPART}", "Transfer-Encoding: chunked"]
        lines += ["Trailer: cookie, X-CSRFToken"] * announced
        first = chunked(FILE + END, end=False) + last * (not late)
        client = kept.connect(raw_request("POST", f"/upload/{variant}/", lines, first))
        if late:
            until(lambda: kept.status()["requests_in_flight"] == 2)
            client.sendall(last)
        assert parse_responses(read_all(client))[0].status == 403
        kept.at_rest()  # or the next one would be taken for this one
    for framing, size in itertools.product((LENGTH, CHUNKS), (0, 100, 1_500_000)):
        body = FILE + bytes(size)
        body = body if framing == LENGTH else chunked(body, end=False)
        data = raw_request("POST", f"/upload/{variant}/", UPLOAD | framing, body)
        with kept.connect(data):
            until(lambda: kept.status()["requests_in_flight"] == 2)
        kept.at_rest()


@pytest.mark.parametrize("path", LIMITS)
def test_too_large_a_body_is_a_413_before_more_of_it_is_sent(kept, path):
    body = chunked(bytes(LIMITS[path]), end=False)
    chunks = raw_request("POST", path, UPLOAD | CHUNKS, body)
    assert parse_responses(read_all(kept.connect(chunks + chunked())))[0].status < 413
    length = UPLOAD | {"Content-Length": LIMITS[path] + 1}
    with kept.connect(chunks) as one, kept.connect() as patient:
        one.sendall(b"1\r\na\r\n")
        assert next_response(one) == (413, ERROR)
        one.close()
        patient.sendall(raw_request("POST", path, length))
        assert next_response(patient) == (413, ERROR)
        # The body of a client that asks first is not waited for (issue 11, row 8).
        length |= {"Expect": "100-continue"}
        assert kept.ask("POST", path, length).status == 413
        assert kept.status()["requests_in_flight"] >= 2  # the patient client's


@each_kind
def test_large_file_takes_little_memory_and_keeps_nobody_waiting(lab, variant):
    blocks = iter([FILE[:-3], *[bytes(2**20)] * 64, b"\r\n" + END])
    Path(f"/proc/{lab.pid}/clear_refs").write_text("5")  # forgets the highest memory
    before, served = lab.memory(), 0
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(lab.upload, variant, b"", content=blocks)
        while not response.done():
            served += lab.get("/hello/async/").status_code == 200
    file = response.result().json()
    assert (file["size"], served >= 3) == (2**26, True)
    path = lab.data / "uploads" / file["name"]
    os.truncate(path, 2**28)
    with lab.client.stream("GET", file["url"]) as download:
        assert sum(map(len, download.iter_raw())) == 2**28
    path.unlink()
    assert lab.memory() - before < 2**25


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    """Serve a lab whose DATA_DIR is a disk of eight million bytes."""
    data = tmp_path_factory.mktemp("full")
    mount = f"mount -t tmpfs -o size=8000k lab {data}"
    if subprocess.run(mount.split(), capture_output=True, check=False).returncode:
        missing("A small disk cannot be mounted here.")
    with serve(DATA_DIR=str(data), DATABASE_URL=f"sqlite:///{data}.sqlite3") as server:
        server.data = data
        yield server
    subprocess.run(["umount", "-l", data], check=True)


@each_kind
def test_upload_that_cannot_be_stored_is_a_507_and_leaves_nothing(full, variant):
    # How a disk takes no more: what begins that and ends it, and too large sizes.
    disks = [("true", "true", [5_000_000, 10_000_000, 60_000_000])]  # issue 11, row 8
    disks += [("mount -o remount,ro {0}", "mount -o remount,rw {0}", [10, 3_000_000])]
    disks += [("prlimit -p {1} -f500000:", "prlimit -p {1} -f-1:", [600_000, 2**22])]
    before = full.at_rest() and files_in(full.data)
    for begins, ends, sizes in disks:
        subprocess.run(begins.format(full.data, full.pid).split(), check=True)
        bodies = [multipart(("file", bytes(size), "a"))[0] for size in sizes]
        found = [full.ask("POST", f"/upload/{variant}/", UPLOAD, x) for x in bodies]
        listed = full.get("/files/").status_code
        subprocess.run(ends.format(full.data, full.pid).split(), check=True)
        said = [(response.status, [*response.json()]) for response in found]
        assert (said, listed) == ([(507, ERROR)] * len(sizes), 200), begins
        assert full.at_rest() and files_in(full.data) == before, begins
    # Issue 11, row 13: an upload takes at most twice its size of the disk.
    assert full.upload(variant, bytes(3_900_000), "half").status_code == 201
    (full.data / "uploads" / "half").unlink()


def test_issue_11_row_3_short_descriptors_are_a_503_and_break_nothing_for_ever():
    paths = {"/nothing/": 404, "/hello/sync/": 200}  # while nothing can be opened
    for name in ("files/{}/sample.bin", "upload/{}/", "certificate/{}/", "files/"):
        paths |= {f"/{name.format(variant)}": 503 for variant in ("async", "sync")}
    with serve() as server, server.connect() as connection:
        limit = partial(resource.prlimit, server.pid, resource.RLIMIT_NOFILE)
        _, most = limit()
        for path, status in paths.items():
            connection.sendall(raw_request("GET", "/hello/sync/", JSON, close=False))
            assert next_response(connection)[0] == 200  # it has been let in
            form = ("POST", path, UPLOAD, FILE + END)
            asked = form if "upload" in path else ("GET", path, JSON)
            limit((3, most))
            connection.sendall(raw_request(*asked, close=False))
            found, keys = next_response(connection)
            limit((most, most))
            assert (path, found, keys == ERROR) == (path, status, status != 200)
        assert [*server.json("/nothing/")] == ERROR


def test_issue_11_row_6_removed_data_dir_is_made_again(tmp_path):
    data = tmp_path / "data"
    with serve(DATA_DIR=str(data)) as server:
        assert use_all(server) == ALL_WELL
        for variant, size in itertools.product(["sync", "async"], [1, 3_000_000]):
            # A connection that is being closed deletes a file of its own.
            until(lambda: shutil.rmtree(data, ignore_errors=True) or not data.exists())
            data.touch()  # it cannot be made again
            assert server.upload(variant, bytes(size)).status_code == 507
            data.unlink()
            assert use_all(server) == NO_DATABASE
            assert server.json("/files/") == {"files": []}
            response = server.upload(variant, bytes(size))
            assert len(server.get(response.json()["url"]).content) == size
            assert server.get(f"/certificate/{variant}/").content.startswith(b"%PDF-")
            assert use_all(server) == NO_DATABASE
        form = raw_request("POST", "/upload/async/", UPLOAD, FILE + bytes(10**7) + END)
        for wait in range(20):
            with server.connect(form):
                time.sleep(wait / 200)  # each client leaves at another step
            assert server.at_rest() and not [*(data / "incoming").iterdir()]
    for target in ("app:application", "app:stock"):  # a new start makes it anew
        with serve(target, DATA_DIR=str(data)) as server:
            for _ in range(5):
                assert use_all(server) == ALL_WELL
            listed = f"ls -l /proc/{server.pid}/fd"  # no connection stays open
            until(lambda asked=listed: "lite3" not in subprocess.getoutput(asked))


def test_issue_11_row_7_start_makes_no_second_sample_and_sweeps_what_is_old(tmp_path):
    asked = raw_request("POST", "/upload/async/", UPLOAD | LENGTH, FILE + bytes(10**6))
    sample = tmp_path / "uploads" / "sample.bin"
    with serve(DATA_DIR=str(tmp_path)) as server:
        assert (files_in(tmp_path), sample.stat().st_size) == ([str(sample)], 2**24)
        sample.unlink()
        with server.connect(asked):
            until(lambda: server.status()["requests_in_flight"] == 2)
            server.process.kill()
            server.process.wait()
    assert os.listdir(sample.parent) == []
    for name, age in (("old", 90_000), ("young", 3000)):
        left = tmp_path / app.settings.FILE_UPLOAD_TEMP_DIR.name / name
        left.write_bytes(b"half")
        os.utime(left, (time.time() - age,) * 2)
    with serve(DATA_DIR=str(tmp_path)):
        assert [Path(path).name for path in files_in(tmp_path)] == ["young"]


# ------------------------------------------------------------------------- Lanes
#: Views to try, in the lab and in another project. Some hang until a file is there.
TRY_VIEWS = '''import asyncio, contextvars, itertools, pathlib, threading, time, httpx
from asgiref.sync import async_to_sync, sync_to_async
from django.core import signals
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils import timezone
began, told, failing, numbers = [], [], {}, itertools.count(1)
local, variable = threading.local(), contextvars.ContextVar("variable")
check = BaseDatabaseWrapper.close_if_unusable_or_obsolete
gate = pathlib.Path(__file__).with_name
def tell(what):
    told.append(what)
    failing[what] = failing.get(what, 0) - 1
    assert failing[what] < 0, "a failure to try"
def use_and_tell(what, **kwargs):
    connection.ensure_connection()
    tell(what)
async def fail(request, key):
    failing[key] = 6
    return JsonResponse({})
async def seen(request, key):
    found = dict(began=began, told=told, number=next(numbers))
    return JsonResponse(found | {"threads": threading.active_count()})
def hang(request, key):
    began.append(key)
    while not gate(key).exists():
        time.sleep(0.005)
    return JsonResponse({})
async def wait(request, key):
    began.append(key)
    try:
        while not gate(key).exists():
            await asyncio.sleep(0.01)
    finally:
        tell(f"{key} ended")
    return JsonResponse({})
async def threads(request, key):
    """Return the thread and what it has in mind at each synchronous call."""
    def look():
        return f"{threading.current_thread().name} {local.mark}"
    async def nested():
        return await asyncio.create_task(sync_to_async(look)())
    await sync_to_async(setattr)(local, "mark", key)
    await asyncio.sleep(0.02)
    found = await asyncio.gather(*(sync_to_async(look)() for _ in range(3)))
    found.append(await sync_to_async(lambda: async_to_sync(nested)())())
    response = JsonResponse({"found": found})
    response._resource_closers.append(lambda: tell(look()))
    return response
def traces(request, key):
    """Return what the request before has left behind, and leave all of it behind."""
    execute = connection.cursor().execute
    execute("CREATE TABLE IF NOT EXISTS trace (x)")
    found = [variable.get(None), timezone.get_current_timezone_name() == "Asia/Tokyo",
             connection.in_atomic_block, transaction.get_autocommit(),
             execute("SELECT x FROM trace").fetchall()]
    variable.set(1)
    timezone.activate("Asia/Tokyo")
    transaction.atomic().__enter__() if key == "atomic" else transaction.set_autocommit(0)
    execute("INSERT INTO trace VALUES (1)")
    assert key != "fail"
    return JsonResponse({"found": found})
async def receive(request, key):
    for when in ("started", "finished"):
        connect = getattr(signals, f"request_{when}").connect
        for at in (when, f"{when} async"):
            receiver = lambda at=at, **kwargs: use_and_tell(at)
            connect(sync_to_async(receiver) if "async" in at else receiver, weak=False)
    BaseDatabaseWrapper.close_if_unusable_or_obsolete = lambda self: [
        check(self), tell("housekeeping")]
    return JsonResponse({})
async def stream(request, key):
    async def parts():
        try:
            yield b"x"
            while "endless" in request.GET:
                yield b"x"  # without awaiting anything
            await asyncio.sleep(3600 * ("waiting" in request.GET))
        finally:
            tell(f"{key} ended")
    response = StreamingHttpResponse(parts())
    response._resource_closers.append(lambda: use_and_tell(f"{key} closed"))
    return response
def call(request, key):
    url = "http://{}:{}/".format(*request.scope["server"]) + request.GET["path"]
    response = httpx.get(url, headers=request.headers, timeout=60, trust_env=False)
    return JsonResponse(response.json(), status=response.status_code)
views = fail, seen, hang, wait, threads, traces, receive, stream, call
urlpatterns = [path(f"try/{view.__name__}/<key>/", view) for view in views]'''
TRY_SITE = """import threading, app, try_views
from django.http import HttpRequest
parse = HttpRequest.parse_file_upload
HttpRequest.parse_file_upload = lambda *given: (
    print("parsed on", threading.current_thread().name, flush=True) or parse(*given))
app.urlpatterns += try_views.urlpatterns
application, stock = app.application, app.stock"""
#: Runs `python app.py`, or a program, as it is, but on another port.
ON_PORT = """import runpy, sys, uvicorn
_, port, *sys.argv = sys.argv
init = uvicorn.Config.__init__
uvicorn.Config.__init__ = lambda *a, **k: init(*a, **k | {"port": int(port)})
runpy.run_path(sys.argv[0], run_name="__main__")"""
TRY = Path(SCRATCH.name)
for name, text in {"views": TRY_VIEWS, "site": TRY_SITE, "on_port": ON_PORT}.items():
    (TRY / f"try_{name}.py").write_text(text)
new_key = map("gate{}".format, itertools.count()).__next__


@contextmanager
def try_site(target="try_site:application", folder=HERE, **env):
    """Serve the lab, or another project's folder, with the views to try."""
    path, upstream = f"{TRY}{os.pathsep}{folder}", Upstream()
    own = {"PYTHONPATH": path, "UPSTREAM_URL": upstream.url, "DEADLINE": "60"}
    with serve(target, **own | env) as server:
        server.upstream = upstream
        server.seen = lambda what: server.json("/try/seen/x/")[what]
        yield server


one_lane = shared(try_site, LANES="1", DEADLINE="3")
#: This one takes uploads of four million bytes.
site = shared(try_site, LANES="2", MAX_UPLOAD_BYTES="4000000")


def read_statuses(connections):
    """Return the statuses that come. An error must have a sentence."""
    responses = [parse_responses(read_all(each))[0] for each in connections]
    assert all(x.status == 200 or x.json()["error"].endswith(".") for x in responses)
    return [x.status for x in responses]


@contextmanager
def hanging(server, n, view="hang"):
    """Let requests hang, or wait, meanwhile; yield their keys and the threads taken."""
    keys, before = [new_key() for _ in range(n)], server.seen("threads")
    connections = server.send(*(f"/try/{view}/{key}/" for key in keys))
    try:
        until(lambda: {*keys} <= {*server.seen("began")})
        yield keys, server.seen("threads") - before
    finally:
        for key in keys:
            (TRY / key).touch()
        assert read_statuses(connections) == [200] * n


def test_a_request_keeps_a_thread_of_its_own_to_its_close(site):
    paths = [f"/try/threads/{new_key()}/" for _ in range(12)]
    for path, response in at_once(site.json, paths).items():
        first, *others = response["found"]
        assert first.split()[-1] in path and others == [first] * 3
        until(lambda first=first: first in site.seen("told"))


@pytest.mark.parametrize("kind", ["autocommit", "atomic", "fail"])
def test_a_request_leaves_nothing_to_the_next_one_on_its_thread(one_lane, kind):
    for path in (f"/try/traces/{kind}/", "/try/traces/atomic/"):
        one_lane.at_rest()
        response = one_lane.get(path)
    assert response.json()["found"] == [None, False, False, True, []]


def test_waiting_requests_take_no_thread_here_or_in_another_project(site, tmp_path):
    site.at_rest()
    with hanging(site, 300, "wait") as (_, taken):
        status = site.status()
    assert taken <= 0 and status["requests_in_flight"] == 301
    assert status["lanes"] == {"size": 2, "busy": 0, "waiting": 0, "extra": 0}
    with try_site("try_site:stock") as server:  # which takes one for each
        with hanging(server, 100, "wait") as (_, taken):
            assert taken >= 95
    # The other project has a copy of the section on lanes, and of the file's imports.
    text, more = Path(app.__file__).read_text(), "SECRET_KEY='x', ALLOWED_HOSTS=['*']"
    lines = [ast.unparse(x) for x in ast.parse(text).body if hasattr(x, "names")]
    lines.append(re.search(r"# -+ Lanes\n.*?(?=\n# -{8,})", text, re.S)[0])
    lines.append(f"django.conf.settings.configure({more}, ROOT_URLCONF='try_views')")
    lines.append("application = LanesHandler(size=2)\n")
    (tmp_path / "asgi.py").write_text("\n".join(["import django.conf", *lines]))
    with try_site("asgi:application", tmp_path) as server:
        with hanging(server, 100, "wait") as (_, taken):
            assert taken == 0
        first, *others = server.json("/try/threads/x/")["found"]
        assert others == [first] * 3 and not first.startswith("MainThread")
        assert "Traceback" not in server.log


def test_extra_threads_serve_those_that_wait_and_past_these_order_counts(site):
    site.at_rest()
    with hanging(site, 10) as (keys, _):
        tasks = os.listdir(f"/proc/{site.pid}/task")
        assert site.status()["threads"] == len(tasks)
        turns, connections = [new_key() for _ in range(5)], []
        for n, turn in enumerate(turns, 1):
            connections += site.send(f"/try/hang/{turn}/")
            until(lambda n=n: site.status()["waiting"] == n)
        lanes = {"size": 2, "busy": 2, "waiting": 5, "extra": 8}
        assert site.status()["lanes"] == lanes
        connections.pop(2).close()  # its client does not wait any longer
        until(lambda: site.status()["waiting"] == 4)
        for path in ("/hello/async/", "/rivers/async/", "/rivers/shared/"):
            assert site.get(path).status_code == 200
        for key in (*turns, keys[0]):  # one thread gets free, and serves them all
            (TRY / key).touch()
        assert read_statuses(connections) == [200] * 4
        assert site.seen("began")[-4:] == turns[:2] + turns[3:]
    until(lambda: site.status()["extra"] == 0)


def test_waiting_past_the_deadline_is_a_503_and_a_line_in_the_log(one_lane):
    calls = ["/hello/sync/", "/cars/async/", "/cpu/sync/", "/try/threads/x/"]
    with hanging(one_lane, 5):
        length = len(one_lane.log)
        assert read_statuses(one_lane.send(*calls)) == [503] * 4
        lines = one_lane.log[length:].splitlines()
        assert sorted(line.split()[-1] for line in lines) == sorted(calls)
        assert one_lane.get("/try/stream/late/").status_code == 200
        until(lambda: "late closed" in one_lane.seen("told"))
    assert one_lane.get("/hello/sync/").status_code == 200


def test_a_crowd_of_synchronous_pages_ends_and_stands_on_few_threads(one_lane, lab):
    one_lane.upstream.grace, threads = 0.05, [one_lane.at_rest()["threads"]]
    crowd = one_lane.send(*["/rivers/sync/"] * 200)
    while (status := one_lane.status())["requests_in_flight"] > 1:
        threads.append(status["threads"])
        assert status["busy"] + status["extra"] <= 5
    # One more looks after the queue; Django makes errors on the event loop's pool.
    assert max(threads) <= threads[0] + 5 + 1 + 32
    assert set(read_statuses(crowd)) == {200, 503}
    path = "/try/call/x/?path="  # pages that ask their own server
    assert one_lane.get(f"{path}try/call/x/%3Fpath=status/").status_code == 200
    crowd = one_lane.send(*[f"{path}hello/sync/"] * 8)
    assert set(read_statuses(crowd)) <= {200, 503}
    assert one_lane.get("/hello/sync/").status_code == 200
    crowd = lab.send(*["/cars/async/?n=20"] * 60)  # issue 11, row 5: nobody fails
    assert lab.get("/hello/sync/").status_code == 200
    assert read_statuses(crowd) == [200] * 60


def test_a_new_connection_is_let_in_among_a_crowd(site):
    first, ask = site.seen("number"), ("GET", "/try/seen/x/")
    data = raw_request(*ask, close=False) * 40 + raw_request(*ask)
    os.kill(site.pid, signal.SIGSTOP)  # so that they all arrive at once
    connections = [site.connect(data) for _ in range(60)]
    os.kill(site.pid, signal.SIGCONT)
    responses = at_once(read_all, connections).values()
    numbers = [parse_responses(each)[0].json()["number"] for each in responses]
    assert max(numbers) - first < 60 * 12


def test_receivers_run_for_every_request_and_no_failure_keeps_one():
    names = ["started", "started async", "finished", "finished async"]
    paths = ["/hello/sync/", "/hello/async/", "/cars/sync/", "/try/stream/x/"]
    with try_site(LANES="2") as server:
        server.get("/try/receive/x/")  # connects them, once the site has started
        (leaver,) = server.send("/try/wait/x/")
        until(lambda: "x" in server.seen("began"))
        leaver.close()
        for path in (*paths, "/nothing/"):
            server.get(path)
        # The first request to finish was there before; this one has only started.
        until(lambda: len({*map(server.seen("told").count, names)}) == 1)
        assert server.seen("told").count("started") > 5
        for what in ("started", "finished", "x closed", "housekeeping"):
            server.get(f"/try/fail/{what}/")
            found = {read_all(each)[9:12] for each in server.send(*paths * 3)}
            assert found <= {b"200", b"500"}
            until(lambda: server.status()["requests_in_flight"] == 1)
            until(lambda: server.status()["busy"] <= 1)  # for its receivers
            assert server.get("/hello/sync/").status_code == 200


def test_clients_that_leave_end_what_runs_for_them(site):
    streams = "/try/stream/b/?endless", "/try/stream/c/?waiting"
    clients = site.send(*streams, "/try/wait/a/")
    assert {client.recv(12) for client in clients[:2]} == {b"HTTP/1.1 200"}
    until(lambda: "a" in site.seen("began"))
    assert site.get("/hello/async/").status_code == 200
    for client in clients:
        client.close()
    told = {"a ended", "b ended", "b closed", "c ended", "c closed"}
    until(lambda: told <= {*site.seen("told")})
    site.at_rest()


def held(response):
    return float(re.search(r"held;dur=([\d.]+)", response.headers["server-timing"])[1])


def test_held_tells_who_holds_the_event_loop_and_who_is_held_up(site):
    paths = ["rivers/async", "cpu/async", "rivers/blocking"]
    (upstream := site.upstream).grace = 0.2
    least = [min(held(site.get(f"/{x}/")) for _ in range(3)) for x in paths]
    assert least == sorted(least) and least[0] < least[2] / 10
    upstream.ready = lambda call: False
    (client,) = site.send("/rivers/async/")
    until(lambda: upstream.in_flight == 6)
    others = held(site.get("/cpu/async/"))
    upstream.ready = lambda call: True
    assert held(parse_responses(read_all(client))[0]) > others / 2


#: Ways to serve it, on SQLite if nothing else is said. Each starts on empty folders.
SERVED = """hypercorn app:application --bind 127.0.0.1:{port}
daphne app:application -p {port}
granian app:application --interface asgi --port {port}
uvicorn app:application --port {port} --ws websockets
uvicorn app:application --port {port} --ws wsproto
uvicorn app:application --port {port} --lifespan off
uvicorn app:application --port {port} --workers 2
uvicorn app:application --port {port} --workers 2 > PostgreSQL
uvicorn app:stock --port {port} --ws none"""
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": 13}
UPGRADE["Sec-WebSocket-Key"] = "MDEyMzQ1Njc4OWFiY2RlZg=="


@pytest.mark.parametrize("line", SERVED.split("\n"))
def test_the_first_start_serves_all_pages_and_refuses_websockets(line):
    command, kind, *_ = f"{line} > SQLite".split(" > ")
    package = re.search(r"(?<=--ws )w\w+|^\w+(?!.*--ws w)", command)[0]
    pytest.importorskip(package)
    paths = "/hello/sync/ /hello/async/ /cars/async/ /rivers/sync/ /rivers/streamed/ "
    paths += f"{paths} /certificate/async/ /files/async/sample.bin"
    started = 2 * ("workers" in command)
    with new_database(kind) as url:
        with run(f"-m {command}", DATABASE_URL=url, UPSTREAM_LATENCY="0") as server:
            until(lambda: started in (0, server.log.count("startup complete")), 60)
            statuses = [(path, server.get(path).status_code) for path in paths.split()]
            assert {status for _, status in statuses} == {200}, statuses
            assert held(server.get("/rivers/async/")) >= 0
            status = server.status()
            assert (status["waiting"], status["database"]) == (0, kind)
            assert execute(url, "SELECT count(*) FROM app_car") == (1500,)
            if package != "uvicorn":  # issue 11, row 10
                asked = raw_request("GET", "/", UPGRADE, close=False)
                with server.connect(asked) as client:
                    assert client.recv(12) == b"HTTP/1.1 403"
            if started:
                server.process.terminate()
                server.process.wait(15)
            assert not re.search("Traceback|Exception|ERROR|couldn't", server.log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_python_app_is_gone_within_ten_seconds(number):  # issue 11, row 9
    upstream = Upstream()
    upstream.ready = lambda call: False
    own = {"UPSTREAM_URL": upstream.url, "LANES": "2", "DEADLINE": "300"}
    with run(f"{TRY}/try_on_port.py {{port}} {HERE}/app.py", **own) as server:
        paths = "/files/sync/sample.bin", "/files/async/sample.bin", "/rivers/streamed/"
        begun = server.send(*paths)
        assert {each.recv(12) for each in begun} == {b"HTTP/1.1 200"}
        names = ["async", "shared", "threaded", "sync", "sync", "sync"]
        cut = server.send(*(f"/rivers/{name}/" for name in names))
        until(lambda: server.status()["requests_in_flight"] == 10)
        until(lambda: server.status()["busy"] == 2)
        server.process.send_signal(number)
        server.process.wait(10)
        assert read_statuses(cut) == [503] * 6
        assert not re.search("Traceback|never retrieved|destroyed", server.log)
        with pytest.raises(ProcessLookupError):
            os.killpg(server.pid, 0)


# ------------------------------------------------------------------------ The verdict
#: Case: milliseconds of each variant (one number stands for five runs) with `~` seconds
#: held, `@` requests per second and `!` failures; who leads; words said, or not said.
VERDICTS = """a lead | rivers sync=600 threaded=200 async=100 | async | 6.0 times; Why; no Unexpected; no impression
a tie below 5 % | rivers sync=600 async=100 shared=104 | async shared | tie; summary.*tie
6 % more | rivers sync=600 async=100 shared=106 | async | no tie
a tie in the interquartile range | rivers sync=600 async=80,90,100,110,120 shared=115 | async shared | tie
a pitfall in front | rivers sync=600 async=100 new_client=50 | async | pitfall.*new_client
a contradiction | rivers sync=100 async=300 | sync | Unexpected; more runs; quieter; no Why
four runs | rivers runs:4 sync=600 async=100 | async | first impression
a stop | rivers stopped:true sync=600 async=100 | async | first impression
a stop too soon | rivers stopped:true sync=600 async= |  | first impression; no lead(?!ers")
a failure | rivers sync=600 threaded=200 async=100!1 | threaded | Failed", "text": "`async`; no at once
failures only | hello sync=!5 async=!5 |  | Failed", "text": "`sync` and `async`
others wait | rivers sync=600 async=100 blocking=600~0.6 | async | summary.*600 ms.*blocking
users | home users:9 sync=100@10 async=300@40 | async | 4.0 times; requests/s"""


def figures_of(text):
    figures = {k: json.loads(v) for k, v in re.findall(r"(\w+):(\w+)", text)}
    figures |= {"experiment": text.split()[0], "results": []}
    for name, ms, *more in re.findall(r"(\w+)=([\d.,]*)~?([\d.]*)@?(\d*)!?(\d*)", text):
        times = [float(x) / 1000 for x in ms.split(",") if x]
        row = {"variant": name, "times": times if "," in ms else times * 5}
        numbers = (float(x or 0) for x in more)
        row |= zip(("held_s", "requests_per_s", "failed"), numbers, strict=True)
        figures["results"].append(row)
    return figures


@pytest.mark.parametrize("line", VERDICTS.split("\n"), ids=lambda x: x.split(" |")[0])
def test_verdict_is_what_the_figures_say_and_nothing_is_stored(lab, line):
    _, text, leaders, says = line.split(" | ")
    lab.at_rest()
    files = {path: path.stat().st_mtime_ns for path in lab.data.rglob("*")}
    response = lab.client.post("/verdict/", json=figures_of(text), headers=JSON)
    assert response.status_code == 200 and "set-cookie" not in response.headers
    assert files == {path: path.stat().st_mtime_ns for path in lab.data.rglob("*")}
    assert sorted(response.json()["leaders"]) == sorted(leaders.split())
    for words in says.split("; "):
        said = re.search(words.removeprefix("no "), response.text)
        assert bool(said) != words.startswith("no "), response.text


def test_verdict_on_threads_depends_on_the_gil(monkeypatch):
    for gil, ms in itertools.product([True, False], [50, 100]):
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda gil=gil: gil, raising=False)
        told = str(app.verdict(**figures_of(f"cpu sync=100 threaded={ms}")))
        assert ("Unexpected" in told) == (gil == (ms == 50))
        assert ("no GIL" in told) == (ms == 50 and not gil)


SECONDS, NAMES = st.floats(1e-6, 1e5), st.sampled_from(variants_of("rivers"))
ROW = st.tuples(st.lists(SECONDS, max_size=6), SECONDS)


@given(st.dictionaries(NAMES, ROW, min_size=1), st.integers(1, 9), st.data())
def test_any_figures_get_a_verdict_and_anything_else_a_400(lab, rows, users, data):
    keys = "variant", "times", "held_s", "failed"
    rows = [dict(zip(keys, (name, *rows[name], 0), strict=True)) for name in rows]
    figures = {"experiment": "rivers", "results": rows, "users": users}
    response = lab.client.post("/verdict/", json=figures, headers=JSON)
    assert (response.status_code, len(response.json())) == (200, 3)
    place = data.draw(st.sampled_from([figures, *rows]))
    place[data.draw(st.sampled_from([*place, "runs", "x"]))] = data.draw(ANY)
    body = data.draw(st.just(json.dumps(figures).encode()) | st.binary())
    response = lab.client.post("/verdict/", content=body, headers=JSON)
    keys = {200: {"leaders", "lines", "summary"}, 400: {"error"}}
    assert {*response.json()} == keys[response.status_code]


# -------------------------------------------------------- The race on the command line
APP = str(HERE / "app.py")
RACE_KEYS = """experiment variant pitfall runs users median_s p95_s requests_per_s
    held_s failed speedup"""


@pytest.fixture
def race(tmp_path):
    """Race, and return status, output and errors. No process, no folder may be left."""
    started, own = [], {"DATA_DIR": f"{tmp_path}/mine", "TMPDIR": str(tmp_path)}
    own |= {"UPSTREAM_LATENCY": "0.02", "WEB_CONCURRENCY": "2"}  # which is uvicorn's

    def start(arguments, terminal=None, **env):
        command = [sys.executable, APP, "race", *arguments.split()]
        options = {"start_new_session": True, "stdin": subprocess.DEVNULL, "text": True}
        options |= {"stdout": -1, "stderr": terminal or -1}
        process = subprocess.Popen(command, env=environment(**own | env), **options)
        started.append(process.pid)
        if terminal:
            return process
        output = process.communicate(timeout=120)
        return process.returncode, *output

    yield start
    for group in started:
        with pytest.raises(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    assert not [*tmp_path.iterdir()]


def test_race_prints_the_json_of_the_contract_or_a_table_with_bars(race, lab):
    status, out, errors = race("rivers cars?n=5 --json --runs 1 --users 2")
    report = json.loads(out)
    assert (status, errors) == (0, "")
    assert {*report} == {"stack", "results", "peak_threads", "peak_rss_bytes"}
    assert {"python", "gil", "django", "uvicorn", "database"} <= {*report["stack"]}
    assert report["peak_threads"] > 2 and report["peak_rss_bytes"] > 2**20
    rows = {(row["experiment"], row["variant"]): row for row in report["results"]}
    raced = [("rivers", name) for name in variants_of("rivers")]
    assert [*rows] == raced + [("cars?n=5", x) for x in variants_of("cars", False)]
    for (experiment, name), row in rows.items():
        assert {*row} == {*RACE_KEYS.split()}
        assert (row["runs"], row["users"], row["failed"]) == (1, 2, 0)
        assert row["pitfall"] == (f"{experiment}/{name}" in app.PITFALLS)
        assert 0 < row["median_s"] <= row["p95_s"] and row["held_s"] >= 0
        sync = rows[experiment, "sync"]["requests_per_s"]
        assert row["speedup"] == pytest.approx(row["requests_per_s"] / sync)
    status, out, _ = race(f"--post --json --runs 1 --url {lab.url}/")
    posted = {row["variant"]: row["failed"] for row in json.loads(out)["results"]}
    assert (status, posted) == (0, {"sync": 0, "async": 0, "sync_to_async": 0})
    status, out, errors = race("cpu --runs 1")
    start = r".*Starting two servers.*\n.*simulated.*0\.02 s.*USGS_URL"
    assert (status, errors) == (0, "") and re.match(start, out)
    assert re.search("median.*held.*speed-up", out)
    rows = re.findall(r"(?m)^(\W?) +(\w+) +\d.*ms.*[█▏▎▍▌▋▊▉]$", out)
    marks = {name: mark for mark, name in rows}
    assert [*marks] == variants_of("cpu") and marks["async"] == "!"
    assert re.search(r"(?s)\nResult: .*first impression.*\d+ threads, \d+ MB", out)


UNKNOWN = """race nonsense|race upload|race rivers/sync|race hello nonsense|race --runs
race --post rivers|race --runs 0|race --runs -1|race --users many|race --users 1.5
race --nonsense|export rivers/none|export none|export hello hello/x|export"""


@pytest.mark.parametrize("words", re.split(r"[|\n]", UNKNOWN))
def test_what_is_unknown_gets_one_line_and_status_2(capsys, words):
    with pytest.raises(SystemExit) as ended:
        app.main(words.split())
    out, errors = capsys.readouterr()
    assert (ended.value.code, out) == (2, "") and re.fullmatch(".{20,}\n", errors)


def test_race_calls_only_what_it_may_and_tells_what_fails(race, faulty):
    upstream, url = faulty.upstream, f"--url {faulty.url}"
    starts = {f"rates --runs 2 --users 3 {url}": "18 calls.*--yes"}
    starts |= {"hello": "did not start", f"--url {upstream.url}": upstream.url}
    for words, says in starts.items():
        status, _, errors = race(words, DATABASE_URL="sqlite:////dev/null/a")
        assert (status, errors.count("\n")) == (2, 1) and re.search(says, errors)
        assert not [call for call in upstream.calls if "rates" in call.path]
    upstream.start_over()
    upstream.ready = lambda call: upstream.most >= 3
    status, out, _ = race(f"rates --runs 2 --users 3 --yes {url}")
    assert (status, len(upstream.calls), upstream.most) == (0, 18, 3)
    assert "18 calls" in out
    upstream.fail("500")
    status, out, _ = race(f"rivers rates --json --runs 1 --yes {url}")
    rows = json.loads(out)["results"]
    assert (status, {row["failed"] for row in rows}) == (1, {1})
    assert {row[key] for row in rows for key in ("median_s", "speedup")} == {None}


@pytest.mark.parametrize("case", ["SIGINT at first", "SIGINT", "SIGTERM", "SIGHUP"])
def test_signal_ends_a_race_and_nothing_is_left(race, tmp_path, case):
    ours, theirs = os.openpty()
    process = race("rivers --runs 999", terminal=theirs)
    os.close(theirs)
    until(lambda: [*tmp_path.glob("race-*")])
    with open(ours, "rb", buffering=0) as screen:
        until(lambda: "first" in case or b" s left" in screen.read(1000))
        if case == "SIGHUP":  # the terminal is closed
            screen.close()
        os.killpg(process.pid, getattr(signal, case.split()[0]))
        out, _ = process.communicate(timeout=30)
    assert case == "SIGHUP" or process.returncode == 130
    assert case == "SIGHUP" or re.search("Nothing has been meas|first impression", out)


def test_help_names_everything_and_runserver_reloads_a_changed_file(tmp_path):
    names = {"": "app.py runserver race export EXPERIMENT check shell dbshell"}
    names["race"] = "--runs --users --post --url --yes --json"
    for command, named in names.items():
        done = python(APP, *command.split(), "--help")
        assert done.returncode == 0 and all(x in done.stdout for x in named.split())
    copy = Path(shutil.copy(APP, tmp_path))
    with run(f"{copy} runserver {{port}}", PYTHONPATH="") as server:
        copy.write_text(copy.read_text() + '\nPITFALLS.add("hello/sync")\n')
        until(lambda: '"pitfalls": ["sync"]' in (server.answer() or ""), 60)
    assert python(APP, "runserver", "abc").stderr.count("\n") == 1


# --------------------------------------------------------------------- The front page
#: What a section of the front page shows of each variant; a call is [begin, end].
LOOK = """id => Object.fromEntries([...document.querySelectorAll(`#${id} tbody`)].map(
  body => [body.dataset.name, {text: body.innerText, leads: body.matches(".leads"),
    cells: [...body.querySelectorAll("td")].map(cell => cell.innerText), get ms() {
      return this.cells.map(text => parseFloat(text.replace(/,(?=.* ms)/g, ""))) },
    calls: [...body.querySelectorAll("rect")].map(({x, width}) =>
      [x.baseVal.value, x.baseVal.value + width.baseVal.value])}]))"""
IN_VIEW = """part => { const {top, bottom} = part.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight + 1 }"""
STEPS = "document.querySelector('progress').value"
OTHERS = "rivers/async cars/sync cpu/sync upload/async files nothing"

race_server = shared(serve, UPSTREAM_LATENCY="0.1")


@pytest.fixture
def page(browser, race_server):
    """Open the front page; an error on a console fails the test."""
    options, said = {"reduced_motion": "reduce", "base_url": race_server.url}, []
    page = browser.new_page(viewport={"width": 1000, "height": 700}, **options)
    page.asked = []
    page.on("request", lambda request: page.asked.extend([request]))
    page.on("pageerror", lambda error: said.append(f"error in it: {error}"))
    page.on("console", lambda line: said.append(f"{line.type} {line.text}"))
    page.goto("/")
    yield page
    page.close()
    assert not [x for x in said if re.match("(error|warning) (?!Failed to load)", x)]


def race_on(page, name, runs=1, meanwhile=lambda: None):
    page.get_by_label("Runs").fill(str(runs))
    button = page.get_by_role("button", name=f"Race {name}", exact=True)
    button.click()
    meanwhile()
    button.wait_for(timeout=120_000)
    return page.evaluate(LOOK, name)


def test_front_page_is_one_request_lists_variants_and_copies(page, race_server):
    page.wait_for_load_state("networkidle")
    assert len(page.asked) == 1
    assert "simulated services, 0.1 s each" in page.inner_text("header")
    for name, experiment in race_server.json("/")["experiments"].items():
        assert [*page.evaluate(LOOK, name)] == [*experiment["variants"]]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    row = page.locator("#hello tbody[data-name=async]")
    row.locator("summary").click()
    row.locator("pre:has-text('async def hello_async')").wait_for()
    page.get_by_role("button", name="copy program hello async").click()
    row.get_by_text("copied").wait_for()
    program = race_server.get("/source/hello/async/app.py").text
    assert page.evaluate("navigator.clipboard.readText()") == program


def test_race_sends_what_it_shows_and_shows_the_verdict(page, race_server):
    rows = race_on(page, "home", 2)
    raced = [x.url.split("/")[-2] for x in page.asked if "/home/" in x.url]
    assert raced == variants_of("home") * 3  # the first run warms up
    figures = next(x.post_data_json for x in page.asked if x.url.endswith("/verdict/"))
    for result in figures["results"]:
        row, times = rows[result["variant"]], result["times"]
        assert len(times) == 2 and "×" in row["cells"][1]
        assert row["ms"][0] == pytest.approx(500 * sum(times), rel=0.01, abs=0.06)
        assert row["ms"][2] == pytest.approx(1000 * result["held_s"], abs=0.6)
    verdict = race_server.client.post("/verdict/", json=figures).json()
    panel = page.locator("#home .verdict")
    for line in verdict["lines"]:
        assert line["text"].replace("`", "") in panel.inner_text()
    assert {name for name in rows if rows[name]["leads"]} == {*verdict["leaders"]}
    assert panel.evaluate(IN_VIEW) and panel.locator("code").count()
    assert "`" not in page.inner_text("body")


def test_race_of_all_pictures_calls_and_has_a_summary_with_links(page):
    race_on(page, "all")
    rows = page.evaluate(LOOK, "rivers")
    calls = {name: sorted(row["calls"]) for name, row in rows.items()}
    counts = {name: len(calls[name]) for name in calls}
    assert counts == dict.fromkeys(rows, len(app.SITES)) | {"batched": 1}
    pairs = itertools.pairwise
    meet = {x for x in calls if any(a[1] > b[0] for a, b in pairs(calls[x]))}
    assert {"async", "threaded"} <= meet and "sync" not in meet
    held = {name: row["ms"][2] for name, row in rows.items()}
    assert held["blocking"] > 500 and held["blocking"] > 2 * held["async"]
    assert "first byte" in rows["streamed"]["text"] and not rows["blocking"]["leads"]
    raced = [name for name in app.EXPERIMENTS if name != "upload"]
    lines = page.locator("#summary tr").all_inner_texts()
    assert [line.split()[0] for line in lines] == raced
    assert all(len(line.split()) > 3 for line in lines)
    assert "others waited" in lines[raced.index("rivers")]
    page.locator("#summary a", has_text="cpu").press("Enter")
    until(lambda: page.locator("#cpu h2").evaluate(IN_VIEW))


def test_page_marks_leaders_and_tells_contradictions_and_failures(page):
    def replace_figures(route):
        figures = route.request.post_data_json
        for row, ms in zip(figures["results"], times, strict=True):
            row["times"] = [ms / 1000] * 5
        route.continue_(post_data=json.dumps(figures))

    page.route("**/verdict/", replace_figures)
    for case in ([20, 20.2], 2, "tie"), ([10, 20], 1, "Unexpected"):
        times, leaders, says = case
        rows = race_on(page, "hello")
        assert rows["sync"]["leads"]
        assert sum(row["leads"] for row in rows.values()) == leaders
        assert ("tie" in rows["sync"]["text"]) == (leaders > 1)
        assert says in page.inner_text("#hello .verdict")
    page.unroute("**/verdict/")
    refusal = {"status": 503, "json": {"error": "A “lane” is busy."}}
    page.route("**/hello/async/", lambda route: route.fulfill(**refusal))
    rows = race_on(page, "hello", 2)
    assert "2 of 2 failed: 503, A “lane” is busy." in rows["async"]["text"]
    assert rows["sync"]["ms"][0] > 0 and rows["sync"]["leads"]
    lines = {"content_type": "application/x-ndjson", "body": '{"error": "Late."}\n' * 6}
    page.route("**/rivers/*/", lambda route: route.fulfill(**lines))
    assert "1 of 1 failed" in race_on(page, "rivers")["streamed"]["text"]


def test_race_that_is_stopped_is_a_first_impression(page):
    def stop(way):
        until(lambda: 12 < page.evaluate(STEPS) < 90)
        assert page.locator(".running").count() == 1
        way()

    button = page.get_by_role("button", name="Stop").last
    for way in (button.click, lambda: page.keyboard.press("Escape")):
        race_on(page, "hello", 50, partial(stop, way))
        assert "first impression" in page.inner_text("#hello .verdict")


def test_page_makes_the_outside_calls_that_it_may_until_they_are_limited(page, faulty):
    calls, told = faulty.upstream.calls, []
    page.goto(faulty.url)
    page.once("dialog", lambda dialog: told.append(dialog.message) or dialog.dismiss())
    race_on(page, "home")
    assert "12 calls" in told[0] and not calls  # two for each of six pages
    page.on("dialog", lambda dialog: dialog.accept())
    race_on(page, "home")
    assert len(calls) == 12
    faulty.upstream.fail("429")
    race_on(page, "rivers", 5)
    assert "The service limits calls; set USGS_API_KEY" in page.inner_text("#progress")
    assert len(calls) == 12 + len(app.SITES)  # those of one page


def test_upload_is_listed_and_files_race_on_the_sample(page, race_server):
    page.goto("/upload/async/")
    file = {"name": "browser.txt", "mimeType": "text/plain", "buffer": b"content"}
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/files/")
    link = page.get_by_role("link", name="browser.txt").first.get_attribute("href")
    assert race_server.get(link).content == b"content"
    (race_server.data / "uploads/larger.bin").write_bytes(bytes(17 * 10**6))
    page.goto("/")
    race_on(page, "files")
    raced = [f"/files/{name}/sample.bin" for name in variants_of("files")]
    asked = [urlsplit(x.url).path for x in page.asked if x.url.endswith(".bin")]
    assert asked == raced * 2
    (race_server.data / "uploads/sample.bin").rename(race_server.data / "kept")
    race_on(page, "files")
    (race_server.data / "kept").rename(race_server.data / "uploads/sample.bin")
    assert "Unknown page or file" in page.inner_text("#files")


def test_keyboard_alone_suffices(page):
    press, focused = page.keyboard.press, "document.activeElement"

    def tab_to(text):
        until(lambda: press("Tab") or text in page.evaluate(f"{focused}.outerHTML"))
        assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") != "none"

    for text in ("Race all", "Race hello"):
        tab_to(text)
        press("Enter")
        page.get_by_role("button", name="Stop").first.wait_for()
        press("Enter")  # the same button, which is Stop now
        page.get_by_role("button", name=text, exact=True).wait_for()
    tab_to("<summary")
    press("Enter")
    page.locator("#hello pre:has-text('def hello_sync')").wait_for()
    tab_to("copy program")


def test_phone_scrolls_no_page_sideways_and_shows_the_comparison(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#rivers summary").first.click()
    rows = race_on(page, "hello")
    assert all("×" in row["cells"][1] for row in rows.values())
    box = page.locator("#hello tbody td:nth-of-type(2)").first.bounding_box()
    assert box["width"] > 30 and box["x"] + box["width"] <= 390
    for path in ("", *OTHERS.split()):
        page.goto(f"/{path}/") if path else None
        assert page.evaluate("document.documentElement.scrollWidth") == 390, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_findings(page, scheme):
    if not (axe := os.environ.get("AXE")):
        missing("AXE does not say where an axe.min.js of the npm package axe-core is.")
    page.emulate_media(color_scheme=scheme)
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}

    def check(steps=-1):
        until(lambda: steps < 0 or page.evaluate(STEPS) > steps)
        page.evaluate(Path(axe).read_text())
        found = page.evaluate("rules => axe.run(rules)", rules)["violations"]
        assert not found, (page.url, [(x["id"], x["nodes"][0]["html"]) for x in found])
        page.keyboard.press("Escape")  # ends a race

    check()
    race_on(page, "home", 50, partial(check, 12))
    page.locator("#hello summary").first.click()
    check()
    for path in OTHERS.split():
        page.goto(f"/{path}/")
        check()


# ------------------------------------------------------------------------- Export
VARIANTS = [f"{e}/{v}" for e in app.EXPERIMENTS for v in app.EXPERIMENTS[e]]
#: The most lines of a program, and of a view pasted elsewhere with all that it needs.
MOST = """hello 45 40 cpu 80 40 certificate 80 50 home 150 95 rates 150 95 files 150 85
upload 150 95 cars 170 115 rivers 200 150 rivers/streamed 230 150 rivers/shared 230 150
rivers/sync 200 125 rivers/threaded 200 125 rivers/async 200 125"""
MOST = {name: (int(a), int(b)) for name, a, b in re.findall(r"(\S+) (\d+) (\d+)", MOST)}
#: What a program may leave out, and what differs from one POST to the next.
LEFT_OUT = "experiment variant load_time upstream_calls source car name url"
#: What is asked of a variant's program, or of those of an experiment.
POST, CAR = {"method": "POST"}, {"engine": "a", "name": "b", "location": "c"}
ASKED = [("", {}), ("", {"headers": {}}), ("", {"method": "PUT"})]
ASKED += [("rates", {"url": "?symbol=QQQ"}), ("files", {"url": ".none"})]
ASKED += [("cars", {"url": "?n=7"}), ("cars", {"url": "?n=0"})]
ASKED += [("cars", POST | {"data": data}) for data in (CAR, {"name": "b"})]
ASKED += [(name, POST | {"headers": JSON, "data": CAR}) for name in ("cars", "upload")]
ASKED += [("upload", POST | {"data": CAR}), ("upload", POST | {"files": {"file": "x"}})]


def facts(response):
    """Return what has to be alike: the status and the JSON, or that it is none."""
    status, kind = response.status_code, response.headers.get("Content-Type", "")
    if status == 405 or "json" not in kind:
        return status, status == 200 and kind
    rows, names = map(json.loads, response.text.splitlines()), LEFT_OUT.split()
    return status, sorted(str([x[k] for k in x if k not in names]) for x in rows)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_program_runs_alone_like_the_lab_and_is_short(site, tmp_path, name):
    experiment, variant = name.split("/")
    view = app.EXPERIMENTS[experiment][variant].__name__
    own = TEXT.partition("\nEXPERIMENTS = ")[0]
    for left in ("page", "render_error"):
        own = own.replace(f"\ndef {left}(", "\ndef left(")
    pasted, text = app.add_needed(own, view).removesuffix(view), app.export([name])
    # A blank line counts inside a statement, not between two.
    lines = re.findall(r"(?m)^(?!from \S+ import|import )([^#\n]|\n(?= ))", pasted)
    sizes = len(re.findall(r"(?m)^.*\S", text)), len(lines)
    most = MOST.get(name) or MOST[experiment]
    assert all(map(operator.le, sizes, most)), (sizes, most)
    assert not re.search(r"(?i)\b(race|lane|experiment)\b", text)
    roots = re.findall(r"(?m)^(?:from|import) (\w+)[.\w]*(?: import .*)?$", text)
    packages = sorted({*roots} - sys.stdlib_module_names)
    assert re.findall(r'"([\w-]+)>=', text.partition("# ///\n")[0]) == packages
    (tmp_path / "program.py").write_text(text)
    (tmp_path / "uploads").mkdir()
    for folder in (tmp_path, site.data):
        (folder / "uploads" / "a.txt").write_text("text")
    (upstream := site.upstream).start_over()
    urls = {f"{k.upper()}_URL": upstream.url + v for k, v in app.PATHS.items()}
    with run(f"{TRY}/try_on_port.py {{port}} {tmp_path}/program.py", **urls) as server:
        for own in (own for who, own in ASKED if name.startswith(who)):
            request = {"method": "GET", "headers": FORM} | own
            more = "a.txt" * name.startswith("files/") + request.pop("url", "")
            here = server.client.request(url=f"/{more}", **request)
            there = site.client.request(url=f"/{name}/{more}", **request)
            assert facts(here) == facts(there), (request, more)
            assert not re.search('(href|src|action)="/', here.text), "into the lab"


def test_a_program_of_several_views_serves_them_and_all_are_formatted(tmp_path):
    names = ["hello/async", "cars/async", "upload/sync"]
    (tmp_path / "a.py").write_text(python(APP, "export", "hello", *names[1:]).stdout)
    with run(f"{TRY}/try_on_port.py {{port}} {tmp_path}/a.py") as server:
        assert {server.get(f"/{name}/").status_code for name in names} == {200}
        assert server.get("/upload/async/").status_code == 404
    config, ruff = HERE / ".ci" / "ruff.toml", shutil.which("ruff")
    if not (ruff and config.exists()):
        missing("There is no ruff, or no configuration for it.")
    for number, names in enumerate([[*app.EXPERIMENTS], *([x] for x in VARIANTS)]):
        (tmp_path / f"{number}.py").write_text(app.export(names))
    for command in (["format", "--check"], ["check"]):
        subprocess.check_call([ruff, *command, "--config", config, tmp_path])
