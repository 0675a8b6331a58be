import pytest
import torch
from torch import nn

from linnet.models import precision as module
from linnet.models.precision import autocast, has_units, resolve_precision
from linnet.recipe import ResolvedPrecision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_network_computes_in_the_precision_of_the_recipe(precision: ResolvedPrecision, dtype: torch.dtype) -> None:
    layer = nn.Linear(2, 2)
    with autocast(CPU, precision):
        assert layer(torch.randn(1, 2)).dtype == dtype
    assert layer.weight.dtype == torch.float32


@pytest.mark.parametrize(("units", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_where_the_device_has_units_for_it(
    units: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "has_units", lambda *_: units)
    assert resolve_precision("auto", CPU) == expected
    assert [resolve_precision(each, CPU) for each in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]


@pytest.mark.parametrize(
    ("capability", "instructions", "expected"),
    [("AVX512", True, True), ("AVX512", False, False), ("AVX2", True, False)],
)
def test_a_processor_without_avx512_bf16_has_no_units(
    capability: str, instructions: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that was told to do without, by ATEN_CPU_CAPABILITY=avx2."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert has_units("bf16", CPU) == expected
    assert has_units("fp32", CPU)
