"""The demo, so small that a training takes seconds: to try training itself.

What it exercises: random augmentation, averaged weights, a checkpoint every
other iteration of which three are kept, the best one by AP.
"""

from pathlib import Path

__all__ = ['small_demo']

CONFIG = """
_base_ = {base!r}
train_pipeline = [*_base_.train_pipeline]
train_pipeline[2]['scale'] = (64, 64)
train_pipeline.insert(4, dict(type='PhotoMetricDistortion'))
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = (64, 64)
data_root = {data!r}
workers = dict(num_workers={num_workers},
               persistent_workers={num_workers} > 0)
train_dataloader = dict(
    batch_size=4 // {processes}, **workers,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=data_root + 'annotations/instances_val.json',
    outfile_prefix={work_dir!r} + '/val')
test_evaluator = val_evaluator
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 2, 1), width=8),
        norm_cfg=dict(type={norm!r})),
    neck=dict(in_channels=[8, 16, 128, 256], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
    test_cfg=dict(score_thr=0))
train_cfg = dict(max_epochs={epochs}, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, end=20),
    dict(type='MultiStepLR', milestones=[{epochs} * 3 // 4])]
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=3,
                    save_best='coco/bbox_mAP'))
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.1)]
work_dir = {work_dir!r}
"""


def small_demo(
    base: Path,
    data: Path,
    work_dir: Path,
    epochs: int,
    num_workers: int = 0,
    processes: int = 1,
    norm: str = 'InPlaceABN',
) -> str:
    """Text of the config.

    Args:
        base: The demo's config.
        data: Folder of a demo set of 64 x 64 pixels.
        work_dir: For everything that is written.
        epochs: Over the whole set.
        num_workers: Of the training's loader, per process.
        processes: That share each batch of 4.
        norm: Type of the backbone's norm.
    """
    return CONFIG.format(
        base=str(base),
        data=f'{data}/',
        work_dir=str(work_dir),
        epochs=epochs,
        num_workers=num_workers,
        processes=processes,
        norm=norm,
    )
