"""A page that is served: to this machine alone, the same until a result is added, then the new one."""

import urllib.error
import urllib.request
from html import unescape
from pathlib import Path

import pytest
from fake_run import FakeRun, measured

from flexsearch.report.live import LivePage
from flexsearch.report.only_here import listen


def fetched(port: int, **headers: str) -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": f"127.0.0.1:{port}", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["ETag"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("ETag", ""), error.read().decode()


def test_a_page_is_served_until_it_changes(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run", points=[(14.0, 7.0)]).make()
    page = LivePage(run)
    server = listen(page, port=0)
    try:
        port = server.server_port
        code, version, text = fetched(port)
        assert code == 200
        assert all(part in unescape(text) for part in ('data-every="5"', 'id="trial-4"', "connect-src 'self'"))
        assert fetched(port, **{"If-None-Match": version}) == (304, version, "")
        assert page.update() is False
        run.store.start(5, run.trial(4).candidate, baseline=None)
        run.store.record(5, measured(12.0, 9.0))
        assert page.update() is True
        code, newer, text = fetched(port, **{"If-None-Match": version})
        assert (code, newer != version, 'id="trial-5"' in text) == (200, True, True)
        assert f"data-of={newer}" in text
        code, _, text = fetched(port, Host="evil.example")
        assert (code, "trial-5" in text) == (403, False)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/", "405"), ("DELETE", "/", "405"), ("GET", "/etc/passwd", "404")]
)
def test_nothing_else_is_answered(tmp_path: Path, method: str, path: str, status: str) -> None:
    run = FakeRun(folder=tmp_path / "run", points=[]).make()
    for number in range(4):
        run.store.end(number, "failed")
    page, seen = LivePage(run), list[str]()
    assert b"no trial is complete yet" in b"".join(page({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None))
    page({"REQUEST_METHOD": method, "PATH_INFO": path}, lambda found, _: seen.append(found))
    assert seen[0].startswith(status)
