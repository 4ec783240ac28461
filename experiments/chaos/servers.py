"""Servers on this machine, made to be hurt: a PostgreSQL server, and a Ray cluster of a head and workers as processes.

Both listen on 127.0.0.1, keep their files in a temporary folder, and are gone with their block.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

_STARTS_WITHIN_S = 90


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def postgres_programs() -> Path | None:
    """Find the folder of `initdb` and `pg_ctl`, of the newest PostgreSQL; None where none is installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb") or next(reversed(installed), None)
    return None if found is None else Path(found).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A server that runs.

    Attributes:
        url: of its database.
    """

    url: str
    _programs: Path
    _folder: Path
    _options: str

    def new_database(self) -> str:
        """Make an empty database; give its URL."""
        name = f"d{secrets.token_hex(4)}"
        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as session:
            session.execute(f"CREATE DATABASE {name}")
        return self.url.removesuffix("postgres") + name

    def control(self, *arguments: str) -> None:
        """Call `pg_ctl` for this server: `start`, or `stop -m fast` or `immediate`."""
        log = str(self._folder / "log")
        _as_nobody(
            self._folder, self._programs / "pg_ctl", "-D", "data", "-w", "-l", log, "-o", self._options, *arguments
        )


def _as_nobody(folder: Path, *command: object) -> None:
    """Run a program of PostgreSQL, which refuses to be root, in a folder of its user's."""
    user = _user()
    subprocess.run([*map(str, command)], cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL)


def _user() -> str | None:
    """Name the user that the server runs as: None is the user of this process."""
    if os.geteuid() != 0:
        return None
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a PostgreSQL server of its own; `postgres_programs` says whether there is one to run."""
    programs = postgres_programs()
    assert programs is not None
    folder, port = Path(tempfile.mkdtemp(prefix="fs-pg-")), free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    server = Postgres(
        url=f"postgresql+psycopg://flexsearch@127.0.0.1:{port}/postgres",
        _programs=programs,
        _folder=folder,
        _options=options,
    )
    try:
        if (user := _user()) is not None:
            shutil.chown(folder, user)
        _as_nobody(folder, programs / "initdb", "-D", "data", "-U", "flexsearch", "--auth=trust", "--no-sync")
        server.control("start")
        yield server
    finally:
        with suppress(subprocess.CalledProcessError):  # it was stopped already
            server.control("stop", "-m", "immediate")
        shutil.rmtree(folder, ignore_errors=True)


def descendants(pid: int) -> list[psutil.Process]:
    """List the processes below one, by age; none where it is gone."""
    with suppress(psutil.NoSuchProcess):
        return sorted(psutil.Process(pid).children(recursive=True), key=lambda one: (one.create_time(), one.pid))
    return []


def _make_token() -> None:
    """Leave a token for Ray clusters where there is none, as `ray get-auth-token --generate` does in two seconds."""
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(exist_ok=True)
    own = path.with_name(f".{secrets.token_hex(4)}")
    own.touch(mode=0o600)
    own.write_text(secrets.token_hex(32))
    with suppress(FileExistsError):
        os.link(own, path)
    own.unlink()


class RayCluster:
    """A head without CPUs, and workers of one CPU each, started as `docs/cluster.md` says.

    Args:
        folder: of its files; a short path, which Ray's sockets need.
        environment: of its processes; drivers that join it need the same.
    """

    def __init__(self, folder: Path) -> None:
        _make_token()
        self._folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._start("--head", f"--port={self.address.split(':')[1]}", "--include-dashboard=false", cpus=0)

    def add_worker(self) -> None:
        """Start a node with one CPU; it has joined when this returns."""
        self._start(f"--address={self.address}", cpus=1)

    def _start(self, *arguments: str, cpus: int) -> None:
        ray = Path(sys.executable).with_name("ray")
        options = ("--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", "--num-gpus=0", "--block")
        memory = "--object-store-memory=80000000"
        command = [str(ray), "start", *arguments, *options, memory, f"--temp-dir={self._folder}"]
        log = self._folder / f"node-{len(self.nodes)}.log"
        with log.open("wb") as file:
            environment = {**os.environ, **self.environment, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
            node = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
            self.nodes.append(node)
        until = time.monotonic() + _STARTS_WITHIN_S
        while b"Ray runtime started." not in log.read_bytes():
            if node.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"a Ray node did not start: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.1)

    def raylets(self) -> list[psutil.Process]:
        """List the raylets of the workers that live, by age."""
        return [one for node in self.nodes[1:] for one in descendants(node.pid) if one.name() == "raylet"]

    def trial_processes(self) -> list[psutil.Process]:
        """List the processes that run trials, by age."""
        below = [one for raylet in self.raylets() for one in descendants(raylet.pid)]
        titles = [(one, _title(one)) for one in below]
        return [one for one, title in titles if "ray::" in title and "IDLE" not in title and "Agent" not in title]

    def close(self) -> None:
        """End all of its processes."""
        left = [one for node in self.nodes for one in descendants(node.pid)]
        for one in (*self.nodes, *left):
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                one.kill()
        for node in self.nodes:
            node.wait()


def _title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return "".join(process.cmdline()[:1])
    return ""


@contextmanager
def ray_cluster(*, workers: int = 2) -> Iterator[RayCluster]:
    """Run a Ray cluster of a head and workers."""
    folder = Path(tempfile.mkdtemp(prefix="fs-ray-"))
    cluster = RayCluster(folder)
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)
