# SH-KD, step 1: the teacher with the trained student's classifier, frozen.
#   STUDENT=CHECKPOINT python tools/train.py configs/classification/\
#       distillation/tresnet-v2_l_8xb16-40e_shared-head_cifar100.py
# Not run on the real data.
_base_ = 'tresnet-v2_l_8xb16-40e_cifar100.py'
custom_hooks = [dict(type='DistillationHook')]
model = dict(
    type='SharedHead',
    detector='mmpretrain.ImageClassifier',
    student=dict(
        config='tresnet_det::classification/tresnet-m_8xb16-40e_cifar100.py',
        checkpoint='{{$STUDENT:epoch_40.pth}}'))
