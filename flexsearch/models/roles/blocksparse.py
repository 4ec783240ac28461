"""The role of the family `blocksparse`: the base's block, whose queries read a static number of blocks of keys.

Every head of every image chooses for each block of queries the blocks of keys whose mean has the largest product with
the queries' mean (AdaSpa, arXiv 2502.21079, sums exact mass, of an earlier step). No number depends on another image,
and gradients do not reach the choice. Compiled, `flex_attention` skips the other blocks; it has no way back on a CPU,
computes everything where it is not compiled, and exporters do not know it. There, blocks are gathered for softmax
attention: the same to rounding, with as many products, for copies of the keys that are kept (n k 128 D numbers a head).
Letters: B batch, H heads, n tokens, t blocks of 128, k of them that are kept, D channels of a head.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from flexsearch.models.backbones.call import Call
from flexsearch.models.roles.role_module import RoleModule, register_role_module
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.families.blocksparse import BLOCKS, BLOCKSPARSE, TILE, check_tokens, num_kept
from flexsearch.schedule.width import EIGHTHS


def chosen_blocks(query: Tensor, key: Tensor, kept: int) -> Tensor:
    """(B, H, t, k) the blocks of keys that every block of queries reads, of queries and keys (B, H, n, D)."""
    products = _means(query.detach()) @ _means(key.detach()).transpose(-1, -2)  # (B, H, t, t)
    return products.topk(kept, dim=-1).indices


def gathered_attention(query: Tensor, key: Tensor, value: Tensor, chosen: Tensor) -> Tensor:
    """(B, H, n, D) what queries read from the chosen blocks (B, H, t, k), gathered."""
    shape, n = query.shape, key.shape[2]
    queries = _tiled(query).flatten(0, 2)[:, None]  # (B * H * t, 1, 128, D)
    rows = queries.shape[0]
    tiles = chosen.shape[2]
    firsts = torch.arange(rows // tiles, device=query.device).repeat_interleave(tiles) * tiles
    places = (chosen.flatten(0, 2) + firsts[:, None]).flatten()  # (B * H * t * k,) of all images' and heads' blocks

    def take(one: Tensor) -> Tensor:
        found = _tiled(one).flatten(0, 2).index_select(0, places)  # (B * H * t * k, 128, D)
        taken: Tensor = found.unflatten(0, (rows, -1)).flatten(1, 2)[:, None]  # (B * H * t, 1, k * 128, D)
        return taken

    is_token = None
    if n % TILE:
        is_token = chosen.flatten(0, 2)[..., None] * TILE + torch.arange(TILE, device=query.device) < n
        is_token = is_token.flatten(1)[:, None, None]  # (B * H * t, 1, 1, k * 128)
    read = F.scaled_dot_product_attention(queries, take(key), take(value), attn_mask=is_token)
    return read.reshape(*shape[:2], -1, shape[3])[:, :, :n]


def kernel_attention(query: Tensor, key: Tensor, value: Tensor, chosen: Tensor) -> Tensor:
    """The same by `flex_attention`: a kernel where it is compiled by Inductor, elsewhere all products and a mask."""
    n, tiles, kept = key.shape[2], chosen.shape[2], chosen.shape[3]
    is_chosen = chosen.new_zeros(*chosen.shape[:3], tiles, dtype=torch.bool).scatter(-1, chosen, True)
    num = torch.full(chosen.shape[:3], kept, dtype=torch.int32, device=chosen.device)
    places = F.pad(chosen, (0, tiles - kept)).int()

    def mask_mod(image: Tensor, head: Tensor, of_query: Tensor, of_key: Tensor) -> Tensor:
        return is_chosen[image, head, of_query // TILE, of_key // TILE]

    mask = BlockMask.from_kv_blocks(
        torch.zeros_like(num),
        torch.zeros_like(places),
        num,
        places,  # whole blocks: the kernel asks no mask
        BLOCK_SIZE=TILE,
        mask_mod=mask_mod,
        seq_lengths=(n, n),
        compute_q_blocks=torch.is_grad_enabled(),
    )
    read: Tensor = flex_attention(query, key, value, block_mask=mask)
    return read


def _read(query: Tensor, key: Tensor, value: Tensor, *, eighths: int) -> Tensor:
    """(B, H, n, D) what queries read from so many eighths of the blocks of keys."""
    n = key.shape[2]
    check_tokens(n)
    attend = kernel_attention if _has_kernel(query) else gathered_attention
    return attend(query, key, value, chosen_blocks(query, key, num_kept(n, eighths)))


def _has_kernel(query: Tensor) -> bool:
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return False
    return query.device.type != "cpu" or not torch.is_grad_enabled()


def _tiled(rows: Tensor) -> Tensor:
    """(B, H, t, 128, D) of (B, H, n, D), filled up with zeros."""
    n = rows.shape[2]
    whole = F.pad(rows, (0, 0, 0, -n % TILE)) if n % TILE else rows
    tiles: Tensor = whole.unflatten(2, (-1, TILE))
    return tiles


def _means(rows: Tensor) -> Tensor:
    """(B, H, t, D) the means of blocks of (B, H, n, D)."""
    n, means = rows.shape[2], _tiled(rows).mean(dim=3)
    if not n % TILE:
        return means
    return torch.cat([means[:, :, :-1], means[:, :, -1:] * (TILE / (n % TILE))], dim=2)


def _compute(tokens: Tokens, call: Call) -> Tokens:
    read = partial(_read, eighths=call.operation.amount(BLOCKS, full=EIGHTHS))
    moved, context = call._replace(read=read).run(tokens.dense, tokens.dense, tokens.context)
    return Tokens(moved, None, context)


register_role_module(RoleModule(role=BLOCKSPARSE.name, compute=_compute))
