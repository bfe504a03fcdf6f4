# TResNet-M with global average pool and one linear layer, for MMPretrain.
# Names of its parameters are those of `convert_checkpoint.py --to mm`.
custom_imports = dict(imports=['tresnet_det'], allow_failed_imports=False)
# The weights expect RGB in [0, 1], mean 0, deviation 1:
#     data_preprocessor = _base_.rgb_in_0_1
rgb_in_0_1 = dict(mean=[0, 0, 0], std=[255, 255, 255])
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='TResNet', arch='m', out_indices=(3, ), norm_eval=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=2048,
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1)))
