"""Measure what the README tells of many visitors, and print its table.

    pip install starlette       # after the README's two commands; and Debian's wrk
    python .ci/load.py

One server at a time, in one process, beside the upstream in a process of its own; wrk
asks from outside. What is compared is measured in turns, three times; the median counts.
The ten thousand come once.
DATABASE_URL may name an empty PostgreSQL database. It takes five minutes.
"""

import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROUNDS = 3
#: Read here, for the tests forget what the shell has set of the lab's.
DATABASE_URL = os.environ.get("DATABASE_URL")
sys.path.insert(0, str(HERE.parent))

from test_app import serve  # noqa: E402 - it stands beside app.py


def wrk(url, visitors, seconds=5):
    """Requests, those a second, and the 99th percentile in ms. Fails on an error."""
    command = ["wrk", "-t1", f"-c{visitors}", f"-d{seconds}s", "--timeout=30s"]
    done = subprocess.run(
        [*command, "--latency", url], capture_output=True, check=True, text=True
    )
    if trouble := re.search(r"(Socket errors|Non-2xx).*", done.stdout):
        raise SystemExit(f"{url} at {visitors}: {trouble[0]}")
    number, unit = re.search(r"99%\s+([\d.]+)(\w+)", done.stdout).groups()
    return {
        "requests": int(re.search(r"(\d+) requests in", done.stdout)[1]),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1]),
        "p99": float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit],
    }


def ten_thousand(target):
    """What ten thousand visitors cost who wait three seconds for the upstream."""
    threads, over = [0], threading.Event()

    def watch(server):
        while not over.wait(0.1):
            threads.append(len(os.listdir(f"/proc/{server.pid}/task")))

    with serve("app:upstream", UPSTREAM_LATENCY="3") as upstream:
        with serve(target, UPSTREAM_URL=upstream.url) as server:
            watcher = threading.Thread(target=watch, args=[server])
            watcher.start()
            answered = wrk(f"{server.url}/rivers/shared/", 10_000, 10)["requests"]
            over.set()
            watcher.join()
            memory = server.memory() / 2**20
    return f"{answered:,} answered in 10 s, {max(threads):,} threads, {memory:.0f} MB"


def hello(target, variant):
    """Fifty visitors of the smallest page: rate, tail, and growth in MB."""
    with serve(target) as server:
        url = f"{server.url}/hello/{variant}/"
        wrk(url, 10, 1)
        before = server.memory()
        found = wrk(url, 50)
        return found | {"memory": (server.memory() - before) / 2**20}


def rivers(target, loads, upstream):
    """The rate of each page at each number of visitors."""
    paths = f"{HERE.parent}{os.pathsep}{HERE}"
    with serve(target, UPSTREAM_URL=upstream.url, PYTHONPATH=paths) as server:
        wrk(server.url + loads[0][0], 20, 2)
        return [wrk(server.url + path, visitors)["rate"] for path, visitors in loads]


def database_connections(address):
    """Connections to PostgreSQL after a thousand requests of fifty visitors, or more."""
    import psycopg

    with serve("app:application", DATABASE_URL=address) as server:
        answered = 0
        while answered < 1000:
            answered += wrk(f"{server.url}/cars/async/?n=10", 50)["requests"]
        with psycopg.connect(address) as own:
            asked = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> %s"
            )
            return own.execute(
                asked, [own.info.dbname, own.info.backend_pid]
            ).fetchone()[0]


def row(*cells):
    print("|", " | ".join(cells), "|", flush=True)


def medians(rows):
    """Of each column, the median."""
    return [median(column) for column in zip(*rows, strict=True)]


def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    row("what", "application", "stock", "Starlette, aiohttp")
    row(*["---"] * 4)
    ten = [ten_thousand(f"app:{target}") for target in ("application", "stock")]
    row("10,000 visitors who wait 3 s, `rivers/shared`", *ten, "")
    for variant in ("async", "sync"):
        runs = {"application": [], "stock": []}
        for _ in range(ROUNDS):
            for target, found in runs.items():
                found.append(hello(f"app:{target}", variant).values())
        told = (
            f"{rate:,.0f}/s, 99 % within {p99:.0f} ms, memory {memory:+.0f} MB"
            for _, rate, p99, memory in map(medians, runs.values())
        )
        row(f"`hello/{variant}`, 50 visitors", *told, "")
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
    own, stock, theirs = (medians(rates) for rates in found.values())
    star = {50: theirs[0], 100: theirs[1], 400: theirs[2]}
    for (path, visitors), rate in zip(ours, own, strict=True):
        what = f"`{path.strip('/')}`, {visitors} visitors"
        if possible := {"/rivers/sync/": 20 / 0.6, "/rivers/threaded/": 20 / 0.2}.get(
            path
        ):
            row(what, f"{rate:.1f}/s of {possible:.1f} possible", "", "")
        else:
            beside = f"{stock[0]:,.0f}/s" if path == "/rivers/async/" else ""
            row(what, f"{rate:,.0f}/s", beside, f"{star[visitors]:,.0f}/s")
    if DATABASE_URL:
        made = str(database_connections(DATABASE_URL))
        row("connections to PostgreSQL after `cars/async`, 50 visitors", made, "", "")


if __name__ == "__main__":
    main()
