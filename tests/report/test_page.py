"""The page: needs no network, has every point of the front, escapes what it is given, says what it cannot do."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_run import FakeRun, confirm
from PIL import Image

from flexsearch.cli.results import front_of_run
from flexsearch.errors import UserError
from flexsearch.report.claim import headline
from flexsearch.report.front import Front
from flexsearch.report.galleries import data_url, shown_trials
from flexsearch.report.page import render, write_page
from flexsearch.report.points import FrontPoint
from flexsearch.report.run import Run


class Page(HTMLParser):
    """What a browser would load, the text it would show, and the elements it would meet."""

    LOADS = ("src", "srcset", "href", "xlink:href", "data", "poster", "action", "background")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.styles: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag if tag in ("script", "style") else ""
        self.loaded += [value or "" for name, value in attributes if name in self.LOADS and tag != "a"]
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


def test_every_point_and_images_of_dense_paper_and_chosen_are_there(page: Page, run: Run) -> None:
    front = front_of_run(run)
    for record in (*front.points, *front.baselines):
        assert str(record.candidate.schedule) in page.text
        assert str(record.candidate.sampling) in page.text
        if record.baseline is None:
            assert f"Trial {record.number}" in page.text
    pictures = [record for record in front.complete.values() if not record.candidate.schedule.is_dense]
    assert page.tags.count("svg") == sum(one in front.points or one.baseline is not None for one in pictures)
    assert headline_of(front)[0] in page.text
    shown = shown_trials(front, headline_of(front)[1])
    assert set(shown) >= {0, 3, 5}  # the dense base, the paper's schedule, the largest claim
    assert page.tags.count("img") == len(shown)
    latencies = [front.values(front.complete[number])[-1] for number in shown]
    assert latencies == sorted(latencies, reverse=True)
    assert "Cost" in page.text
    assert "Differences of fid_fashion_cnn below" in page.text


def test_a_confirmation_decides_the_headline_and_what_is_within_noise_is_no_claim(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run").make()
    assert chosen(front_of_run(run)) == 5
    confirm(run, {0: (9.0, 20.0), 1: (15.0, 10.0), 2: (38.0, 6.0), 4: (33.0, 7.0), 6: (10.0, 9.0)})
    front = front_of_run(run)
    assert chosen(front) == 6
    assert front.best_known.is_confirmed
    page = Page(render(run, front))
    assert "Measured again 3 x 2000 images" in page.text
    assert front.row(front.complete[6]).printed["verdict"] == "confirmed"
    within = front_of_run(FakeRun(folder=tmp_path / "within", points=[(15.9, 10.0), (30.0, 19.0)]).make())
    assert "beyond noise" in headline_of(within)[0], "at 10 ms, dense reaches 16"
    assert chosen(within) is None


def test_names_are_escaped(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    run = FakeRun(folder=tmp_path / "run", name=name, points=[(14.0, 7.0)], noise=0.0).make()
    text = render(run, front_of_run(run))
    assert name not in text
    assert f"flexsearch report · {name}" in Page(text).text


def test_a_run_without_a_complete_trial(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run", points=[]).make()
    for number in range(4):
        run.store.end(number, "failed")
    with pytest.raises(UserError, match="no trial is complete yet"):
        write_page(run, front_of_run(run), tmp_path / "page.html")
    with pytest.raises(UserError, match=r"must end in \.html, but got 'page.pdf'; nearest legal: page\.html"):
        write_page(run, front_of_run(run), tmp_path / "page.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_wide_grids_are_scaled_down(tmp_path: Path) -> None:
    Image.new("RGB", (4000, 400)).save(tmp_path / "wide.png")
    Image.new("RGB", (171, 35)).save(tmp_path / "small.png")
    source, is_small = data_url(tmp_path / "wide.png")
    assert source.startswith("data:image/jpeg;base64,")
    assert not is_small
    assert len(source) < 100_000
    assert data_url(tmp_path / "small.png")[1]
