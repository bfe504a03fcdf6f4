"""The drawn figures of the site, from the tables that the code itself uses."""

import io

import matplotlib

matplotlib.use('svg')

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.patches import FancyArrowPatch, Rectangle  # noqa: E402
from networkx import DiGraph, transitive_reduction  # noqa: E402
from wings import WINGS, arrows  # noqa: E402

from tresnet_det.models.backbone import TResNet  # noqa: E402
from tresnet_det.weights.archs import ARCHS, Arch  # noqa: E402

STEM, BASIC, BOTTLENECK, INK = '#d9d9d9', '#a6cee3', '#b2df8a', '#222222'
STRIDES = (4, 8, 16, 32)
# Place of a wing on its floor, so that arrows pass between boxes; else 5.
ACROSS = {
    'deployment': 1.6,
    'distillation': 8.4,
    'evaluation': 1.6,
    'models': 8.4,
    'environment': 8.4,
}
NAMES = {'m': 'M', 'l': 'L', 'xl': 'XL', 'v2_l': 'V2-L'}


def stages() -> str:
    """Stages, strides and channels of every TResNet, as SVG."""
    figure, axes = plt.subplots(len(ARCHS), 1, figsize=(9, 7.2))
    for ax, (name, arch) in zip(axes, ARCHS.items(), strict=True):
        draw_stages(ax, name, arch)
    axes[0].legend(
        handles=[
            Rectangle((0, 0), 1, 1, color=colour, label=label)
            for colour, label in (
                (STEM, 'space-to-depth, conv'),
                (BASIC, 'BasicBlock'),
                (BOTTLENECK, 'Bottleneck'),
            )
        ],
        loc='lower center',
        bbox_to_anchor=(0.5, 1.12),
        ncols=3,
        frameon=False,
    )
    return svg(figure)


def draw_stages(ax: Axes, name: str, arch: Arch) -> None:
    channels = TResNet(arch=name).out_channels
    boxes = [(STEM, 'stem', '3x3 conv', f'{arch.width} channels', 'stride 4')] + [
        (
            BOTTLENECK if arch.bottleneck[i] else BASIC,
            f'stage {i + 1}',
            f'{arch.depths[i]} blocks',
            f'{channels[i]} channels',
            f'C{i + 2}, stride {STRIDES[i]}',
        )
        for i in range(4)
    ]
    ax.set_xlim(-1.1, 4.5)
    ax.set_ylim(0, 1)
    ax.axis('off')
    ax.text(-1.1, 0.5, NAMES[name], va='center', fontsize=13, weight='bold', color=INK)
    for i, (colour, *lines) in enumerate(boxes):
        ax.add_patch(Rectangle((i - 0.44, 0.06), 0.86, 0.88, color=colour))
        for line, height in zip(lines, (0.81, 0.6, 0.39, 0.18), strict=True):
            ax.text(i - 0.01, height, line, ha='center', va='center', color=INK)
        if i:
            ax.annotate(
                '',
                (i - 0.44, 0.5),
                (i - 0.58, 0.5),
                arrowprops=dict(arrowstyle='->', color=INK),
            )


def wings() -> str:
    """The wings on their floors and who imports whom, as SVG.

    An arrow that follows from others is left out.
    """
    figure, ax = plt.subplots(figsize=(9, 6.6))
    place = {name: (ACROSS.get(name, 5), wing.floor) for name, wing in WINGS.items()}
    for wing, other in sorted(transitive_reduction(DiGraph([*arrows()])).edges):
        (x, y), (to_x, to_y) = place[wing], place[other]
        ax.add_patch(
            FancyArrowPatch(
                (x, y - 0.3),
                (to_x, to_y + 0.3),
                arrowstyle='-|>',
                mutation_scale=12,
                color='#888888',
                zorder=1,
            )
        )
    for name, (x, y) in place.items():
        ax.add_patch(Rectangle((x - 1.6, y - 0.3), 3.2, 0.6, color=BASIC, zorder=2))
        words = dict(ha='center', va='center', color=INK, zorder=3)
        ax.text(x, y + 0.08, name, weight='bold', **words)
        ax.text(x, y - 0.14, WINGS[name].holds, fontsize=7, **words)
    for floor in {wing.floor for wing in WINGS.values()}:
        ax.text(-0.7, floor, f'{floor}', va='center', color='#888888')
    ax.set_xlim(-0.8, 10)
    ax.set_ylim(-0.4, max(wing.floor for wing in WINGS.values()) + 0.4)
    ax.axis('off')
    return svg(figure)


def svg(figure: plt.Figure) -> str:
    """The same bytes each time; text as outlines, so that no font is needed."""
    text = io.StringIO()
    with plt.rc_context({'svg.hashsalt': 'tresnet_det'}):
        figure.savefig(
            text,
            format='svg',
            bbox_inches='tight',
            facecolor='white',
            metadata={'Date': None},
        )
    plt.close(figure)
    return text.getvalue()
