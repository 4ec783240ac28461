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
    assert f"dense: {dense['macs'] / 1e9:.2f} G, {dense['params']:,} parameters, {dense['tokens']} tokens" in text
    low, high = found["macs_ratio_range"]
    assert f"spans {low:.0%} to {high:.0%} of the dense MACs" in text
    schedules = {row["digest"]: row for row in found["baselines"]}  # the dense base stands there at several steps
    assert len({row["macs"] for row in schedules.values()}) == 3
    for row in schedules.values():
        assert f"| {row['macs'] / 1e9:.2f} G | {row['macs_ratio']:.1%} |" in text
