"""Check that training data fit a base, before anything runs."""

import torch

from flexsearch.data.conditions import CaptionConditions, ClassConditions, Conditions
from flexsearch.data.source import DataSource
from flexsearch.errors import UserError
from flexsearch.schedule.shape import TransformerShape


def check_fit(data: DataSource, shape: TransformerShape) -> None:
    """Compare the data's shape and conditions with what the base reads.

    Raises:
        UserError: they differ; says how.
    """
    found, wanted = tuple(data.clean(torch.tensor([0])).shape[1:]), shape.sample_size
    if found != wanted:
        raise UserError(f"must be of shape {wanted}, which the base reads, but have {found}", field="data")
    check_conditions(data.conditions, shape)


def check_conditions(conditions: Conditions, shape: TransformerShape) -> None:
    """Compare conditions with those that the base reads.

    Raises:
        UserError: they differ; says how.
    """
    if isinstance(conditions, ClassConditions):
        if not shape.num_classes:
            raise UserError("must have captions, which the base reads, but have class labels", field="data")
        if conditions.num_classes != shape.num_classes:
            raise UserError(
                f"has {conditions.num_classes} classes, but the base was made for {shape.num_classes}", field="data"
            )
    elif isinstance(conditions, CaptionConditions):
        if not shape.text_tokens:
            raise UserError("must have class labels, which the base reads, but have captions", field="data")
        channels = conditions.empty.shape[1]
        if channels != shape.text_channels:
            raise UserError(
                f"has captions of {channels} channels, but the base reads {shape.text_channels}", field="data"
            )
        if shape.pooled_channels and conditions.pooled is None:
            raise UserError(
                "has captions without pooled vectors, which the base reads; only prompts, data: {name: captions}, are "
                "embedded with theirs, so such a base is not trained here",
                field="data",
            )
