"""The pictures of docs/images that show a run: front, report at three widths, dashboard, one trial, images, a schedule.

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

from PIL import Image, ImageDraw, ImageFont

from flexsearch.cli.results import front_of_run, open_run
from flexsearch.report.claim import claim_of
from flexsearch.report.front import Front
from flexsearch.report.points import FrontPoint, is_free

OUT = Path(__file__).resolve().parents[2] / "docs" / "images"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=10000",
)  # fmt: skip
_PATIENCE_S = 600.0
_ENLARGED, _ROWS = 4, 2  # times, of images in the picture of three trials


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
    claim = claim_of(front.best_known)
    number = front.searched[-1].number if claim is None else claim.point.record.number

    def flexsearch(*words: str) -> list[str]:
        return [sys.executable, "-m", "flexsearch", *words]

    def shoot(
        url: str, file: str, width: int, height: int, *, shown_width: int | None = None, is_dark: bool = False
    ) -> None:
        with tempfile.TemporaryDirectory() as profile:
            raw = place / file
            size = [f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={raw}"]
            size += ["--blink-settings=preferredColorScheme=0"] if is_dark else []
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
    trained = [one.record.number for one in front.best_known.searched if not is_free(one.record)]
    pins = "".join(f"document.querySelector('td [data-pin=\"{one}\"]').click();" for one in (number, *trained[-1:]))
    pinned = place / "pinned.html"
    script = f"<script>{pins} scrollTo(0, 0);</script></body>"
    pinned.write_text((place / "report.html").read_text().replace("</body>", script))
    shoot(pinned.as_uri(), "report.png", 1440, 2250, shown_width=1000)
    shoot((place / "report.html").as_uri(), "report_laptop.png", 1024, 1500, shown_width=800, is_dark=True)
    phone = place / "phone.html"  # a window of Chromium is never as narrow as a phone
    phone.write_text('<body style="margin:0"><iframe src="report.html" style="border:0;width:390px;height:1700px">')
    shoot(phone.as_uri(), "report_phone.png", 500, 1700)
    with Image.open(out / "report_phone.png") as image:
        cut = image.crop((0, 0, 390, 1700))
    cut.save(out / "report_phone.png", optimize=True)
    subprocess.run(flexsearch("front", name, "--plot", "front.png"), cwd=place, check=True, stdout=subprocess.DEVNULL)
    reduce(place / "front.png", out / "quickstart_front.png")
    beside(place / name, front, front.complete[number].number, place / "equal_time.png")
    reduce(place / "equal_time.png", out / "equal_time.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(flexsearch("dashboard", name, "--port", str(port)), cwd=place, stderr=subprocess.DEVNULL)
    try:
        study = wait_until_drawn(f"http://127.0.0.1:{port}/api/studies")
        page = f"http://127.0.0.1:{port}/dashboard/studies/{study}"
        shoot(f"http://127.0.0.1:{port}/", "dashboard.png", 1400, 1300, shown_width=1000)
        shoot(f"{page}/trials?numbers={number}", "dashboard_trial.png", 1400, 1570, shown_width=1000)
    finally:
        server.terminate()
        server.wait()


def beside(run: Path, front: Front, number: int, path: Path) -> None:
    """Draws the first images of the dense base, of a trial, and of the dense base at the nearest latency."""
    points = front.as_searched
    chosen = points.by_number[number]
    nearest = min(points.dense, key=lambda one: abs(one.latency_ms - chosen.latency_ms))
    rows = [("dense base", points.dense[-1]), ("found", chosen), ("dense base, nearest time", nearest)]
    strips = [strip(run, point) for _, point in rows]
    wide, high = strips[0].size
    picture = Image.new("RGB", (wide, (high + 34) * len(rows)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(17)
    for place, ((what, point), images) in enumerate(zip(rows, strips, strict=True)):
        known = front.best_known.by_number.get(point.record.number, point)
        facts = f"{point.record.candidate.sampling}: {known.latency_ms:.3g} ms, distance {known.quality:.3g}"
        pen.text((0, place * (high + 34) + 8), f"{what}, {facts}", fill="#1f2a37", font=font)
        picture.paste(images, (0, place * (high + 34) + 34))
    picture.save(path)


def strip(run: Path, point: FrontPoint) -> Image.Image:
    """Reads the first rows of a trial's images, enlarged."""
    with Image.open(run / "trials" / str(point.record.number) / "samples.png") as image:
        side = (image.width - 1) // 10
        shown = image.convert("RGB").crop((0, 0, image.width, _ROWS * side + 1))
    return shown.resize((shown.width * _ENLARGED, shown.height * _ENLARGED), Image.Resampling.NEAREST)


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
        fewer = shown.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        fewer.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
