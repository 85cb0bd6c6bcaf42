"""RestoreFormer (Wang et al., "RestoreFormer: High-Quality Blind Face Restoration from Undegraded Key-Value Pairs",
CVPR 2022) and RestoreFormer++ (the same authors, TPAMI 2023).

The degraded face is encoded, each pixel of its latent is replaced by the nearest code of a dictionary of clean faces,
and the result is decoded. The decoder's attention takes its queries from the *encoder's* features. Its keys and values
are from the decoder's own features, which come from the dictionary. The result is faithful to what the input shows, and
clean elsewhere.
Originals: gfpgan's `RestoreFormer` (gfpgan/archs/restoreformer_arch.py), and the repository
wzhouxiff/RestoreFormerPlusPlus.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import cast

import torch
from torch import nn

from .family import Restorer, Shapes, count_children
from .vqgan import Codebook, Downsample, ResidualBlock, Upsample, attend, group_norm, swish
from .winograd import winograd_layout

LATENT_SIDE = 16
"""Side of the latent in pixels, for a crop of the network's own size."""


class Attention(nn.Module):
    """Multi-head attention among all pixels, added to the input.

    `norm2` normalises the context. Without a context it is not used, but the files hold it.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = group_norm(channels)
        self.norm2 = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Attend within `x` (B×C×H×W); queries come from `context` (same shape) if given. Returns B×C×H×W."""
        normed = self.norm1(x)
        source = normed if context is None else self.norm2(context)
        return x + self.proj_out(attend(self.q(source), self.k(normed), self.v(normed), self.heads))


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by attention if `heads` is not 0.

    The encoder and decoder add a `downsample` or `upsample` to every level but their last, and call it themselves.
    """

    downsample: Downsample
    upsample: Upsample

    def __init__(self, channels_in: int, channels: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(channels if i else channels_in, channels) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(channels, heads) for _ in range(blocks if heads else 0))

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x, context)
        return x


class Middle(nn.Module):
    """Two residual blocks with attention between them, at the latent's resolution."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels)
        self.attn_1 = Attention(channels, heads)
        self.block_2 = ResidualBlock(channels, channels)


class Encoder(nn.Module):
    """Encodes faces to a latent, and to the features that the decoder takes its queries from.

    Args:
        stem: channels after the first convolution.
        widths: channels of each level, largest resolution first.
        blocks: residual blocks of a level.
        latent: channels of the latent.
        heads: attention heads.
        attending: levels with attention.
        kept: levels whose features the decoder needs.
    """

    def __init__(
        self,
        stem: int,
        widths: tuple[int, ...],
        blocks: int,
        latent: int,
        heads: int,
        attending: Collection[int],
        kept: Collection[int],
    ) -> None:
        super().__init__()
        self.kept = frozenset(kept)
        self.conv_in = nn.Conv2d(3, stem, 3, padding=1)
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            stage = Level(widths[level - 1] if level else stem, width, blocks, heads if level in attending else 0)
            if level < len(widths) - 1:
                stage.downsample = Downsample(width)
            self.down.append(stage)
        self.mid = Middle(widths[-1], heads)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent, 3, padding=1)

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """The latent (B×latent×s×s) of faces B×3×S×S, and features by level; -1 is the middle."""
        features: dict[int, torch.Tensor] = {}
        x = self.conv_in(winograd_layout(faces))
        deepest = len(self.down) - 1
        for level, stage in enumerate(cast("Iterable[Level]", self.down)):
            x = stage(x)
            if level < deepest:
                if level in self.kept:
                    features[level] = x
                x = stage.downsample(x)
        x = self.mid.block_1(x)
        features[deepest] = x  # for the deepest level, the originals take the output of the middle's first block
        x = self.mid.block_2(self.mid.attn_1(x))
        features[-1] = x
        return self.conv_out(swish(self.norm_out(x))), features


class Decoder(nn.Module):
    """Decodes latents to faces. Arguments as for `Encoder`; the public files have one block more for each level."""

    def __init__(
        self, widths: tuple[int, ...], blocks: int, latent: int, heads: int, attending: Collection[int]
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], heads)
        self.up = nn.ModuleList()
        for level, width in enumerate(widths):
            below = widths[min(level + 1, len(widths) - 1)]
            stage = Level(below, width, blocks, heads if level in attending else 0)
            if level:
                stage.upsample = Upsample(width)
            self.up.append(stage)
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latent: torch.Tensor, features: dict[int, torch.Tensor]) -> torch.Tensor:
        x = self.mid.block_1(self.conv_in(winograd_layout(latent)))
        x = self.mid.block_2(self.mid.attn_1(x, features[-1]))
        for level in reversed(range(len(self.up))):
            stage = cast(Level, self.up[level])
            x = stage(x, features.get(level))
            if level:
                x = stage.upsample(x)
        return self.conv_out(swish(self.norm_out(x)))


class RestoreFormer(Restorer):
    """RestoreFormer and RestoreFormer++.

    Args:
        stem: channels after the first convolution.
        widths: channels of each level, largest resolution first; all multiples of 32.
        blocks: residual blocks of each level of the encoder.
        latent: channels of the encoder's output.
        codes: number of codes in the dictionary, and channels of each.
        heads: attention heads.
        encoder_attending: levels of the encoder with attention.
        decoder_attending: levels of the decoder with attention.
    """

    family = "restoreformer"
    # Not bfloat16: rounding in the encoder changes the latent by 2 %, and with it 3 of 32 codes of RestoreFormer++
    # (synthetic weights). Each changed code is a different patch of face.
    precisions = ("float32",)

    def __init__(
        self,
        stem: int = 64,
        widths: tuple[int, ...] = (64, 128, 128, 256, 256, 512),
        blocks: int = 2,
        latent: int = 256,
        codes: tuple[int, int] = (1024, 256),
        heads: int = 8,
        encoder_attending: Collection[int] = (5,),
        decoder_attending: Collection[int] = (5,),
    ) -> None:
        super().__init__()
        self.size = LATENT_SIDE << (len(widths) - 1)
        self.encoder = Encoder(stem, widths, blocks, latent, heads, encoder_attending, decoder_attending)
        self.decoder = Decoder(widths, blocks + 1, latent, heads, decoder_attending)
        self.quantize = Codebook(*codes)
        self.quant_conv = nn.Conv2d(latent, codes[1], 1)
        self.post_quant_conv = nn.Conv2d(codes[1], latent, 1)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Restore faces.

        Args:
            faces: B×3×S×S, RGB in [-1, 1], FFHQ-aligned. S is meant to be 512; other multiples of 32 work too.

        Returns:
            A tensor of the same shape, RGB, nominally in [-1, 1] (not clipped).
        """
        latent, features = self.encoder(faces)
        clean, _ = self.quantize(self.quant_conv(latent))
        return self.decoder(self.post_quant_conv(clean), features)


RESTORER = RestoreFormer


def matches(shapes: Shapes) -> bool:
    """Whether a state dict with these tensor names and shapes is a RestoreFormer or RestoreFormer++."""
    # A plain VQGAN has the same names, but no norm2 in its attention.
    return all(
        name in shapes
        for name in ("quantize.embedding.weight", "post_quant_conv.weight", "decoder.mid.attn_1.norm2.weight")
    )


def build(shapes: Shapes) -> RestoreFormer:
    """A network without weights, its hyper-parameters read off the tensors' shapes."""

    def outputs(name: str) -> int:
        return shapes[f"{name}.weight"][0]

    def attending(prefix: str) -> list[int]:
        return [level for level in range(levels) if count_children(shapes, f"{prefix}.{level}.attn")]

    levels = count_children(shapes, "encoder.down")
    decoder_attending = attending("decoder.up")
    number, width = shapes["quantize.embedding.weight"]
    return RestoreFormer(
        stem=outputs("encoder.conv_in"),
        widths=tuple(outputs(f"encoder.down.{level}.block.0.conv2") for level in range(levels)),
        blocks=count_children(shapes, "encoder.down.0.block"),
        latent=outputs("encoder.conv_out"),
        codes=(number, width),
        # The number of heads cannot be read off any tensor. RestoreFormer++, which alone attends at a second
        # resolution, has 4.
        heads=4 if levels - 2 in decoder_attending else 8,
        encoder_attending=attending("encoder.down"),
        decoder_attending=decoder_attending,
    )
