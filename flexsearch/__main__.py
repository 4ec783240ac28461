"""`python -m flexsearch`."""

from flexsearch.cli.app import main

if __name__ == "__main__":
    main()
