# Which of COCO's 80 classes are in an image, at 448 px. The annotation files
# are made by tools/dataset_converters/coco_multilabel.py.
data_preprocessor = dict(num_classes=80, to_rgb=True, to_onehot=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 448)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='AutoAugment', policies='imagenet'),
    dict(type='Cutout', shape=224, pad_val=128, prob=0.5),
    dict(type='PackInputs'),
]
coco = dict(type='MultiLabelDataset', data_root='data/coco')
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **coco,
        ann_file='annotations/multilabel_train2017.json',
        data_prefix='train2017',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **coco,
        ann_file='annotations/multilabel_val2017.json',
        data_prefix='val2017',
        pipeline=[*train_pipeline[:2], train_pipeline[-1]]))
val_evaluator = [
    dict(type='AveragePrecision'),
    dict(type='MultiLabelMetric', average='macro'),
    dict(type='MultiLabelMetric', average='micro'),
]
test_dataloader = val_dataloader
test_evaluator = val_evaluator
