"""Spatial parallelism of the VAE: splits encoding and decoding over ranks by rows of the picture, without seams.

Each rank computes a band of rows. Where a module needs rows outside the band, the ranks exchange them: a halo of one
row above and below for a convolution, all rows for the keys and values of attention. So each rank computes the same
sums as a single rank would, with its share of the memory. Called by `codec`.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanAttentionBlock, WanCausalConv3d
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from inference.wan.vae.cpu import convolve


class Bands:
    """Divides the rows of a picture among the ranks of an axis; bands end at rows of latents, at every scale.

    Without an axis the only band is the whole picture. Lives for one encoding or decoding.
    """

    def __init__(self, axis: DeviceMesh | None, latent_rows: int) -> None:
        self._group = None if axis is None else axis.get_group()
        ranks, self._at = (1, 0) if axis is None else (axis.size(), axis.get_local_rank())
        self._ranks = ranks
        self._rows = [(latent_rows + ranks - 1 - rank) // ranks for rank in range(ranks)]

    def local(self, whole_xHW: torch.Tensor) -> torch.Tensor:
        """Return this rank's rows of `whole_xHW`, as a view. Its height is any multiple of the rows of latents."""
        scale = whole_xHW.shape[-2] // sum(self._rows)
        return whole_xHW.narrow(-2, scale * sum(self._rows[: self._at]), scale * self._rows[self._at])

    def gather(self, local_xHW: torch.Tensor) -> torch.Tensor:
        """Return the rows of all ranks, on every rank. A collective; needs memory for the whole and one band."""
        if self._ranks == 1:
            return local_xHW
        whole_xHW, places = self._whole_like(local_xHW)
        for rank, place_xHW in enumerate(places):
            band_xHW = local_xHW.contiguous() if rank == self._at else place_xHW.new_empty(place_xHW.shape)
            dist.broadcast(band_xHW, group=self._group, group_src=rank)
            place_xHW.copy_(band_xHW)
        return whole_xHW

    def gather_on_first(self, local_xHW: torch.Tensor) -> torch.Tensor:
        """Return the rows of all ranks on the first rank of the axis, and on the others their own. A collective."""
        if self._at > 0:
            dist.send(local_xHW.contiguous(), group=self._group, group_dst=0)
        if self._at > 0 or self._ranks == 1:
            return local_xHW
        whole_xHW, places = self._whole_like(local_xHW)
        places[0].copy_(local_xHW)
        for rank, place_xHW in enumerate(places[1:], start=1):
            band_xHW = place_xHW.new_empty(place_xHW.shape)
            dist.recv(band_xHW, group=self._group, group_src=rank)
            place_xHW.copy_(band_xHW)
        return whole_xHW

    def _whole_like(self, local_xHW: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return an empty tensor for the rows of all ranks, and each rank's place in it."""
        scale, width = local_xHW.shape[-2] // self._rows[self._at], local_xHW.shape[-1]
        bands = [rows * scale for rows in self._rows]
        whole_xHW = local_xHW.new_empty(*local_xHW.shape[:-2], sum(bands), width)
        return whole_xHW, whole_xHW.split(bands, dim=-2)

    def with_halo(self, local_xHW: torch.Tensor, *, above: bool = True) -> torch.Tensor:
        """Return the band with one row of each neighbour, or a row of zeros at the picture's edge, as padding.

        Without `above` only the row below is added. A collective.
        """
        top, bottom = self.halo(local_xHW, above=above)
        return torch.cat([top, local_xHW, bottom] if above else [local_xHW, bottom], dim=-2)

    def halo(self, local_xHW: torch.Tensor, *, above: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the neighbours' rows above and below the band; zeros at the picture's edge, and without `above`.

        A collective.
        """
        first, last = local_xHW[..., :1, :].contiguous(), local_xHW[..., -1:, :].contiguous()
        top, bottom = torch.zeros_like(first), torch.zeros_like(last)
        trades: list[tuple[Callable[..., Any], torch.Tensor, int]] = []
        if self._at > 0:
            trades.append((dist.isend, first, self._at - 1))
            trades += [(dist.irecv, top, self._at - 1)] * above
        if self._at < self._ranks - 1:
            trades.append((dist.irecv, bottom, self._at + 1))
            trades += [(dist.isend, last, self._at + 1)] * above
        ops = [dist.P2POp(trade, row, group=self._group, group_peer=peer) for trade, row, peer in trades]
        for work in dist.batch_isend_irecv(ops):
            work.wait()
        return top, bottom


@contextmanager
def working_in_bands(vae: AutoencoderKLWan, axis: DeviceMesh | None, latent_rows: int) -> Generator[Bands]:
    """Make the VAE encode and decode this rank's band within the block; without an axis the VAE is not changed.

    Within it every pass is a collective of the axis. However the block ends, afterwards the VAE is as before, and its
    frame cache is empty.
    """
    bands = Bands(axis, latent_rows)
    replaced: list[nn.Module] = []
    try:
        for module in vae.modules() if axis is not None else ():
            if (forward := _banded_forward(module)) is not None:
                module.forward = partial(forward, module, bands)
                replaced.append(module)
        yield bands
    finally:
        for module in replaced:
            del module.forward  # the instance's attribute; the class's `forward` shows again
        vae.clear_cache()


def _banded_forward(module: nn.Module) -> Callable[..., torch.Tensor] | None:
    """Return the replacement of the module's `forward`, or None if the module needs no rows outside the band."""
    match module:
        case WanCausalConv3d() if module.kernel_size[1] > 1:
            return _causal_convolution
        case nn.Conv2d() if module.padding != (0, 0):
            return _convolution
        case nn.ZeroPad2d():
            return _padding_below
        case WanAttentionBlock():
            return _attention
        case _:
            return None


def _causal_convolution(
    module: WanCausalConv3d, bands: Bands, x_BCTHW: torch.Tensor, cache_x: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the output of the convolution for this rank's band: B × C × T × H × W. A collective.

    `cache_x` are the frames before `x_BCTHW`; zeros stand for those that it lacks.
    """
    # The padded input is filled in place: joined, then widened, then padded, it would lie in memory three times.
    parts = [x_BCTHW] if cache_x is None else [cache_x, x_BCTHW]
    lengths = [part.shape[2] for part in parts]
    columns, before = module.kernel_size[2] // 2, module.kernel_size[0] - 1 - sum(lengths[:-1])
    batch, channels, _, rows, width = x_BCTHW.shape
    padded_BCTHW = x_BCTHW.new_zeros(batch, channels, before + sum(lengths), rows + 2, width + 2 * columns)
    inner_BCTHW = padded_BCTHW[:, :, before:, :, columns : columns + width]
    for part_BCTHW, place_BCTHW in zip(parts, inner_BCTHW[..., 1:-1, :].split(lengths, dim=2), strict=True):
        place_BCTHW.copy_(part_BCTHW)
    inner_BCTHW[..., :1, :], inner_BCTHW[..., -1:, :] = bands.halo(inner_BCTHW[..., 1:-1, :])
    return convolve(module, padded_BCTHW)


def _convolution(module: nn.Conv2d, bands: Bands, x_NCHW: torch.Tensor) -> torch.Tensor:
    """Return the output of the 3 × 3 convolution for this rank's band: N × C × H × W. A collective."""
    return F.conv2d(bands.with_halo(x_NCHW), module.weight, module.bias, module.stride, padding=(0, 1))


def _padding_below(_module: nn.ZeroPad2d, bands: Bands, x_NCHW: torch.Tensor) -> torch.Tensor:
    """Return the band, N × C × H × W, padded for a convolution of stride 2: one column on the right, one row below.

    The row is the next band's first, or zeros at the picture's edge. A collective.
    """
    return F.pad(bands.with_halo(x_NCHW, above=False), (0, 1))


def _attention(module: WanAttentionBlock, bands: Bands, x_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return the output of the attention block for this rank's band, its input added: B × C × T × H × W.

    Within each frame every pixel of the band attends to every pixel of the picture. A collective.
    """
    x_BTCHW = x_BCTHW.transpose(1, 2)
    query, key, value = module.to_qkv(module.norm(x_BTCHW.flatten(0, 1))).chunk(3, dim=1)
    key, value = bands.gather(torch.cat([key, value], dim=1)).chunk(2, dim=1)
    seen_NLC = F.scaled_dot_product_attention(_places(query), _places(key), _places(value))
    seen_NCHW = module.proj(seen_NLC.transpose(1, 2).reshape(query.shape))
    return seen_NCHW.reshape(x_BTCHW.shape).transpose(1, 2) + x_BCTHW


def _places(x_NCHW: torch.Tensor) -> torch.Tensor:
    """Return a picture's pixels as tokens: N × (H · W) × C."""
    return x_NCHW.flatten(2).transpose(1, 2).contiguous()
