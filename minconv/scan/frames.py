"""How frames and states lie in memory, and the types that the scan computes in.

A frame is NCHW or channels_last; batch and time strides are free. Results have the frame layout of the input. What does
not live here: anything that reads values.

    h = empty_frames(pre, channels, pre.shape[1], pre.dtype)
    final_state = empty_state(h)
"""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(pre: Tensor) -> torch.dtype:
    """Type of the state and of all arithmetic."""
    return torch.float64 if pre.dtype == torch.float64 else torch.float32


def block_count(cell: str) -> int:
    """Channel blocks of the input."""
    return 2 if cell == "gru" else 3


def is_channels_last(frames: Tensor) -> bool:
    """Whether each frame of [B, T, C, H, W] is channels_last (and not also NCHW)."""
    frame = frames[0, :1]
    return not frame.is_contiguous() and frame.is_contiguous(memory_format=torch.channels_last)


def empty_frames(like: Tensor, channels: int, frames: int, dtype: torch.dtype) -> Tensor:
    """New [B, frames, channels, H, W], each frame channels_last where those of `like` are."""
    batch, _, _, height, width = like.shape
    if is_channels_last(like):
        return like.new_empty(batch, frames, height, width, channels, dtype=dtype).permute(0, 1, 4, 2, 3)
    return like.new_empty(batch, frames, channels, height, width, dtype=dtype)


def empty_state(h: Tensor) -> Tensor:
    """New state [B, C, H, W] in the frame layout of h."""
    batch, _, channels, height, width = h.shape
    if is_channels_last(h):
        return h.new_empty(batch, height, width, channels, dtype=compute_dtype(h)).permute(0, 3, 1, 2)
    return h.new_empty(batch, channels, height, width, dtype=compute_dtype(h))


def dense(frames: Tensor, last: bool) -> Tensor:
    """[B, T, C, H, W] with dense frames of that layout and free batch and time strides; itself if it has them."""
    if frames[0, :1].is_contiguous(memory_format=_format(last)):
        return frames
    return _copy(frames, last)


def whole(frames: Tensor, last: bool) -> Tensor:
    """[B, T, C, H, W] without gaps, in that layout; itself if it is that."""
    return frames if frames.flatten(0, 1).is_contiguous(memory_format=_format(last)) else _copy(frames, last)


def dense_state(state: Tensor, last: bool) -> Tensor:
    """[B, C, H, W] without gaps, in that layout; itself if it is that."""
    return state.contiguous(memory_format=_format(last))


def _copy(frames: Tensor, last: bool) -> Tensor:
    return frames.flatten(0, 1).contiguous(memory_format=_format(last)).view(frames.shape)


def _format(last: bool) -> torch.memory_format:
    return torch.channels_last if last else torch.contiguous_format
