# FCOS, TResNet-M, learns 8 COCO images by heart and is evaluated on the same
# 8: proves assignment, decoding and class mapping. COCO128 is a folder with
# annotations/instances_train2017.json and train2017.
#     python tools/dataset_converters/coco_subset.py
#         COCO128/annotations/instances_train2017.json COCO128/train2017
#         work_dirs/overfit/data --num-images 8
#     python tools/train.py configs/demo/fcos_tresnet-m_fpn_overfit.py
_base_ = '../_base_/small/short-schedule.py'

data_root = '{{$OVERFIT_DATA:work_dirs/overfit/data}}/'
ann_file = 'annotations/instances_train.json'
scale = (320, 320)
max_epochs = 100  # an epoch is two iterations

# All 80 classes of COCO, MMDetection's default. Nothing is flipped.
train_pipeline = [
    step for step in _base_.train_pipeline if step.type != 'RandomFlip']
test_pipeline = _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = scale
images = dict(
    data_root=data_root, ann_file=ann_file, data_prefix=dict(img='train/'))
train_dataloader = dict(dataset=dict(**images, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**images, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + ann_file)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=50)
param_scheduler = _base_.param_scheduler
param_scheduler[1].T_max = max_epochs
default_hooks = dict(checkpoint=dict(interval=50))
work_dir = 'work_dirs/overfit'
