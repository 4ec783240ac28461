"""Domains and the search space: YAML in, valid candidates out."""

from flexsearch.space.domains import Choice, Domain, Float, Int, Value
from flexsearch.space.parsing import parse_space
from flexsearch.space.search_space import Parameters, SearchSpace

__all__ = ["Choice", "Domain", "Float", "Int", "Parameters", "SearchSpace", "Value", "parse_space"]
