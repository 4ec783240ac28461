"""Hold a run on disk that is opened to be read."""

from dataclasses import dataclass
from pathlib import Path

from flexsearch.errors import UserError
from flexsearch.study.settings import SearchSettings
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.settings import TrialSettings


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run directory with its settings and evidence; `url` is its study's."""

    folder: Path
    name: str
    settings: TrialSettings
    search: SearchSettings
    store: Store
    url: str

    def trial(self, number: int) -> TrialRecord:
        """Give one trial.

        Raises:
            UserError: the run has no such trial.
        """
        record = self.store.trial(number)
        if record is None:
            nearest = min(self.store.digests(), key=lambda known: abs(known - number), default=None)
            raise UserError(f"{self.folder} has no trial {number}", field="TRIAL", nearest=nearest)
        return record
