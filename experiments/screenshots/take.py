"""The pictures of docs/images that show a run: report, dashboard, one trial of it, and a schedule.

    uv run python experiments/screenshots/take.py runs/quickstart

Needs Chromium (Debian: `apt-get install chromium`; other places: `--browser PATH`). The run is copied first, so that
nothing is published into it. Every picture is reduced to 256 colours.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

from flexsearch.cli.results import front_of_run, open_run
from flexsearch.report.claim import headline

OUT = Path(__file__).resolve().parents[2] / "docs" / "images"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=10000",
)  # fmt: skip
_PATIENCE_S = 180.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.browser is None:
        parser.error("Chromium was not found; name it with --browser PATH")
    with tempfile.TemporaryDirectory() as place:
        take(arguments.run, arguments.browser, arguments.out, Path(place))


def take(run: Path, browser: str, out: Path, place: Path) -> None:
    """Writes all pictures to `out`; works in `place`, where the run has the path that a user would see."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"runs/{run.resolve().name}"
    shutil.copytree(run, place / name)
    front = front_of_run(open_run(place / name))
    _, best = headline(front.best_known, quality=front.objectives[0].name)
    number = 0 if best is None else best.record.number

    def flexsearch(*words: str) -> list[str]:
        return [sys.executable, "-m", "flexsearch", *words]

    def shoot(url: str, file: str, width: int, height: int, *, shown_width: int | None = None) -> None:
        with tempfile.TemporaryDirectory() as profile:
            raw = place / file
            size = [f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={raw}"]
            subprocess.run([browser, *_FLAGS, *size, url], check=True, stderr=subprocess.DEVNULL)
        reduce(raw, out / file, width=shown_width)

    subprocess.run(
        flexsearch("show", name, str(number), "--json", "--picture", "schedule.png"),
        cwd=place,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    reduce(place / "schedule.png", out / "schedule.png")
    subprocess.run(flexsearch("report", name, "report.html"), cwd=place, check=True)
    shoot((place / "report.html").as_uri(), "report.png", 1240, 3140, shown_width=1000)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(flexsearch("dashboard", name, "--port", str(port)), cwd=place, stderr=subprocess.DEVNULL)
    try:
        study = wait_until_drawn(f"http://127.0.0.1:{port}/api/studies")
        page = f"http://127.0.0.1:{port}/dashboard/studies/{study}"
        shoot(page, "dashboard.png", 1400, 2310, shown_width=1000)
        shoot(f"{page}/trials?numbers={number}", "dashboard_trial.png", 1400, 1570, shown_width=1000)
    finally:
        server.terminate()
        server.wait()


def wait_until_drawn(url: str) -> int:
    """Waits until every complete trial shows its schedule; returns the study's number."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(1)
        try:
            study = int(fetched(url)["study_summaries"][0]["study_id"])
            trials = fetched(f"{url}/{study}")["trials"]
        except OSError:
            continue
        if all("schedule.png" in one["note"]["body"] for one in trials if one["state"] == "Complete"):
            return study
    raise SystemExit(f"the dashboard was not ready within {_PATIENCE_S:.0f} s")


def fetched(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def reduce(raw: Path, path: Path, *, width: int | None = None) -> None:
    """Writes a picture with 256 colours, scaled down to `width`."""
    with Image.open(raw) as image:
        shown = image.convert("RGB")
        if width is not None and shown.width > width:
            shown = shown.resize((width, round(shown.height * width / shown.width)), Image.Resampling.LANCZOS)
        shown.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
