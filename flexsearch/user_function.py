"""Functions of the user's own that a search space names: `package.module:function`, or `path/to/file.py:function`.

They run in the process that needs them, with all that it may do: a space that names one is a program.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flexsearch.errors import UserError, reading, reason_of
from flexsearch.files import file_sha256

_NEAREST = "package.module:function"


@dataclass(frozen=True, kw_only=True)
class UserFunction:
    """A function, imported when it is called first.

    Attributes:
        where: module or file, a colon, and its name.
        field: of the search space, for errors.
    """

    where: str
    field: str

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self._module:
            raise UserError(f"must name a function, but got {self.where!r}", field=self.field, nearest=_NEAREST)

    @property
    def name(self) -> str:
        """What the function is called."""
        return self.where.rpartition(":")[2]

    @property
    def _module(self) -> str:
        return self.where.rpartition(":")[0]

    @property
    def identity(self) -> dict[str, str]:
        """Identify the function: its name, and a digest of the file that it is in, not of what that imports."""
        return {"function": self.where, "source": file_sha256(self._file)[:12]}

    @property
    def _file(self) -> Path:
        if self._module.endswith(".py"):
            file = Path(self._module).expanduser()
            if not file.is_file():
                raise UserError(f"there is no file {file}", field=self.field)
            return file
        with reading(self.field, rule=f"{self._module} cannot be imported"):
            spec = importlib.util.find_spec(self._module)
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            raise UserError(
                f"there is no module {self._module} on Python's path",
                field=self.field,
                nearest=f"{self._module.replace('.', '/')}.py:{self.name}",
            )
        return Path(spec.origin)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function itself.

        Raises:
            UserError: it cannot be imported, or is not there.
        """
        file = self._file
        try:
            if self._module.endswith(".py"):
                spec = importlib.util.spec_from_file_location(f"flexsearch_user_{file.stem}", file)
                assert spec is not None
                assert spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                sys.modules[module.__name__] = module
                spec.loader.exec_module(module)
            else:
                module = importlib.import_module(self._module)
        except Exception as error:
            raise self._told(error, "cannot be imported") from error
        found = getattr(module, self.name, None)
        if not callable(found):
            known = ", ".join(name for name, value in vars(module).items() if callable(value) and name[0] != "_")
            raise UserError(f"there is no function {self.name} in {file}", field=self.field, nearest=known or None)
        function: Callable[..., Any] = found
        return function

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function.

        Raises:
            UserError: it raised an exception; says which, and where.
        """
        function = self.function
        try:
            return function(*arguments, **options)
        except Exception as error:
            raise self._told(error, "failed") from error

    def _told(self, error: Exception, what: str) -> UserError:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        return UserError(f"{self.where} {what}: {type(error).__name__}: {reason_of(error)} ({place})", field=self.field)
