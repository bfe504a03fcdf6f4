# FCOS, TResNet-M, from random weights on photographs of playing cards: 240
# train and 56 val images, 6 classes. DATA holds annotations/{train,val}.json
# and the image folders train and val. COCO result: not run.
#     CARDS=DATA python tools/train.py configs/cards/fcos_tresnet-m_fpn_cards.py
_base_ = '../demo/fcos_tresnet-m_fpn_demo.py'

classes = ('nine', 'ten', 'jack', 'queen', 'king', 'ace')
data_root = '{{$CARDS:data/cards}}/'
train_ann, val_ann = 'annotations/train.json', 'annotations/val.json'
images = dict(data_root=data_root, metainfo=dict(classes=classes))

model = dict(bbox_head=dict(num_classes=len(classes)))
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = (320, 320)
train_pipeline[3] = dict(type='RandomFlip', prob=0.0)  # mirrored cards do not exist
train_dataloader = dict(
    dataset=dict(**images, ann_file=train_ann, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(**images, ann_file=val_ann, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + val_ann)
test_evaluator = val_evaluator
work_dir = 'work_dirs/cards'
