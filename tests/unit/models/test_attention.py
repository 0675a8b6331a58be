import pytest
import torch
import torch.nn.functional as F

from linnet.models import attention
from linnet.models.attention import attend


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tokens", [5, 700])
def test_attention_and_its_gradient_are_torchs(tokens: int, masked: bool) -> None:
    """Below and above the number of tokens from which torch's kernel takes over."""
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(2, 3, tokens, 8, generator=generator, requires_grad=True) for _ in range(3)]
    theirs = [tensor.detach().double().requires_grad_() for tensor in ours]
    mask = None
    if masked:
        mask = torch.rand(2, 1, 1, tokens, generator=generator) < 0.7
        mask[..., 0] = True  # a softmax over none is not a number
    weights = torch.randn(2, 3, tokens, 8, generator=generator)
    found = attend(ours[0], ours[1], ours[2], mask)
    expected = F.scaled_dot_product_attention(theirs[0], theirs[1], theirs[2], attn_mask=mask)
    (found * weights).sum().backward()  # type: ignore[no-untyped-call]
    (expected * weights).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            one.grad, other.grad.float() if other.grad is not None else None, rtol=1e-3, atol=1e-5
        )
    assert 5 <= attention.CPU_PRODUCT_TOKENS < 700
