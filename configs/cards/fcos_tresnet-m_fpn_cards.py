# FCOS, TResNet-M, from random weights on photographs of playing cards: 240
# train and 56 val images, 6 classes. DATA holds annotations/{train,val}.json
# and the image folders train and val. For small data of your own copy this file
# and change what stands above the line. In bfloat16, seed 0: 32.2 AP, see
# configs/distillation/README.md.
#     CARDS=DATA python tools/train.py configs/cards/fcos_tresnet-m_fpn_cards.py
_base_ = ['../_base_/small/short-schedule.py', '../_base_/three-levels.py']

classes = ('nine', 'ten', 'jack', 'queen', 'king', 'ace')
data_root = '{{$CARDS:data/cards}}'
train = dict(ann_file='annotations/train.json', data_prefix=dict(img='train/'))
val = dict(ann_file='annotations/val.json', data_prefix=dict(img='val/'))
scale = (320, 320)
levels = _base_.three_levels  # {} if objects are smaller than 32 pixels
# ---------------------------------------------------------------------------
data_root = data_root.rstrip('/') + '/'
images = dict(data_root=data_root, metainfo=dict(classes=classes))
head = dict(levels.get('bbox_head', {}), num_classes=len(classes))
model = dict(levels, bbox_head=head)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = scale
train_pipeline[3] = dict(type='RandomFlip', prob=0.0)  # no mirrored cards
train_dataloader = dict(
    dataset=dict(**images, **train, pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(
    dataset=dict(**images, **val, pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(ann_file=data_root + val['ann_file'])
work_dir = None  # work_dirs/ and the name of the config
