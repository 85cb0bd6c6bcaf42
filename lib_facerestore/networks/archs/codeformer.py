"""CodeFormer (Zhou et al., "Towards Robust Blind Face Restoration with Codebook Lookup Transformer", NeurIPS 2022).

A VQGAN of clean faces. A transformer predicts the codes from the degraded face's latent, in place of the usual search
for the nearest code. The generator decodes the codes, and features of the degraded face are blended in at four
resolutions with the fidelity weight (equation 4 of the paper): 0 uses the codes alone, 1 stays closest to the input.
Original: `codeformer_arch` in the repository sczhou/CodeFormer, with AdaIN switched on as in the WebUIs.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from .family import Restorer, Shapes, count_children
from .vqgan import Codebook, Downsample, ResidualBlock, SelfAttention, Upsample, group_norm
from .winograd import Conv3x3, winograd_layout

HEADS = 8
"""Attention heads of the transformer. They cannot be read off any tensor; the original's constructor has 8."""


class Stack(nn.Module):
    """The blocks of the encoder or the generator, one flat list as in the public file."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and a two-layer perceptron. Positions are added to queries and keys, not to values."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """`tokens` B×T×C and `position` T×C → B×T×C."""
        normed = self.norm1(tokens)
        placed = normed + position
        # need_weights=False makes torch use the faster scaled_dot_product_attention.
        tokens = tokens + self.self_attn(placed, placed, normed, need_weights=False)[0]
        return tokens + self.linear2(functional.gelu(self.linear1(self.norm2(tokens))))


class Fusion(nn.Module):
    """Blends the degraded face's features into the generator's features x: x + fidelity · (x · scale + shift)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode_enc = ResidualBlock(2 * channels, channels, shortcut="conv_out")
        self.scale = self._head(channels)
        self.shift = self._head(channels)

    @staticmethod
    def _head(channels: int) -> nn.Sequential:
        return nn.Sequential(
            Conv3x3(channels, channels),
            nn.LeakyReLU(0.2, inplace=True),
            Conv3x3(channels, channels),
        )

    def forward(self, degraded: torch.Tensor, x: torch.Tensor, fidelity: float) -> torch.Tensor:
        both = self.encode_enc(torch.cat((degraded, x), 1))
        return self.shift(both).addcmul_(x, self.scale(both)).mul_(fidelity).add_(x)


class CodeFormer(Restorer):
    """CodeFormer.

    Args:
        encoder: blocks of the encoder.
        generator: blocks of the generator.
        codes: number of codes in the codebook, and channels of each.
        tokens: pixels of the latent, a square number.
        width: channels of the transformer.
        hidden: hidden width of the transformer's perceptrons.
        layers: layers of the transformer.
        fusions: channels of the features that are blended in, by their side in pixels.
    """

    family = "codeformer"
    knobs = frozenset({"fidelity"})
    # Not bfloat16: rounding in the encoder changes the latent by 2 %, and with it 2 % of the codes (synthetic weights).
    # Each changed code is a different patch of face.
    precisions = ("float32",)

    def __init__(
        self,
        encoder: list[nn.Module],
        generator: list[nn.Module],
        codes: tuple[int, int],
        tokens: int,
        width: int,
        hidden: int,
        layers: int,
        fusions: dict[int, int],
    ) -> None:
        super().__init__()
        self.position_emb = nn.Parameter(torch.zeros(tokens, width))
        self.encoder = Stack(encoder)
        self.quantize = Codebook(*codes)
        self.generator = Stack(generator)
        self.feat_emb = nn.Linear(codes[1], width)
        self.ft_layers = nn.ModuleList(TransformerLayer(width, hidden) for _ in range(layers))
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, codes[0], bias=False))
        self.fuse_convs_dict = nn.ModuleDict({str(side): Fusion(channels) for side, channels in fusions.items()})
        self.size = math.isqrt(tokens) << sum(isinstance(block, Downsample) for block in encoder)

    def forward(self, faces: torch.Tensor, *, fidelity: float = 0.5) -> torch.Tensor:
        """Restore faces.

        Args:
            faces: B×3×size×size, RGB in [-1, 1], FFHQ-aligned.
            fidelity: weight of the degraded face's features, from 0 (cleanest; none are used) to 1 (most faithful).

        Returns:
            A tensor of the same shape, RGB, nominally in [-1, 1] (not clipped).
        """
        latent, features = self.encode(faces, keep=fidelity > 0)
        clean = self.quantize.look_up(self.predict(latent).argmax(-1).view(-1, *latent.shape[2:]))
        return self.generate(adapt(clean, latent), features, fidelity)

    def encode(self, faces: torch.Tensor, keep: bool = True) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The latent (B×C×s×s) and, if `keep` is true, the features to blend in, by their side in pixels."""
        features: dict[str, torch.Tensor] = {}
        x = winograd_layout(faces)
        for block in self.encoder.blocks:
            side = str(x.shape[-1])
            if keep and isinstance(block, Downsample) and side in self.fuse_convs_dict:
                features[side] = x  # of the last block at this resolution
            x = block(x)
        return x, features

    def predict(self, latent: torch.Tensor) -> torch.Tensor:
        """Logits of the codes for each pixel of the latent, B×pixels×codes."""
        tokens = self.feat_emb(latent.flatten(2).transpose(1, 2))
        for layer in self.ft_layers:
            tokens = layer(tokens, self.position_emb)
        return self.idx_pred_layer(tokens)

    def generate(self, clean: torch.Tensor, features: dict[str, torch.Tensor], fidelity: float) -> torch.Tensor:
        """Decode faces from code vectors (B×C×s×s) and the degraded faces' features; `features` is emptied."""
        x = winograd_layout(clean)
        for block in self.generator.blocks:
            x = block(x)
            # After the first residual block of each resolution.
            if isinstance(block, ResidualBlock) and (degraded := features.pop(str(x.shape[-1]), None)) is not None:
                x = self.fuse_convs_dict[str(x.shape[-1])](degraded, x, fidelity)
        return x


def adapt(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Adaptive instance normalisation (Huang and Belongie, ICCV 2017, equation 8).

    Gives `content` the per-channel mean and standard deviation of `style`, which keeps the degraded face's colours.
    Both are B×C×H×W. Variances are unbiased, plus 1e-5, as in CodeFormer. This step is optional in the original; the
    WebUIs use it.
    """
    own_variance, own_mean = torch.var_mean(content, dim=(2, 3), keepdim=True)
    variance, mean = torch.var_mean(style, dim=(2, 3), keepdim=True)
    return (content - own_mean) * ((variance + 1e-5) / (own_variance + 1e-5)).sqrt() + mean


RESTORER = CodeFormer


def matches(shapes: Shapes) -> bool:
    """Whether a state dict with these tensor names and shapes is a CodeFormer."""
    return all(name in shapes for name in ("position_emb", "idx_pred_layer.1.weight", "quantize.embedding.weight"))


def build(shapes: Shapes) -> CodeFormer:
    """A network without weights, its hyper-parameters read off the tensors' shapes."""

    def stack(prefix: str, resample: type[Downsample] | type[Upsample]) -> list[nn.Module]:
        return [_block(shapes, f"{prefix}.{i}", resample) for i in range(count_children(shapes, prefix))]

    tokens, width = shapes["position_emb"]
    if math.isqrt(tokens) ** 2 != tokens:
        raise ValueError(f"position_emb has {tokens} places, which is no square")
    number, channels = shapes["quantize.embedding.weight"]
    sides = {name.split(".")[1] for name in shapes if name.startswith("fuse_convs_dict.")}
    return CodeFormer(
        encoder=stack("encoder.blocks", Downsample),
        generator=stack("generator.blocks", Upsample),
        codes=(number, channels),
        tokens=tokens,
        width=width,
        hidden=shapes["ft_layers.0.linear1.weight"][0],
        layers=count_children(shapes, "ft_layers"),
        # A fusion at the latent's own side is not supported: no public file has one. Its tensors are then unknown ones.
        fusions={
            int(side): shapes[f"fuse_convs_dict.{side}.scale.0.weight"][0]
            for side in sorted(sides, key=int)
            if int(side) > math.isqrt(tokens)
        },
    )


def _block(shapes: Shapes, name: str, resample: type[Downsample] | type[Upsample]) -> nn.Module:
    """The block called `name`; the names of its tensors tell its kind."""
    if f"{name}.conv1.weight" in shapes:
        channels_out, channels_in = shapes[f"{name}.conv1.weight"][:2]
        return ResidualBlock(channels_in, channels_out, shortcut="conv_out")
    if f"{name}.q.weight" in shapes:
        return SelfAttention(shapes[f"{name}.q.weight"][0])
    if f"{name}.conv.weight" in shapes:
        return resample(shapes[f"{name}.conv.weight"][0])
    shape = shapes[f"{name}.weight"]
    # Others are the first and last convolution, and the normalisation before the last (no swish follows it).
    return group_norm(shape[0]) if len(shape) == 1 else Conv3x3(shape[1], shape[0])
