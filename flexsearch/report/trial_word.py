"""Say what names a trial on the command line: its number, or a rule by which it is chosen."""

import re
from difflib import get_close_matches

from flexsearch.errors import UserError, shown
from flexsearch.report.choice import choose
from flexsearch.report.claim import headline
from flexsearch.report.front import front_of
from flexsearch.report.run import Run

BEST, KNEE = "best", "knee"
_WITHIN = re.compile(r"(\d+(?:\.\d+)?)ms")


def trial_number(run: Run, word: str) -> int:
    """Give the number of the trial that a word names.

    Args:
        run: of the trial.
        word: a number; `best`, the trial of the headline; `knee`, the knee of the front; or `8ms`, the best within
            8 ms per image.

    Raises:
        UserError: it is none of these, or the front has no such trial.
    """
    if word.isascii() and word.isdigit():
        return int(word)
    within = _WITHIN.fullmatch(word)
    if word not in (BEST, KNEE) and within is None:
        raise UserError(
            f"must be the number of a trial, {BEST}, {KNEE}, or a latency such as 8ms, but got {shown(word)}",
            field="TRIAL",
            nearest=next(iter(get_close_matches(word.lower(), (BEST, KNEE), n=1)), None),
        )
    front = front_of(run.store, run.settings.objectives.names)
    if word == BEST:
        _, found = headline(front.best_known, quality=front.objectives[0].name)
        if found is None:
            raise UserError("no searched trial is ahead of what is free", field=f"TRIAL {word}", nearest=KNEE)
        return found.record.number
    try:
        chosen = choose(front, knee=word == KNEE, max_latency_ms=None if within is None else float(within[1]))
    except UserError as error:
        raise UserError(error.message, field=f"TRIAL {word}") from None
    return chosen.point.record.number
