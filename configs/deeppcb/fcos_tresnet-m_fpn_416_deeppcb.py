# FCOS, TResNet-M, from random weights on DeepPCB: 800 train and 200 val images
# of circuit boards, 640x640 each, 6 kinds of defect of 19 to 60 pixels. 416 is
# the smallest size at which nine of ten boxes are at least two strides of the
# finest level wide.
#     DEEPPCB=DATA python tools/train.py
#         configs/deeppcb/fcos_tresnet-m_fpn_416_deeppcb.py
_base_ = '../demo/fcos_tresnet-m_fpn_demo.py'

classes = ('open', 'short', 'mousebite', 'spur', 'copper', 'pin-hole')
data_root = '{{$DEEPPCB:data/deeppcb}}'
train = dict(ann_file='annotations/train.json', data_prefix=dict(img='train/'))
val = dict(ann_file='annotations/val.json', data_prefix=dict(img='val/'))
scale = (416, 416)
max_epochs = 3  # what two hours of one CPU core allow
# ---------------------------------------------------------------------------
data_root = data_root.rstrip('/') + '/'
images = dict(data_root=data_root, metainfo=dict(classes=classes))
model = dict(bbox_head=dict(num_classes=len(classes)))
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = scale
train_dataloader = dict(
    dataset=dict(**images, **train, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**images, **val, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + val['ann_file'])
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].T_max = max_epochs
work_dir = None  # work_dirs/ and the name of the config
