"""Schedules and patterns as people read them: repeats by their number, `PP(MsssRD)x4DD @10,8,7,6`."""

import re

_REPEATS = re.compile(r"([A-Za-z]{1,12}?)\1{2,}")


def run_lengths(text: str) -> str:
    """Write what repeats in a schedule, a sampling or a candidate by its number, where that is shorter."""
    return _REPEATS.sub(lambda run: min(run[0], f"({run[1]})x{len(run[0]) // len(run[1])}", key=len), text)
