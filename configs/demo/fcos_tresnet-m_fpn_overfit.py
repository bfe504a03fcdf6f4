# FCOS, TResNet-M, learns 8 COCO images by heart and is evaluated on the same
# 8: proves assignment, decoding and class mapping. COCO128 is a folder with
# annotations/instances_train2017.json and train2017.
#     python tools/coco_subset.py COCO128/annotations/instances_train2017.json
#         COCO128/train2017 work_dirs/overfit/data --num-images 8
#     python tools/train.py configs/demo/fcos_tresnet-m_fpn_overfit.py
_base_ = 'fcos_tresnet-m_fpn_demo.py'

data_root = '{{$OVERFIT_DATA:work_dirs/overfit/data}}/'
ann_file = 'annotations/instances_train.json'
scale = (320, 320)
max_epochs = 100  # an epoch is two iterations

# All 80 classes of COCO, MMDetection's default.
model = dict(bbox_head=dict(num_classes=80))
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = scale
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='PackDetInputs')
]
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=ann_file,
        data_prefix=dict(img='train/'),
        metainfo=None,
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=ann_file,
        data_prefix=dict(img='train/'),
        metainfo=None,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + ann_file)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=50)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min=5e-6, T_max=max_epochs,
         convert_to_iter_based=True)
]
default_hooks = dict(checkpoint=dict(interval=50))
work_dir = 'work_dirs/overfit'
