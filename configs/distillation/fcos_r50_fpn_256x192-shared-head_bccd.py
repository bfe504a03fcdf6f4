# SH-KD, step 1: ResNet-50 with the head of the trained TResNet-M, frozen.
#     STUDENT=CHECKPOINT python tools/train.py
#         configs/distillation/fcos_r50_fpn_256x192-shared-head_bccd.py
_base_ = '../bccd/fcos_r50_fpn_256x192_bccd.py'
model = dict(
    type='SharedHead',
    detector='FCOS',
    student=dict(
        config='tresnet_det::bccd/fcos_tresnet-m_fpn_256x192_bccd.py',
        checkpoint='{{$STUDENT:epoch_10.pth}}'))
