"""Measure what the README says about load, and print its tables.

    pip install starlette       # after the README's two commands; and Debian's wrk
    python .ci/load.py

One server at a time, in one process, beside the upstream in a process of its own; wrk
asks from outside. What is compared is measured in turns, three times; the median
counts. It takes about eight minutes.
"""

import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROUNDS = 3
MB = 2**20
sys.path.insert(0, str(HERE.parent))

from test_app import serve  # noqa: E402 - it stands beside app.py


def wrk(url, clients, seconds=5):
    """Return requests, requests a second, and the 99th percentile in ms."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout=30s"]
    done = subprocess.run(
        [*command, "--latency", url], capture_output=True, check=True, text=True
    )
    if trouble := re.search(r"(Socket errors|Non-2xx).*", done.stdout):
        print(f"{url} at {clients}: {trouble[0]}", file=sys.stderr)
    number, unit = re.search(r"99%\s+([\d.]+)(\w+)", done.stdout).groups()
    return {
        "requests": int(re.search(r"(\d+) requests in", done.stdout)[1]),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1]),
        "p99": float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit],
    }


def threads_of(server):
    """Return how many threads a server's process has."""
    return len(os.listdir(f"/proc/{server.pid}/task"))


@contextmanager
def sampling(function):
    """Yield a list of what a function returns ten times a second."""
    samples, over = [], threading.Event()

    def sample():
        while not over.wait(0.1):
            with suppress(OSError):
                samples.append(function())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield samples
    finally:
        over.set()
        sampler.join()


def row(*cells):
    """Print a row of a table."""
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def heading(*cells):
    """Print the head of a table."""
    print()
    row(*cells)
    row(*["---"] * len(cells))


def ten_thousand(target):
    """Return what ten thousand clients cost that wait three seconds."""
    with serve("app:upstream", UPSTREAM_LATENCY="3") as upstream:
        with serve(target, UPSTREAM_URL=upstream.url) as server:
            with sampling(lambda: threads_of(server)) as threads:
                found = wrk(f"{server.url}/rivers/shared/", 10_000, 10)
            memory = server.memory() / MB
    return f"{found['requests']:,} answered, {max(threads):,} threads, {memory:.0f} MB"


def two_thousand():
    """Return what two thousand clients of a synchronous page get."""
    with serve(UPSTREAM_LATENCY="0.1") as server:
        with sampling(lambda: threads_of(server)) as threads:
            statuses = ask_at_once(server, "/rivers/sync/", 2000)
    told = ", ".join(f"{count:,} × {status}" for status, count in statuses.items())
    return f"{told}, {max(threads):,} threads"


def ask_at_once(server, path, clients):
    """Return how often each status came, for so many clients at once."""
    host, port = server.url.removeprefix("http://").split(":")
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    sockets = [socket.create_connection((host, int(port)), 120) for _ in range(clients)]
    statuses = {}
    for client in sockets:
        client.sendall(request.encode())
    for client in sockets:
        with closing(client):
            status = client.recv(12)[9:].decode() or "none"
            statuses[status] = statuses.get(status, 0) + 1
    return statuses


def wait_of_hello(server, path="/hello/sync/"):
    """Return the seconds that one request of the smallest page takes now."""
    started = time.perf_counter()
    server.get(path)
    return time.perf_counter() - started


def beside(name, clients, path, read):
    """Return the longest wait of hello/sync while clients ask for a path."""
    with serve(UPSTREAM_LATENCY="0.1") as server:
        wait_of_hello(server)
        target = server.data / "uploads" / "eight.bin"
        with target.open("wb") as file:
            file.truncate(8 * MB)
        host, port = server.url.removeprefix("http://").split(":")
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        sockets = [
            socket.create_connection((host, int(port)), 120) for _ in range(clients)
        ]
        for client in sockets:
            client.sendall(request)
        ends, waits = time.monotonic() + 5, []
        while time.monotonic() < ends:
            waits.append(wait_of_hello(server))
            time.sleep(0.05)
        statuses = [client.recv(12)[9:].decode() for client in sockets] if read else []
        for client in sockets:
            client.close()
    failed = sum(status != "200" for status in statuses)
    row(
        name,
        f"{max(waits):.2f} s" + (f", {failed} of {clients} failed" if read else ""),
    )


def hello(target, variant):
    """Return rate and tail of the smallest page for fifty clients."""
    with serve(target) as server:
        wrk(f"{server.url}/hello/{variant}/", 10, 1)
        found = wrk(f"{server.url}/hello/{variant}/", 50)
        return found["rate"], found["p99"]


def rivers(target, loads, upstream):
    """Return the rate of each page at each number of clients."""
    paths = f"{HERE.parent}{os.pathsep}{HERE}"
    with serve(target, UPSTREAM_URL=upstream.url, PYTHONPATH=paths) as server:
        wrk(server.url + loads[0][0], 20, 2)
        # Twenty clients go round together, and a round that is cut does not count.
        seconds = [14 if clients == 20 else 5 for _, clients in loads]
        asked = [(server.url + path, clients) for path, clients in loads]
        return [wrk(*x, more)["rate"] for x, more in zip(asked, seconds, strict=True)]


def one_client(server, variant, latency):
    """Return the median time of one client, in latencies of the upstream."""
    times = []
    for _ in range(21):
        started = time.perf_counter()
        server.get(f"/rivers/{variant}/")
        times.append(time.perf_counter() - started)
    return median(times[1:]) / latency


def medians(rows):
    """Return the median of each column."""
    return [median(column) for column in zip(*rows, strict=True)]


def download(target, path, folder):
    """Return GB/s and MB of memory that a download of 512 MB takes."""
    paths = f"{HERE.parent}{os.pathsep}{HERE}"
    file = Path(folder, "uploads", "512.bin")
    with serve(
        target, DATA_DIR=folder, LOAD_FILE=str(file), PYTHONPATH=paths
    ) as server:
        if not file.exists():
            file.write_bytes(bytes(512 * MB))
        subprocess.run(
            ["curl", "-so", "/dev/null", server.url + path + "?"], check=True
        )
        before, started = server.memory(), time.perf_counter()
        subprocess.run(["curl", "-so", "/dev/null", server.url + path], check=True)
        seconds = time.perf_counter() - started
        return 512 / 1024 / seconds, (server.memory() - before) / MB


def slow_readers(folder):
    """Return MB of memory that two hundred slow readers take."""
    with serve(DATA_DIR=folder) as server:
        server.get("/files/")
        before = server.memory()
        host, port = server.url.removeprefix("http://").split(":")
        request = f"GET /files/async/512.bin HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        sockets = [socket.create_connection((host, int(port)), 60) for _ in range(200)]
        for client in sockets:
            client.sendall(request)
        for client in sockets:
            client.recv(1000)
        time.sleep(2)
        for client in sockets:
            client.close()
        return (server.memory() - before) / MB


def upload(folder):
    """Return ms of the longest wait of hello/async during an upload of 512 MB."""
    with serve(DATA_DIR=folder) as server:
        token = "x" * 32
        server.get("/upload/async/")
        form, cookie = f"file=@{folder}/uploads/512.bin", f"csrftoken={token}"
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-F", form]
        command += ["-b", cookie, "-H", f"X-CSRFToken: {token}"]
        command.append(f"{server.url}/upload/async/")
        process, waits = subprocess.Popen(command, stdout=subprocess.PIPE), []
        while process.poll() is None:
            waits.append(wait_of_hello(server, "/hello/async/"))
            time.sleep(0.01)
        status = process.stdout.read().decode()
    return status, 1000 * max(waits)


def speed():
    """Print the table of speed."""
    heading("speed", "application", "stock", "Starlette")
    for variant in ("async", "sync"):
        runs = {"app:application": [], "app:stock": []}
        for _ in range(ROUNDS):
            for target, found in runs.items():
                found.append(hello(target, variant))
        told = [
            f"{rate:,.0f}/s, 99 % within {p99:.0f} ms"
            for rate, p99 in map(medians, runs.values())
        ]
        row(f"`hello/{variant}`, 50 clients", *told, "")
    ours = [("/rivers/async/", 100), ("/rivers/shared/", 50), ("/rivers/shared/", 100)]
    ours += [("/rivers/shared/", 400), ("/rivers/sync/", 20), ("/rivers/threaded/", 20)]
    runs = {
        "app:application": ours,
        "app:stock": ours[:1],
        "starlette_rivers:application": [("/", 50), ("/", 100), ("/", 400)],
    }
    with serve("app:upstream", UPSTREAM_LATENCY="0.1") as upstream:
        found = {target: [] for target in runs}
        for _ in range(ROUNDS):
            for target, loads in runs.items():
                found[target].append(rivers(target, loads, upstream))
        with serve(UPSTREAM_URL=upstream.url) as server:
            names = ["sync", "threaded", "async", "async_httpx", "batched", "shared"]
            single = {name: one_client(server, name, 0.1) for name in names}
    own, stock, theirs = (medians(rates) for rates in found.values())
    star = dict(zip((50, 100, 400), theirs, strict=True))
    possible = {"/rivers/sync/": 20 / 0.6, "/rivers/threaded/": 20 / 0.2}
    for (path, clients), rate in zip(ours, own, strict=True):
        what, limit = f"`{path.strip('/')}`, {clients} clients", possible.get(path)
        if limit:
            row(what, f"{rate:.1f}/s of {limit:.1f} possible", "", "")
        else:
            other = f"{stock[0]:,.0f}/s" if path == "/rivers/async/" else ""
            row(what, f"{rate:,.0f}/s", other, f"{star[clients]:,.0f}/s")
    told = ", ".join(f"{name} {latencies:.2f}" for name, latencies in single.items())
    row("one client, in latencies of the upstream", told, "", "")


def waiting():
    """Print the table of threads and memory."""
    heading("waiting", "application", "stock")
    ten = [ten_thousand(f"app:{target}") for target in ("application", "stock")]
    row("10,000 clients that wait 3 s, `rivers/shared`, 10 s", *ten)
    row("2,000 clients of `rivers/sync` at once", two_thousand(), "")


def files(folder):
    """Print the table of files."""
    heading("files of 512 MB", "`files/async`", "Starlette")
    runs = {"app:application": [], "starlette_rivers:application": []}
    for _ in range(ROUNDS):
        for target, found in runs.items():
            path = "/files/async/512.bin" if target.startswith("app") else "/file"
            found.append(download(target, path, folder))
    row(
        "download",
        *(f"{rate:.2f} GB/s, {mb:+.0f} MB" for rate, mb in map(medians, runs.values())),
    )
    row("200 slow readers", f"{slow_readers(folder):+.0f} MB", "")
    status, wait = upload(folder)
    row(f"upload ({status}): longest wait of `hello/async`", f"{wait:.0f} ms", "")


def main():
    """Print all tables."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    speed()
    waiting()
    heading("beside", "longest wait of `hello/sync`")
    beside("60 slow readers of `files/sync`", 60, "/files/sync/eight.bin", read=False)
    beside("60 requests of `cars/async?n=500`", 60, "/cars/async/?n=500", read=True)
    with tempfile.TemporaryDirectory() as folder:
        files(folder)


if __name__ == "__main__":
    main()
