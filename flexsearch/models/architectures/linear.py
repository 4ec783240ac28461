"""Say what linear maps cost, and embeddings made of two."""


def linear_params(inputs: int, outputs: int) -> int:
    """Parameters of a linear map with bias."""
    return inputs * outputs + outputs


def embedder_macs(inputs: int, width: int) -> int:
    """MACs of diffusers' embedding by two linear maps of a vector, such as the timestep's frequencies."""
    return inputs * width + width * width


def embedder_params(inputs: int, width: int) -> int:
    """Its parameters."""
    return linear_params(inputs, width) + linear_params(width, width)
