"""Keep a storage's URL without its password, which comes with every command: in the URL that is given again, or in that
of the environment variable FLEXSEARCH_STORAGE, or from what the driver reads itself (`~/.pgpass`).
"""

import os
import re
from typing import TYPE_CHECKING

from flexsearch.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

VARIABLE = "FLEXSEARCH_STORAGE"
FIELD = "--storage"
_HIDDEN = "***"
_SECRET = re.compile("pass|pwd|secret|token", re.IGNORECASE)  # in the name of a URL's parameter, or in its value:
_INSIDE = re.compile(rf"({_SECRET.pattern})\w*\s*=", re.IGNORECASE)  # `odbc_connect=...;PWD=...`


def without_secrets(storage: str | None) -> str | None:
    """Give a URL as it may be kept and shown: *** in place of its password."""
    if storage is None:
        return None
    url = parsed_url(storage)
    query = {name: _HIDDEN if _is_secret(name, value) else value for name, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def with_secrets(kept: str | None) -> str | None:
    """Give a kept URL its password: that of FLEXSEARCH_STORAGE, where this names the same database, or none."""
    given = os.environ.get(VARIABLE)
    if kept is None or (given and _bare(parsed_url(given)) == _bare(parsed_url(kept))):
        return None if kept is None else given
    url = parsed_url(kept)
    if url.password == _HIDDEN or _HIDDEN in url.query.values():
        return _bare(url).render_as_string(hide_password=False)
    return kept


def _bare(url: "URL") -> "URL":
    """A URL without its secrets."""
    secret = [name for name, value in url.query.items() if _is_secret(name, value) or value == _HIDDEN]
    return url._replace(password=None).difference_update_query(secret)


def _is_secret(name: str, value: str | tuple[str, ...]) -> bool:
    values = (value,) if isinstance(value, str) else value
    return _SECRET.search(name) is not None or any(_INSIDE.search(one) for one in values)


def parsed_url(storage: str) -> "URL":
    """Read a URL.

    Raises:
        UserError: it is none; the message has no part of it.
    """
    from sqlalchemy.engine import make_url  # a third of a second, which commands without a database need not wait for
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(storage)
    except (ArgumentError, ValueError):  # its words would show parts of a password
        raise UserError(
            "cannot be used (it is not a URL: driver://user@host:port/database)",
            field=FIELD,
            nearest="postgresql+psycopg://...",
        ) from None
