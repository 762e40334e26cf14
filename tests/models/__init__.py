"""Tiny models of many architectures, each with adapters, against Transformers and PEFT."""
