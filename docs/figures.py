"""The drawn figures of the site, from the tables that the code itself uses."""

import io

import matplotlib

matplotlib.use('svg')

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.patches import FancyArrowPatch, Rectangle  # noqa: E402
from wings import WINGS, arrows  # noqa: E402

from tresnet_det.models.backbone import TResNet  # noqa: E402
from tresnet_det.weights.archs import ARCHS, Arch  # noqa: E402

STEM, BASIC, BOTTLENECK, INK = '#d9d9d9', '#a6cee3', '#b2df8a', '#222222'
STRIDES = (4, 8, 16, 32)
NAMES = {'m': 'M', 'l': 'L', 'xl': 'XL', 'v2_l': 'V2-L'}


def stages() -> str:
    """Stages, strides and channels of every TResNet, as SVG."""
    figure, axes = plt.subplots(len(ARCHS), 1, figsize=(9, 6.6))
    for ax, (name, arch) in zip(axes, ARCHS.items(), strict=True):
        draw_stages(ax, name, arch)
    axes[0].legend(
        handles=[
            Rectangle((0, 0), 1, 1, color=colour, label=label)
            for colour, label in (
                (STEM, 'space-to-depth and 3x3 conv'),
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
    boxes = [(STEM, 'stem', f'{arch.width} channels', 'stride 4')] + [
        (
            BOTTLENECK if arch.bottleneck[i] else BASIC,
            f'stage {i + 1}: {arch.depths[i]} blocks',
            f'{channels[i]} channels',
            f'C{i + 2}, stride {STRIDES[i]}',
        )
        for i in range(4)
    ]
    ax.set_xlim(-0.75, 5)
    ax.set_ylim(0, 1)
    ax.axis('off')
    ax.text(-0.7, 0.5, NAMES[name], va='center', fontsize=13, weight='bold', color=INK)
    for i, (colour, *lines) in enumerate(boxes):
        ax.add_patch(Rectangle((i - 0.44, 0.06), 0.86, 0.88, color=colour))
        for line, height in zip(lines, (0.76, 0.5, 0.24), strict=True):
            ax.text(i - 0.01, height, line, ha='center', va='center', color=INK)
        if i:
            ax.annotate(
                '',
                (i - 0.44, 0.5),
                (i - 0.58, 0.5),
                arrowprops=dict(arrowstyle='->', color=INK),
            )


def wings() -> str:
    """The wings on their floors, an arrow for each import, as SVG."""
    figure, ax = plt.subplots(figsize=(9, 7.2))
    floors: dict[int, list[str]] = {}
    for name, wing in WINGS.items():
        floors.setdefault(wing.floor, []).append(name)
    place = {
        name: (10 * (i + 0.5) / len(names), 1.35 * floor)
        for floor, names in floors.items()
        for i, name in enumerate(names)
    }
    for wing, other in sorted(arrows()):
        (x, y), (to_x, to_y) = place[wing], place[other]
        passes = y - to_y > 1.5 and abs(x - to_x) < 1  # boxes between the two
        ax.add_patch(
            FancyArrowPatch(
                (x + 1.2 * passes, y - 0.38),
                (to_x + 1.2 * passes, to_y + 0.4),
                arrowstyle='-|>',
                mutation_scale=11,
                color='#888888',
                linewidth=0.9,
                connectionstyle=f'arc3,rad={-0.35 if passes else 0}',
                zorder=1,
            )
        )
    for name, (x, y) in place.items():
        ax.add_patch(
            Rectangle(
                (x - 1.5, y - 0.38),
                3,
                0.76,
                facecolor=BASIC,
                edgecolor='white',
                zorder=2,
            )
        )
        ax.text(
            x,
            y + 0.1,
            name,
            ha='center',
            va='center',
            weight='bold',
            color=INK,
            zorder=3,
        )
        ax.text(
            x,
            y - 0.18,
            WINGS[name].holds,
            ha='center',
            va='center',
            fontsize=6.5,
            color=INK,
            zorder=3,
        )
    for floor in floors:
        ax.text(-0.6, 1.35 * floor, f'{floor}', va='center', color='#888888')
    ax.set_xlim(-0.8, 10.2)
    ax.set_ylim(-0.6, 1.35 * max(floors) + 0.6)
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
