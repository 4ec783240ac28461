"""Keep a page of this machine to this machine: a WSGI application that answers no other site.

A browser shows a stranger's page, and that page may call ours: by a name of its own that it lets point to 127.0.0.1
(DNS rebinding: the header Host tells), or across origins (the header Origin tells).
"""

from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def only_here(application: Application, *, port: int) -> Application:
    """Answer 403 to whatever was not asked of `127.0.0.1:PORT` or `localhost:PORT`, by a page from there or by none."""
    names = ("127.0.0.1", "localhost")
    hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())
    origins = {f"http://{host}" for host in hosts}

    def answer(request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        host, origin = request.get("HTTP_HOST", "").lower(), request.get("HTTP_ORIGIN", "").lower()
        if host in hosts and (not origin or origin in origins):
            return application(request, start)
        start("403 Forbidden", [("Content-Type", "text/plain")])
        return [f"ask http://127.0.0.1:{port}/; a tunnel must have the same port at both ends\n".encode()]

    return answer
