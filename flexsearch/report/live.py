"""Serve the page of a run while it is searched; what is asked for is what was last measured."""

import html
import os
import sys
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from flexsearch.errors import UserError, reading
from flexsearch.report.front import front_of
from flexsearch.report.only_here import HOST, listen
from flexsearch.report.page import render
from flexsearch.report.run import Run

REFRESH_S = 5

_WAITING = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="{every}">
<title>{study}</title><body style="font: 16px sans-serif; margin: 3em"><p>{reason}</p></body></html>"""


class LivePage:
    """The page of a run as a WSGI application; `update` makes it anew where the run has changed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._shown: tuple[str, bytes] = ("", b"")  # its version and the page, replaced as one
        self._seen: Any = None
        self.update()

    def update(self) -> bool:
        """Make the page if the run has another result than before, and say whether.

        Raises:
            UserError: the run has lost its study.
        """
        with reading(self._run.folder, rule="holds no whole results any more"):
            store = self._run.store
            found = (store.trials(), store.confirmations(), store.costs())
            if found == self._seen:
                return False
            front = front_of(store, self._run.settings.objectives.names)
        version = sha256(repr(found).encode()).hexdigest()[:12]
        try:
            page = render(self._run, front, version=version, every=REFRESH_S)
        except UserError as error:  # nothing is complete yet
            page = _WAITING.format(every=REFRESH_S, study=html.escape(self._run.name), reason=html.escape(str(error)))
        self._seen, self._shown = found, (version, page.encode())
        return True

    def __call__(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer with the page, or 304 where the browser has it."""
        version, page = self._shown
        if request["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [("Allow", "GET, HEAD")])
            return []
        if request["PATH_INFO"] != "/":
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"the page is at /\n"]
        headers = [("ETag", f'"{version}"'), ("Cache-Control", "no-store")]
        if request.get("HTTP_IF_NONE_MATCH") == f'"{version}"':
            start("304 Not Modified", headers)
            return []
        start("200 OK", [*headers, ("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page)))])
        return [page] if request["REQUEST_METHOD"] == "GET" else []


def serve_page(run: Run, *, port: int) -> None:
    """Serve until interrupted; keep up to date with a search that is still running.

    Raises:
        UserError: the port is taken, or the run has lost its study.
    """
    os.nice(10)  # it may share cores with the search that it shows
    page = LivePage(run)
    server = listen(page, port=port)
    print(
        f"the page of {run.folder} is at http://{HOST}:{server.server_port}/ (Ctrl-C ends it)",
        file=sys.stderr,
        flush=True,
    )
    while True:
        time.sleep(REFRESH_S)
        page.update()
