"""VQFR v1: a codebook of sharp textures, and a second decoder that warps them to the shape of the input's face.

Gu et al., "VQFR: Blind Face Restoration with Vector-Quantized Dictionary and Parallel Decoder", 2022. Original:
TencentARC/VQFR, vqfr/archs/vqfrv1_arch.py.
"""

from __future__ import annotations

import torch
from torch import nn

from .family import Shapes, count_children
from .vqfr_blocks import VQFR, Holder, activated, branch_sizes, level, main_branch, resize
from .vqgan import Codebook, ResidualBlock
from .winograd import Conv3x3

MARKER = "main_decoder.align_func_dict.Level_1.dcn.weight"
"""A tensor that only this version has."""
SHORTCUT = "shortcut_conv"
"""Name of the residual blocks' 1×1 convolution in the file."""


def _half(x: torch.Tensor) -> torch.Tensor:
    return resize(x, (x.shape[2] // 2, x.shape[3] // 2))


def _double(x: torch.Tensor) -> torch.Tensor:
    return resize(x, (x.shape[2] * 2, x.shape[3] * 2))


class _Quantizer(Codebook):
    """A codebook with 1×1 convolutions that change the channels to the codes' width, and back."""

    def __init__(self, count: int, width: int, channels: int) -> None:
        super().__init__(count, width)
        self.quant_conv = nn.Conv2d(channels, width, 1)
        self.post_quant_conv = nn.Conv2d(width, channels, 1)


class VQFRv1(VQFR):
    """VQFR v1.

    Args:
        widths: channels at 1, 1/2, 1/4, … of the crop's side; multiples of 32.
        encoder_blocks: residual blocks of each level of the encoder.
        decoder_blocks: residual blocks of each level of the decoder.
        codes: number of codes in the codebook.
        code_width: channels of a code.
        guide: channels of the features that guide the warping.
        groups: deformable groups.
    """

    bytes_a_pixel = 8192  # measured: 4.1 GiB for two faces in parallel

    def __init__(
        self,
        widths: tuple[int, ...] = (128, 128, 256, 256, 256, 512),
        encoder_blocks: int = 2,
        decoder_blocks: int = 3,
        codes: int = 1024,
        code_width: int = 256,
        guide: int = 32,
        groups: int = 4,
    ) -> None:
        super().__init__(widths)
        last, deepest = self.last, widths[-1]

        def blocks(number: int) -> nn.ModuleDict:
            return nn.ModuleDict(
                {
                    level(i): nn.Sequential(*(ResidualBlock(width, width, SHORTCUT) for _ in range(number)))
                    for i, width in enumerate(widths)
                }
            )

        def ups() -> nn.ModuleDict:
            return nn.ModuleDict({level(i): Holder(conv=Conv3x3(widths[i + 1], widths[i])) for i in range(last)})

        self.inpfeat_extraction = Holder(conv=Conv3x3(3, guide))
        self.encoder = Holder(
            conv_in=Conv3x3(3, widths[0]),
            encoder_dict=blocks(encoder_blocks),
            pre_downsample_dict=nn.ModuleDict(
                {level(i): Holder(conv=Conv3x3(widths[i - 1], widths[i])) for i in range(1, last + 1)}
            ),
            enc_convout_dict=nn.ModuleDict({level(last): activated(deepest, Conv3x3(deepest, deepest))}),
        )
        self.quantizer = Holder(
            quantize_dict=nn.ModuleDict({level(last): _Quantizer(codes, code_width, deepest)}),
        )
        self.decoder = Holder(
            decoder_dict=blocks(decoder_blocks),
            pre_upsample_dict=ups(),
            # The image of the textures alone; used in training only.
            conv_out=activated(widths[0], Conv3x3(widths[0], 3)),
        )
        self.main_decoder = Holder(
            **main_branch(widths, guide, groups, SHORTCUT, guide_conv=True),
            pre_upsample_dict=ups(),
            conv_out_1=activated(widths[0]),
            conv_out=nn.Sequential(Conv3x3(widths[0] + 3, 3)),
        )

    def codes(self, faces: torch.Tensor) -> torch.Tensor:
        """Indices into the codebook, B×S/32×S/32, for faces B×3×S×S, RGB in [-1, 1]."""
        encoder = self.encoder
        x = encoder.encoder_dict[level(0)](encoder.conv_in(faces))
        for i in range(1, self.last + 1):
            x = encoder.encoder_dict[level(i)](encoder.pre_downsample_dict[level(i)].conv(_half(x)))
        quantizer = self.quantizer.quantize_dict[level(self.last)]
        indices: torch.Tensor = quantizer.nearest(quantizer.quant_conv(encoder.enc_convout_dict[level(self.last)](x)))
        return indices

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Restore faces.

        Args:
            faces: B×3×S×S, RGB in [-1, 1], FFHQ-aligned. S is meant to be 512; other multiples of 32 work too.

        Returns:
            A tensor of the same shape, RGB, nominally in [-1, 1] (not clipped).
        """
        quantizer = self.quantizer.quantize_dict[level(self.last)]
        texture = quantizer.post_quant_conv(quantizer.look_up(self.codes(faces)))
        guide = self.inpfeat_extraction.conv(faces)
        main = self.main_decoder
        # Both decoders run level by level together, so that only one level's textures are in memory.
        texture = self.decoder.decoder_dict[level(self.last)](texture)
        x, offset = main.align_func_dict[level(self.last)](texture, guide, None)
        for i in reversed(range(self.last)):
            name = level(i)
            texture = self.decoder.decoder_dict[name](_double(self.decoder.pre_upsample_dict[name].conv(texture)))
            x = _double(main.pre_upsample_dict[name].conv(x))
            warped, offset = main.align_func_dict[name](texture, guide, offset)
            x = main.decoder_dict[name](torch.cat((x, warped), 1))
        restored: torch.Tensor = main.conv_out(torch.cat((main.conv_out_1(x), faces), 1))
        return restored


RESTORER = VQFRv1


def matches(shapes: Shapes) -> bool:
    """Whether a state dict with these tensor names and shapes is VQFR v1."""
    return MARKER in shapes


def build(shapes: Shapes) -> VQFRv1:
    """A network without weights, its sizes read off the tensors' shapes."""
    widths, groups = branch_sizes(shapes, "main_decoder")
    codes, code_width = shapes[f"quantizer.quantize_dict.{level(len(widths) - 1)}.embedding.weight"]
    return VQFRv1(
        widths,
        encoder_blocks=count_children(shapes, "encoder.encoder_dict.Level_1"),
        decoder_blocks=count_children(shapes, "decoder.decoder_dict.Level_1"),
        codes=codes,
        code_width=code_width,
        guide=shapes["inpfeat_extraction.conv.weight"][0],
        groups=groups,
    )
