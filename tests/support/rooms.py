"""A made-up room, and how audio sounds in it."""

import torch


def reverberant(dry: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """[samples], by plain convolution."""
    padded = torch.nn.functional.pad(dry, (len(response) - 1, 0))
    return torch.nn.functional.conv1d(padded[None, None], response.flip(0)[None, None])[0, 0]


def room_response(samples: int = 300) -> torch.Tensor:
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(3))
    response = 0.3 * noise * torch.exp(-torch.arange(samples) / 60)
    response[0] = 1
    return response
