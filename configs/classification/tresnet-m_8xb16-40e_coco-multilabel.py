# TResNet-M says which of COCO's 80 classes are in an image, at 448 px. Make
# the annotation files out of those of detection:
#
#   python tools/coco_multilabel.py \
#       data/coco/annotations/instances_train2017.json \
#       data/coco/annotations/multilabel_train2017.json   # and val2017
#   python tools/train.py \
#       configs/classification/tresnet-m_8xb16-40e_coco-multilabel.py
#
# Reported for TResNet-L: 86.4 mAP (README of the official repository). The
# recipe was not at hand: the loss is the asymmetric one of arXiv:2009.14119,
# the schedule is our choice. Not run on the real data.
_base_ = [
    'mmpretrain::_base_/schedules/cifar10_bs128.py',
    'mmpretrain::_base_/default_runtime.py', './_base_/tresnet-m.py'
]
data_preprocessor = dict(
    **_base_.rgb_in_0_1, num_classes=80, to_rgb=True, to_onehot=True)
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='timm://tresnet_m.miil_in21k_ft_in1k')),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=80,
        loss=dict(
            _delete_=True,
            type='AsymmetricLoss',
            gamma_pos=0.0,
            gamma_neg=4.0,
            clip=0.05)))
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MultiLabelDataset',
        data_root='data/coco',
        ann_file='annotations/multilabel_train2017.json',
        data_prefix='train2017',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(448, 448)),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='AutoAugment', policies='imagenet'),
            dict(type='Cutout', shape=224, pad_val=128, prob=0.5),
            dict(type='PackInputs'),
        ]))
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MultiLabelDataset',
        data_root='data/coco',
        ann_file='annotations/multilabel_val2017.json',
        data_prefix='val2017',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(448, 448)),
            dict(type='PackInputs'),
        ]))
val_evaluator = [
    dict(type='AveragePrecision'),
    dict(type='MultiLabelMetric', average='macro'),
    dict(type='MultiLabelMetric', average='micro'),
]
test_dataloader = val_dataloader
test_evaluator = val_evaluator
max_epochs = 40
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(
    _delete_=True,
    type='OneCycleLR',
    eta_max=0.01,
    total_steps=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True)
train_cfg = dict(max_epochs=max_epochs)
