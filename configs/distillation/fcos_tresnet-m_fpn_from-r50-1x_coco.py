# FCOS, TResNet-M, through the head of MMDetection's ResNet-50, 12 epochs.
# That detector has 38.7 AP in its model zoo.
# Total batch 16 = 8 GPUs x 2 images, lr 0.01; for another total batch add
# --auto-scale-lr.
# COCO result: not run.
_base_ = '../fcos/fcos_tresnet-m_fpn_1x_coco.py'
zoo = 'https://download.openmmlab.com/mmdetection/v2.0/fcos/'
name = 'fcos_center-normbbox-centeronreg-giou_r50_caffe_fpn_gn-head_1x_coco'
model = dict(
    type='HeadSharing',
    detector='FCOS',
    share_from=2,
    teacher=dict(
        config='mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-'
        'centeronreg-giou_1x_coco.py',
        checkpoint=f'{zoo}{name}/{name}-0a0d75a8.pth'))
