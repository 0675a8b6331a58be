"""Mixed precision: the numbers in which a network computes, whatever the precision of its weights."""

import torch

from linnet.recipe import Precision, ResolvedPrecision

DTYPES: dict[ResolvedPrecision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def resolve_precision(precision: Precision, device: torch.device) -> ResolvedPrecision:
    """What "auto" means on `device`: bf16 where it has units for it, fp32 elsewhere; other precisions stay."""
    if precision != "auto":
        return precision
    return "bf16" if has_units("bf16", device) else "fp32"


def has_units(precision: ResolvedPrecision, device: torch.device) -> bool:
    """Whether hardware multiplies numbers of this precision; software takes several times as long as fp32."""
    if precision == "fp32":
        return True
    if device.type == "cuda":
        return precision == "fp16" or bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.backends.cpu.get_cpu_capability() != "AVX512":  # also where ATEN_CPU_CAPABILITY says so
        return False
    if precision == "fp16":
        return bool(torch.cpu._is_amx_fp16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device, precision: ResolvedPrecision) -> torch.autocast:
    """The context in which a network computes on `device`; "fp32" switches autocasting off."""
    enabled = precision != "fp32"
    return torch.autocast(device.type, dtype=DTYPES[precision] if enabled else torch.bfloat16, enabled=enabled)
