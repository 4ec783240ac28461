"""`flexsearch schema`: prints the JSON schema of a search space, for editors."""

import typer

from flexsearch.cli.options import print_json

command = typer.Typer()


@command.command(epilog="Example: flexsearch schema > space.json")
def schema() -> None:
    """Print the JSON schema of a search space. With `# yaml-language-server: $schema=space.json` as the first line of a
    YAML file beside it, editors complete and check fields, without a network."""
    from flexsearch.config import config_schema

    print_json(config_schema())
