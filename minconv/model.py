"""The Forecaster: normalise, encode, residual recurrent layers, decode, denormalise.

What lives here: how the parts are put together. What does not: the parts (`cells`, `baselines`, `layers`,
`normalizer`), applying the model to its own output (`rollout`), training.

    forecaster = Forecaster(ForecasterConfig(in_channels=1, out_channels=1, hidden=(40,) * 6, patch=2, tendency=True))
    y, state = forecaster(x_BTCHW)          # all frames at once; y[:, t] predicts frame t + 1
    y_next, state = forecaster.step(next_BCHW, state)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .baselines import ConvGRU, ConvLSTM
from .cells import MemorylessConv, MinConvCell, MinConvExpLSTM, MinConvGRU, MinConvLSTM
from .chrono import check_memory
from .config import ForecasterConfig
from .errors import InputError
from .layers import BoundaryConv2d, fold_patches, make_norm, unfold_patches
from .normalizer import Normalizer
from .scan import Backend

State = tuple[Tensor, ...]

_MINCONV: dict[str, type[MinConvCell]] = {
    "minconvgru": MinConvGRU,
    "minconvlstm": MinConvLSTM,
    "minconvexplstm": MinConvExpLSTM,
    "conv": MemorylessConv,
}
_BASELINES: dict[str, type[ConvGRU] | type[ConvLSTM]] = {"convgru": ConvGRU, "convlstm": ConvLSTM}


class RecurrentLayer(nn.Module):
    """Norm, then a cell, then the input added: x -> skip(x) + cell(norm(x)), or norm(skip(x) + cell(x)) (post-norm).

    Args:
        config: Of the whole model.
        in_channels: Channels of x.
        hidden: Channels of the output.
        backend: See `minconv.scan.scan`.
        memory: See `Forecaster`.
    """

    def __init__(
        self, config: ForecasterConfig, in_channels: int, hidden: int, backend: Backend, memory: int | None
    ) -> None:
        super().__init__()
        self.post_norm = config.post_norm
        self.norm = make_norm(config.norm, hidden if config.post_norm else in_channels, _inner_shape(config))
        arguments = (in_channels, hidden, config.kernel_size, config.boundary)
        if config.cell in _MINCONV:
            self.cell: MinConvCell | ConvGRU | ConvLSTM = _MINCONV[config.cell](*arguments, backend=backend)
        else:
            self.cell = _BASELINES[config.cell](*arguments)
        if memory is not None:
            self.cell.remember(memory)
        self.skip: nn.Module | None = None
        if config.residual:
            self.skip = (
                nn.Identity()
                if in_channels == hidden
                else BoundaryConv2d(in_channels, hidden, 1, config.boundary, bias=False)
            )

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Frames [B, T, C, H, W] -> ([B, T, hidden, H, W], state after them)."""
        frames = x.flatten(0, 1)
        if self.post_norm:
            h, state_after = self.cell(x, state)
        elif isinstance(self.cell, MinConvCell):
            h, state_after = self.cell(x, state, self.norm)
        else:
            h, state_after = self.cell(self.norm(frames).view(x.shape), state)
        if self.skip is not None:
            h = h + self.skip(frames).view(h.shape)
        return self.norm(h.flatten(0, 1)).view(h.shape) if self.post_norm else h, state_after


class Forecaster(nn.Module):
    """Predicts the next frame from the frames so far.

    Inputs and outputs are in physical units; `normalizer` (identity until it is replaced) stands between them and the
    network; it has all channels: prognostic, diagnostic, forcing. With ``config.tendency`` the decoder starts at zero,
    so that an untrained model forecasts persistence, and of what is diagnostic the mean. Batch size, number of frames
    and grid may change from call to call (``norm="layer_hw"`` fixes the grid).

    Args:
        config: What to build.
        backend: Code that computes the scan; see `minconv.scan.scan`. Not part of the model.
        activation_checkpointing: Keep only each layer's input and state for the backward pass, which then computes the
            layer again: less memory, about a third more time. Not part of the model; may be set later.
        memory: Start the gates of all layers so that they remember 2 to so many frames, where what matters may lie
            hundreds of frames back; None: they start with about 2. Where weights start is not part of the model.
    """

    scale: float | Tensor

    def __init__(
        self,
        config: ForecasterConfig,
        backend: Backend = "auto",
        *,
        activation_checkpointing: bool = False,
        memory: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = activation_checkpointing
        self.normalizer = Normalizer.identity(config.in_channels + config.diagnostic_channels)
        folded = config.patch**2
        self.encoder = BoundaryConv2d(
            config.in_channels * folded, config.hidden[0], config.encoder_kernel_size, config.boundary
        )
        widths = (config.hidden[0], *config.hidden)
        if memory is not None:
            check_memory(memory)
        self.layers = nn.ModuleList(
            RecurrentLayer(config, before, after, backend, memory)
            for before, after in zip(widths, config.hidden, strict=False)
        )
        self.norm = make_norm("none" if config.post_norm else config.norm, config.hidden[-1], _inner_shape(config))
        self.decoder = BoundaryConv2d(config.hidden[-1], config.out_channels * folded, 1, config.boundary)
        if config.tendency:
            for parameter in self.decoder.parameters():
                nn.init.zeros_(parameter)
        self.damping = nn.Parameter(torch.zeros(config.prognostic_channels)) if config.damping else None
        if isinstance(config.tendency_scale, tuple):  # part of the configuration, and so not of the weights
            self.register_buffer("scale", torch.tensor(config.tendency_scale)[:, None, None], persistent=False)
        else:
            self.scale = config.tendency_scale

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """All frames at once.

        Args:
            x: [B, T, in_channels, H, W], physical units, the prognostic channels first, finite.
            state: What an earlier call returned, to go on after its last frame; None to start.

        Returns:
            y [B, T, out_channels, H, W], physical units, the prognostic channels first, y[:, t] predicting frame
            t + 1; the state after the last frame.

        Raises:
            InputError: Wrong rank, channels or dtype, a grid that is no multiple of the patch, or a state of another
                model.
        """
        self._check(x, state)
        shape = x.shape[:2]
        frames = fold_patches(self._normalised(x).flatten(0, 1), self.config.patch)
        # After the encoder, not before: frames of one channel are in both formats, and torch would choose NCHW.
        encoded = self.encoder(frames).contiguous(memory_format=torch.channels_last)
        hidden = encoded.view(*shape, *encoded.shape[1:])
        before: tuple[Tensor | None, ...] = (None,) * len(self.layers) if state is None else state
        after = []
        for layer, layer_state in zip(self.layers, before, strict=True):
            if self.activation_checkpointing and torch.is_grad_enabled():
                hidden, layer_state_after = checkpoint(
                    layer, hidden, layer_state, use_reentrant=False, preserve_rng_state=False
                )
            else:
                hidden, layer_state_after = layer(hidden, layer_state)
            after.append(layer_state_after)
        decoded = unfold_patches(self.decoder(self.norm(hidden.flatten(0, 1))), self.config.patch)
        y = decoded.view(*shape, *decoded.shape[1:])
        return self._physical(y, x), tuple(after)

    def _normalised(self, x: Tensor) -> Tensor:
        """The input without units; the normalizer's diagnostic channels, which no input has, lie within its own."""
        if not self.config.diagnostic_channels:
            normalised: Tensor = self.normalizer(x)
            return normalised
        mean, std = (
            torch.cat((numbers[: self.config.prognostic_channels], numbers[self.config.out_channels :]))
            for numbers in (self.normalizer.mean, self.normalizer.std)
        )
        return (x - mean[:, None, None]) / std[:, None, None]

    def _physical(self, y: Tensor, x: Tensor) -> Tensor:
        """The decoder's output in physical units; with `tendency`, the prognostic part is a change of the input."""
        if not self.config.tendency:
            return self.normalizer.inverse(y)
        channels = self.config.prognostic_channels
        change = y[:, :, :channels] * (self.scale * self.normalizer.std[:channels, None, None])
        last = x[:, :, :channels]
        if self.damping is not None:
            mean = self.normalizer.mean[:channels, None, None]
            change = change - self.damping[:, None, None] * (last - mean)
        if not self.config.diagnostic_channels:
            return last + change
        return torch.cat((last + change, self.normalizer.inverse(y)[:, :, channels:]), dim=2)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One frame: x [B, in_channels, H, W] -> (prediction of the next frame [B, out_channels, H, W], state)."""
        if x.ndim != 4:
            raise InputError(f"x must have 4 dimensions [B, C, H, W] in step, got shape {tuple(x.shape)}")
        y, state_after = self(x.unsqueeze(1), state)
        return y.squeeze(1), state_after

    def _check(self, x: Tensor, state: State | None) -> None:
        channels = self.config.in_channels
        if x.ndim != 5 or x.shape[2] != channels:
            raise InputError(f"x must have shape [B, T, {channels}, H, W], got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise InputError(f"x must have a floating-point dtype, got {x.dtype}")
        if 0 in x.shape:
            raise InputError(f"x must have at least one frame and no empty dimension, got shape {tuple(x.shape)}")
        if self.config.norm == "layer_hw" and tuple(x.shape[-2:]) != self.config.grid_shape:
            raise InputError(
                f"x must be on the grid {self.config.grid_shape} of norm 'layer_hw', got {tuple(x.shape[-2:])}"
            )
        if state is not None and len(state) != len(self.layers):
            raise InputError(f"state must have one entry for each of {len(self.layers)} layers, got {len(state)}")


def _inner_shape(config: ForecasterConfig) -> tuple[int, int] | None:
    """Grid that the layers see, after folding."""
    if config.grid_shape is None:
        return None
    height, width = config.grid_shape
    return height // config.patch, width // config.patch
