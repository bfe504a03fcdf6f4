# The teacher for verification. Not run on real data.
_base_ = 'tresnet-m_8xb64-20e_verification.py'
weights = 'timm://tresnet_v2_l.miil_in21k_ft_in1k'
model = dict(backbone=dict(arch='v2_l', init_cfg=dict(checkpoint=weights)))
