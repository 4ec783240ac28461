"""What a schedule will be worth after more updates than were run, from more than the last point of its own curve."""

import json
from collections import Counter

import numpy as np
import pandas as pd
from scipy.optimize import curve_fit
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.preprocessing import StandardScaler

from flexsearch.schedule.candidate import Candidate
from flexsearch.study import quality_model

ROLES = "PMsRD"


def power_law(curves: pd.DataFrame, *, column: str, at: int) -> pd.DataFrame:
    """A curve `a + b (u + 1)^-c` for every schedule and number of steps, read off at update `at`.

    `c` is common to all: four points a curve do not hold three parameters each.
    """
    at_steps = {}
    for steps, rows in curves.groupby("sampler_steps"):
        table = rows.pivot_table(index="schedule_digest", columns="updates", values=column)
        updates = table.columns.to_numpy(dtype=float)

        def curve(_: np.ndarray, c: float, updates: np.ndarray = updates, table: pd.DataFrame = table) -> np.ndarray:
            return _fitted(table, updates, c)[0].ravel()

        (c,), _ = curve_fit(curve, np.zeros(table.size), table.to_numpy().ravel(), p0=[0.5], bounds=(0.05, 3.0))
        _, (a, b) = _fitted(table, updates, float(c))
        at_steps[steps] = pd.Series(a + b * (at + 1.0) ** -float(c), index=table.index)
    return pd.DataFrame(at_steps)


def _fitted(table: pd.DataFrame, updates: np.ndarray, c: float) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Least squares for `a` and `b` of every row."""
    design = np.stack([np.ones_like(updates), (updates + 1) ** -c], axis=1)
    solved = np.linalg.lstsq(design, table.to_numpy().T, rcond=None)[0]
    return (design @ solved).T, (solved[0], solved[1])


def features(rows: pd.DataFrame) -> np.ndarray:
    """(N, 9): how many blocks play each role, modules, mean and last grid, and how many updates were made."""
    found = []
    for schedule, updates in zip(rows["schedule"], rows["updates"], strict=True):
        roles, _, grids = schedule.partition(" @")
        counts, sides = Counter(roles), [int(side) for side in grids.split(",") if side]
        found.append(
            [*(counts[role] for role in ROLES), roles.count("R"), np.mean(sides), sides[-1], np.log1p(updates)]
        )
    return np.array(found)


def gaussian_process(curves: pd.DataFrame, *, column: str, at: int) -> pd.DataFrame:
    """A Gaussian process over schedules and updates, asked for its mean at update `at`: schedules that look alike share
    what is known of them, and noise is averaged."""
    at_steps = {}
    for steps, rows in curves.groupby("sampler_steps"):
        scaler = StandardScaler().fit(features(rows))
        kernel = ConstantKernel() * RBF(np.full(9, 2.0), (0.3, 100.0)) + WhiteKernel(0.1)
        process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0)
        process.fit(scaler.transform(features(rows)), rows[column])
        asked = rows.drop_duplicates("schedule_digest").assign(updates=at)
        at_steps[steps] = pd.Series(process.predict(scaler.transform(features(asked))), index=asked["schedule_digest"])
    return pd.DataFrame(at_steps).sort_index()


def quality_of_search(rows: pd.DataFrame, *, column: str, dense: pd.Series) -> pd.DataFrame:
    """What the search's own quality model says of the candidates that it was fitted on: their values, with the noise
    smoothed away. `dense` is the dense base's value by sampler steps."""
    known = [
        quality_model.features(Candidate.from_dict(json.loads(row.candidate)), work=row.macs * row.sampler_steps)
        for row in rows.itertuples()
    ]
    of_dense = dense[rows["sampler_steps"]].to_list()
    model = quality_model.QualityModel(known, qualities=rows[column].to_list(), dense=of_dense)
    means, _ = model.predict(known, dense=of_dense)
    return rows.assign(mean=means).pivot_table(index="schedule_digest", columns="sampler_steps", values="mean")
