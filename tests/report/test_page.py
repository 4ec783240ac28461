"""The page: needs no network, has every point of the front, escapes what it is given, says what it cannot do."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_run import FakeRun, confirm, dense_under
from PIL import Image

import flexsearch.report
from flexsearch.cli.results import front_of_run
from flexsearch.errors import UserError
from flexsearch.report.claim import headline
from flexsearch.report.front import Front
from flexsearch.report.galleries import read_picture, shown_trials
from flexsearch.report.page import render, write_page
from flexsearch.report.palette import DENSE, FOUND_FREE, FREE, FRONT, ON_DARK, PAPER, STEPS, contrast, role_colours
from flexsearch.report.points import FrontPoint
from flexsearch.report.run import Run
from flexsearch.schedule.role import ROLES


class Page(HTMLParser):
    """What a browser would load, the text it would show, and the elements it would meet."""

    LOADS = ("src", "srcset", "href", "xlink:href", "data", "poster", "action", "background")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.styles: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag if tag in ("script", "style") else ""
        self.loaded += [value or "" for name, value in attributes if name in self.LOADS and tag != "a"]
        self.ids += [value or "" for name, value in attributes if name == "id"]
        self.styles += [value or "" for name, value in attributes if name == "style"]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.styles.append(data)
        elif not self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def headline_of(front: Front) -> tuple[str, FrontPoint | None]:
    return headline(front.best_known, quality=front.objectives[0].name)


def chosen(front: Front) -> int | None:
    _, found = headline_of(front)
    return None if found is None else found.record.number


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return FakeRun(folder=tmp_path_factory.mktemp("page") / "run").make()


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page(render(run, front_of_run(run)))


def test_nothing_is_loaded(page: Page) -> None:
    outside = [where for where in page.loaded if not where.startswith(("data:image/", "#"))]
    assert outside == []
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    urls = [url for style in page.styles for url in re.findall(r"url\(([^)]*)\)|@import", style)]
    assert [url for url in urls if not url.strip("'\"").startswith("#")] == []


def test_every_trial_is_there_with_its_images_and_ids_are_unique(page: Page, run: Run) -> None:
    front = front_of_run(run)
    for record in (*front.points, *front.baselines):
        assert str(record.candidate.sampling) in page.text
        assert record.candidate.schedule.is_dense or str(record.candidate.schedule) in page.text
    assert {f"trial-{number}" for number in front.complete} <= set(page.ids)
    assert {f"row-{record.number}" for record in (*front.points, *front.baselines)} <= set(page.ids)
    assert {f"schedule-{one.number}" for one in front.searched} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    sentence, found = headline_of(front)
    assert sentence in page.text
    shown = shown_trials(front, found)
    assert set(shown) >= {0, 3, 5}  # the dense base, the paper's schedule, what the headline is about
    assert page.tags.count("img") == len(shown) + len(front.complete)
    assert "Differences of fid_fashion_cnn below" in page.text
    assert "in every row of ten as long as there are others: T-shirt; trousers; pullover;" in page.text
    assert {"budget", "budgets-of-quality"} <= set(page.ids), "the slider"
    assert {"front", "points", "images", "schedules", "trials", "setting", "trust", "protocol", "again"} <= set(
        page.ids
    )


def test_a_confirmation_decides_the_headline_and_what_is_within_noise_is_no_claim(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run").make()
    assert chosen(front_of_run(run)) == 5
    confirm(run, {0: (9.0, 20.0), 1: (15.0, 10.0), 2: (38.0, 6.0), 4: (33.0, 7.0), 6: (10.0, 9.0)})
    front = front_of_run(run)
    assert chosen(front) == 6
    assert front.best_known.is_confirmed
    page = Page(render(run, front))
    assert "Measured again, 3 x 2000 images" in page.text
    assert "trial-7" in page.ids, "what was not measured again keeps its images"
    assert front.row(front.complete[6]).printed["verdict"] == "confirmed"
    within = front_of_run(FakeRun(folder=tmp_path / "within", points=[(15.9, 10.0), (30.0, 19.0)]).make())
    assert "beyond noise" in headline_of(within)[0], "at 10 ms, dense reaches 16"
    assert chosen(within) is None


def test_names_are_escaped(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\"'"
    dense = dense_under(4)
    run = FakeRun(
        folder=tmp_path / "run", name=name, points=[(14.0, 7.0)], noise=0.0, more=[(name, dense, 12.0, 8.0)]
    ).make()
    text = render(run, front_of_run(run))
    assert "<img src=x" not in text
    assert f"flexsearch report · {name}" in Page(text).text
    assert name in Page(text).text.replace(f"flexsearch report · {name}", ""), "the baseline's"


def test_a_run_without_a_complete_trial(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run", points=[]).make()
    for number in range(4):
        run.store.end(number, "failed")
    with pytest.raises(UserError, match="no trial is complete yet"):
        write_page(run, front_of_run(run), tmp_path / "page.html")
    with pytest.raises(UserError, match=r"must end in \.html, but got 'page.pdf'; nearest legal: page\.html"):
        write_page(run, front_of_run(run), tmp_path / "page.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_images_are_scaled_down_and_a_strip_is_the_first_row(tmp_path: Path) -> None:
    Image.new("RGB", (4000, 400)).save(tmp_path / "wide.png")
    Image.new("RGB", (171, 69)).save(tmp_path / "small.png")
    wide, strip = (read_picture(tmp_path / name, is_strip=name == "small.png") for name in ("wide.png", "small.png"))
    assert wide.source.startswith("data:image/webp;base64,")
    assert (wide.is_small, wide.width, wide.height) == (False, 1600, 160)
    assert (strip.is_small, strip.width, strip.height) == (True, 171, 18)
    Image.new("RGB", (200, 90)).save(tmp_path / "small.png")
    assert read_picture(tmp_path / "small.png", is_strip=True).height == 90, "read anew, and no grid"


def test_a_page_of_as_many_trials_as_a_quickstart_is_small(tmp_path: Path) -> None:
    """Each image is noise, which compresses worse than any sample."""
    points = [(60 / ms, ms) for ms in np.linspace(4, 9, 6)] + [(50.0, 9 + index / 10) for index in range(50)]
    run = FakeRun(folder=tmp_path / "run", points=points).make()
    generator = np.random.default_rng(0)
    for number in range(60):
        noise = generator.integers(0, 255, (69, 171, 1), dtype=np.uint8).repeat(3, axis=2)
        Image.fromarray(noise).save(run.folder / "trials" / str(number) / "samples.png")
    page = render(run, front_of_run(run))
    assert page.count("<img ") >= 60
    assert len(page) < 600_000


CSS = (Path(flexsearch.report.__file__).parent / "page.css").read_text()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_has_contrast(mode: str, page: Page) -> None:
    blocks = re.findall(r":root \{(.*?)\}", CSS, flags=re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w{6});", blocks[0 if mode == "light" else 1]))
    for ink, grounds in {
        "ink": ("paper", "card", "row", "tint"),
        "muted": ("paper", "card", "row", "tint"),
        "accent": ("paper", "card", "row"),
        "good": ("card", "row", "tint"),
    }.items():
        for ground in grounds:
            assert contrast(colours[ink], colours[ground]) >= 4.5, f"{ink} on {ground}"
    for fill, ink in (*map(role_colours, ROLES), *STEPS.values()):
        assert contrast(fill, ink) >= 4.5
    for colour in (FRONT, FOUND_FREE, FREE, DENSE, PAPER):
        assert contrast(ON_DARK[colour] if mode == "dark" else colour, colours["card"]) >= 3
