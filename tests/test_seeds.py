"""Seeds of items: the numbers that stored runs were made with."""

from flexsearch.seeds import item_seed


def test_items_have_the_seeds_of_earlier_releases() -> None:
    assert [item_seed(7, item) for item in (0, 5)] == [7_000_021, 7_000_026]
    assert item_seed(2**45, 3) == (2**45 * 1_000_003 + 3) % 2**63


def test_items_and_neighbouring_seeds_differ() -> None:
    seeds = [item_seed(seed, item) for seed in range(3) for item in range(1000)]
    assert len(set(seeds)) == len(seeds)
