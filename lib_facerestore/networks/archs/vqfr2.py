"""VQFR v2: the idea of v1 in another network; the weight of its warped branch can be chosen.

Differences from v1: residual blocks change the number of channels, sizes change by strides and repeated pixels, the
coarsest level has attention, a linear classifier predicts the codes, and both branches share one output layer.
Gu et al., "VQFR: Blind Face Restoration with Vector-Quantized Dictionary and Parallel Decoder", 2022. Original:
TencentARC/VQFR, vqfr/archs/vqfrv2_arch.py.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .family import Shapes, count_children
from .vqfr_blocks import VQFR, Holder, activated, branch_sizes, level, main_branch
from .vqgan import Codebook, ResidualBlock, SelfAttention
from .winograd import Conv3x3

MARKER = "main_branch.align_func_dict.Level_1.dcn.weight"
"""A tensor that only this version has."""
SHORTCUT = "residual_func"
"""Name of the residual blocks' 1×1 convolution in the file."""


class _Resized(nn.Module):
    """Changes the side of B×C×H×W: halves it by a convolution of stride 2, zero-padded on the right and below only; or
    doubles it by repeating pixels before a convolution."""

    def __init__(self, conv: nn.Conv2d, enlarge: bool) -> None:
        super().__init__()
        self.conv = conv
        self.enlarge = enlarge

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.enlarge:
            return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class VQFRv2(VQFR):
    """VQFR v2.

    Args:
        widths: channels at 1, 1/2, 1/4, … of the crop's side; multiples of 32.
        encoder_blocks: residual blocks of each level of the encoder.
        decoder_blocks: residual blocks of each level of the decoder.
        codes: number of codes in the codebook.
        code_width: channels of a code.
        guide: channels of the features that guide the warping.
        groups: deformable groups.
        attention: whether the coarsest level has attention, in the encoder and in the decoder.
        classifier: whether a linear classifier predicts the codes; otherwise the nearest codes are used.
    """

    knobs = frozenset({"fidelity"})

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 128, 128, 256, 256, 512),
        encoder_blocks: int = 2,
        decoder_blocks: int = 2,
        codes: int = 1024,
        code_width: int = 256,
        guide: int = 32,
        groups: int = 4,
        attention: tuple[bool, bool] = (True, True),
        classifier: bool = True,
    ) -> None:
        super().__init__(widths)
        last, deepest = self.last, widths[-1]

        def middle(attends: bool) -> nn.Sequential:
            between = [SelfAttention(deepest)] if attends else []
            return nn.Sequential(
                ResidualBlock(deepest, deepest, SHORTCUT), *between, ResidualBlock(deepest, deepest, SHORTCUT)
            )

        def stage(first: nn.Module | None, width_in: int, width: int, number: int, attends: bool) -> nn.Sequential:
            parts: list[nn.Module] = [first] if first is not None else []
            for i in range(number):
                parts.append(ResidualBlock(width if i else width_in, width, SHORTCUT))
                if attends:
                    parts.append(SelfAttention(width))
            return nn.Sequential(*parts)

        encoder, decoder = [], []
        for i, width in enumerate(widths):
            finer = widths[max(i - 1, 0)]
            coarser = widths[min(i + 1, last)]
            reduce = _Resized(nn.Conv2d(finer, finer, 3, stride=2), enlarge=False) if i else None
            enlarge = _Resized(Conv3x3(coarser, coarser), enlarge=True) if i < last else None
            encoder.append(stage(reduce, finer, width, encoder_blocks, attention[0] and i == last))
            decoder.append(stage(enlarge, coarser, width, decoder_blocks, attention[1] and i == last))
        self.encoder = Holder(
            conv_in=Conv3x3(3, widths[0]),
            blocks=nn.ModuleList(encoder),
            mid_blocks=middle(attention[0]),
            conv_out=activated(deepest, Conv3x3(deepest, code_width)),
        )
        self.feat2index = nn.Sequential(nn.LayerNorm(code_width), nn.Linear(code_width, codes)) if classifier else None
        self.decoder = Holder(
            conv_in=Conv3x3(code_width, deepest),
            blocks=nn.ModuleList(reversed(decoder)),
            mid_blocks=middle(attention[1]),
            conv_out=activated(widths[0], Conv3x3(widths[0], 3)),
        )
        self.main_branch = Holder(
            **main_branch(widths, guide, groups, SHORTCUT, guide_conv=False),
            pre_upsample_dict=nn.ModuleDict(
                {
                    level(i): nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), Conv3x3(widths[i + 1], widths[i]))
                    for i in range(last)
                }
            ),
        )
        self.inpfeat_extraction = Conv3x3(3, guide)
        self.quantizer = Codebook(codes, code_width)

    def codes(self, faces: torch.Tensor) -> torch.Tensor:
        """Indices into the codebook, B×S/32×S/32, for faces B×3×S×S, RGB in [-1, 1]."""
        x = self.encoder.conv_in(faces)
        for blocks in self.encoder.blocks:
            x = blocks(x)
        z = self.encoder.conv_out(self.encoder.mid_blocks(x))
        if self.feat2index is None:
            return self.quantizer.nearest(z)
        indices: torch.Tensor = self.feat2index(z.movedim(1, 3)).argmax(3)
        return indices

    def forward(self, faces: torch.Tensor, *, fidelity: float = 0.5) -> torch.Tensor:
        """Restore faces.

        Args:
            faces: B×3×S×S, RGB in [-1, 1], FFHQ-aligned. S is meant to be 512; other multiples of 32 work too.
            fidelity: weight of the branch that follows the input, from 0 (textures alone; faster, since the branch is
                not computed) to 1. The original calls it fidelity ratio.

        Returns:
            A tensor of the same shape, RGB, nominally in [-1, 1] (not clipped).
        """
        texture = self.decoder.conv_in(self.quantizer.look_up(self.codes(faces)))
        texture = self.decoder.mid_blocks(texture)
        if fidelity == 0:
            for blocks in self.decoder.blocks:
                texture = blocks(texture)
            return self.decoder.conv_out(texture)
        guide = self.inpfeat_extraction(faces)
        main = self.main_branch
        texture = self.decoder.blocks[0](texture)
        x, offset = main.align_func_dict[level(self.last)](texture, guide, None)
        for i in reversed(range(self.last)):
            texture = self.decoder.blocks[self.last - i](texture)
            x = main.pre_upsample_dict[level(i)](x)
            warped, offset = main.align_func_dict[level(i)](texture, guide, offset)
            x = main.decoder_dict[level(i)](torch.cat((x, warped), 1))
        return self.decoder.conv_out(torch.add(texture, x, alpha=fidelity))


RESTORER = VQFRv2


def matches(shapes: Shapes) -> bool:
    """Whether a state dict with these tensor names and shapes is VQFR v2."""
    return MARKER in shapes


def build(shapes: Shapes) -> VQFRv2:
    """A network without weights. Sizes are read off the tensors' shapes; a tensor's name shows each optional part."""
    widths, groups = branch_sizes(shapes, "main_branch")
    codes, code_width = shapes["quantizer.embedding.weight"]
    return VQFRv2(
        widths,
        encoder_blocks=count_children(shapes, "encoder.blocks.0"),
        # The first child of the finest level changes the size.
        decoder_blocks=count_children(shapes, f"decoder.blocks.{len(widths) - 1}") - 1,
        codes=codes,
        code_width=code_width,
        guide=shapes["inpfeat_extraction.weight"][0],
        groups=groups,
        # The query's weights show that there is an attention block.
        attention=("encoder.mid_blocks.1.q.weight" in shapes, "decoder.mid_blocks.1.q.weight" in shapes),
        classifier="feat2index.1.weight" in shapes,
    )
