# FCOS, TResNet-M, on your own data in COCO format: copy this file, and change
# what stands before the line. Then:
#     python tools/train.py configs/own_data/fcos_tresnet-m_fpn_own.py
_base_ = '../fcos/fcos_tresnet-m_fpn_1x_coco.py'

classes = ('cat', 'dog')  # in the order of the annotation files
data_root = '{{$OWN_DATA:data/own}}'
train = dict(ann_file='annotations/train.json', data_prefix=dict(img='train/'))
val = dict(ann_file='annotations/val.json', data_prefix=dict(img='val/'))
scale = (1333, 800)  # longest and shortest side of an image, at most
batch_size = 2  # for each GPU
pretrained = 'timm://tresnet_m.miil_in21k_ft_in1k'  # or the path of a file
# ---------------------------------------------------------------------------
data_root = data_root.rstrip('/') + '/'
images = dict(data_root=data_root, metainfo=dict(classes=classes))
model = dict(
    backbone=dict(init_cfg=dict(checkpoint=pretrained)),
    bbox_head=dict(num_classes=len(classes)))
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = scale
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(**images, **train, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(**images, **val, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + val['ann_file'])
test_evaluator = val_evaluator
auto_scale_lr = dict(enable=True)  # the rate of 0.01 is for 16 images a step
