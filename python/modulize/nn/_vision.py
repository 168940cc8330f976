"""Modules for the operators of torchvision, called as these are; torchvision is needed when they run."""

import torch
from torch.nn import Module

__all__ = ["DeformConv2d", "PSRoIAlign", "PSRoIPool", "RoIAlign", "RoIPool"]


class RoIAlign(Module):
    """``torch.ops.torchvision.roi_align``: averages of bilinear samples in regions of interest."""

    def forward(self, *args, **kwargs):
        return torch.ops.torchvision.roi_align(*args, **kwargs)


class RoIPool(Module):
    """``torch.ops.torchvision.roi_pool``: maxima in regions of interest, and where they are."""

    def forward(self, *args, **kwargs):
        return torch.ops.torchvision.roi_pool(*args, **kwargs)


class PSRoIAlign(Module):
    """``torch.ops.torchvision.ps_roi_align``: position-sensitive averages in regions of interest."""

    def forward(self, *args, **kwargs):
        return torch.ops.torchvision.ps_roi_align(*args, **kwargs)


class PSRoIPool(Module):
    """``torch.ops.torchvision.ps_roi_pool``: position-sensitive averages of bins in regions of interest."""

    def forward(self, *args, **kwargs):
        return torch.ops.torchvision.ps_roi_pool(*args, **kwargs)


class DeformConv2d(Module):
    """``torch.ops.torchvision.deform_conv2d``: a convolution that samples at offsets, which the call gives."""

    def forward(self, *args, **kwargs):
        return torch.ops.torchvision.deform_conv2d(*args, **kwargs)
