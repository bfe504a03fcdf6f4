# Do two images show the same face, or any other identity? ArcFace, TAR at FAR
# 1e-1 to 1e-6. FACES has train/<identity>/*.jpg and val/<identity>/*.jpg; the
# identities of val need not be those of train; IDENTITIES is train's count.
#   FACES=DATA IDENTITIES=1000 python tools/train.py \
#       configs/classification/distillation/tresnet-m_8xb64-20e_verification.py
# Schedule and augmentation are our choice. Not run on real data.
_base_ = [
    '../_base_/one-cycle.py', '../_base_/tresnet-m_in21k.py',
    'mmpretrain::_base_/default_runtime.py'
]
custom_imports = dict(
    imports=['tresnet_det', 'tresnet_det.distillation.embedding'])
data_preprocessor = dict(_base_.rgb_in_0_1, to_rgb=True)
model = dict(
    head=dict(
        _delete_=True, type='EmbeddingArcFaceHead', in_channels=2048,
        num_classes=int('{{$IDENTITIES:1000}}')))
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(112, 112)),
    dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')
]
faces = dict(type='CustomDataset', data_root='{{$FACES:data/faces}}')
loader = dict(batch_size=64, num_workers=4)
train_dataloader = dict(
    **loader, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**faces, data_prefix='train', pipeline=pipeline))
val_dataloader = dict(
    **loader, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**faces, data_prefix='val', pipeline=pipeline[:2] + pipeline[3:]))
val_evaluator = dict(type='VerificationMetric')
test_dataloader, test_evaluator = val_dataloader, val_evaluator
max_epochs = 20
param_scheduler = dict(total_steps=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
