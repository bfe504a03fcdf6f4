# What every config with a TResNet shares. Use it beside one of MMDetection's:
#     _base_ = ['mmdet::<family>/<config>.py', '../_base_/tresnet.py']
#     model = dict(data_preprocessor=_base_.rgb_in_0_1, backbone=...)
# The weights of TResNet expect RGB in [0, 1], mean 0, deviation 1.
custom_imports = dict(imports=['tresnet_det'], allow_failed_imports=False)
runner_type = 'CheckedRunner'  # class names equal the annotation file's
custom_hooks = [
    dict(type='ClassCountHook'),  # and the head has as many
    dict(type='StopOnNonFiniteHook')  # before NaN reaches a weight
]
rgb_in_0_1 = dict(
    mean=[0.0, 0.0, 0.0],
    std=[255.0, 255.0, 255.0],
    bgr_to_rgb=True,
    pad_size_divisor=32)
