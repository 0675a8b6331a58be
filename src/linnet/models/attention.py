"""Scaled dot-product attention (Vaswani et al. 2017), by the kernel that is fastest for its size."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CPU_PRODUCT_TOKENS = 512  # up to so many, two matrix products beat torch's fused CPU kernel, most in the backward pass
GPU_PRODUCT_TOKENS, FLASH_MAX_DIMS = 1024, 256  # wider heads than the flash kernels take


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v: [B, heads, tokens, d] each -> [B, heads, tokens, d].

    Args:
        mask: boolean, broadcast to [B, heads, tokens, tokens]; True for tokens to attend to.
    """
    tokens, dims = key.shape[-2:]
    if query.device.type == "cpu":
        by_products = tokens <= CPU_PRODUCT_TOKENS
    else:
        by_products = dims > FLASH_MAX_DIMS and tokens <= GPU_PRODUCT_TOKENS
    if by_products:
        return _attend_by_products(query, key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def _attend_by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    scores = (query * (1 / math.sqrt(query.shape[-1]))) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.softmax(scores, dim=-1) @ value
