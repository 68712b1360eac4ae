"""The law: plain PyTorch definitions of everything that spikes. Fast paths are judged by them."""
