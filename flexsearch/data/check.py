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
        pooled = 0 if conditions.empty_pooled is None else len(conditions.empty_pooled)
        if pooled != shape.pooled_channels:
            raise UserError(
                f"has captions with {pooled or 'no'} channels of a pooled vector, but the base reads "
                f"{shape.pooled_channels or 'none'}; `flexsearch encode` with its checkpoint embeds them so",
                field="data",
            )
        if conditions.max_tokens != shape.text_tokens or conditions.has_mask != shape.has_text_mask:
            found, read = (
                f"{num} tokens {'with' if is_told else 'without'} a mask"
                for num, is_told in (
                    (conditions.max_tokens, conditions.has_mask),
                    (shape.text_tokens, shape.has_text_mask),
                )
            )
            raise UserError(f"has captions of {found}, but the base reads {read}", field="data")
