"""Where the benchmark lies. Reading it needs neither torch nor a model."""

from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE / "table.parquet"
