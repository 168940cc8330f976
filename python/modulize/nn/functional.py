"""Functions that torch has no single one for, which modules of :mod:`modulize.nn` run."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["additive_mask", "attention_mask", "quick_gelu", "zero_masked_rows"]


def attention_mask(scores: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
    """The scores of scaled dot-product attention with its mask applied.

    A query that may attend to no key at all keeps finite scores, so that neither softmax nor its gradient is nan;
    :func:`zero_masked_rows` zeroes its weights afterwards.

    Parameters
    ----------
    scores : Tensor
        ``query @ key.transpose(-2, -1) * scale``, of shape (..., L, S).
    attn_mask : Tensor, optional
        Broadcastable to the scores: bool, True where a query may attend; or of floating point, added.
    is_causal : bool
        A query attends to no key behind its own place.

    Examples
    --------
    >>> attention_mask(torch.zeros(2, 2), is_causal=True)
    tensor([[0., -inf],
            [0., 0.]])
    """
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(allowed.logical_not(), float("-inf"))
    if attn_mask is None:
        return scores
    if attn_mask.dtype == torch.bool:
        return scores.masked_fill((attn_mask | _is_masked_row(attn_mask)).logical_not(), float("-inf"))
    return scores + attn_mask.masked_fill(_is_masked_row(attn_mask), 0.0)


def zero_masked_rows(weights: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """The weights of scaled dot-product attention, 0 for queries that may attend to no key.

    Examples
    --------
    >>> zero_masked_rows(torch.full((2, 2), 0.5), torch.tensor([[True, True], [False, False]]))
    tensor([[0.5000, 0.5000],
            [0.0000, 0.0000]])
    """
    return weights if attn_mask is None else weights.masked_fill(_is_masked_row(attn_mask), 0.0)


def _is_masked_row(attn_mask: Tensor) -> Tensor:
    if attn_mask.dtype == torch.bool:
        return attn_mask.any(dim=-1, keepdim=True).logical_not()
    return (attn_mask == float("-inf")).all(dim=-1, keepdim=True)


def additive_mask(
    query: Tensor,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    num_heads: int,
    added: int = 0,
) -> Tensor:
    """The masks of ``nn.MultiheadAttention`` as one, of the query's dtype, to be added to the scores.

    Parameters
    ----------
    query : Tensor
        Of shape (N, heads, L, E).
    attn_mask : Tensor, optional
        Of shape (L, S) or (N * heads, L, S): bool, True where a query may *not* attend; or of floating point.
    key_padding_mask : Tensor, optional
        Of shape (N, S) or (S): bool, True for keys to leave out; or of floating point.
    num_heads : int
        The number of heads.
    added : int
        The number of keys at the end that no mask knows of.
    """
    masks = []
    if attn_mask is not None:
        masks.append(attn_mask.unflatten(0, (-1, num_heads)) if attn_mask.dim() == 3 else attn_mask)
    if key_padding_mask is not None:
        masks.append(key_padding_mask.reshape(-1, 1, 1, key_padding_mask.shape[-1]))
    total: Tensor | None = None
    for mask in masks:
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask, float("-inf"))
        total = mask if total is None else total + mask
    assert total is not None, "a mask is given"
    return torch.nn.functional.pad(total, (0, added)) if added else total


def quick_gelu(input: Tensor) -> Tensor:
    """GELU approximated by a sigmoid: ``input * sigmoid(1.702 * input)``."""
    return input * torch.sigmoid(1.702 * input)
