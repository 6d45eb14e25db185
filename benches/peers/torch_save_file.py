"""Hugging Face's way: torch.load, then save_file. TORCH_MMAP=1 maps the file."""
import os
import sys

import torch
from safetensors.torch import save_file

state = torch.load(sys.argv[1], map_location="cpu", weights_only=True, mmap=bool(os.environ.get("TORCH_MMAP")))
seen, kept = {}, {}
for name, tensor in state.items():
    key = (tensor.data_ptr(), tensor.shape, tensor.stride())
    if tensor.numel() and key in seen:
        continue  # tied weights, which save_file refuses
    seen[key] = name
    kept[name] = tensor.contiguous()
save_file(kept, sys.argv[2], metadata={"format": "pt"})
