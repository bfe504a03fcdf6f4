# SGD with the 1-cycle policy, the paper's (arXiv:2003.13630, section 4). Our
# choice: 40 epochs and the learning rate.
_base_ = 'mmpretrain::_base_/schedules/cifar10_bs128.py'
max_epochs = 40
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(
    _delete_=True,
    type='OneCycleLR',
    eta_max=0.01,
    total_steps=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True)
train_cfg = dict(max_epochs=max_epochs)
