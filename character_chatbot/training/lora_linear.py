"""A linear layer with its LoRA adapter as one operation: y = x Wᵀ + b + s (x Aᵀ) Bᵀ (Hu et al. 2021, section 4.1).

PEFT computes the same in six operations, casts the input to the adapter's float32 and back, and keeps both for the way
back. Here the wide results are made once, and the sums happen inside the matrix products.

    fuse_adapters(peft_model)
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear


def fuse_adapters(model: torch.nn.Module) -> int:
    """Fuse all plain LoRA layers on plain linear ones, for training; how many they are. Quantised ones stay."""
    plain = [each for each in model.modules() if type(each) is Linear and type(each.base_layer) is torch.nn.Linear]
    for layer in plain:
        layer.__class__ = LoraLinear
    return len(plain)


class LoraLinear(Linear):
    """PEFT's layer; while it trains a single plain adapter, that is one operation."""

    def forward(self, x: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
        adapter = self._only_adapter()
        found: torch.Tensor
        if not self.training or more or named or adapter is None:
            found = super().forward(x, *more, **named)
            return found
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        dropout = self.lora_dropout[adapter]
        found = _LoraLinear.apply(
            x,
            None if isinstance(dropout, torch.nn.Identity) else dropout(x),
            *(None if each is None else each.to(x.dtype) for each in (self.base_layer.weight, self.base_layer.bias)),
            *(each[adapter].weight.to(x.dtype) for each in (self.lora_A, self.lora_B)),
            self.scaling[adapter],
        )
        return found

    def _only_adapter(self) -> str | None:
        names = [name for name in self.active_adapters if name in self.lora_A]
        if len(names) != 1 or self.disable_adapters or self.merged or self.lora_variant or self.lora_bias[names[0]]:
            return None
        return str(names[0])


class _LoraLinear(torch.autograd.Function):
    """The base's weight and bias are frozen: they get no gradient."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd hands them over by position
        ctx: Any,
        x: torch.Tensor,
        dropped: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        read = flat if dropped is None else dropped.reshape(flat.shape)
        low = torch.mm(read, a.t()).mul_(scaling)
        ctx.save_for_backward(read, low, weight, a, b)
        ctx.scaling, ctx.has_dropout, ctx.shape = scaling, dropped is not None, x.shape
        return torch.nn.functional.linear(flat, weight, bias).addmm_(low, b.t()).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        read, low, weight, a, b = ctx.saved_tensors
        of_y = gradients[0].reshape(-1, weight.shape[0])
        of_low = torch.mm(of_y, b).mul_(ctx.scaling)
        of_a, of_b = torch.mm(of_low.t(), read), torch.mm(of_y.t(), low)
        of_x, of_dropped = None, None
        if ctx.needs_input_grad[0]:
            of_x = torch.mm(of_y, weight)
        if ctx.has_dropout and ctx.needs_input_grad[1]:
            of_dropped = torch.mm(of_low, a).view(ctx.shape)
        elif of_x is not None:
            of_x.addmm_(of_low, a)
        return None if of_x is None else of_x.view(ctx.shape), of_dropped, None, None, of_a, of_b, None
