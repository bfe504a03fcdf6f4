# SH-KD, step 2: TResNet-M through the head of the teacher of step 1.
#     TEACHER=CHECKPOINT python tools/train.py
#         configs/distillation/fcos_tresnet-m_fpn_256x192-sh-kd_bccd.py
_base_ = 'fcos_tresnet-m_fpn_256x192-share-0_bccd.py'
model = dict(
    teacher=dict(
        config='tresnet_det::distillation/'
        'fcos_r50_fpn_256x192-shared-head_bccd.py'))
