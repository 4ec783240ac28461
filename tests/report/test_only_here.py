"""The dashboard answers pages of this machine, and no other site."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from flexsearch.report.only_here import only_here

PORT = 8080


def inner(_: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [])
    return [b"here"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"HTTP_HOST": "127.0.0.1:8080"}, "200 OK"),
        ({"HTTP_HOST": "LocalHost:8080", "HTTP_ORIGIN": "http://localhost:8080"}, "200 OK"),
        ({"HTTP_HOST": "localhost:8080", "HTTP_ORIGIN": "http://127.0.0.1:8080"}, "200 OK"),
        ({"HTTP_HOST": "evil.example"}, "403 Forbidden"),
        ({"HTTP_HOST": "evil.example:8080"}, "403 Forbidden"),
        ({"HTTP_HOST": "127.0.0.1:8080.evil.example"}, "403 Forbidden"),
        ({"HTTP_HOST": "127.0.0.1"}, "403 Forbidden"),
        ({"HTTP_HOST": "127.0.0.1:8080,evil.example"}, "403 Forbidden"),
        ({}, "403 Forbidden"),
        ({"HTTP_HOST": "127.0.0.1:8080", "HTTP_ORIGIN": "http://evil.example"}, "403 Forbidden"),
        ({"HTTP_HOST": "127.0.0.1:8080", "HTTP_ORIGIN": "null"}, "403 Forbidden"),
        ({"HTTP_HOST": "127.0.0.1:8080", "HTTP_ORIGIN": "https://127.0.0.1:8080"}, "403 Forbidden"),
        ({"HTTP_HOST": "127.0.0.1:8080", "HTTP_ORIGIN": "http://127.0.0.1:9090"}, "403 Forbidden"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_who_is_answered(headers: dict[str, str], status: str, method: str) -> None:
    seen: list[str] = []
    only_here(inner, port=PORT)({**headers, "REQUEST_METHOD": method}, lambda found, _: seen.append(found))
    assert seen == [status]
