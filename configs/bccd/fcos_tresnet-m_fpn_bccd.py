# FCOS, TResNet-M, from random weights on BCCD: blood cells under a
# microscope, 205 train and 87 val images, 3 classes; README.md in this
# folder tells how to get them. DATA holds annotations/{train,val}.json and the
# image folders train and val.
#     BCCD=DATA python tools/train.py configs/bccd/fcos_tresnet-m_fpn_bccd.py
_base_ = '../_base_/small/short-schedule.py'

classes = ('Platelets', 'RBC', 'WBC')  # in the annotation file's order
data_root = '{{$BCCD:data/bccd}}/'
metainfo = dict(classes=classes)
scale = (320, 240)

model = dict(bbox_head=dict(num_classes=len(classes)))
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = scale
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        metainfo=metainfo,
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        metainfo=metainfo,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
work_dir = 'work_dirs/bccd'
