# TResNet-M says which of COCO's 80 classes are in an image, at 448 px. Make
# the annotation files out of those of detection:
#
#   python tools/dataset_converters/coco_multilabel.py \
#       data/coco/annotations/instances_train2017.json \
#       data/coco/annotations/multilabel_train2017.json   # and val2017
#   python tools/train.py \
#       configs/classification/tresnet-m_8xb16-40e_coco-multilabel.py
#
# Reported for TResNet-L: 86.4 mAP (README of the official repository). The
# recipe was not at hand: the loss is the asymmetric one of arXiv:2009.14119,
# the schedule is our choice. Not run on the real data.
_base_ = [
    './_base_/coco-multilabel.py', './_base_/one-cycle.py',
    'mmpretrain::_base_/default_runtime.py', './_base_/tresnet-m_in21k.py'
]
data_preprocessor = _base_.rgb_in_0_1
model = dict(
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=80,
        loss=dict(
            _delete_=True,
            type='AsymmetricLoss',
            gamma_pos=0.0,
            gamma_neg=4.0,
            clip=0.05)))
