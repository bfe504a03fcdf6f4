# RetinaNet, TResNet-M, through the head of MMDetection's ResNet-50, 12 epochs.
# That detector has 36.5 AP in its model zoo.
# Total batch 16 = 8 GPUs x 2 images, lr 0.01; for another total batch add
# --auto-scale-lr.
# COCO result: not run.
_base_ = '../retinanet/retinanet_tresnet-m_fpn_1x_coco.py'
model = dict(
    type='HeadSharing',
    detector='RetinaNet',
    share_from=3,
    teacher=dict(
        config='mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
        checkpoint='https://download.openmmlab.com/mmdetection/v2.0/retinanet/'
        'retinanet_r50_fpn_1x_coco/'
        'retinanet_r50_fpn_1x_coco_20200130-c2398f9e.pth'))
