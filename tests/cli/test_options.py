"""Values of options that more than one command reads."""

from pathlib import Path

import pytest

from flexsearch.cli.options import check_picture, whole_numbers
from flexsearch.errors import UserError


def test_whole_numbers_are_read_from_a_list() -> None:
    assert whole_numbers("3", field="--seeds") == (3,)
    assert whole_numbers("0, 12,5", field="--seeds") == (0, 12, 5)
    for text in ("", "1,", "a", "1.5"):
        with pytest.raises(UserError, match="--seeds: must be whole numbers"):
            whole_numbers(text, field="--seeds")


def test_a_picture_is_written_in_the_format_of_its_name() -> None:
    for name in ("a.png", "a.svg", "a.pdf"):
        check_picture(Path(name), option="--plot")
    with pytest.raises(UserError, match=r"--plot: must end in .png, .svg or .pdf, but got 'a.bmp'.*a.png"):
        check_picture(Path("a.bmp"), option="--plot")
