"""`flexsearch schema`: prints the JSON schema of a search space, for editors."""

import typer

from flexsearch.cli.options import print_json

command = typer.Typer()


@command.command(epilog="Example: flexsearch schema")
def schema() -> None:
    """Print the JSON schema of a search space. Kept as space.json, editors complete and check the fields of a YAML file
    beside it that has a line `# yaml-language-server: $schema=space.json`, as shipped spaces have."""
    from flexsearch.config import config_schema

    print_json(config_schema())
