"""The process that trains. Only this package imports PyTorch and PEFT for training."""
