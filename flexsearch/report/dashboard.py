"""optuna-dashboard on a run: sample images and notes per trial, and the front with its baselines."""

import sys
import threading

from optuna_dashboard import run_server, save_note, save_plotly_graph_object

from flexsearch.errors import UserError
from flexsearch.report.front import Front, front_of
from flexsearch.report.front_figure import front_figure
from flexsearch.report.run import Run
from flexsearch.report.trial_page import draw_schedule, measurements_markdown
from flexsearch.study.decisions import ARTIFACTS, Decisions
from flexsearch.study.store import TrialRecord

HOST = "127.0.0.1"  # its page can delete studies
_REFRESH_S = 10.0
_PLOT_ID = "flexsearch-front"


def decisions_of(run: Run) -> Decisions:
    """The run's Optuna study."""
    return Decisions(
        run.url,
        name=run.name,
        objectives=run.settings.objectives.names,
        domains=run.settings.search_space.domains,
        settings=run.search,
    )


def publish(run: Run, decisions: Decisions) -> None:
    """Brings notes and the plot in the dashboard up to date with the evidence."""
    front = front_of(run.store, run.settings.objectives.names)
    for record in run.store.trials():
        if record.measurements:
            save_note(decisions.trial(record.number), note(run, record))
    save_note(decisions.study, study_note(front))
    if front.points:
        save_plotly_graph_object(decisions.study, front_figure(front), graph_object_id=_PLOT_ID)


def note(run: Run, record: TrialRecord) -> str:
    """A trial in Markdown: schedule drawn, measurements with protocol."""
    drawn = "\n".join(draw_schedule(record.candidate.schedule, run.settings.shape.grid))
    title = record.baseline or str(record.candidate)
    return f"### {title}\n\n```\n{drawn}\n```\n\n{measurements_markdown(record)}\n"


def study_note(front: Front) -> str:
    """The study in Markdown."""
    lines = [f"- **{o.name}** ({o.unit or 'no unit'}), minimised: {dict(o.protocol)}" for o in front.objectives]
    return "\n".join([f"### {front.study}", "", *lines, "", f"Hypervolume {front.hypervolume:.4g}."])


def serve(run: Run, *, port: int) -> None:
    """Serves until interrupted; keeps itself up to date with a search that is still running.

    Raises:
        UserError: the port is taken.
    """
    decisions = decisions_of(run)
    publish(run, decisions)
    images = decisions.artifacts(run.folder / ARTIFACTS)
    ended, failures = threading.Event(), list[Exception]()

    def answer_requests() -> None:
        try:
            run_server(decisions.study._storage, host=HOST, port=port, artifact_store=images)
        except Exception as error:
            failures.append(error)
        finally:
            ended.set()

    threading.Thread(target=answer_requests, daemon=True).start()  # so that an interrupt never meets a request
    print(f"serving {run.folder} at http://{HOST}:{port}/ (Ctrl-C ends it)", file=sys.stderr, flush=True)
    while not ended.wait(_REFRESH_S):
        publish(run, decisions)
    for error in failures:
        if isinstance(error, OSError):
            raise UserError(f"cannot be used ({error.strerror})", field=f"--port {port}", nearest=port + 1)
        raise error
