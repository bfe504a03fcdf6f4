# SH-KD, step 2: as TH-KD, with the teacher of step 1 (TEACHER=CHECKPOINT).
# Not run on the real data.
_base_ = 'tresnet-m_8xb16-40e_th-kd_cifar100.py'
model = dict(
    teacher=dict(
        config='tresnet_det::classification/distillation/'
        'tresnet-v2_l_8xb16-40e_shared-head_cifar100.py'))
