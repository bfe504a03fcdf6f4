# As for CIFAR-10; MMPretrain downloads CIFAR-100 to data/cifar100.
#
#   python tools/train.py \
#       configs/classification/tresnet-m_8xb16-40e_cifar100.py
_base_ = './tresnet-m_8xb16-40e_cifar10.py'
data_preprocessor = dict(num_classes=100)
model = dict(head=dict(num_classes=100))
train_dataloader = dict(
    dataset=dict(type='CIFAR100', data_root='data/cifar100'))
val_dataloader = dict(dataset=dict(type='CIFAR100', data_root='data/cifar100'))
test_dataloader = val_dataloader
