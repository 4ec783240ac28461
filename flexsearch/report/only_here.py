"""Serve a page on this machine to this machine alone.

A browser shows a stranger's page, and that page may call ours: by a name of its own that it lets point to 127.0.0.1
(DNS rebinding: the header Host tells), or across origins (the header Origin tells).
"""

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from flexsearch.errors import UserError, reason_of

HOST = "127.0.0.1"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Leave stderr to what the user should know."""


def listen(application: Application, *, port: int) -> WSGIServer:
    """Answer requests of this machine in a thread, so that an interrupt never meets one.

    Raises:
        UserError: the port is taken.
    """
    try:
        server = make_server(HOST, port, application, _Server, _Silent)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot be used ({reason_of(error)})", field=f"--port {port}", nearest=8081) from None
    server.set_app(only_here(application, port=server.server_port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def only_here(application: Application, *, port: int) -> Application:
    """Answer 403 to whatever was not asked of `127.0.0.1:PORT` or `localhost:PORT`, by a page from there or by none."""
    names = (HOST, "localhost")
    hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())
    origins = {f"http://{host}" for host in hosts}

    def answer(request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        host, origin = request.get("HTTP_HOST", "").lower(), request.get("HTTP_ORIGIN", "").lower()
        if host in hosts and (not origin or origin in origins):
            return application(request, start)
        start("403 Forbidden", [("Content-Type", "text/plain")])
        return [f"ask http://{HOST}:{port}/; a tunnel must have the same port at both ends\n".encode()]

    return answer
