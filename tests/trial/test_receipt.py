"""What a file that trials share has cost, however often its making was cut short."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flexsearch.files import read_json
from flexsearch.trial import clock
from flexsearch.trial.receipt import kept, make


def test_what_kills_cut_short_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt is interrupted, which saves its seconds; the second is killed, which loses those since the last
    tick."""
    now = 0.0
    monkeypatch.setattr(clock.time, "monotonic", lambda: now)
    path, receipt = tmp_path / "shared.json", tmp_path / "receipt.json"

    def interrupted(_: Callable[[], None]) -> None:
        nonlocal now
        now += 10
        raise KeyboardInterrupt

    def killed(tick: Callable[[], None]) -> None:
        nonlocal now
        now += 20
        tick()
        left = {one: one.read_bytes() for one in tmp_path.iterdir()}
        now += 3
        kept_by_the_disk.update(left)
        raise KeyboardInterrupt

    def whole(_: Callable[[], None]) -> None:
        nonlocal now
        now += 5
        path.write_text("{}")

    kept_by_the_disk: dict[Path, bytes] = {}
    for work in (interrupted, killed):
        with pytest.raises(KeyboardInterrupt):
            make(path, receipt, what="a file", device="cpu", work=work)
        assert kept(path, receipt) is None
    for one, content in kept_by_the_disk.items():  # a kill saves nothing
        one.write_bytes(content)
    made = make(path, receipt, what="a file", device="cpu", work=whole)
    assert made.seconds == 10 + 20 + 5
    assert kept(path, receipt) == made
    assert sorted(one.name for one in tmp_path.iterdir()) == ["receipt.json", "shared.json"]
    assert read_json(receipt)["seconds"] == 35
