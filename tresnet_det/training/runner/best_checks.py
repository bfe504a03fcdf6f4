"""Will an evaluation give the figure that chooses the best checkpoint?

mmengine looks for it after the first evaluation, when an epoch is trained.
"""

from collections.abc import Iterable

from mmdet.evaluation.metrics import CocoMetric
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner.base_loop import BaseLoop

from ...common.errors import UserError
from ...evaluation.faster_coco import FasterCocoEvalMetric
from ...evaluation.numbered_coco import NumberedCocoMetric
from ..hooks import ValLossHook

__all__ = ['check_save_best', 'coco_figures_of']

_AP = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
_AR = ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')


def check_save_best(hooks: Iterable[Hook], val_loop: BaseLoop) -> None:
    """Compares ``save_best`` with the figures of the evaluation.

    Only where all of them are known: metrics for COCO, and no hook but ours
    and mmengine's that may add some.

    Args:
        hooks: All of the runner.
        val_loop: Of the runner, with its evaluator.

    Raises:
        UserError: A figure that is asked for will not be there.
    """
    hooks = list(hooks)
    metrics = getattr(getattr(val_loop, 'evaluator', None), 'metrics', [])
    if (
        not metrics
        or not {*map(type, metrics)}
        <= {CocoMetric, FasterCocoEvalMetric, NumberedCocoMetric}
        or not all(
            type(hook).after_val_epoch.__module__.startswith(
                ('mmengine.', 'tresnet_det.')
            )
            for hook in hooks
        )
    ):
        return
    with_losses = any(isinstance(hook, ValLossHook) for hook in hooks)
    known = [figure for metric in metrics for figure in coco_figures_of(metric)]
    for hook in hooks:
        if not (isinstance(hook, CheckpointHook) and hook.save_best):
            continue
        lacking = [
            key
            for key in hook.save_best
            if key not in ('auto', *known)
            # The names of losses are the model's.
            and not (with_losses and key.startswith('val_'))
        ]
        if lacking:
            raise UserError(
                f'save_best = {lacking[0]!r} of the checkpoint hook is none '
                f'of the figures of the evaluation, which are '
                f'{", ".join(known) or "none"}; val_loss needs custom_hooks '
                "= [dict(type='ValLossHook')]"
            )


def coco_figures_of(metric: BaseMetric) -> list[str]:
    """Names of what MMDetection's metric for COCO will tell."""
    names: list[str] = []
    for kind in [] if metric.format_only else metric.metrics:
        if kind == 'proposal_fast':
            names += [f'AR@{count}' for count in metric.proposal_nums]
        elif kind == 'proposal':
            names += metric.metric_items or _AR
        else:
            names += [f'{kind}_{item}' for item in metric.metric_items or _AP]
            if metric.classwise:
                names += [
                    f'{name}_precision' for name in metric.dataset_meta['classes']
                ]
    return [f'{metric.prefix}/{name}' if metric.prefix else name for name in names]
