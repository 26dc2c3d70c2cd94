"""The models: language model, sparse autoencoders, steering, generation.

Needs torch, transformers, safetensors and numpy only, and nothing else of ours, so that it runs alone on a GPU machine.
"""
