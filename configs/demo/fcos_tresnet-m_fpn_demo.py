# FCOS, TResNet-M, from random weights on the generated demo set: small
# images, a small head, AdamW. `make demo` runs it; by hand:
#     python tools/make_demo_data.py work_dirs/demo/data
#     python tools/train.py configs/demo/fcos_tresnet-m_fpn_demo.py
_base_ = '../fcos/fcos_tresnet-m_fpn_1x_coco.py'

# The data set: classes are given here once, in the annotation file's order.
classes = ('circle', 'ring', 'square', 'triangle', 'star', 'cross')
data_root = '{{$DEMO_DATA:work_dirs/demo/data}}/'
metainfo = dict(classes=classes)
train_ann, val_ann = (
    f'annotations/instances_{split}.json' for split in ('train', 'val'))
scale = (160, 160)

# Random weights: nothing may be frozen, and the norms must learn their
# statistics. Small images: three levels (P6 would be 3x3), each for boxes a
# quarter as large as on COCO.
model = dict(
    backbone=dict(frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(out_channels=128, num_outs=3),
    bbox_head=dict(
        num_classes=len(classes),
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        strides=[8, 16, 32],
        regress_ranges=((-1, 32), (32, 64), (64, 1e8))))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=[0.25, 0.25],
         direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs',
         meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                    'scale_factor'))
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,  # reading small images costs less than a second process
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file=train_ann,
        data_prefix=dict(img='train/'),
        metainfo=metainfo,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file=val_ann,
        data_prefix=dict(img='val/'),
        metainfo=metainfo,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + val_ann)
test_evaluator = val_evaluator

max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        _delete_=True, norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(_delete_=True, max_norm=10, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=5e-6, T_max=max_epochs,
         convert_to_iter_based=True)
]
default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
work_dir = 'work_dirs/demo/train'
