"""The Diffusion Transformer of Peebles & Xie (2023): patches as tokens, the timestep through adaLN-zero.

Four things differ from the paper. Position embeddings are learnt. Patches become pixels again by a transposed
convolution. Patches may overlap where they are read (Gong et al. 2021, arXiv 2104.01778) and where they are written, so
that no seams are seen between them. Layers that do not start at zero have torch's initialisation (label rows from
N(0, 1)), where the published code uses Xavier's for linear layers and patches and N(0, 0.02) for the timestep's MLP and
label rows.

Any height and width will do: the input is padded to whole patches and the output cropped. On another grid of patches
than the trained one, the position embeddings are interpolated.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.models.blocks import Dropout, SinusoidalEmbedding, TokenAttention, feed_forward, timestep_speeds, zero
from linnet.models.conditioning import build_condition_embedding
from linnet.models.denoising_network import DenoisingNetwork
from linnet.recipe import Conditioning, NoiseLevel, Shape
from linnet.recipe import DiffusionTransformer as Settings

NORM_EPS = 1e-6


class DiT(DenoisingNetwork):
    """Takes the timestep; the output starts at zero."""

    noise_level: NoiseLevel = "timestep"

    def __init__(self, settings: Settings, *, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__()
        channels, height, width = shape
        patch, overlap, dims = settings.patch_size, settings.patch_overlap, settings.width
        window = patch + 2 * overlap
        self.patch = patch
        self.timestep_embedding = SinusoidalEmbedding(timestep_speeds(dims))
        self.embedding_mlp = nn.Sequential(nn.Linear(dims, dims), nn.SiLU(), nn.Linear(dims, dims))
        self.condition_embedding = build_condition_embedding(conditioning, dims)
        self.embed = nn.Conv2d(channels, dims, kernel_size=window, stride=patch, padding=overlap)
        self.positions = nn.Parameter(torch.randn(dims, -(-height // patch), -(-width // patch)) * 0.02)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.num_blocks))
        self.norm = nn.LayerNorm(dims, elementwise_affine=False, eps=NORM_EPS)
        self.modulation = nn.Linear(dims, 2 * dims)
        self.head = nn.ConvTranspose2d(dims, channels, kernel_size=window, stride=patch, padding=overlap)
        zero(self.modulation)
        zero(self.head)

    def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
        height, width = x_t.shape[2:]
        embedding = self.embedding_mlp(self.timestep_embedding(noise_level))
        if self.condition_embedding is not None:
            embedding = embedding + self.condition_embedding(condition, like=x_t)
        embedding = F.silu(embedding)
        patches = self.embed(F.pad(x_t, (0, -width % self.patch, 0, -height % self.patch)))
        grid = patches.shape[2:]
        tokens = (patches + self.positions_on(grid)).flatten(2).transpose(1, 2)  # [B, patches, width]
        for block in self.blocks:
            tokens = block(tokens, embedding)
        shift, scale = self.modulation(embedding)[:, None].chunk(2, dim=2)
        tokens = self.norm(tokens) * (1 + scale) + shift
        prediction: Tensor = self.head(tokens.transpose(1, 2).unflatten(2, grid))
        return prediction[:, :, :height, :width]

    def positions_on(self, grid: torch.Size) -> Tensor:
        """Position embeddings [width, rows, columns] for a grid of patches; the learnt ones for the trained grid."""
        if grid == self.positions.shape[1:]:
            return self.positions
        return F.interpolate(self.positions[None], size=grid, mode="bicubic", antialias=False)[0]


class Block(nn.Module):
    """Attention and MLP; the embedding shifts and scales the norm before each and gates its output (adaLN-zero).

    [B, tokens, width], activated embedding [B, width] -> [B, tokens, width]. The gates start at zero, so the block
    starts as the identity.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.width
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False, eps=NORM_EPS)
        self.attention = TokenAttention(width, heads=settings.num_heads)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False, eps=NORM_EPS)
        self.mlp = feed_forward(width, settings.mlp_ratio * width)
        self.dropout = Dropout(settings.dropout)
        self.modulation = nn.Linear(width, 6 * width)
        zero(self.modulation)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(embedding)[:, None].chunk(6, dim=2)
        mixed = self.attention(self.norm_attention(x) * (1 + scale_1) + shift_1, mask=None)
        x = x + gate_1 * self.dropout(mixed)
        changed: Tensor = x + gate_2 * self.dropout(self.mlp(self.norm_mlp(x) * (1 + scale_2) + shift_2))
        return changed
