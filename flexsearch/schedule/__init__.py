"""Say what a density schedule is, what it lowers to, and what that costs. Needs no torch."""

from flexsearch.schedule.cache import Cache
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.clock import Clock
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import Segment, register_family
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.guidance import GuidanceRows
from flexsearch.schedule.plan import Plan, Target, lower
from flexsearch.schedule.role import Operation, Role, register_role
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid, TransformerShape
from flexsearch.schedule.step import Graph, Step
from flexsearch.schedule.timetable import Timetable

__all__ = [
    "Cache",
    "Candidate",
    "Clock",
    "Dense",
    "DensitySchedule",
    "Gain",
    "Graph",
    "GuidanceRows",
    "Operation",
    "Plan",
    "Pooling",
    "Role",
    "Sampling",
    "Sdtm",
    "Segment",
    "Step",
    "Target",
    "Timetable",
    "TokenGrid",
    "TransformerShape",
    "lower",
    "register_family",
    "register_role",
]
