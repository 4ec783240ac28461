"""The distance of real images is that of this reference, extractor and number alone."""

from typing import Any

import pytest

from flexsearch.report.held_out import held_out_distance

QUICKSTART: dict[str, Any] = {"reference": "01cf613f530f", "extractor_weights": "fc6c337a8f51"}


@pytest.mark.parametrize(
    ("protocol", "images", "distance"),
    [
        (QUICKSTART, 500, 6.8087),
        (QUICKSTART, 2000, 1.5656),
        (QUICKSTART, 501, None),
        ({**QUICKSTART, "reference": "another"}, 500, None),
        ({**QUICKSTART, "extractor_weights": "another"}, 500, None),
        ({}, 500, None),
    ],
)
def test_it_is_known_for_what_was_measured(protocol: dict[str, Any], images: int, distance: float | None) -> None:
    assert held_out_distance(protocol, images=images) == distance
