"""`flexsearch` and `python -m flexsearch`. Imports nothing before an interrupt can be answered in one line."""

import sys


def main() -> None:
    """Run a command and end with its exit status."""
    try:
        from flexsearch.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print("interrupted: nothing is lost, the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
