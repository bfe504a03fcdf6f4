# FCOS, TResNet-M, from random weights on the generated demo set: small
# images, a small head, AdamW. `make demo` runs it; by hand:
#     python tools/misc/make_demo_data.py work_dirs/demo/data
#     python tools/train.py configs/demo/fcos_tresnet-m_fpn_demo.py
_base_ = ['../_base_/small/short-schedule.py', '../_base_/three-levels.py']

# Classes are given here once, in the annotation file's order.
classes = ('circle', 'ring', 'square', 'triangle', 'star', 'cross')
data_root = '{{$DEMO_DATA:work_dirs/demo/data}}/'
metainfo = dict(classes=classes)
train_ann, val_ann = (
    f'annotations/instances_{split}.json' for split in ('train', 'val'))

model = _base_.three_levels
model.bbox_head.num_classes = len(classes)
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=train_ann,
        data_prefix=dict(img='train/'),
        metainfo=metainfo))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=val_ann,
        data_prefix=dict(img='val/'),
        metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + val_ann)
test_evaluator = val_evaluator
work_dir = 'work_dirs/demo/train'
