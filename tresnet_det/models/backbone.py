"""TResNet as an MMDetection backbone: the network, and weights by init_cfg."""

from collections.abc import Sequence
from copy import deepcopy

from ..weights.archs import ARCHS, Arch
from ..weights.pretrained_module import PretrainedModule
from .network import Network

__all__ = ['ARCHS', 'Arch', 'TResNet']


class TResNet(Network, PretrainedModule):
    """TResNet M, L, XL or V2-L without its classifier.

    Args:
        arch: 'm', 'l', 'xl', 'v2_l', or a dict with the fields of `Arch`.
        in_channels: Channels of the image.
        out_indices: Stages whose maps are returned, 0 to 3, increasing.
            Stages after the last are not built, so that every parameter gets
            a gradient and DDP needs no find_unused_parameters.
        frozen_stages: Stages that are not trained and stay in eval(): -1
            none, 0 the stem, k the stem and stages 1 to k.
        norm_cfg: Norm of type 'InPlaceABN', 'SyncInPlaceABN', 'BN' or
            'SyncBN'.  All have the same state dict and outputs.
        norm_eval: Keep norms in eval() while training: running statistics
            are used and do not change.
        with_cp: Compute each block again in backward instead of keeping its
            maps: of all stages, or of those given, numbered as out_indices.
            Without effect under torch.compile, which decides itself.
        recompute_last_conv: Keep no map between a 1x1 conv and a norm without
            activation, the last ones of a Bottleneck and of a shortcut; see
            `conv_norm`.  Saves less memory than with_cp, for far less time;
            needs an in-place norm, and these modules without hooks.  Without
            effect where norms use running statistics: there it is always so.
        channels_last: Weights and maps in torch's channels-last format, within
            the backbone: its outputs have the usual one, since mmcv's operators
            (RoIAlign among them) read any other wrongly and say nothing.
        init_cfg: Initialisation.  dict(type='Pretrained', checkpoint=...)
            takes every published file, see `load_pretrained`.

    In-place norms are computed together with the activation, the gate or the
    1x1 conv beside them, by their weights and without a call of the modules.
    A module that has a hook or a parametrisation (spectral_norm, weight_norm,
    prune), or was replaced, is called, and its neighbours with it: it sees
    what it would see with batch norm, and this place keeps as much memory.

    Norms have no activation of their own: `act` follows them.  So fuse_conv_bn,
    convert_sync_batchnorm and other tools that fold or replace batch norms
    give the same outputs as before, whatever the norm's type.

    torch.jit.trace, torch.export, the ONNX exporters and torch.compile make a
    graph that is right at every size, whatever the example's was; torch.export
    asks for sizes that leave more than one pixel.  torch.fx, torchvision's
    create_feature_extractor (``layer1`` to ``layer4``) and torch.jit.script
    take the model.  A graph holds torch's own operators and so keeps the
    memory of batch norm; an fx graph also keeps the mode, train() or eval(),
    in which it was made.  If the TResNet is part of a module that is
    scripted, torch.jit.script puts a graph in its place there: give it a copy.
    torch.func (grad, vjp, vmap, jvp) and forward-mode derivatives work as with
    batch norm; vmap over a training step that changes running statistics does
    not, as torch says.

    Shape:
        Input (N, in_channels, H, W), H and W at least 32 and otherwise free.
        Output: one map per out index, (N, C, ceil(H / s), ceil(W / s)) with s
        4, 8, 16 and 32.

    Raises:
        ValueError: An argument or input outside of what is said above.
    """

    def __init__(
        self,
        arch: str | dict = 'm',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = True,
        with_cp: bool | Sequence[int] = False,
        recompute_last_conv: bool = False,
        channels_last: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            arch,
            in_channels,
            out_indices,
            frozen_stages,
            norm_cfg,
            norm_eval,
            with_cp,
            recompute_last_conv,
            channels_last,
        )
        self.init_cfg = deepcopy(init_cfg)
