"""What a density schedule is, what it lowers to, and what that costs. Needs no torch."""

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.macs import TransformerShape, plan_macs, plan_params
from flexsearch.schedule.plan import Operation, Plan, lower
from flexsearch.schedule.roles import RoleCost, register_role
from flexsearch.schedule.segments import Dense, Pooling, Sdtm, Segment, register_family
from flexsearch.schedule.timetable import Timetable

__all__ = [
    "Candidate",
    "Dense",
    "DensitySchedule",
    "Operation",
    "Plan",
    "Pooling",
    "RoleCost",
    "Sdtm",
    "Segment",
    "Timetable",
    "TokenGrid",
    "TransformerShape",
    "lower",
    "plan_macs",
    "plan_params",
    "register_family",
    "register_role",
]
