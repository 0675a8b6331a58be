import pytest
import torch
from torch import nn

from linnet.models.precision import autocast
from linnet.recipe import Precision


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_network_computes_in_the_precision_of_the_recipe(precision: Precision, dtype: torch.dtype) -> None:
    layer = nn.Linear(2, 2)
    with autocast(torch.device("cpu"), precision):
        assert layer(torch.randn(1, 2)).dtype == dtype
    assert layer.weight.dtype == torch.float32
