"""FlexDiT, the interpreter of plans, over diffusers' own base models."""
