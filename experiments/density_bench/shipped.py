"""Where the benchmark lies, and how its readers are asked. Reading it needs neither torch nor a model."""

import argparse
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE / "table.parquet"


def reader(description: str | None) -> argparse.ArgumentParser:
    """A command line that names a table to read and a folder to write to."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=HERE)
    return parser
