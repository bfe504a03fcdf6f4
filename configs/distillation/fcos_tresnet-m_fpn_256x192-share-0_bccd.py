# An arm of the comparison on BCCD: the whole head of the ResNet-50 arm, run
# with the same seed, on the student's maps. Commands: README.md.
_base_ = '../bccd/fcos_tresnet-m_fpn_256x192_bccd.py'
model = dict(
    type='HeadSharing',
    detector='FCOS',
    share_from=0,
    teacher=dict(
        config='tresnet_det::bccd/fcos_r50_fpn_256x192_bccd.py',
        checkpoint='{{$TEACHER:epoch_10.pth}}'))
