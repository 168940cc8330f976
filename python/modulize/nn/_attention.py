"""Multi-head attention step by step, run in place of torch's own while attention is decomposed.

The same numbers as ``torch.nn.functional.multi_head_attention_forward`` without its checks, by which a capture would
fix dtypes and sizes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from modulize.nn.functional import additive_mask

__all__ = ["module_forward", "multi_head_attention_forward"]


def module_forward(
    self: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """``nn.MultiheadAttention.forward``."""
    weights = None if self._qkv_same_embed_dim else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
    return _attention(
        query,
        key,
        value,
        embed_dim=self.embed_dim,
        num_heads=self.num_heads,
        packed_weight=self.in_proj_weight,
        weights=weights,
        bias=self.in_proj_bias,
        extra=(self.bias_k, self.bias_v),
        add_zero_attn=self.add_zero_attn,
        out_proj=(self.out_proj.weight, self.out_proj.bias),
        batch_first=self.batch_first,
        dropout=self.dropout,
        mode=self,
        key_padding_mask=key_padding_mask,
        need_weights=need_weights,
        attn_mask=attn_mask,
        average=average_attn_weights,
        is_causal=is_causal,
    )


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """``torch.nn.functional.multi_head_attention_forward``."""
    return _attention(
        query,
        key,
        value,
        embed_dim=embed_dim_to_check,
        num_heads=num_heads,
        packed_weight=in_proj_weight,
        weights=(q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None,
        bias=in_proj_bias,
        extra=(bias_k, bias_v),
        add_zero_attn=add_zero_attn,
        out_proj=(out_proj_weight, out_proj_bias),
        batch_first=False,
        dropout=dropout_p if training else 0.0,
        mode=None,
        key_padding_mask=key_padding_mask,
        need_weights=need_weights,
        attn_mask=attn_mask,
        average=average_attn_weights,
        is_causal=is_causal,
        given=(static_k, static_v),
    )


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    embed_dim: int,
    num_heads: int,
    packed_weight: Tensor | None,
    weights: tuple[Any, Any, Any] | None,
    bias: Tensor | None,
    extra: tuple[Any, Any],
    add_zero_attn: bool,
    out_proj: tuple[Tensor, Tensor | None],
    batch_first: bool,
    dropout: float,
    mode: nn.Module | None,
    key_padding_mask: Tensor | None,
    need_weights: bool,
    attn_mask: Tensor | None,
    average: bool,
    is_causal: bool,
    given: tuple[Tensor | None, Tensor | None] = (None, None),
) -> tuple[Tensor, Tensor | None]:
    """`mode`: the module whose mode decides about the dropout; None: `dropout` is what there is."""
    # Without values, inputs are taken for batched ones.
    is_batched = isinstance(query, torch.fx.Proxy) or query.dim() == 3
    batch_dim = 0 if batch_first or not is_batched else 1
    q, k, v = _project(query, key, value, embed_dim, packed_weight, weights, bias)
    if not is_batched:
        q, k, v = (t.unsqueeze(0) for t in (q, k, v))
    if batch_dim == 1:
        q, k, v = (t.transpose(0, 1) for t in (q, k, v))
    # From here on (batch, length, embedding), then (batch, head, length, part of the embedding).
    batch, added = q.shape[0], 0
    if extra[0] is not None:
        k, v = (torch.cat([t, b.expand(batch, -1, -1)], dim=1) for t, b in zip((k, v), extra))
        added += 1
    q, k, v = (t.unflatten(-1, (num_heads, -1)).transpose(1, 2) for t in (q, k, v))
    # Keys and values that are given come as (batch * head, length, part).
    k, v = (t if s is None else s.unflatten(0, (-1, num_heads)) for t, s in zip((k, v), given))
    if add_zero_attn:
        k, v = (F.pad(t, (0, 0, 0, 1)) for t in (k, v))
        added += 1

    mask = None
    if is_causal and key_padding_mask is None and not need_weights:
        pass  # then attn_mask says the same
    elif attn_mask is not None or key_padding_mask is not None:
        mask, is_causal = additive_mask(q, attn_mask, key_padding_mask, num_heads, added), False
    else:
        is_causal = False

    scores = None
    if need_weights:
        scores = torch.matmul(q, k.transpose(-2, -1)) * (embed_dim // num_heads) ** -0.5
        if mask is not None:
            scores = scores + mask
        scores = F.softmax(scores, dim=-1)
        if mode is not None:
            scores = F.dropout(scores, dropout, mode.training)
        elif dropout > 0.0:
            scores = F.dropout(scores, dropout)
        out = torch.matmul(scores, v)
    else:
        if mode is not None and dropout > 0.0:
            dropout = dropout if mode.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)
    # (length, batch, embedding) in memory, as torch has it: a dropout after it draws in that order.
    out = F.linear(out.permute(2, 0, 1, 3).flatten(-2), *out_proj)
    if scores is not None and average:
        scores = scores.mean(dim=1)
    if not is_batched:
        return out.squeeze(1), None if scores is None else scores.squeeze(0)
    return (out.transpose(0, 1) if batch_dim == 0 else out), scores


def _project(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    packed_weight: Any,
    weights: tuple[Any, Any, Any] | None,
    bias: Any,
) -> list[Tensor]:
    """Queries, keys and values by the fewest linear layers: those of one input are one."""
    split = [slice(0, embed_dim), slice(embed_dim, 2 * embed_dim), slice(2 * embed_dim, 3 * embed_dim)]
    if weights is None and query is key is value:
        packed = F.linear(query, packed_weight, bias)
        return [packed[..., part] for part in split]
    biases = [None if bias is None else bias[part] for part in split]
    if weights is not None:
        return [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]
    if key is value:
        both = slice(embed_dim, 3 * embed_dim)
        packed = F.linear(key, packed_weight[both], None if bias is None else bias[both])
        return [F.linear(query, packed_weight[split[0]], biases[0]), *(packed[..., part] for part in split[:2])]
    return [F.linear(x, packed_weight[part], b) for x, part, b in zip((query, key, value), split, biases)]
