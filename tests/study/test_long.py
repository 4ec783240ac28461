"""Longer fine-tunes of a few trials at equal steps, each once."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flexsearch.study.executor import run_locally
from flexsearch.study.repeats import OrderQueue, long_fine_tunes, schedules_to_prolong
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

OBJECTIVE = "fid_fashion_cnn"
Open = Callable[..., Any]
Run = Callable[..., TrialResult]


def test_long_fine_tunes_are_rungs_beyond_the_end_and_made_once(
    open_search: Open, run_trial: Run, tmp_path: Path
) -> None:
    search = open_search(trials=14, algorithm="random")
    run_locally(search, run_trial)
    records = search.store.trials()
    chosen = schedules_to_prolong(records, objective=OBJECTIVE, num=3)
    assert len(chosen) == 3
    steps = {record.candidate.sampling.steps for record in chosen}
    trained = [record.candidate.sampling.steps for record in records if record.num_updates]
    assert len(steps) == 1
    assert Counter(trained)[steps.pop()] == max(Counter(trained).values())
    values = [record.measurements[OBJECTIVE].value for record in chosen]
    assert values == sorted(values)

    def long() -> OrderQueue:
        return long_fine_tunes(search.store, chosen, updates=90, run_dir=tmp_path, objective=OBJECTIVE)

    folders: list[Path] = []

    def note(order: TrialOrder, report: Report) -> TrialResult:
        assert (order.seed, order.updates, order.kind) == (0, 90, "long")
        folders.append(order.trial_dir)
        return run_trial(order, report)

    assert run_locally(long(), note) == "the long fine-tunes are measured"
    assert len(set(folders)) == 3
    assert all(folder.name == "updates-90" for folder in folders)
    chosen = [record for record in search.store.trials() if record.number in {one.number for one in chosen}]
    assert [record.rung(90).quality for record in chosen] == [r.measurements[OBJECTIVE].value for r in chosen]
    assert len(long()) == 0
    after = {record.number: record for record in search.store.trials()}
    assert all(after[record.number].measurements == record.measurements for record in records)
    costs = {cost.what: cost.seconds for cost in search.store.costs()}
    assert costs["long: fine-tune"] == 6.0


def test_what_cannot_be_ranked_is_not_prolonged(open_search: Open, run_trial: Run) -> None:
    search = open_search(trials=3)
    run_locally(search, run_trial)
    records = search.store.trials()
    assert schedules_to_prolong(records, objective=OBJECTIVE, num=3) == [], "one trained trial has no rank"
    assert schedules_to_prolong([], objective=OBJECTIVE, num=3) == []
    assert schedules_to_prolong(records, objective=OBJECTIVE, num=0) == []
