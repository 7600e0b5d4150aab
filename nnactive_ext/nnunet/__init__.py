"""Everything that knows nnU-Net's folders, files and classes."""
