# Plain distillation, to compare. Not run on the real data.
_base_ = 'tresnet-m_8xb16-40e_th-kd_cifar100.py'
model = dict(beta=0)
