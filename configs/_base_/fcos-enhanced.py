# FCOS with what its authors and those of ATSS (arXiv:1912.02424, section 3)
# added. MMDetection has it for 12 epochs only; with another of its schedules:
#     _base_ = ['mmdet::fcos/<config>.py', '../_base_/fcos-enhanced.py']
#     model = _base_.fcos_enhanced
fcos_enhanced = dict(
    bbox_head=dict(
        center_sampling=True,
        norm_on_bbox=True,
        centerness_on_reg=True,
        conv_bias=True,
        dcn_on_last_conv=False,
        loss_bbox=dict(type='GIoULoss')),
    test_cfg=dict(nms=dict(iou_threshold=0.6)))
