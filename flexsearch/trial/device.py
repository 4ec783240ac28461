"""The device of this process's trials."""

import torch


def trial_device() -> torch.device:
    """Find the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
