"""Say which Ray cluster is used, if any, and whether it is there. Imports no Ray."""

import os
import re
import socket
import subprocess
import sys

from flexsearch.errors import UserError, reason_of, shown

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""Of the environment of every process of Ray's."""

_SHUT_WITHIN_S = 30.0

_PROBE = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
"""


def cluster_address(given: str | None) -> str | None:
    """Give the address of the running cluster: the one that is given, else RAY_ADDRESS; None for a Ray of our own."""
    address = given or os.environ.get("RAY_ADDRESS")
    return None if not address or address == "local" else address


def check_cluster(address: str | None) -> None:
    """Join a running cluster and leave it, in a process of its own, which a cluster that is gone cannot hold up.

    Args:
        address: as given to `--ray-address`; None takes RAY_ADDRESS, if it is set.

    Raises:
        UserError: there is no cluster that takes us, within 30 seconds.
    """
    field = "--ray-address" if address else "RAY_ADDRESS"
    address = cluster_address(address)
    if address is None:
        return
    place = re.fullmatch(r"(?:ray://)?\[?([^\]]+?)\]?:(\d+)", address)
    if place is not None:
        try:
            socket.create_connection((place[1], int(place[2])), timeout=_SHUT_WITHIN_S / 3).close()
        except (OSError, OverflowError) as error:
            raise UserError(f"nobody answers at {shown(address)} ({reason_of(error)})", field=field) from None
    command = [sys.executable, "-c", _PROBE, address]
    environment = {**os.environ, **QUIET, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}
    try:
        subprocess.run(
            command, env=environment, timeout=_SHUT_WITHIN_S * 2 / 3, check=True, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        reason = f"no answer in {_SHUT_WITHIN_S * 2 / 3:.0f} s"
    except subprocess.CalledProcessError as failed:
        reason = reason_of(RuntimeError(next(reversed(failed.stderr.splitlines()), "")))
    else:
        return
    raise UserError(
        f"no Ray cluster takes us at {shown(address)} ({reason}); a cluster with a token wants the same "
        "~/.ray/auth_token, or RAY_AUTH_TOKEN, here and RAY_AUTH_MODE=token, one without RAY_AUTH_MODE=disabled",
        field=field,
    )
