"""The numbers in the tutorial on DiT-XL are those that `flexsearch plan` gives."""

from fences import ROOT

from flexsearch.cli.plan import plan_of
from flexsearch.config import load_config

PAGE = ROOT / "docs" / "tutorials" / "dit_xl.md"


def test_numbers_of_the_plan() -> None:
    text = PAGE.read_text()
    found = plan_of(load_config(ROOT / "search_spaces" / "dit_xl.yaml"))
    space, dense = found["space"], found["dense"]
    assert f"{space['size']:,} choices of {len(space['parameters'])} parameters" in text
    image = f"{dense['macs'] / 1e12:.2f} T per image at {dense['steps']} steps"
    assert f"dense: {image}, {dense['params']:,} parameters, {dense['tokens']} tokens" in text
    low, high = found["macs_ratio_range"]
    assert f"spans {low:.0%} to {high:.0%} of the dense MACs at the same steps" in text
    schedules = [row for row in found["baselines"] if row["steps"] == dense["steps"]]
    assert len({row["macs"] for row in schedules}) == 3
    for row in schedules:
        of_a_row = row["macs"] / dense["steps"] / 2 / 1e9  # guidance has two rows
        assert f"| {row['macs'] / 1e12:.2f} T | {row['macs_ratio']:.1%} | {of_a_row:.2f} G |" in text
