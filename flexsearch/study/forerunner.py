"""Another run that a search begins with: its results where its protocol is the same, else its best schedules first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexsearch.space.domains import Domain, Float, Value
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.baselines import is_fine_tuned
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.pareto import non_dominated
from flexsearch.study.settings import SearchSettings
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.adoption import Adopted, protocol_of
from flexsearch.trial.settings import TrialSettings

Parameters = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Forerunner:
    """A run directory that is opened, and its study."""

    folder: Path
    name: str
    url: str
    settings: TrialSettings
    search: SearchSettings
    store: Store

    def adopted(self, settings: TrialSettings, *, seed: int) -> Adopted:
        """Say which trials have the results that they would have under `settings`."""
        is_alike = protocol_of(self.settings, seed=self.search.seed) == protocol_of(settings, seed=seed)
        complete = self._complete if is_alike else []
        return Adopted(
            folder=self.folder, numbers={one.digest: one.number for one in complete if not is_fine_tuned(one.baseline)}
        )

    def share_timings(self, store: Store, adopted: Adopted) -> None:
        """Keep the later timings of what was adopted beside the trials that took its results."""
        known, there = store.timings(), self.store.timings()
        for record in store.trials():
            timing = there.get(adopted.numbers.get(record.digest, -1)) if not is_fine_tuned(record.baseline) else None
            if record.state == "complete" and timing is not None and record.number not in known:
                store.record_timing(record.number, timing.latency, *timing.beside)

    def first(self, space: SearchSpace, settings: TrialSettings, *, seed: int) -> list[Parameters]:
        """Give the parameters to try first, as far as `space` has them: all that are adopted, or the front's."""
        objectives = self.settings.objectives.names
        searched = [record for record in self._complete if record.baseline is None]
        best = non_dominated(searched, lambda one: [one.measurements[name].value for name in objectives])
        study = OptunaStudy(
            self.url,
            name=self.name,
            objectives=self.settings.objectives.labels,
            domains=self.settings.search_space.domains,
            settings=self.search,
            must_exist=True,
        )
        known = study.parameters()
        chosen: Sequence[TrialRecord] = searched if self.adopted(settings, seed=seed).numbers else best
        found = [known[record.number] for record in chosen]
        return [parameters for parameters in found if _fits(parameters, space.domains)]

    @property
    def _complete(self) -> list[TrialRecord]:
        names = self.settings.objectives.names
        records = [record for record in self.store.trials() if record.state == "complete"]
        return [record for record in records if all(name in record.measurements for name in names)]


def _fits(parameters: Parameters, domains: Mapping[str, Domain]) -> bool:
    """Tell whether a space has these parameters and values, and no others."""
    return parameters.keys() == domains.keys() and all(_has(domains[name], value) for name, value in parameters.items())


def _has(domain: Domain, value: Value) -> bool:
    if isinstance(domain, Float):
        return isinstance(value, int | float) and domain.low <= value <= domain.high
    return value in (domain.values or ())
