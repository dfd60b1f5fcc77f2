"""A mixture of experts: each token goes to the few experts that a router likes best for it.

In: activations (…, width). Out: the same shape: the chosen experts' outputs, weighted by the router's softmax, and
those of the shared experts, which every token meets. Source: DeepSeekMoE, Dai et al. (2024), arXiv 2401.06066.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import Linear, Mlp, reserved
from models.shape import GptShape
from nsightkit import annotate


class Experts(nn.Module):
    """Gated experts with top-k routing.

    The loop over the experts that were chosen asks the device which they are, as the published models' code does: on a
    GPU the CPU waits there once a layer.
    """

    def __init__(self, shape: GptShape) -> None:
        """Reserve router, experts and shared experts."""
        super().__init__()
        width, inner = shape.width, shape.expert_width
        self.active = shape.active_experts
        self.router = Linear(width, shape.experts, bias=False)
        self.gate_up = reserved(shape.experts, 2 * inner, width)
        self.down = reserved(shape.experts, width, inner)
        shared = shape.shared_experts * inner
        self.shared = Mlp((width, shared), gated=True, bias=False) if shared else None

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return shares and numbers of the chosen experts of each token of `x` (tokens, width): (tokens, active)."""
        # The softmax is over all experts, before the choice: the shares of the chosen few do not add up to 1.
        liking = self.router(x)
        shares = (liking if liking.dtype == torch.float64 else liking.float()).softmax(dim=-1)
        return shares.topk(self.active, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the chosen experts, and the shared ones."""
        flat = x.reshape(-1, x.shape[-1])
        with annotate.range("router"):
            shares, chosen = self.route(flat)
            met = torch.unique(chosen).tolist()
        with annotate.range("experts"):
            total = torch.zeros_like(flat)
            for expert in met:
                token, place = torch.nonzero(chosen == expert, as_tuple=True)
                gate, up = F.linear(flat[token], self.gate_up[expert]).chunk(2, dim=-1)
                made = F.linear(F.silu(gate) * up, self.down[expert])
                total.index_add_(0, token, made * shares[token, place, None].to(made.dtype))
            if self.shared is not None:
                total = total + self.shared(flat)
        return total.view_as(x)
