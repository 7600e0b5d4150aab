"""Trainers that nnU-Net finds through ``nnUNet_extTrainer``.

Checkpoints name their trainer by this address. Helper classes belong to ``nnunet/``: what is defined in a file that nnU-Net's
finder loads cannot be pickled.
"""
