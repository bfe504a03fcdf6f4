# What both arms of the paper's comparison share (arXiv:2003.13630v3): all but
# the backbone with the input it expects. README.md lists what the paper
# leaves open.
_base_ = [
    'mmdet::fcos/'
    'fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py',
    '../../_base_/tresnet-m.py'
]
custom_hooks = [*_base_.custom_hooks, dict(type='ValLossHook')]

# Augmentation as in SSD (arXiv:1512.02325, section 2.2), resized as in FCOS.
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PhotoMetricDistortion'),
    dict(type='Expand', mean=[123.675, 116.28, 103.53], to_rgb=True),
    dict(type='MinIoURandomCrop'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
train_dataloader = dict(
    batch_size=6, num_workers=4, dataset=dict(pipeline=train_pipeline))
auto_scale_lr = dict(base_batch_size=48)  # 8 GPUs x 6 images

train_cfg = dict(max_epochs=70, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=500),
    dict(type='MultiStepLR', milestones=[40, 60], gamma=0.1)
]
optim_wrapper = dict(
    optimizer=dict(lr=0.01, momentum=0.9, weight_decay=1e-4))
