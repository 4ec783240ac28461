"""Configurations of the schedulers of diffusers that a base may come with. What the library accepts is checked again:
some of it fails at a step, or has steps without a value. Needs no torch.
"""

import math
from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError, shown

SCHEDULERS = (
    *("DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler"),
    *("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
)
"""diffusers' classes that a base may come with; the last one for flow matching alone."""

SHIFTS = (1e-3, 1e3)
"""Least and largest shift of diffusion time: beyond them times of different steps are the same."""

_FIELD = "base scheduler"
_SPACINGS = ("linspace", "leading", "trailing")
_FLAGS = ("use_dynamic_shifting", "use_flow_sigmas", "rescale_betas_zero_snr")
_REFUSED = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "invert_sigmas",
    "stochastic_sampling",
)
_NUMBERS = (
    *("shift", "flow_shift", "shift_terminal", "base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift"),
    *("beta_start", "beta_end"),
)
_MOST_TIMESTEPS = 1_000_000


def check_scheduler(config: Mapping[str, Any]) -> None:
    """Check a scheduler's configuration, in which absent fields have diffusers' defaults.

    Raises:
        UserError: a class that flexsearch does not sample with, an option of its that changes the spacing in a way that
            is not known here, or a value that no scheduler can sample with.
    """
    name = config.get("_class_name")
    if name not in SCHEDULERS:
        raise UserError(f"must be one of {list(SCHEDULERS)}, but got {name!r}", field=_FIELD)
    for option in _REFUSED:
        if config.get(option):
            raise _wrong(config, option, "must be off: flexsearch does not know its spacing", nearest=False)
    if config.get("lambda_min_clipped", -math.inf) != -math.inf:
        raise _wrong(config, "lambda_min_clipped", "must be -inf")
    for option in _FLAGS:
        if config.get(option) not in (None, True, False):
            raise _wrong(config, option, "must be true or false")
    for option in _NUMBERS:
        value = config.get(option)
        if value is not None and not (_is_number(value) and math.isfinite(value)):
            raise _wrong(config, option, "must be a number")
    _check_times(config)
    if name == "UniPCMultistepScheduler":
        _check_unipc(config)
    _check_prediction(config)


def _check_times(config: Mapping[str, Any]) -> None:
    total, offset = config.get("num_train_timesteps", 1000), config.get("steps_offset", 0)
    if not isinstance(total, int) or isinstance(total, bool) or not 1 <= total <= _MOST_TIMESTEPS:
        rule = f"must be a whole number in 1 to {_MOST_TIMESTEPS:,}"
        raise _wrong(config, "num_train_timesteps", rule, nearest=1000)
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < total:
        raise _wrong(config, "steps_offset", f"must be a whole number in 0 to {total - 1}", nearest=0)
    if config.get("timestep_spacing", _SPACINGS[0]) not in _SPACINGS:
        raise _wrong(config, "timestep_spacing", "must be linspace, leading or trailing")
    if config.get("time_shift_type", "exponential") not in ("exponential", "linear"):
        raise _wrong(config, "time_shift_type", "must be exponential or linear", nearest="exponential")
    option = "shift" if config["_class_name"] == "FlowMatchEulerDiscreteScheduler" else "flow_shift"
    has_shift = option == "shift" or config.get("use_flow_sigmas")
    shift = config.get(option, 1.0) if has_shift and not config.get("use_dynamic_shifting") else 1.0
    if shift is None or not SHIFTS[0] <= shift <= SHIFTS[1]:
        raise _wrong(config, option, f"must be a number in {SHIFTS[0]:g} to {SHIFTS[1]:g}", nearest=1.0)
    if not 0 <= (config.get("shift_terminal") or 0) < 1:
        raise _wrong(config, "shift_terminal", "must be at least 0 and below 1", nearest="null")
    if (config.get("base_image_seq_len") or 256) >= (config.get("max_image_seq_len") or 4096):
        raise _wrong(config, "base_image_seq_len", "must be below max_image_seq_len")


def _check_prediction(config: Mapping[str, Any]) -> None:
    """Check what the base predicts, and the noise levels at which."""
    kind = config.get("prediction_type", "epsilon")
    if config["_class_name"] == "FlowMatchEulerDiscreteScheduler":
        return
    known = ("flow_prediction",) if config.get("use_flow_sigmas") else ("epsilon", "v_prediction", "sample")
    if kind not in known:
        raise _wrong({"prediction_type": kind}, "prediction_type", f"must be {' or '.join(known)}")
    for option in ("beta_start", "beta_end"):
        value = config.get(option)
        if value is not None and not 0 < value < 1:
            raise _wrong(config, option, "must be above 0 and below 1")
    betas, total = config.get("trained_betas"), config.get("num_train_timesteps", 1000)
    if betas is not None and (isinstance(betas, str) or len(betas) != total or not all(0 < beta < 1 for beta in betas)):
        raise _wrong(config, "trained_betas", f"must be {total} numbers above 0 and below 1")
    if config.get("rescale_betas_zero_snr") and kind == "epsilon":
        raise UserError(
            "must be off for a base that predicts noise: at the last step noise says nothing of the data",
            field=f"{_FIELD}.rescale_betas_zero_snr",
            nearest=False,
        )


def _check_unipc(config: Mapping[str, Any]) -> None:
    if not config.get("use_flow_sigmas"):
        raise UserError(
            "must be on: a base comes with UniPC for flow matching alone",
            field=f"{_FIELD}.use_flow_sigmas",
            nearest=True,
        )
    for option in ("use_dynamic_shifting", "shift_terminal"):
        if config.get(option):
            raise _wrong(config, option, "must be off under UniPC", nearest=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(config: Mapping[str, Any], option: str, rule: str, *, nearest: object = None) -> UserError:
    return UserError(f"{rule}, but got {shown(config.get(option))}", field=f"{_FIELD}.{option}", nearest=nearest)
