"""Draw the upstream calls of one page of each variant of `rivers`: python .ci/picture.py

The server records when each call began and ended (`/status/`). The picture goes to
.ci/rivers.svg.
"""

import sys
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from test_app import serve, until  # noqa: E402 - it stands beside app.py

VARIANTS = ["sync", "threaded", "async", "batched", "sync_to_async", "async_to_sync"]
WIDTH, LEFT, BAR = 760, 130, 7


def finished_calls(server):
    """Return the calls that the upstream has answered."""
    calls = server.json("/status/")["upstream"]["recent"]
    return calls if all(end for _, end in calls) else None


def calls_of(server, variant):
    """Return begin and end of the calls of one page, in seconds from the first."""
    server.get(f"/rivers/{variant}/")  # so that connections exist
    before = len(until(lambda: finished_calls(server)))
    server.get(f"/rivers/{variant}/")
    calls = until(lambda: finished_calls(server))[before:]
    return [(begin - calls[0][0], end - calls[0][0]) for begin, end in sorted(calls)]


def draw(pictures):
    """Return the picture as SVG."""
    longest = max(end for calls in pictures.values() for _, end in calls)
    scale, top, rows = (WIDTH - LEFT - 70) / longest, 10, []
    for variant, calls in pictures.items():
        height = BAR * max(len(calls), 3)
        total = max(end for _, end in calls)
        rows.append(
            f'<text x="0" y="{top + height / 2 + 4:.0f}">{escape(variant)}</text>'
        )
        for number, (begin, end) in enumerate(calls):
            x, y = LEFT + begin * scale, top + number * BAR
            size = f'width="{(end - begin) * scale:.1f}" height="{BAR - 2}"'
            rows.append(f'<rect x="{x:.1f}" y="{y}" {size}/>')
        x, y = LEFT + total * scale + 6, top + height / 2 + 4
        rows.append(f'<text x="{x:.0f}" y="{y:.0f}">{1000 * total:,.0f} ms</text>')
        top += height + 14
    style = "text { font: 14px sans-serif; fill: #566273 } rect { fill: #0b5fa5 }"
    box = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}"'
    label = "Each bar is a call to the service, from left to right in time"
    body = "\n".join(rows)
    return f'<svg {box} role="img" aria-label="{label}">\n<style>{style}</style>\n{body}\n</svg>\n'


def main():
    """Draw the picture."""
    pictures = {}
    with serve() as server:
        for variant in VARIANTS:
            pictures[variant] = calls_of(server, variant)
    (HERE / "rivers.svg").write_text(draw(pictures))


if __name__ == "__main__":
    main()
