"""The main job from the command line, on real images with a tiny base: run, resume, look, export, sample."""

import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import psycopg
import pytest
import torch
from builders import Call
from PIL import Image
from servers import Postgres
from sqlalchemy import make_url

from flexsearch.cli.results import open_run
from flexsearch.config import load_config
from flexsearch.models.flexdit import FlexDiT
from flexsearch.study.forerunner import Forerunner


def front(flexsearch: Call, run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(flexsearch("front", run_dir, "--json").out)
    return found


def numbers_and_digests(run_dir: Path) -> list[tuple[int, str]]:
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{run_dir / 'study.db'}")
    return [(trial.number, trial.user_attrs["digest"]) for trial in study.trials]


def test_the_run_directory_is_as_promised(run_dir: Path) -> None:
    """Made by the local executor, which needs no Ray."""
    names = {path.name for path in run_dir.iterdir()}
    assert {"config.yaml", "study.db", "trials", "base", "front.png", "front.csv", "run.log"} <= names
    assert Image.open(run_dir / "front.png").size[0] > 800
    frame = pd.read_csv(run_dir / "front.csv")
    assert {"trial", "schedule", "fid_fashion_cnn", "latency_ms", "on_front", "digest"} <= set(frame.columns)
    assert len(frame) == 6
    assert "6 trials are finished" in (run_dir / "run.log").read_text()


def test_the_same_command_again_returns_at_once(
    flexsearch: Call, run_space: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flexsearch.study.run._prepare", lambda *_: pytest.fail("there is nothing to prepare"))
    before = front(flexsearch, run_dir)
    log = (run_dir / "run.log").read_text()
    database = (run_dir / "study.db").stat().st_size
    outcome = flexsearch("run", run_space, "--run-dir", run_dir, "--executor", "local")
    assert outcome.code == 0
    assert front(flexsearch, run_dir) == before
    assert (run_dir / "run.log").read_text().count("measuring") == log.count("measuring") == 1
    assert (run_dir / "study.db").stat().st_size == database


def test_more_trials_and_repetitions_prolong_a_run(flexsearch: Call, run_space: Path, run_dir: Path) -> None:
    before = numbers_and_digests(run_dir)
    more = ("--trials", 7, "--set", "search.noise_seeds=2")
    outcome = flexsearch("run", run_space, "--run-dir", run_dir, "--executor", "local", *more)
    assert outcome.code == 0
    after = numbers_and_digests(run_dir)
    assert after[: len(before)] == before
    found = front(flexsearch, run_dir)
    assert sum(found["counts"].values()) >= 7
    assert found["noise"]["num_seeds"] == 3


@pytest.mark.parametrize("change", [["--seed", 1], ["--set", "trial.updates=3"], ["--set", "space.sampler_steps=2"]])
def test_what_decides_results_cannot_change(flexsearch: Call, run_space: Path, run_dir: Path, change: list) -> None:
    outcome = flexsearch("run", run_space, "--run-dir", run_dir, *change)
    assert outcome.code == 2
    assert "when this run was started" in outcome.err
    assert "use another --run-dir" in outcome.err


def test_another_run_of_the_same_protocol_is_adopted(
    flexsearch: Call, run_space: Path, run_dir: Path, tmp_path: Path
) -> None:
    """Nothing is trained again, and what was measured stays. (What the headline rests on may be timed once more.)"""
    new = tmp_path / "new"
    again = ["run", run_space, "--executor", "local", "--from", run_dir, "--set", "search.noise_schedules=0"]
    outcome = flexsearch(*again, "--run-dir", new)
    assert "has the same protocol: its 6 complete trials are taken as they are" in outcome.err
    kept, found = (
        {record.digest: (record.measurements, record.baseline) for record in open_run(one).store.trials()}
        for one in (run_dir, new)
    )
    assert len(kept) == 6
    assert found == kept
    for trial in range(6):
        shown = json.loads(flexsearch("show", new, trial, "--json").out)
        assert shown["reason"].startswith("adopted from trial ")
        assert (new / "trials" / str(trial) / "samples.png").exists()


def test_a_run_of_another_protocol_gives_its_front(run_space: Path, run_dir: Path) -> None:
    forerunner = Forerunner(**vars(open_run(run_dir)))
    same, other = load_config(run_space).trial_settings, load_config(run_space, ["trial.updates=1"]).trial_settings
    assert sorted(forerunner.adopted(same, seed=0).numbers.values()) == list(range(6))
    assert forerunner.adopted(other, seed=0).numbers == forerunner.adopted(same, seed=1).numbers == {}
    everything = forerunner.first(same.search_space, same, seed=0)
    best = forerunner.first(other.search_space, other, seed=0)
    assert len(everything) == 4
    assert 1 <= len(best) <= 4
    assert all(parameters in everything for parameters in best)
    narrow = load_config(run_space, ["space.timetable.noise_grid.choice=[2]"]).search_space
    assert forerunner.first(narrow, same, seed=0) == [one for one in everything if one["timetable.noise_grid"] == 2]
    assert forerunner.first(load_config(run_space, ["space.dense=false"]).search_space, same, seed=0) == everything
    fewer = load_config(run_space, ["space.timetable.noise_grid=2"]).search_space
    assert forerunner.first(fewer, same, seed=0) == []


def test_show_and_front(flexsearch: Call, run_dir: Path, tmp_path: Path) -> None:
    page = flexsearch("show", run_dir, 3)
    assert page.code == 0
    for part in ("trial 3", "role", "fid_fashion_cnn", "samples.png"):
        assert part in page.out
    found = json.loads(flexsearch("show", run_dir, 3, "--json").out)
    assert found["state"] == "complete"
    assert {"macs", "latency_ms", "fid_fashion_cnn"} == {one["name"] for one in found["measurements"]}
    protocol = next(one for one in found["measurements"] if one["name"] == "latency_ms")["protocol"]
    assert {"device", "batch", "repeats", "dtype", "spacing", "guidance", "torch", "compile"} <= set(protocol)
    unknown = flexsearch("show", run_dir, 99)
    assert (unknown.code, "has no trial 99" in unknown.err) == (2, True)
    shown = flexsearch("front", run_dir, "--csv", tmp_path / "x" / "f.csv", "--plot", tmp_path / "x" / "f.svg")
    assert "Pareto front of tiny" in shown.out
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"f.csv", "f.svg"}
    wrong = flexsearch("front", run_dir, "--plot", tmp_path / "f.bmp")
    assert (wrong.code, "--plot: must end in" in wrong.err) == (2, True)


def test_confirm(flexsearch: Call, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = front(flexsearch, run_dir)
    again = ["confirm", run_dir, "--images", 16, "--seeds", 2, "--top", 1]
    outcome = flexsearch(*again, "--json")
    assert outcome.code == 0
    assert "note: --images 16 are fewer than the run's 20" in outcome.err
    found = json.loads(outcome.out)
    assert front(flexsearch, run_dir) == found
    told = found.pop("confirmation")
    assert (told["images"], told["seeds"]) == (16, [10_000, 10_001])
    points = {row["trial"]: row.pop("confirmed") for row in told["points"]}
    assert {row["trial"] for row in found["baselines"]} <= set(points)
    assert sum(row["baseline"] is None for row in told["points"]) <= 1
    for point in points.values():
        assert point["verdict"] in ("confirmed", "within noise", "not confirmed")
        assert 0 <= point["front_probability"] <= 1
        assert point["quality"]["low"] <= point["quality"]["value"] <= point["quality"]["high"]
    spent = sum(seconds for what, seconds in found["cost_s"].items() if what.startswith("confirm: "))
    assert spent > 0
    for row in found["front"] + found["baselines"]:
        row.pop("confirmed", None)
        assert row.keys() == before["front"][0].keys()
    for row in [*found["front"], *found["baselines"], *before["front"], *before["baselines"]]:
        del row["speedup"], row["speedup_over_all_free"], row["timed_again"]  # of what is known best
    unchanged = ("study", "objectives", "reference_point", "hypervolume", "counts", "front", "baselines", "noise")
    assert {key: found[key] for key in unchanged} == {key: before[key] for key in unchanged}
    assert "verdict" in pd.read_csv(run_dir / "front.csv").columns
    monkeypatch.setattr("flexsearch.trial.remeasure.remeasure", lambda *_, **__: pytest.fail("nothing is missing"))
    shown = flexsearch(*again)
    assert shown.code == 0
    assert "measured again: 2 x 16 images" in " ".join(shown.out.split())
    assert "searched points of the front that were measured again" in " ".join(shown.out.split())
    assert "measured again" in flexsearch("front", run_dir).out


def test_confirm_says_what_it_needs(flexsearch: Call, run_dir: Path, tmp_path: Path) -> None:
    for options, message in (
        (["--images", 7], "--images: must be at least 8, but got 7; nearest legal: 8"),
        (["--seeds", 1], "--seeds: must be at least 2, but got 1; nearest legal: 2"),
        (["--top", 0], "--top: must be at least 1, but got 0; nearest legal: 1"),
    ):
        outcome = flexsearch("confirm", run_dir, *options)
        assert (outcome.code, outcome.out, message in outcome.err) == (2, "", True)
    assert "is not a run directory" in flexsearch("confirm", tmp_path / "nowhere").err


def test_export_and_sample(flexsearch: Call, run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    assert flexsearch("export", run_dir, 3, out).code == 0
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"transformer/config.json", "scheduler/scheduler_config.json", "candidate.json", "README.md"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    model = FlexDiT.from_pretrained(out / "transformer").eval()
    kept = FlexDiT.from_pretrained(run_dir / "trials" / "3" / "model").eval()
    noisy, time_, labels = torch.randn(2, 1, 16, 16), torch.tensor([300.0, 300.0]), torch.tensor([0, 10])
    with torch.inference_mode():
        assert torch.equal(
            model(noisy, time_, class_labels=labels).sample, kept(noisy, time_, class_labels=labels).sample
        )
    again = flexsearch("export", run_dir, 3, out)
    assert (again.code, "exists already" in again.err) == (2, True)
    assert flexsearch("sample", out, "--out", tmp_path / "drawn.png", "--num", 20).code == 0
    assert Image.open(tmp_path / "drawn.png").size == (10 * 81 + 1, 2 * 81 + 1)  # enlarged fivefold


def waited(asked: Callable[[], Any], program: Any) -> Any:
    """Ask until there is something: for seconds, or for minutes where others use the machine."""
    for _ in range(6000):
        with suppress(OSError):
            if found := asked():
                return found
        assert program.poll() is None, program.stderr.read()
        time.sleep(0.1)
    raise AssertionError("nothing after ten minutes")


def wait_for_trial(run_dir: Path, number: int, program: Any) -> None:
    waited((run_dir / "trials" / str(number) / "result.json").exists, program)


def _read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def note_of(study: Any, number: int) -> str:
    return next(str(trial["note"]["body"]) for trial in study["trials"] if trial["number"] == number)


def test_the_dashboard_serves_the_run(flexsearch: Call, start_program: Call, run_dir: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, url = start_program("dashboard", run_dir, "--port", port), f"http://127.0.0.1:{port}/api/studies"
    try:
        (summary,) = waited(lambda: _read(url)["study_summaries"], program)
        assert summary["study_name"] == "tiny"
        own = f"{url}/{summary['study_id']}"
        note = waited(lambda: found if "schedule.png" in (found := note_of(_read(own), 3)) else None, program)
        study = _read(own)  # schedules are drawn while the page is there already
        trial = next(trial for trial in study["trials"] if trial["number"] == 3)
        assert study["artifacts"] is not None
        assert [artifact["filename"] for artifact in trial["artifacts"]] == ["samples.png"]
        shown = {artifact["filename"] for artifact in study["artifacts"]}
        assert {"trial-3-preview.png", "trial-3-schedule.png"} <= shown
        picture = re.search(r"!\[schedule.png\]\((\S+)\)", note)
        assert picture is not None, note
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{picture[1]}", timeout=60) as answer:
            assert answer.read().startswith(b"\x89PNG")
        assert study["note"]["body"].count("![front.png]") == 1
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            assert answer.url.endswith(f"/dashboard/studies/{summary['study_id']}/note")
        taken = flexsearch("dashboard", run_dir, "--port", port)
        assert (taken.code, f"--port {port}: cannot be used" in taken.err) == (2, True)
    finally:
        program.send_signal(signal.SIGINT)
        try:
            program.communicate(timeout=300)
        finally:
            program.kill()
    assert program.returncode == 130


def test_a_killed_run_goes_on(
    flexsearch: Call, start_program: Call, run_space: Path, run_dir: Path, tmp_path: Path
) -> None:
    """While it runs, no second driver comes in; killed, the same command ends with what an uninterrupted run has."""
    killed = tmp_path / "killed"
    shutil.copytree(run_dir / "base", killed / "base")  # what trials share is found ready
    program = start_program("run", run_space, "--run-dir", killed, "--executor", "local")
    wait_for_trial(killed, 0, program)
    outcome = flexsearch("run", run_space, "--run-dir", killed)
    assert outcome.code == 2
    assert f"is being searched by process {program.pid}" in outcome.err
    program.kill()
    program.communicate()
    assert not (killed / "front.csv").exists()
    assert flexsearch("run", run_space, "--run-dir", killed, "--executor", "local").code == 0
    assert numbers_and_digests(killed) == numbers_and_digests(run_dir)
    whole, resumed = (pd.read_csv(folder / "front.csv") for folder in (run_dir, killed))
    # Features are float32, and another process may sum in another order.
    assert list(whole["fid_fashion_cnn"]) == pytest.approx(list(resumed["fid_fashion_cnn"]), rel=2**-20)


def test_pretrain_makes_a_base_that_a_search_takes(
    flexsearch: Call, tiny_space: Call, tiny_transformer: dict[str, Any], tmp_path: Path
) -> None:
    base = {"checkpoint": str(tmp_path / "new_base"), "config": tiny_transformer}
    space = tiny_space(base=base, pretrain={"updates": 3, "batch": 4}, search={"trials": 1})
    missing = flexsearch("run", space, "--run-dir", tmp_path / "r")
    assert (missing.code, "flexsearch pretrain" in missing.err) == (2, True)
    outcome = flexsearch("pretrain", space)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "new_base" / "transformer" / "diffusion_pytorch_model.safetensors").exists()
    again = flexsearch("pretrain", space)
    assert (again.code, "is there already" in again.err) == (2, True)
    assert flexsearch("run", space, "--run-dir", tmp_path / "r", "--executor", "local").code == 0


def test_noise_is_shown(flexsearch: Call, run_dir: Path) -> None:
    told = flexsearch("front", run_dir).out
    assert "Noise: differences of fid_fashion_cnn below" in " ".join(told.split())
    found = front(flexsearch, run_dir)
    assert found["noise"]["num_schedules"] == 2
    assert found["noise"]["num_seeds"] == 2
    assert found["cost_s"]["noise: fine-tune"] > 0
    paper = next(row["trial"] for row in found["baselines"] if row["baseline"] == "FlexDiT paper")
    assert "after 1 fine-tuning updates" in flexsearch("show", run_dir, paper).out


@pytest.mark.postgres
def test_a_killed_run_on_postgres_goes_on(
    flexsearch: Call, start_program: Call, run_space: Path, finished_run: Path, postgres: Postgres, tmp_path: Path
) -> None:
    shutil.copytree(finished_run / "base", tmp_path / "run" / "base")  # what trials share is found ready
    storage = ("--storage", postgres.new_database())
    arguments = ("run", run_space, "--run-dir", tmp_path / "run", *storage, "--executor", "local")
    program = start_program(*arguments)
    wait_for_trial(tmp_path / "run", 3, program)
    program.kill()
    program.communicate()
    assert flexsearch(*arguments).code == 0
    assert not (tmp_path / "run" / "study.db").exists()
    found = front(flexsearch, tmp_path / "run")
    assert found["counts"]["complete"] == 6
    assert found["counts"]["running"] == 0
    assert len(found["front"]) >= 1


@pytest.mark.postgres
def test_a_role_that_may_only_read_is_told_in_one_line(
    flexsearch: Call, run_space: Path, postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.new_database()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as session:
        session.execute("CREATE ROLE reader LOGIN")
    storage = ("--storage", str(make_url(url).set(username="reader").render_as_string(hide_password=False)))
    outcome = flexsearch("run", run_space, "--run-dir", tmp_path / "run", *storage, "--executor", "local")
    assert outcome.code == 2
    told = outcome.err.splitlines()[-1]
    assert "permission denied" in told
    assert told.startswith("error: ")


@pytest.mark.slow
def test_a_killed_run_on_ray_goes_on(
    flexsearch: Call, start_program: Call, run_space: Path, finished_run: Path, tmp_path: Path
) -> None:
    """The driver is killed while Ray's workers run; their processes go with it, and nothing is run or counted twice."""
    arguments = ("run", run_space, "--run-dir", tmp_path / "killed", "--executor", "ray")
    program = start_program(*arguments)
    wait_for_trial(tmp_path / "killed", 2, program)
    program.kill()
    program.communicate()
    resumed = start_program(*arguments)
    _, err = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, err
    assert numbers_and_digests(tmp_path / "killed") == numbers_and_digests(finished_run)
    found = front(flexsearch, tmp_path / "killed")
    assert found["counts"]["complete"] == 6
    assert found["counts"]["running"] == 0
    whole, again = (pd.read_csv(folder / "front.csv") for folder in (finished_run, tmp_path / "killed"))
    assert list(whole["fid_fashion_cnn"]) == list(again["fid_fashion_cnn"]), "both on one thread"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's list of processes")
def test_ctrl_c_of_a_run_on_ray_leaves_no_process(
    start_program: Call, run_space: Path, run_dir: Path, tmp_path: Path
) -> None:
    """While it runs, all that it has started listens on this machine alone."""
    mark = f"FLEXSEARCH_TEST={tmp_path}"
    shutil.copytree(run_dir / "base", tmp_path / "r" / "base")  # what trials share is found ready
    arguments = ("run", run_space, "--run-dir", tmp_path / "r", "--executor", "ray")
    program = start_program(*arguments, env={**os.environ, "FLEXSEARCH_TEST": str(tmp_path)}, start_new_session=True)
    wait_for_trial(tmp_path / "r", 0, program)
    started = processes_of(mark)
    assert len(started) > 3, "Ray has processes of its own"
    assert listened_on(started) == {"127.0.0.1"}
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=300)
    assert program.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted: nothing is lost, the same command goes on"
    for _ in range(300):  # Ray's end a moment after their driver
        if not processes_of(mark):
            return
        time.sleep(0.1)
    left = {one: (one / "cmdline").read_bytes() for one in processes_of(mark)}
    for process in left:
        os.kill(int(process.name), signal.SIGKILL)
    assert not left


def processes_of(mark: str) -> list[Path]:
    """Find the processes that were started with a variable in their environment, and their children."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is another user's
            if mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(process)
    return found


def listened_on(processes: list[Path]) -> set[str]:
    """Give the addresses on which processes wait for others."""
    sockets = set()
    for process in processes:
        with suppress(OSError):
            sockets |= {os.readlink(one) for one in (process / "fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in sockets:
                words = [int(local[start : start + 8], 16) for start in range(0, len(local.partition(":")[0]), 8)]
                packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
                address = ipaddress.ip_address(packed)
                found.add(str(getattr(address, "ipv4_mapped", None) or address))
    return found


def test_a_search_that_failures_stop_says_so_last(
    flexsearch: Call, tiny_space: Call, finished_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_run / "base", tmp_path / "r" / "base")  # what trials share is found ready
    space = tiny_space(trial={"learning_rate": 1e30, "updates": 3})
    outcome = flexsearch("run", space, "--run-dir", tmp_path / "r", "--executor", "local")
    assert outcome.code == 2
    reason = "3 trials in a row failed, the last with: the loss is not finite after update 2"
    assert reason in outcome.err.strip().splitlines()[-1]
    assert reason in (tmp_path / "r" / "run.log").read_text().splitlines()[-1]
    assert front(flexsearch, tmp_path / "r")["counts"]["failed"] == 3


def test_a_cluster_that_is_not_there_is_told_before_anything_is_made(
    flexsearch: Call, run_space: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    outcome = flexsearch("run", run_space, "--run-dir", tmp_path / "r", "--ray-address", address)
    assert (outcome.code, f"--ray-address: nobody answers at '{address}'" in outcome.err) == (2, True)
    assert not (tmp_path / "r").exists()


def test_a_study_belongs_to_the_directory_where_it_began(
    flexsearch: Call, run_space: Path, run_dir: Path, tmp_path: Path
) -> None:
    outcome = flexsearch("run", run_space, "--run-dir", tmp_path / "b", "--storage", f"sqlite:///{run_dir}/study.db")
    assert (outcome.code, "began in another run directory" in outcome.err) == (2, True)
    assert not (tmp_path / "b" / "config.yaml").exists()


def test_another_space_of_a_name_that_is_taken_is_told_what_helps(
    flexsearch: Call, run_space: Path, run_dir: Path
) -> None:
    """In a database that runs share another directory alone does not."""
    changed = ["--set", "trial.updates=3"]
    for storage, hint in (([], "use another --run-dir;"), (["--storage", f"sqlite:///{run_dir}/study.db"], "and an")):
        outcome = flexsearch("run", run_space, "--run-dir", run_dir, *storage, *changed)
        assert outcome.code == 2
        assert "trial.updates" in outcome.err
        assert hint in outcome.err


@pytest.mark.parametrize("command", ["front", "show {} 0", "choose {} --knee", "run {space} --run-dir {}"])
def test_a_database_that_another_program_holds_is_one_line(
    flexsearch: Call, run_space: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("flexsearch.study.storage.SQLITE_TIMEOUT_S", 0.01)
    words = [
        word.format(run_dir, space=run_space) for word in (command.split() if "{}" in command else [command, "{}"])
    ]
    with sqlite3.connect(run_dir / "study.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        outcome = flexsearch(*words)
    assert outcome.code == 2, outcome.err
    assert "database is locked" in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("left", [None, b""])
def test_a_run_without_its_database_is_named(flexsearch: Call, run_dir: Path, left: bytes | None) -> None:
    (run_dir / "study.db").unlink()
    if left is not None:
        (run_dir / "study.db").write_bytes(left)
    outcome = flexsearch("front", run_dir)
    assert (outcome.code, "holds no study 'tiny'" in outcome.err) == (2, True)
    assert (run_dir / "study.db").exists() is (left is not None)
