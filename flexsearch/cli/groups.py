"""The list of commands in `flexsearch --help`: in groups, one whole sentence each."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from typer.core import TyperGroup

_LONGEST = 1000  # of a sentence: it is wrapped, never cut


def grouped(groups: Mapping[str, Sequence[ModuleType]]) -> type[TyperGroup]:
    """Make the class of an app whose commands are listed in groups.

    Args:
        groups: modules of commands by the title of their group; a module has its command's name.
    """
    names = {title: [module.__name__.rpartition(".")[2] for module in modules] for title, modules in groups.items()}

    class Grouped(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [name for group in names.values() for name in group]

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            width = max(map(len, self.list_commands(ctx)))
            for title, group in names.items():
                found = ((name, self.get_command(ctx, name)) for name in group)
                rows = [(f"{name:{width}}", one.get_short_help_str(_LONGEST)) for name, one in found if one is not None]
                with formatter.section(title):
                    formatter.write_dl(rows)

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    return Grouped
