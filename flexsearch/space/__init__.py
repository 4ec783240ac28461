"""Domains and the search space: YAML in, valid candidates out."""

from flexsearch.space.domains import Choice, Domain, Float, Int, Value
from flexsearch.space.search_space import Parameters, SearchSpace, parse_space

__all__ = ["Choice", "Domain", "Float", "Int", "Parameters", "SearchSpace", "Value", "parse_space"]
