"""What is for a GPU only: the proof that its kernels for adapters compute what they should."""
